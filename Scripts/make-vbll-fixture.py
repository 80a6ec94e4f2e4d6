"""Makes Fixtures/vbll/vbll.safetensors: heads that vbll's own optimiser trained on a small set of rows.

    python Scripts/make-vbll-fixture.py    # needs vbll 0.4.9 and torch

Rows of three overlapping classes, and for each head what it was trained to: its parameters, and
`bound`, the value of vbll's objective there in nats of all rows (minus the loss, times their number).
vbll leaves the constant -D/2 of each divergence out; it is out of these bounds, too.
"""

import os

import torch
from safetensors.torch import save_file
from vbll.layers.classification import DiscClassification, GenClassification

ROWS, FEATURES, CLASSES, RANK = 90, 5, 3, 2


def rows():
    labels = torch.arange(ROWS) % CLASSES
    centres = 1.5 * torch.randn(CLASSES, FEATURES)
    return (centres[labels] + torch.randn(ROWS, FEATURES)).float().double(), labels


def trained(head, features, labels, steps=6000):
    optimizer = torch.optim.Adam(head.parameters(), lr=2e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=1e-5)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = head(features).train_loss_fn(labels)
        loss.backward()
        optimizer.step()
        schedule.step()
    return -ROWS * head(features).train_loss_fn(labels).detach()


def main():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(4)
    features, labels = rows()
    tensors = {"features": features.float(), "labels": labels.int()}
    for name in ("dense", "diagonal", "lowrank"):
        head = DiscClassification(
            FEATURES, CLASSES, 1 / ROWS, parameterization=name, prior_scale=2.0, wishart_scale=0.5,
            cov_rank=RANK)
        bound = trained(head, features, labels)
        weights = head.W()
        tensors[f"{name}.bound"] = bound.reshape(1)
        tensors[f"{name}.mean"] = weights.mean.detach()
        covariance = weights.covariance if name != "dense" else weights.chol_covariance @ (
            weights.chol_covariance.transpose(-1, -2))
        tensors[f"{name}.covariance"] = covariance.detach().reshape(CLASSES * FEATURES, FEATURES)
        tensors[f"{name}.noise"] = head.noise().var.detach()
        print(name, float(bound))
    head = GenClassification(
        FEATURES, CLASSES, 1 / ROWS, parameterization="diagonal", prior_scale=2.0,
        wishart_scale=0.5)
    bound = trained(head, features, labels)
    tensors["generative.bound"] = bound.reshape(1)
    tensors["generative.mean"] = head.mu_mean.detach()
    tensors["generative.variances"] = head.mu().var.detach()
    tensors["generative.noise"] = head.noise().var.detach()
    tensors["generative.log_probabilities"] = torch.log(head.predictive(features)).detach()
    print("generative", float(bound))
    folder = os.path.join(os.path.dirname(__file__), "..", "Fixtures", "vbll")
    os.makedirs(folder, exist_ok=True)
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(folder, "vbll.safetensors"))


if __name__ == "__main__":
    main()
