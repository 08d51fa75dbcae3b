#!/usr/bin/env python3
"""One peer doing one work, once for each line `go`: README.md describes the protocol."""

import argparse
import json
import os
import sys
import time

import backends


def peak_rss_mib():
    """Peak resident memory since the start, in MiB."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM:"))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backend", choices=backends.BACKENDS, required=True)
    parser.add_argument("--work", choices=("infer", "train"), required=True)
    parser.add_argument("--weights", help=".safetensors or .pth; without it, seeded random weights")
    parser.add_argument("--branches", action="store_true", help="train with 1x1 branches")
    parser.add_argument("--input", required=True, help=".npy of LR images in 0..1, N x 3 x H x W")
    parser.add_argument("--target", help=".npy of HR images, for train")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--scratch", default="target/peers", help="folder for exported models")
    args = parser.parse_args()
    if args.work == "train" and not (args.target and args.backend.startswith("torch")):
        parser.error("train needs --target and a torch backend")
    return args


def timed(run):
    """What `run` returns, and what it took."""
    wall, cpu = time.perf_counter(), time.process_time()
    product = run()
    return product, {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}


class Infer:
    def __init__(self, args, lr):
        self.backend = backends.inference(args.backend, args.threads, args.weights, args.scratch, lr.shape[2:])
        self.version = self.backend.version
        self.x = self.backend.input(lr)
        self.output = None

    def run(self):
        # What the last run left is freed before the clock starts.
        self.output = None
        self.output, took = timed(lambda: self.backend.run(self.x))
        return took

    def save(self, file):
        import numpy

        numpy.save(file, numpy.ascontiguousarray(self.backend.array(self.output), dtype="<f4"))


class Train:
    def __init__(self, args, lr):
        import numpy

        hr = numpy.load(args.target)
        self.training = backends.TorchTraining(
            args.backend, args.threads, args.weights, args.scratch, args.branches, lr, hr
        )
        self.version = self.training.version

    def run(self):
        loss, took = timed(self.training.step)
        return {**took, "loss": loss}

    def save(self, _file):
        raise RuntimeError("there is no output: `out` follows a `go` of inference")


def serve(work, args, say):
    who = {"name": args.backend, "version": work.version, "threads": args.threads}
    say({"ready": True, **who, "peak_rss_mib": peak_rss_mib()})
    for line in sys.stdin:
        command, _, file = line.rstrip("\n").partition(" ")
        if command == "go":
            say({**work.run(), "peak_rss_mib": peak_rss_mib()})
        elif command == "out":
            work.save(file)
            say({"written": file})
        else:
            say({"error": f"unknown command `{command}`: expected `go` or `out FILE`"})


def main():
    args = arguments()
    # Libraries print to standard output as they like; the protocol keeps it for itself and sends the rest to standard error.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    backends.limit_threads(args.threads)
    try:
        import numpy

        lr = numpy.load(args.input)
        work = Infer(args, lr) if args.work == "infer" else Train(args, lr)
    except ModuleNotFoundError as error:
        say({"ready": False, "missing": error.name})
        return
    serve(work, args, say)


if __name__ == "__main__":
    main()
