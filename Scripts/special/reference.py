#!/usr/bin/env python3
"""Writes the reference tables of the special functions, Fixtures/special/*.csv.

    python3 Scripts/special/reference.py Fixtures/special

Needs mpmath. Arguments are exact in single precision (written in hexadecimal), so that one table
serves both types; values have 20 digits and come from the complementary error function at 80
digits, not from any formula that the package uses.
"""

import random
import struct
import sys

import mpmath as mp

FUNCTIONS = ("normalCDF", "logNormalCDF", "inverseMillsRatio", "probitCurvature", "gelu",
             "approximateNormalCDF", "logApproximateNormalCDF", "softplus", "sigmoid", "exp")


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def arguments():
    generator = random.Random(20240607)
    values = {k / 8 for k in range(-320, 321)}
    values |= {single(generator.uniform(-40, 40)) for _ in range(150)}
    values |= {single(generator.uniform(-6, 6)) for _ in range(250)}
    values |= {s * 2.0**-k for k in (3, 5, 8, 12, 17, 23, 24, 25, 30, 52, 53, 54, 60, 100, 126)
               for s in (1, -1)}
    return sorted(values)


def evaluate(x):
    mp.mp.dps = 80
    x = mp.mpf(x)
    upper = mp.erfc(x / mp.sqrt(2)) / 2
    cdf = mp.erfc(-x / mp.sqrt(2)) / 2
    ratio = mp.exp(-x * x / 2) / mp.sqrt(2 * mp.pi) / cdf
    z = 2 * mp.sqrt(2 / mp.pi) * (x + mp.mpf("0.044715") * x**3)
    return {
        "normalCDF": cdf, "logNormalCDF": mp.log1p(-upper) if x > 0 else mp.log(cdf), "inverseMillsRatio": ratio,
        "probitCurvature": ratio * (ratio + x), "gelu": x * cdf,
        "approximateNormalCDF": 1 / (1 + mp.exp(-z)),
        "logApproximateNormalCDF": -mp.log1p(mp.exp(-z)),
        "softplus": mp.log1p(mp.exp(x)), "sigmoid": 1 / (1 + mp.exp(-x)), "exp": mp.exp(x)}


def log_sum_exp_rows():
    generator = random.Random(7)
    for columns in (1, 2, 2, 2, 3, 5, 10, 10, 16, 37, 100, 1000):
        scale = generator.choice((0.5, 3, 12))
        yield [round(generator.gauss(0, scale) * 64) / 64 for _ in range(columns)]
    yield [0.0, -40.0]
    yield [-40.0, 0.0, -39.5]
    yield [40.0] * 7
    yield [-40.0, 40.0]


def main(directory):
    with open(directory + "/functions.csv", "w", encoding="ascii") as out:
        out.write("x," + ",".join(FUNCTIONS) + "\n")
        for x in arguments():
            row = evaluate(x)
            out.write(float(x).hex() + "," + ",".join(
                mp.nstr(row[name], 20) for name in FUNCTIONS) + "\n")
    with open(directory + "/log-sum-exp.csv", "w", encoding="ascii") as out:
        mp.mp.dps = 80
        for row in log_sum_exp_rows():
            value = mp.log(mp.fsum(mp.exp(mp.mpf(x)) for x in row))
            out.write(",".join([mp.nstr(value, 20)] + [repr(x) for x in row]) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
