"""The works: what each contender is told to do, and how it is seen that all did the same. Standard library only."""

import json
import math
import os
import re
from pathlib import Path

import npy
from contenders import Contender, Program

HERE = Path(__file__).resolve().parent
SCALE = 4
MODEL, TRAINED_MODEL = "imdn:blocks=7", "imdn:blocks=7,branches=1x1"
# The name of our own contender and program.
ESR = "esr"

INFERENCE_PEERS = ("torch", "torch_channels_last", "torch_channels_last_compile", "onnxruntime", "openvino", "ncnn")
TRAINING_PEERS = ("torch", "torch_channels_last", "torch_channels_last_folded", "torch_channels_last_compile")
PROGRAM_PEERS = ("torch", "torch_channels_last", "onnxruntime", "openvino", "ncnn")

# Losses that are compared: later ones drift apart, because Adam turns gradients that are nearly zero into steps of full size.
LOSSES = 2
# Folders of LR and HR images below the folder of images.
SETS = {"set5": ("Set5_LR_x4", "Set5_HR"), "div2k": ("DIV2K_test_LR", None)}


class Place:
    """Where things are and how contenders are started."""

    def __init__(self, python, contender, esr, weights, images, threads, scratch):
        self.python, self.contender, self.esr = python, contender, esr
        self.weights, self.images, self.threads = weights, images, threads
        self.scratch = Path(scratch).resolve()
        (self.scratch / "logs").mkdir(parents=True, exist_ok=True)

    def log(self, name):
        return str(self.scratch / "logs" / f"{name}.log")

    def ours(self, command, arguments):
        return [*command, *arguments, "--threads", str(self.threads)]

    def peer(self, script, backend, arguments):
        shared = ["--backend", backend, "--threads", str(self.threads), "--scratch", str(self.scratch)]
        return [self.python, str(HERE / script), *shared, *arguments]

    def initial_weights(self, model):
        """A file of weights that nobody trained, written by the Rust contender: everybody starts from the same."""
        file = self.scratch / f"{re.sub('[^a-z0-9]+', '-', model)}.safetensors"
        arguments = ["weights", "--model", model, "--out", str(file)]
        Program(ESR, [*self.contender, *arguments], self.log(ESR)).measure()
        return str(file)

    def noise(self, *shape):
        """A .npy file of random values."""
        file = self.scratch / f"noise-{'x'.join(map(str, shape))}.npy"
        if not file.exists():
            npy.write(file, shape, npy.noise(shape, seed=math.prod(shape)))
        return str(file)


class _Stay:
    """What works of contenders that stay have in common."""

    parameters = re.compile(r"[1-9]\d*x[1-9]\d*")

    def start(self, name):
        place = self.place
        if name == ESR:
            command = place.ours(place.contender, ["contender", *self.arguments, "--model", self.weights])
        else:
            command = place.peer("contender.py", name, [*self.arguments, *self.for_peers, "--weights", self.weights])
        return Contender(name, command, place.log(name))


class Infer(_Stay):
    """One forward pass of one image, WIDTHxHEIGHT pixels."""

    peers, for_peers = INFERENCE_PEERS, []
    unit = "largest absolute difference of SR values in 0..1"
    # 6.3e-6 was measured: contenders sum in different orders. One 8-bit step is 4e-3.
    limit = 1e-4

    def __init__(self, place, parameters):
        width, height = map(int, parameters.split("x"))
        self.place = place
        self.arguments = ["--work", "infer", "--input", place.noise(1, 3, height, width)]
        self.weights = place.weights or place.initial_weights(MODEL)

    def result(self, contender, _samples):
        file = str(self.place.scratch / f"out-{contender.name}.npy")
        contender.write_output(file)
        result = npy.read(file)
        os.remove(file)
        return result

    difference = staticmethod(npy.max_abs_difference)


