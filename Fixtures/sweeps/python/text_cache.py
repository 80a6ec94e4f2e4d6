"""The text script's last layer, on a cache of features; the script itself is not here."""
from typing import Any, Dict, List

from bllarse.tools.adapters import run_script_from_config

BASE: Dict[str, Any] = dict(
    stage="train_eval",
    backbone="FacebookAI/roberta-base",
    cache_dir="cache",
    hf_sync="none",
    hf_private=False,
    max_length=256,
    cache_dtype="float16",
    epochs=2,
    train_batch_size=64,
    num_update_iters=4,
)


def create_configs() -> List[Dict[str, Any]]:
    return [dict(BASE, optimizer=optimizer, seed=0) for optimizer in ("cavi", "adamw")]


def run(config: Dict[str, Any]) -> None:
    run_script_from_config("roberta_mnli.py", config)
