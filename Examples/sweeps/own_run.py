"""A sweep in Python whose `run` is its own: each configuration is one call of it.

    bllarse-sweep run Examples/sweeps/own_run.py --jobs 2
    bllarse-sweep submit Examples/sweeps/own_run.py --venv .venv

What `run` returns becomes result.json; an exception makes the configuration failed.
"""

import itertools
import math
import random

BASE = dict(steps=2_000)
# What `slurm:` is in a YAML file.
SLURM = dict(max_concurrent=4, time="10")


def create_configs():
    axes = itertools.product(["uniform", "halton"], range(3))
    return [dict(BASE, sampler=sampler, seed=seed) for sampler, seed in axes]


def run(config):
    """Estimates pi by the share of points that lie in a quarter of the circle."""
    inside = sum(x * x + y * y <= 1 for x, y in points(**config))
    estimate = 4 * inside / config["steps"]
    return {"test": {"error": abs(estimate - math.pi)}, "estimate": estimate}


def points(sampler, steps, seed):
    generator = random.Random(seed)
    for index in range(steps):
        if sampler == "uniform":
            yield generator.random(), generator.random()
        else:
            start = index + 1 + seed * steps
            yield halton(start, 2), halton(start, 3)


def halton(index, base):
    value, scale = 0.0, 1.0
    while index:
        scale /= base
        value += scale * (index % base)
        index //= base
    return value
