"""Needs what is not installed."""
import itertools

import bllarse_absent_module


def create_configs():
    return [dict(seed=seed) for seed in itertools.islice(bllarse_absent_module.seeds(), 3)]
