#!/usr/bin/env python3
"""Derives the coefficients of Sources/BllarseKernels/coefficients.h and writes that file.

    python3 Scripts/special/coefficients.py > Sources/BllarseKernels/coefficients.h

Needs mpmath and numpy. Every approximation is a minimax fit by the Remez exchange of minimax.py in
70-digit arithmetic, in the relative sense of the function that is finally returned.
"""

import mpmath as mp
import numpy as np

import minimax

mp.mp.dps = 70
LN2 = mp.log(2)


def chebyshev_nodes(low, high, count):
    low, high = mp.mpf(low), mp.mpf(high)
    return [low + (high - low) * (1 - mp.cos(mp.pi * (2 * i + 1) / (2 * count))) / 2
            for i in range(count)]


def exponential(degree):
    """e^r = 1 + r + r^2 P(r), |r| <= log(2)/2 (a little more, for the rounding of n)."""
    bound = LN2 / 2 * mp.mpf("1.0001")
    nodes = chebyshev_nodes(-bound, bound, 400)
    target = [(mp.exp(r) - 1 - r) / r**2 for r in nodes]
    weight = [r**2 / mp.exp(r) for r in nodes]
    return minimax.linear([[r**j for j in range(degree + 1)] for r in nodes],
                          target, weight, nodes)


def logarithm(degree):
    """log(1+f) = f - f^2/2 + f^3 P(f), sqrt(1/2) <= 1+f <= sqrt(2)."""
    nodes = chebyshev_nodes(mp.sqrt(mp.mpf(1) / 2) - 1, mp.sqrt(2) - 1, 400)
    target = [(mp.log1p(f) - f + f**2 / 2) / f**3 for f in nodes]
    weight = [abs(f**3 / mp.log1p(f)) for f in nodes]
    return minimax.linear([[f**j for j in range(degree + 1)] for f in nodes],
                          target, weight, nodes)


def logarithm_by_quotient(degree):
    """log((1+s)/(1-s)) = 2s + s z P(z), z = s^2, with s = f/(2+f) and f as above."""
    nodes = chebyshev_nodes(0, ((mp.sqrt(2) - 1) / (mp.sqrt(2) + 1))**2, 400)
    whole = [2 * mp.atanh(mp.sqrt(z)) / mp.sqrt(z) for z in nodes]
    target = [(w - 2) / z for w, z in zip(whole, nodes)]
    weight = [z / w for w, z in zip(whole, nodes)]
    return minimax.linear([[z**j for j in range(degree + 1)] for z in nodes],
                          target, weight, nodes)


def mills(t):
    """E(t) = (1 - Phi(t)) / phi(t), t >= 0."""
    if t < 25:
        return mp.sqrt(mp.pi / 2) * mp.exp(t * t / 2) * mp.erfc(t / mp.sqrt(2))
    value = mp.mpf(0)
    for k in range(400, 0, -1):
        value = k / (t + value)
    return 1 / (t + value)


def mills_excess(n):
    """d(t) = 1/E(t) - t = C(t)/N(t) on [0, inf), degrees n-1 and n, N monic.

    Then 1/E = t + C/N and E = N/(t N + C): one pair of polynomials gives the Mills ratio, its
    reciprocal and, without the cancellation of 1/E - t, the curvature d (t + d). Fitted in
    y = c/(t+c), in which the interval is [0, 1]; all coefficients turn out positive, so nothing
    cancels in the evaluation either.
    """
    c = mp.mpf(3)
    nodes = [(1 - mp.cos(mp.pi * i / 800)) / 2 for i in range(801)]
    target = []
    for y in nodes:
        t = c / y - c if y else None
        target.append((1 / mills(t) - t) * (t + c) if y else mp.mpf(1))
    p, q, error = minimax.rational(
        [[y**j for j in range(n)] for y in nodes],
        [[y**j for j in range(n + 1)] for y in nodes], target, nodes)

    def in_t(coefficients, degree):
        out = [mp.mpf(0)] * (degree + 1)
        for j, a in enumerate(coefficients):
            for i in range(degree - j + 1):
                out[i] += a * c**j * mp.binomial(degree - j, i) * c**(degree - j - i)
        return out

    return in_t(p, n - 1), in_t(q, n), error


def literal(value, real):
    if real == "float":
        rounded = np.float32(mp.nstr(value, 30))
        text = np.format_float_scientific(rounded, unique=True, trim="0")
        return text + "f"
    return repr(float(mp.nstr(value, 30)))


def horner(name, doc, coefficients, argument, real):
    suffix = "f32" if real == "float" else "f64"
    print(f"/// {doc}")
    print(f"INLINE {real} {name}_{suffix}({real} {argument}) {{")
    texts = [literal(a, real) for a in coefficients]
    print(f"  {real} value = {texts[-1]};")
    for text in reversed(texts[:-1]):
        print(f"  value = value * {argument} + {text};")
    print("  return value;\n}\n")


def high_part(value, bits):
    exponent = mp.floor(mp.log(abs(value), 2)) + 1
    scale = mp.mpf(2) ** (bits - exponent)
    return mp.floor(value * scale) / scale


def constants(real):
    suffix = "F32" if real == "float" else "F64"
    high = high_part(LN2, 15 if real == "float" else 41)
    c1 = 2 * mp.sqrt(2 / mp.pi)
    c3 = c1 * mp.mpf("0.044715")
    rows = [("LN2", LN2), ("LN2_HIGH", high), ("LN2_LOW", LN2 - high), ("LOG2_E", 1 / LN2),
            ("LOG_SQRT_2PI", mp.log(2 * mp.pi) / 2), ("INV_SQRT_2PI", 1 / mp.sqrt(2 * mp.pi))]
    if real == "double":
        for name, value in (("CUBIC_1", c1), ("CUBIC_3", c3)):
            head = mp.mpf(float(mp.nstr(value, 30)))
            rows += [(name, value), (name + "_LOW", value - head)]
    for name, value in rows:
        print(f"#define {name}_{suffix} {literal(value, real)}")
    print()


def main():
    print("// Written by Scripts/special/coefficients.py; do not edit.")
    print("// Minimax (Remez) fits of our own; see the script for what is fitted and how.\n")
    for real, exp_degree, log_fit, mills_degree in (
            ("float", 4, logarithm(6), 5), ("double", 9, logarithm_by_quotient(6), 11)):
        constants(real)
        p, error = exponential(exp_degree)
        horner("exp_tail", f"(e^r - 1 - r) / r^2; e^r to {mp.nstr(error, 2)}.", p, "r", real)
        p, error = log_fit
        if real == "float":
            horner("log_tail", f"(log(1+f) - f + f^2/2) / f^3; log(1+f) to {mp.nstr(error, 2)}.",
                   p, "f", real)
        else:
            horner("log_tail", "(log((1+s)/(1-s)) - 2s) / s^3 in z = s^2; the logarithm to "
                   f"{mp.nstr(error, 2)}.", p, "z", real)
        c, n, error = mills_excess(mills_degree)
        horner("mills_numerator", f"C of 1/E(t) - t = C/N, t >= 0, to {mp.nstr(error, 2)}.",
               c, "t", real)
        horner("mills_denominator", "N of 1/E(t) - t = C/N.", n, "t", real)


if __name__ == "__main__":
    main()
