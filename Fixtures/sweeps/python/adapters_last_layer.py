"""Handed on to the training, with the type of fine-tuning beside the configuration."""
from typing import Any, Dict, List

from bllarse.tools.adapters import run_training_from_config

OPTIMIZERS = ["adamw", "lion"]
FINETUNING_TYPE = "last_layer"

# Global defaults
BASE = dict(
    dataset="digits",
    loss_fn="CrossEntropy",
    label_smooth=0.0,
    enable_mlflow=True,
    save_every=1,
    epochs=2,
    batch_size=256,
    learning_rate=1e-2,
    seed=0,
)


def _mk_cfg(optimizer: str) -> Dict[str, Any]:
    return dict(**BASE, optimizer=optimizer, group_id="python_last_layer")


def create_configs() -> List[Dict[str, Any]]:
    return [_mk_cfg(optimizer) for optimizer in OPTIMIZERS]


def run(config: Dict[str, Any]) -> None:
    """Hands the configuration on."""
    run_training_from_config(config, finetuning_type=FINETUNING_TYPE)