class Train(_Stay):
    """One training step with 1x1 branches, BATCHxPATCH: forward, L1 loss, backward, Adam."""

    peers, for_peers = TRAINING_PEERS, ["--branches"]
    unit = f"largest relative difference of the first {LOSSES} losses"
    # 2e-7 was measured.
    limit = 1e-5

    def __init__(self, place, parameters):
        batch, patch = map(int, parameters.split("x"))
        self.place = place
        lr, hr = place.noise(batch, 3, patch, patch), place.noise(batch, 3, SCALE * patch, SCALE * patch)
        self.arguments = ["--work", "train", "--input", lr, "--target", hr]
        self.weights = place.initial_weights(TRAINED_MODEL)

    def result(self, _contender, samples):
        losses = [sample["loss"] for sample in samples[:LOSSES]]
        if not all(map(math.isfinite, losses)):
            raise ValueError(f"the losses are {losses}")
        return losses

    @staticmethod
    def difference(one, other):
        """
        >>> Train.difference([2.0, 1.0], [2.0, 1.5])
        0.5
        """
        return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


class _Whole:
    """What works of whole processes have in common: images in, PNG out, everybody into a folder of their own."""

    peers, parameters = PROGRAM_PEERS, re.compile("|".join(SETS))

    def __init__(self, place, parameters):
        if place.images is None:
            raise ValueError("there are no images: set ESR_REFERENCE or --images")
        self.place = place
        self.weights = place.weights or place.initial_weights(MODEL)
        self.lr, self.hr = (folder and str(place.images / folder) for folder in SETS[parameters])

    def folder(self, name):
        return str(self.place.scratch / f"sr-{type(self).__name__.lower()}" / name)

    def start(self, name):
        place = self.place
        if name == ESR:
            command = place.ours([place.esr], self.our_arguments(self.folder(name)))
        else:
            arguments = ["--weights", self.weights, "--lr", self.lr, "--save", self.folder(name)]
            command = place.peer("evaluate.py", name, [*arguments, *self.for_peers()])
        return Program(name, command, place.log(name))


class Evaluate(_Whole):
    """Upscale, save, and score against HR images."""

    unit = "difference of mean PSNR in dB"
    # 6e-6 was measured: a few values round the other way.
    limit = 1e-4

    def our_arguments(self, save):
        return ["evaluate", "--model", self.weights, "--lr", self.lr, "--hr", self.hr, "--save", save, "--json"]

    def for_peers(self):
        return ["--hr", self.hr]

    def result(self, contender, samples):
        answer = json.loads(samples[-1]["stdout"])
        return answer["mean"]["psnr_rgb_db"] if contender.name == ESR else answer["mean_psnr_rgb_db"]

    @staticmethod
    def difference(one, other):
        return abs(one - other)


class Upscale(_Whole):
    """Upscale and save. Without HR images, it is only seen that all wrote the same files."""

    unit = "number of files that only one of the two wrote"
    limit = 0

    def our_arguments(self, save):
        return ["upscale", "--model", self.weights, "--out", save, self.lr]

    def for_peers(self):
        return []

    def result(self, contender, _samples):
        return set(os.listdir(self.folder(contender.name)))

    @staticmethod
    def difference(one, other):
        """
        >>> Upscale.difference({"a", "b"}, {"b", "c"})
        2
        """
        return len(one ^ other)


KINDS = {"infer": Infer, "train": Train, "evaluate": Evaluate, "upscale": Upscale}
DEFAULT = (
    "infer:256x256",
    "infer:510x339",
    "train:4x64",
    "train:1x160",
    "train:32x64",
    "evaluate:set5",
    "upscale:div2k",
)


def is_work(description):
    """Whether `KIND:PARAMETERS` describes a work.

    >>> [is_work(text) for text in ("infer:256x256", "infer", "infer:0x8", "evaluate:set5", "evaluate:div2k", "walk:1x1")]
    [True, False, False, True, False, False]
    >>> all(map(is_work, DEFAULT))
    True
    """
    kind, _, parameters = description.partition(":")
    if kind not in KINDS or not KINDS[kind].parameters.fullmatch(parameters):
        return False
    return kind != "evaluate" or SETS[parameters][1] is not None


def work(description, place):
    """The work that a description names, ready to start contenders."""
    kind, _, parameters = description.partition(":")
    return KINDS[kind](place, parameters)
