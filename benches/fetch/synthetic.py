#!/usr/bin/env python3
"""Makes a synthetic "DIV2K": as many images as the real one has, of its names, sizes and layout, in four zip archives.

The images are smooth shapes with patches of grain, made from a seed: nobody's pictures, the same on every machine with the
same numpy and zlib. An HR image is a third of a real one in bytes and as large in pixels. LR images are MATLAB's `imresize` of
the HR images, bit for bit (8 bits after each pass, half up, mirrored borders). What is there is not made again. Needs numpy.
"""

import argparse
import concurrent.futures
import hashlib
import json
import os
import struct
import sys
import zipfile
import zlib
from pathlib import Path

# One thread a process: there are as many processes as cores.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import numpy  # noqa: E402

# Of a change in what is made, so that older archives are not taken for it.
VERSION = 1
SCALE = 4
# Weights of 16 input pixels for an output pixel at x4, in 4096ths: the bicubic kernel stretched by 4, all exact.
WEIGHTS = (-7, -45, -75, -49, 93, 399, 745, 987, 987, 745, 399, 93, -49, -75, -45, -7)
# Width and height of HR images; the mean is that of 2040x1356. Sides are multiples of 12, as in DIV2K.
SIZES = ((2040, 1356), (2040, 1356), (2040, 1536), (1356, 2040), (2040, 1176), (2040, 1356), (2040, 1344), (1368, 2040))
# The share of an image that has grain, which is what takes room in a PNG file.
GRAINY = 0.11
PNG_LEVEL, ZIP_LEVEL = 2, 1

# Dataset, archive, folder in it and below the data folder, pattern of names, first and last number, role.
SETS = (
    ("div2k-train-hr", "DIV2K_train_HR.zip", "DIV2K_train_HR", "{:04}.png", 1, 800, "train", None),
    ("div2k-valid-hr", "DIV2K_valid_HR.zip", "DIV2K_valid_HR", "{:04}.png", 801, 900, "valid", None),
    ("div2k-train-lr-x4", "DIV2K_train_LR_bicubic_X4.zip", "DIV2K_train_LR_bicubic/X4", "{:04}x4.png", 1, 800, "train", "div2k-train-hr"),
    ("div2k-valid-lr-x4", "DIV2K_valid_LR_bicubic_X4.zip", "DIV2K_valid_LR_bicubic/X4", "{:04}x4.png", 801, 900, "valid", "div2k-valid-hr"),
)


