#!/usr/bin/env python3
"""What `esr evaluate` and `esr upscale` do, with a peer's engine: one whole process from files to files.

Reads LR images, upscales, clamps and rounds, writes PNG; with --hr also the mean PSNR over RGB without 4 pixels of
border. Prints one JSON object.
"""

import argparse
import json
import sys
from pathlib import Path

import backends

SCALE = 4
SUFFIXES = {".png", ".bmp"}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=backends.BACKENDS, required=True)
    parser.add_argument("--weights", required=True, help=".safetensors or .pth")
    parser.add_argument("--lr", type=Path, required=True, help="folder of LR images")
    parser.add_argument("--hr", type=Path, help="folder of HR images, named like the LR images without x4")
    parser.add_argument("--save", type=Path, required=True, help="folder for the SR images")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--scratch", default="target/peers", help="folder for exported models")
    return parser.parse_args()


def images(folder):
    """Images by stem, the datasets' `x4` removed."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    return {path.stem.removesuffix(f"x{SCALE}"): path for path in files}


def main():
    args = arguments()
    backends.limit_threads(args.threads)
    try:
        import cv2
        import numpy

        backend = backends.inference(args.backend, args.threads, args.weights, args.scratch)
    except ModuleNotFoundError as error:
        sys.exit(f"missing: {error.name}")
    cv2.setNumThreads(args.threads)

    def read(path):
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if picture is None:
            sys.exit(f"cannot read `{path}`")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)

    def upscale(lr):
        x = numpy.ascontiguousarray(lr.transpose(2, 0, 1)[None].astype(numpy.float32) / 255)
        sr = backend.array(backend.run(backend.input(x)))
        return (sr[0].clip(0, 1) * 255).round().astype(numpy.uint8).transpose(1, 2, 0)

    def psnr(sr, hr):
        height, width = (extent - extent % SCALE for extent in hr.shape[:2])
        inner = (slice(SCALE, height - SCALE), slice(SCALE, width - SCALE))
        difference = sr[inner].astype(numpy.float64) - hr[inner]
        return 20 * numpy.log10(255 / numpy.sqrt((difference**2).mean()))

    args.save.mkdir(parents=True, exist_ok=True)
    hr = images(args.hr) if args.hr else {}
    decibels = []
    lr = images(args.lr)
    for name, path in lr.items():
        sr = upscale(read(path))
        if not cv2.imwrite(str(args.save / f"{name}.png"), cv2.cvtColor(sr, cv2.COLOR_RGB2BGR)):
            sys.exit(f"cannot write `{args.save / name}.png`")
        if hr:
            decibels.append(psnr(sr, read(hr[name])))
    mean = float(sum(decibels) / len(decibels)) if decibels else None
    print(json.dumps({"version": backend.version, "images": len(lr), "mean_psnr_rgb_db": mean}))


if __name__ == "__main__":
    main()
