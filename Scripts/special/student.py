#!/usr/bin/env python3
"""Writes the reference table of Student's t distribution, Fixtures/special/student.csv.

    python3 Scripts/special/student.py Fixtures/special/student.csv

Needs mpmath. Columns: degrees of freedom, t, log density, log upper tail, and the continuous ranked
probability score. Tails are the incomplete beta function at 60 digits, for many degrees of freedom a
quadrature of the density; scores are the closed form at 60 digits, which the script first compares with
a quadrature of (F - 1[x >= z])^2 for some of them. The tail is not written where it is below 1e-5000.
"""

import sys

import mpmath as mp

mp.mp.dps = 60
FREEDOMS = (0.5, 0.51, 0.8, 0.99, 0.9990234375, 1, 1.0009765625, 1.01, 1.5, 2, 3, 4.5, 10, 29, 64, 200,
            1000, 1e4, 1e6, 1e9, 1e12)
POINTS = (0, 2.0**-40, 0.001, 0.125, 0.5, 1, 1.5, 1.7265625, 1.734375, 2, 3, 5, 9, 20, 37, 100, 1e4,
          1e8, 1e100)


def log_density(nu, t):
    return (mp.loggamma((nu + 1) / 2) - mp.loggamma(nu / 2) - mp.log(nu * mp.pi) / 2
            - (nu + 1) / 2 * mp.log1p(t * t / nu))


def log_tail(nu, t):
    if nu <= 200:
        return mp.log(mp.betainc(nu / 2, mp.mpf(1) / 2, 0, nu / (nu + t * t), regularized=True) / 2)
    if t < 1:
        return mp.log(mp.mpf(1) / 2 - mp.quad(lambda u: mp.exp(log_density(nu, u)), [0, t]))
    base, unit = log_density(nu, t), (nu + t * t) / ((nu + 1) * t)
    if t * t > 10 * nu:
        unit = t / nu
    ends = [0] + [t + unit * mp.mpf(2)**k for k in range(-3, 9)]
    ends[0] = t
    return base + mp.log(mp.quad(lambda u: mp.exp(log_density(nu, u) - base), ends))


def score(nu, z):
    if nu == 1:
        nu += mp.mpf(10)**-30
    f, tail = mp.exp(log_density(nu, z)), mp.exp(log_tail(nu, z))
    spread = mp.beta(0.5, nu - 0.5) / mp.beta(0.5, nu / 2)**2
    return z * (1 - 2 * tail) + 2 * f * (nu + z * z) / (nu - 1) - 2 * mp.sqrt(nu) / (nu - 1) * spread


def score_by_quadrature(nu, z):
    tail = lambda x: mp.exp(log_tail(nu, x))
    ends = [0, 1, 4, 20, 100, 1000, mp.inf]
    far = [z + e for e in ends]
    return (mp.quad(lambda x: tail(x)**2, ends) + mp.quad(lambda x: (1 - tail(x))**2, [0, z])
            + mp.quad(lambda x: tail(x)**2, far))


def main():
    mp.mp.dps = 20
    for nu, z in ((mp.mpf(3), mp.mpf(1) / 2), (mp.mpf("1.5"), mp.mpf(2)), (mp.mpf("0.8"), mp.mpf(1))):
        expected = score_by_quadrature(nu, z)
        assert abs(score(nu, z) / expected - 1) < 1e-6, (nu, z, score(nu, z), expected)
    mp.mp.dps = 60
    with open(sys.argv[1], "w") as out:
        out.write("nu,t,logDensity,logUpperTail,crps\n")
        for nu in map(mp.mpf, FREEDOMS):
            for t in map(mp.mpf, POINTS):
                if nu >= 1000 and t > 40:
                    continue
                values = [log_density(nu, t), log_tail(nu, t), score(nu, t) if nu > 0.5 else mp.inf]
                out.write(",".join([repr(float(nu)), repr(float(t))] + [mp.nstr(v, 20) for v in values]) + "\n")


main()
