"""A run that does more than hand its configuration on: it reads the result of a training."""
from typing import Any, Dict, List

from bllarse.tools.adapters import run_training_from_config

BASE = dict(dataset="digits", loss_fn="IBProbit", epochs=1, num_update_iters=4, seed=137)


def create_configs() -> List[Dict[str, Any]]:
    return [dict(BASE, batch_size=size) for size in (256, 512)]


def run(config: Dict[str, Any]) -> Dict[str, Any]:
    config = dict(config)
    size = config.pop("batch_size")
    result = run_training_from_config({**config, "batch_size": 2 * size})
    return {"batch_size": 2 * size, "test": result["test"]}
