"""Images of seeded random pixels, and as much PNG as is needed to hand them over and to read results. Standard library only."""

import random
import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def pixels(width, height, seed):
    """RGB bytes, row by row: the same in every process.

    >>> pixels(2, 1, 7) == pixels(2, 1, 7), len(pixels(3, 2, 1))
    (True, 18)
    """
    return random.Random(seed).randbytes(3 * width * height)


def png(width, height, rgb):
    """The bytes of an 8-bit RGB PNG without filters.

    >>> decode(png(2, 2, bytes(range(12))))
    (2, 2, b'\\x00\\x01\\x02\\x03\\x04\\x05\\x06\\x07\\x08\\t\\n\\x0b')
    """
    rows = b"".join(b"\x00" + rgb[3 * width * y : 3 * width * (y + 1)] for y in range(height))

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows, 1)) + chunk(b"IEND", b"")


def decode(data):
    """Width, height and RGB bytes of an 8-bit RGB PNG that is not interlaced.

    >>> decode(b"GIF89a")
    Traceback (most recent call last):
    ValueError: this is no PNG
    """
    if data[:8] != SIGNATURE:
        raise ValueError("this is no PNG")
    at, header, packed = 8, None, []
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            header = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            packed.append(body)
        at += 12 + length
    if header is None or header[2:4] != (8, 2) or header[6] != 0:
        raise ValueError(f"expected an 8-bit RGB PNG that is not interlaced, found {header}")
    width, height = header[:2]
    stride = 3 * width
    raw = zlib.decompress(b"".join(packed))
    if len(raw) != height * (stride + 1):
        raise ValueError(f"expected {height * (stride + 1)} bytes of rows, found {len(raw)}")
    result, above = bytearray(), bytearray(stride)
    for y in range(height):
        start = y * (stride + 1)
        above = unfilter(raw[start], bytearray(raw[start + 1 : start + 1 + stride]), above)
        result += above
    return width, height, bytes(result)


def unfilter(kind, row, above):
    """Undoes one of PNG's five filters on a row of RGB, in place.

    >>> [list(unfilter(kind, bytearray([1, 2, 3, 4, 5, 6]), bytearray([10, 20, 30, 40, 50, 60]))) for kind in range(3)]
    [[1, 2, 3, 4, 5, 6], [1, 2, 3, 5, 7, 9], [11, 22, 33, 44, 55, 66]]
    >>> [list(unfilter(kind, bytearray([1, 2, 3, 4, 5, 6]), bytearray([10, 20, 30, 40, 50, 60]))) for kind in (3, 4)]
    [[6, 12, 18, 27, 36, 45], [11, 22, 33, 44, 55, 66]]
    """
    if kind == 1:
        for i in range(3, len(row)):
            row[i] = (row[i] + row[i - 3]) & 255
    elif kind == 2:
        for i, up in enumerate(above):
            row[i] = (row[i] + up) & 255
    elif kind == 3:
        for i, up in enumerate(above):
            left = row[i - 3] if i >= 3 else 0
            row[i] = (row[i] + (left + up) // 2) & 255
    elif kind == 4:
        for i, up in enumerate(above):
            left, corner = (row[i - 3], above[i - 3]) if i >= 3 else (0, 0)
            to_left, to_up, to_corner = abs(up - corner), abs(left - corner), abs(left + up - 2 * corner)
            if to_left <= to_up and to_left <= to_corner:
                guess = left
            else:
                guess = up if to_up <= to_corner else corner
            row[i] = (row[i] + guess) & 255
    elif kind != 0:
        raise ValueError(f"expected a PNG filter from 0 to 4, found {kind}")
    return row


def difference(one, other):
    """Largest and mean absolute difference of two images of bytes, in levels of 8 bits.

    >>> difference(b"\\x00\\x05", b"\\x02\\x05")
    {'max_levels': 2, 'mean_levels': 1.0}
    """
    if len(one) != len(other) or not one:
        raise ValueError(f"expected images of the same size, found {len(one)} and {len(other)} bytes")
    if one == other:
        return {"max_levels": 0, "mean_levels": 0.0}
    differences = [abs(a - b) for a, b in zip(one, other, strict=True)]
    return {"max_levels": max(differences), "mean_levels": sum(differences) / len(differences)}