def shrink_rows(pixels):
    """A quarter of the rows of 8-bit pixels.

    >>> shrink_rows(numpy.full((8, 1, 3), 200, numpy.uint8))[:, 0, 0].tolist()
    [200, 200]
    >>> step = numpy.repeat(numpy.array([[0], [255]], numpy.uint8), 8, axis=0)[..., None]
    >>> shrink_rows(step)[:, 0, 0].tolist()
    [0, 20, 235, 255]
    """
    height = len(pixels)
    aside = numpy.arange(-6, height + 6)
    mirrored = numpy.where(aside < 0, -1 - aside, numpy.where(aside >= height, 2 * height - 1 - aside, aside))
    rows = pixels[mirrored].astype(numpy.int32)
    total = numpy.full((height // SCALE, *pixels.shape[1:]), 2048, numpy.int32)
    for tap, weight in enumerate(WEIGHTS):
        total += weight * rows[tap : tap + height - SCALE + 1 : SCALE]
    return numpy.clip(total >> 12, 0, 255).astype(numpy.uint8)


def shrink(hr):
    """The LR image: rows first, then columns."""
    rows = shrink_rows(hr)
    return numpy.ascontiguousarray(shrink_rows(numpy.ascontiguousarray(rows.swapaxes(0, 1))).swapaxes(0, 1))


def ramp(random, coarse, fine):
    """The matrix that stretches `coarse` values to `fine` by linear interpolation, shifted at random."""
    place = (numpy.arange(fine) + random.random()) * (coarse - 2) / fine
    left, rest = place.astype(int), place % 1
    matrix = numpy.zeros((fine, coarse), numpy.float32)
    matrix[numpy.arange(fine), left], matrix[numpy.arange(fine), left + 1] = 1 - rest, rest
    return matrix


def surface(random, height, width, cells):
    """Smooth random values."""
    coarse = random.standard_normal((cells, cells), numpy.float32)
    return ramp(random, cells, height) @ coarse @ ramp(random, cells, width).T


def picture(number):
    """An HR image."""
    random = numpy.random.default_rng([VERSION, number])
    width, height = SIZES[number % len(SIZES)]
    light = 40 * surface(random, height, width, 7) + 14 * surface(random, height, width, 24)
    image = numpy.empty((height, width, 3), numpy.float32)
    for channel in range(3):
        strength = numpy.float32(random.uniform(0.7, 1.3))
        image[..., channel] = light * strength + 16 * surface(random, height, width, 5) + 120
    # Edges, as objects have them: one level jumps where another surface changes its sign.
    image[surface(random, height, width, 9) > 0.8] += numpy.float32(45)
    where = surface(random, height, width, 12)
    grainy = (where > numpy.quantile(where[::16, ::16], 1 - GRAINY)).astype(numpy.uint8)
    # Differences of at most 11 levels, so that nothing below wraps around.
    grain = numpy.rint(3.2 * numpy.sort(random.standard_normal(256))).clip(-11, 11).astype(numpy.int8).view(numpy.uint8)
    # Even levels only, which compress better.
    pixels = numpy.clip(image, 12, 243, out=image).astype(numpy.uint8) & numpy.uint8(0xFE)
    pixels += grain[numpy.frombuffer(random.bytes(image.size), numpy.uint8)].reshape(image.shape) * grainy[..., None]
    return pixels


def filtered(pixels):
    """The rows of a PNG file, each by the one of the filters Sub, Up and Paeth with the smallest differences, as encoders choose."""
    height, row = len(pixels), pixels.shape[1] * 3
    raw = pixels.reshape(height, row)
    above = numpy.zeros_like(raw)
    above[1:] = raw[:-1]
    left, corner = numpy.zeros_like(raw), numpy.zeros_like(raw)
    left[:, 3:], corner[:, 3:] = raw[:, :-3], above[:, :-3]
    a, b, c = (part.astype(numpy.int16) for part in (left, above, corner))
    b -= c
    a -= c
    # How far the three neighbours are from left + above - corner.
    to_left, to_above, to_corner = abs(b), abs(a), abs(a + b)
    nearest = numpy.where(to_above <= to_corner, above, corner)
    paeth = numpy.where(to_left <= numpy.minimum(to_above, to_corner), left, nearest)
    candidates = [raw - left, raw - above, raw - paeth]
    # Every fifth value tells as much as all.
    sampled = [abs(rows[:, ::5].astype(numpy.int8).astype(numpy.int16)) for rows in candidates]
    cost = numpy.stack([rows.sum(axis=1, dtype=numpy.int64) for rows in sampled])
    choice = cost.argmin(axis=0)
    lines = numpy.empty((height, 1 + row), numpy.uint8)
    for index, (kind, rows) in enumerate(zip((1, 2, 4), candidates, strict=True)):
        chosen = choice == index
        lines[chosen, 0], lines[chosen, 1:] = kind, rows[chosen]
    return lines


def png(pixels):
    """An 8-bit RGB image as a PNG file."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 0)
    data = zlib.compress(filtered(pixels).tobytes(), PNG_LEVEL)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def pair(number):
    """HR and LR file of one number."""
    hr = picture(number)
    return png(hr), png(shrink(hr))


def write_archives(folder, hr_set, lr_set, images, workers, say):
    """Both archives of one split, complete or not there. `images` are made instead of all for a small trial."""
    sets = (hr_set, lr_set)
    if all((folder / archive).exists() for _, archive, *_ in sets):
        return
    first, last = hr_set[4], min(hr_set[5], hr_set[4] + images - 1)
    partial = [folder / f"{archive}.partial" for _, archive, *_ in sets]
    archives = [zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=ZIP_LEVEL) for path in partial]
    for archive, (_, _, inside, *_) in zip(archives, sets, strict=True):
        archive.mkdir(inside.split("/")[0])
        if "/" in inside:
            archive.mkdir(inside)
    for number, files in zip(range(first, last + 1), workers.map(pair, range(first, last + 1), chunksize=4)):
        for archive, (_, _, inside, pattern, *_), data in zip(archives, sets, files, strict=True):
            # A fixed time, so that the archives are the same whenever they are made.
            member = zipfile.ZipInfo(f"{inside}/{pattern.format(number)}", (2017, 2, 14, 0, 0, 0))
            member.external_attr = 0o100644 << 16
            archive.writestr(member, data, zipfile.ZIP_DEFLATED, ZIP_LEVEL)
        if number % 100 == 0:
            say(f"  {number} images")
    for archive, path, (_, name, *_) in zip(archives, partial, sets, strict=True):
        archive.close()
        os.rename(path, folder / name)


def hashes(path):
    """Size, SHA-256 and MD5 of a file."""
    sha256, md5 = hashlib.sha256(), hashlib.md5()
    with open(path, "rb") as file:
        while piece := file.read(1 << 20):
            sha256.update(piece)
            md5.update(piece)
    return {"bytes": path.stat().st_size, "sha256": sha256.hexdigest(), "md5": md5.hexdigest()}


def folder_md5(path, inside):
    """MD5 over the hexadecimal MD5s of an archive's files in the order of their names, as is published for the HR folders of DIV2K."""
    with zipfile.ZipFile(path) as archive:
        names = sorted(name for name in archive.namelist() if name.startswith(f"{inside}/") and not name.endswith("/"))
        return hashlib.md5("".join(hashlib.md5(archive.read(name)).hexdigest() for name in names).encode()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the archives go")
    parser.add_argument("--images", type=int, default=900, help="of each split at most, for a trial [default: all]")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)), help="[default: all cores]")
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    facts = args.folder / "archives.json"
    recipe = {"version": VERSION, "images": args.images}
    if facts.exists() and json.loads(facts.read_text())["recipe"] == recipe:
        return
    facts.unlink(missing_ok=True)
    kept = args.folder / "recipe.json"
    if not kept.exists() or json.loads(kept.read_text()) != recipe:
        for _, archive, *_ in SETS:
            (args.folder / archive).unlink(missing_ok=True)
        kept.write_text(json.dumps(recipe))
    os.nice(15)
    with concurrent.futures.ProcessPoolExecutor(args.processes) as workers:
        for hr_set, lr_set in ((SETS[0], SETS[2]), (SETS[1], SETS[3])):
            write_archives(args.folder, hr_set, lr_set, args.images, workers, lambda text: print(text, file=sys.stderr, flush=True))
        found = dict(zip((archive for _, archive, *_ in SETS), workers.map(hashes, (args.folder / archive for _, archive, *_ in SETS))))
    sets = []
    for name, archive, inside, pattern, first, last, split, hr in SETS:
        last = min(last, first + args.images - 1)
        sets.append({"name": name, "archive": archive, "folder": inside, "pattern": pattern, "first": first, "last": last, "split": split, "hr": hr})
        sets[-1]["folder_md5"] = None if hr else folder_md5(args.folder / archive, inside)
    partial = facts.with_suffix(".partial")
    partial.write_text(json.dumps({"recipe": recipe, "archives": found, "sets": sets}, indent=1))
    os.rename(partial, facts)


if __name__ == "__main__":
    main()
