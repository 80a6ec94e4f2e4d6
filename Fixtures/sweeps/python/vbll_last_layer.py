"""VBLL heads on a backbone's features, each form of the covariance with a prior."""

import itertools

from bllarse.tools.adapters import run_vbll_training_from_config

PRIOR_SCALES = [0.5, 1.0]
COVARIANCES = [("discriminative", "diagonal", None), ("discriminative", "lowrank", 2),
               ("generative", "diagonal", None)]

BASE = dict(
    dataset="digits",
    tune_mode="last_layer",
    optimizer="adamw",
    learning_rate=1e-3,
    weight_decay=1e-2,
    batch_size=512,
    epochs=1,
    wishart_scale=0.1,
    return_ood=True,
    num_workers=4,
    device="cuda",
    seed=0,
    enable_mlflow=False,
)


def _mk_cfg(vbll_type, parameterization, cov_rank, prior_scale):
    return dict(
        BASE, vbll_type=vbll_type, parameterization=parameterization, cov_rank=cov_rank,
        prior_scale=prior_scale, uid=f"{vbll_type}-{parameterization}-{prior_scale}")


def create_configs():
    return [
        _mk_cfg(*covariance, scale)
        for covariance, scale in itertools.product(COVARIANCES, PRIOR_SCALES)
    ]


def run(config):
    run_vbll_training_from_config(config)
