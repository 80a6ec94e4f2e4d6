#!/usr/bin/env python3
"""Turns a published PyTorch checkpoint of a Scaling MLP into the safetensors file that bllarse reads.

    Scripts/convert-backbone.py .checkpoints/B-6_Wi-512_res_64_cifar10_epochs_20_weights
    Scripts/convert-backbone.py WEIGHTS OUT.safetensors

Needs nothing but Python 3: torch.save writes a zip archive of a pickle, which is read here with a
reader that knows dictionaries and tensors and refuses everything else, so that a file from the network
cannot run code. Without OUT the file is written beside WEIGHTS, under its name with .safetensors.
"""
import json
import os
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict

# Storage class of torch -> safetensors' type, bytes of an element.
TYPES = {"FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8), "HalfStorage": ("F16", 2),
         "BFloat16Storage": ("BF16", 2), "LongStorage": ("I64", 8), "IntStorage": ("I32", 4)}


class Bad(Exception):
    pass


class Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.storage, self.offset, self.shape, self.strides = storage, offset, tuple(shape), tuple(strides)

    def bytes(self, read):
        kind, key = self.storage
        name, size = TYPES[kind]
        data = read(key)
        count = 1
        for length in self.shape:
            count *= length
        strides, expected = [], 1
        for length in reversed(self.shape):
            strides.insert(0, expected)
            expected *= length
        if all(length == 1 or a == b for length, a, b in zip(self.shape, strides, self.strides)):
            start, end = self.offset * size, (self.offset + count) * size
            if end > len(data):
                raise Bad(f"storage {key} has {len(data)} bytes, expected at least {end}")
            return name, data[start:end]
        places = [self.offset]
        for length, stride in zip(self.shape, self.strides):
            places = [place + step * stride for place in places for step in range(length)]
        return name, b"".join(data[place * size:(place + 1) * size] for place in places)


class Reader(pickle.Unpickler):
    """Knows what a dictionary of tensors needs."""

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda tensor, *_: tensor
        if module == "torch" and name in TYPES:
            return name
        raise Bad(f"the file asks for {module}.{name}; expected a dictionary of tensors (a state_dict)")

    def persistent_load(self, identity):
        _, kind, key, _, _ = identity
        return kind, key


def load(path):
    """Names and (type, shape, bytes) of the tensors."""
    if not zipfile.is_zipfile(path):
        raise Bad("this is no zip archive of torch.save; expected a checkpoint of PyTorch 1.6 or later "
                  "(perhaps the download failed and this is a web page)")
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(members) != 1:
            raise Bad("the archive has no data.pkl; expected a checkpoint of PyTorch")
        folder = members[0][:-len("data.pkl")]
        orders = [name for name in archive.namelist() if name == folder + "byteorder"]
        if orders and archive.read(orders[0]) != b"little":
            raise Bad("the file was written on a big-endian machine; expected little-endian")
        with archive.open(members[0]) as file:
            state = Reader(file).load()
        if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
            raise Bad("the file holds no dictionary of tensors (a state_dict)")
        result = {}
        for name, tensor in state.items():
            # What torch.compile and DistributedDataParallel put before names.
            for prefix in ("_orig_mod.", "module."):
                if name.startswith(prefix):
                    name = name[len(prefix):]
            kind, data = tensor.bytes(lambda key: archive.read(folder + "data/" + key))
            result[name] = (kind, tensor.shape, data)
        return result


def describe(tensors):
    """The metadata, from the shapes."""
    for name in ("linear_in.weight", "linear_out.weight"):
        if name not in tensors:
            raise Bad(f"there is no {name}; found {', '.join(sorted(tensors)[:5])}")
    width, pixels = tensors["linear_in.weight"][1]
    blocks = 0
    while f"blocks.{blocks}.block.0.weight" in tensors:
        blocks += 1
    side = round((pixels / 3) ** 0.5)
    if 3 * side * side != pixels:
        raise Bad(f"linear_in.weight takes {pixels} numbers; expected three channels of a square image")
    metadata = {"embed_dim": width, "num_blocks": blocks, "img_size": side, "in_chans": 3,
                "num_classes": tensors["linear_out.weight"][1][0], "activation": "gelu",
                "mlp_type": "bottleneck", "layout": "c h w",
                "source": "Bachmann, Anagnostidis and Hofmann, Scaling MLPs, NeurIPS 2023"}
    if blocks:
        hidden = tensors["blocks.0.block.0.weight"][1][0]
        if hidden % width == 0:
            metadata["hidden_dim_ratio"] = hidden // width
    return {key: str(value) for key, value in metadata.items()}


def write(path, tensors, metadata):
    """Writes the file under a temporary name, syncs it and renames it."""
    header, offset = {"__metadata__": metadata}, 0
    sizes = {name: size for name, size in TYPES.values()}
    order = sorted(tensors.items(), key=lambda item: (-sizes[item[1][0]], item[0]))
    for name, (kind, shape, data) in order:
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    temporary = f"{path}.tmp-{os.getpid()}"
    try:
        with open(temporary, "wb") as file:
            file.write(struct.pack("<Q", len(text)) + text)
            for _, (_, _, data) in order:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.remove(temporary)
        raise


def main(arguments):
    if not 1 <= len(arguments) <= 2 or arguments[0].startswith("-"):
        print(__doc__.strip(), file=sys.stderr)
        return 64
    source = arguments[0]
    target = arguments[1] if len(arguments) == 2 else source + ".safetensors"
    try:
        tensors = load(source)
        metadata = describe(tensors)
        write(target, tensors, metadata)
    except (Bad, OSError, pickle.UnpicklingError, zipfile.BadZipFile, KeyError, ValueError, EOFError) as error:
        print(f"convert-backbone: error: {source}: {error}", file=sys.stderr)
        return 65
    print(f"{target}: embed_dim {metadata['embed_dim']}, num_blocks {metadata['num_blocks']}, "
          f"{metadata['num_classes']} classes")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
