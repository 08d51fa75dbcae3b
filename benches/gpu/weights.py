"""Weights that nobody trained, in a safetensors file that our program and the peers both read. Standard library only."""

import array
import json
import math
import random
import struct
import sys

BLOCKS, CHANNELS, DISTILLED, SCALE = 7, 64, 16, 4


def shapes():
    """Name, and (outputs, inputs, kernel side) of every convolution of the collapsed model, by the official names.

    >>> layers = shapes()
    >>> len(layers), sum(o * i * k * k for o, i, k in layers.values()), layers["model.1.sub.0.conv2.0"]
    (38, 788416, (64, 48, 3))
    """
    rest = CHANNELS - DISTILLED
    layers = {"model.0": (CHANNELS, 3, 3)}
    for block in range(BLOCKS):
        name = f"model.1.sub.{block}"
        for step, inputs in ((1, CHANNELS), (2, rest), (3, rest)):
            layers[f"{name}.conv{step}.0"] = (CHANNELS, inputs, 3)
        layers[f"{name}.conv4"] = (DISTILLED, rest, 3)
        layers[f"{name}.conv1x1"] = (CHANNELS, 4 * DISTILLED, 1)
    layers[f"model.1.sub.{BLOCKS}"] = (CHANNELS, CHANNELS, 3)
    layers["model.2"] = (3 * SCALE**2, CHANNELS, 3)
    return layers


def write(path, seed=2022):
    """Uniform values as PyTorch draws them for a convolution, except that the last bias is about one half.

    With a last bias about zero half of all SR values would be cut off at black, and 8-bit results would tell little about what was computed.
    """
    draw = random.Random(seed).uniform
    header, data, at = {}, [], 0
    for name, (outputs, inputs, side) in shapes().items():
        bound = 1 / math.sqrt(inputs * side * side)
        middle = 0.5 if name == "model.2" else 0.0
        tensors = {
            "weight": ([outputs, inputs, side, side], [draw(-bound, bound) for _ in range(outputs * inputs * side * side)]),
            "bias": ([outputs], [middle + draw(-bound, bound) for _ in range(outputs)]),
        }
        for part, (shape, values) in tensors.items():
            floats = array.array("f", values)
            if sys.byteorder == "big":
                floats.byteswap()
            data.append(floats.tobytes())
            header[f"{name}.{part}"] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + len(data[-1])]}
            at += len(data[-1])
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for part in data:
            file.write(part)


def read(path):
    """Name to (shape, little-endian f32 bytes).

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     write(file.name)
    ...     tensors = read(file.name)
    >>> len(tensors), tensors["model.2.bias"][0], len(tensors["model.2.bias"][1])
    (76, [48], 192)
    """
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        data = file.read()
    header.pop("__metadata__", None)
    tensors = {}
    for name, facts in header.items():
        if facts["dtype"] != "F32":
            raise ValueError(f"`{path}`: tensor `{name}` is {facts['dtype']}, expected F32")
        start, end = facts["data_offsets"]
        tensors[name] = (facts["shape"], data[start:end])
    return tensors
