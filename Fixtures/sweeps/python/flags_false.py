"""Flags that are false are left out, and so is None."""
from bllarse.tools.adapters import run_training_from_config


def create_configs():
    return [
        dict(
            dataset="digits",
            loss_fn="IBProbit",
            epochs=1,
            num_update_iters=2,
            nodataaug=nodataaug,
            sequential_update=False,
            reset_loss_per_epoch=False,
            enable_mlflow=False,
            uid=None,
        )
        for nodataaug in (False, True)
    ]


def run(config):
    return run_training_from_config(config)
