"""NumPy's .npy files of little-endian f32 in C order, without NumPy: the runner needs nothing but Python itself."""

import array
import ast
import math
import operator
import random
import sys


def noise(shape, seed):
    """Values in [0, 1) of `random.Random(seed)`.

    >>> len(noise((1, 3, 2, 2), 1)), noise((2,), 1) == noise((2,), 1)
    (12, True)
    """
    draw = random.Random(seed).random
    return array.array("f", (draw() for _ in range(math.prod(shape))))


def write(path, shape, values):
    """Writes version 1.0 of the format.

    >>> import tempfile
    >>> with tempfile.NamedTemporaryFile() as file:
    ...     write(file.name, (1, 2), array.array("f", [0.5, -2.0]))
    ...     read(file.name)
    ((1, 2), array('f', [0.5, -2.0]))
    """
    header = repr({"descr": "<f4", "fortran_order": False, "shape": tuple(shape)})
    # Magic, version and length take ten bytes, a newline ends the header, values start at a multiple of 64.
    padding = -(10 + len(header) + 1) % 64
    header = (header + " " * padding + "\n").encode()
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
        _little(values).tofile(file)


def read(path):
    """Shape and values."""
    with open(path, "rb") as file:
        start = file.read(8)
        if start[:6] != b"\x93NUMPY":
            raise ValueError(f"`{path}` is no .npy file")
        length = int.from_bytes(file.read(2 if start[6] == 1 else 4), "little")
        header = ast.literal_eval(file.read(length).decode())
        if header["descr"] != "<f4" or header["fortran_order"]:
            raise ValueError(f"`{path}` holds {header}: expected little-endian f32 in C order")
        values = array.array("f")
        values.frombytes(file.read())
    return header["shape"], _little(values)


def _little(values):
    if sys.byteorder == "big":
        values = values[:]
        values.byteswap()
    return values


def max_abs_difference(one, other):
    """Of two results of `read`.

    >>> max_abs_difference(((2,), [1.0, 2.0]), ((2,), [1.5, 2.0]))
    0.5
    >>> max_abs_difference(((2,), [1.0, 2.0]), ((1,), [1.0]))
    Traceback (most recent call last):
    ValueError: the output has shape (1,), not (2,)
    >>> max_abs_difference(((2,), [1.0, 2.0]), ((2,), [1.0, math.nan]))
    Traceback (most recent call last):
    ValueError: the output is not finite
    """
    if one[0] != other[0]:
        raise ValueError(f"the output has shape {other[0]}, not {one[0]}")
    if not math.isfinite(sum(other[1])):
        raise ValueError("the output is not finite")
    return max(map(abs, map(operator.sub, one[1], other[1])), default=0.0)
