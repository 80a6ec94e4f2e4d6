"""A grid made by the package's own helper, with what is asked of SLURM."""
from bllarse.tools.adapters import run_training_from_config
from bllarse.tools.config import get_config_grid

SLURM = {"max_concurrent": 2, "cpus_per_task": 1, "job_name": "grid"}


def create_config(num_update_iters, seed):
    return dict(
        dataset="digits",
        loss_fn="IBProbit",
        epochs=1,
        batch_size=1024,
        num_update_iters=num_update_iters,
        seed=seed,
        uid=None,
    )


def create_configs():
    return get_config_grid(create_config, {"num_update_iters": [2, 8], "seed": [137, 138]})


def run(config):
    run_training_from_config(config)
