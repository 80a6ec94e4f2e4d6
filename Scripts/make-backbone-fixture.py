#!/usr/bin/env python3
"""Makes the checkpoint of PyTorch that the tests convert. Needs torch (made with 1.13.0).

    Scripts/make-backbone-fixture.py Fixtures/backbone

`tiny_weights` is what torch.save writes of a state_dict with the published names: 2 blocks of width 8,
images of 4 x 4, 10 classes; among the tensors a transposed view, a view into a larger storage, one in
half and one in double precision. `tiny.json` holds the same numbers as torch prints them.
"""
import json
import sys
from collections import OrderedDict

import torch


def main(folder):
    torch.manual_seed(3)
    width, pixels, hidden, classes = 8, 48, 32, 10
    state = OrderedDict()

    def linear(name, inputs, outputs):
        state[name + ".weight"] = torch.randn(outputs, inputs) / inputs**0.5
        state[name + ".bias"] = 0.1 * torch.randn(outputs)

    linear("linear_in", pixels, width)
    linear("linear_out", width, classes)
    for block in range(2):
        linear(f"blocks.{block}.block.0", width, hidden)
        linear(f"blocks.{block}.block.2", hidden, width)
        state[f"layernorms.{block}.weight"] = torch.ones(width) + 0.1 * torch.randn(width)
        state[f"layernorms.{block}.bias"] = 0.1 * torch.randn(width)
    state["linear_out.weight"] = torch.randn(width, classes).t()
    state["linear_in.bias"] = torch.randn(20)[5:5 + width]
    state["linear_out.bias"] = state["linear_out.bias"].half()
    state["layernorms.1.bias"] = state["layernorms.1.bias"].double()
    torch.save(OrderedDict(("module." + name, value) for name, value in state.items()), folder + "/tiny_weights")
    with open(folder + "/tiny.json", "w") as file:
        json.dump({name: value.double().flatten().tolist() for name, value in state.items()}, file)
        file.write("\n")


main(sys.argv[1])
