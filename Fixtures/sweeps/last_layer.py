"""A sweep as the Python package wrote them: the same configurations as last_layer.yaml."""


def create_configs():
    return [
        {
            "dataset": "digits",
            "tune_mode": "last_layer",
            "loss_fn": "IBProbit",
            "epochs": 1,
            "num_update_iters": iterations,
            "seed": seed,
        }
        for iterations in (1, 8, 16)
        for seed in (137, 138)
    ]
