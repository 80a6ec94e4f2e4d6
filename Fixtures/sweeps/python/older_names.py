"""The names that options had in the first sweeps."""
from typing import Any, Dict, List

from bllarse.tools.adapters import run_training_from_config


def create_configs() -> List[Dict[str, Any]]:
    base = dict(
        optimizer="cavi",
        loss_function="IBProbit",
        dataset="digits",
        epochs=1,
        save_every=1,
        enable_wandb=True,
        log_checkpoints=False,
        group_id="python_older_names",
        label_smooth=0.0,
        device="",
    )
    grid = [
        dict(seed=0, train_batch_size=512, num_update_iters=2),
        dict(seed=1, train_batch_size=1024, num_update_iters=4),
    ]
    return [{**base, **g} for g in grid]


def run(config: Dict[str, Any]) -> None:
    run_training_from_config(config)
