"""Our program's commands, their JSON, and nothing else that knows either. Standard library only.

Every answer is held against what was asked: a program that computes in another format or on another device than it was told to has failed.
"""

import hashlib
import json
import os
import re
import subprocess
from pathlib import Path

import kernels

LAST_LINES = 6
PRECISIONS = ("f16", "bf16", "tf32", "f32")
MODEL, TRAINED_MODEL = "imdn:blocks=7", "imdn:blocks=7,branches=1x1"
# Names our program looks NVML up by; a file that does not exist means a measurement without the log.
NVML_VARIABLE = "ESR_NVML_LIBRARY"


# What our program keeps between runs lies in a folder of this variable's, so that a run's choices of kernels are its own.
CACHE_VARIABLE = "XDG_CACHE_HOME"


class Failed(Exception):
    """The program ended badly, took too long or said what nobody understands."""


class Missing(Exception):
    """The program, or what it needs, is not there."""


class Esr:
    """The program on one device. `limit_s` of a call is when it is ended; `cudnn` is the folder that `--kernels fastest` may use it from."""

    def __init__(self, binary, device, logs, cache, cudnn=None):
        self.binary, self.device, self.logs = str(binary), device, Path(logs)
        self.cache, self.cudnn, self.cudnn_refused = Path(cache), cudnn, None
        self.number = 0

    def computing(self, arguments, selection, limit_s, **more):
        """Runs a command that computes, with the kernels of a selection. A cuDNN that the program refuses is left out from then on, and why is kept."""
        chosen = [*arguments, "--kernels", selection]
        if selection == kernels.FASTEST and self.cudnn:
            try:
                return self.run([*chosen, "--cuda-libs", self.cudnn], limit_s, **more)
            except Failed as error:
                if f"--cuda-libs `{self.cudnn}`: " not in str(error):
                    raise
                self.cudnn, self.cudnn_refused = None, str(error).splitlines()[-1]
        return self.run(chosen, limit_s, **more)

    def choices(self):
        """Every choice of kernels that was made so far."""
        return kernels.choices(self.cache / "esr")

    def run(self, arguments, limit_s, codes=(0,), wrapper=(), environment=None):
        """Exit code and standard output. Standard error stays in a numbered log."""
        self.number += 1
        log = self.logs / f"esr-{os.getpid()}-{self.number:04}.log"
        command = [*wrapper, self.binary, *map(str, arguments)]
        with open(log, "w") as stderr:
            try:
                done = subprocess.run(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=stderr,
                    text=True,
                    timeout=max(1.0, limit_s),
                    env={**os.environ, CACHE_VARIABLE: str(self.cache), **(environment or {})},
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise Failed(f"`esr {arguments[0]}` did not end within {limit_s:.0f} s") from error
            except OSError as error:
                raise Missing(f"`{command[0]}` cannot be started: {error}") from error
        if done.returncode not in codes:
            words = "\n".join(log.read_text(errors="replace").splitlines()[-LAST_LINES:])
            raise Failed(f"`esr {' '.join(map(str, arguments))}` ended with code {done.returncode}:\n{words}")
        return done.returncode, done.stdout

    def _json(self, arguments, limit_s, selection=None, **more):
        run = self.run if selection is None else lambda *given, **other: self.computing(given[0], selection, given[1], **other)
        code, text = run([*arguments, "--json"], limit_s, **more)
        try:
            document = json.loads(text)
        except ValueError as error:
            raise Failed(f"`esr {arguments[0]}` answered no JSON: {error}") from error
        if not isinstance(document, dict):
            raise Failed(f"`esr {arguments[0]}` answered {type(document).__name__}, expected an object")
        return code, document

    def facts(self):
        """Version and digest."""
        try:
            digest = hashlib.sha256(Path(self.binary).read_bytes()).hexdigest()
        except OSError as error:
            raise Missing(f"the program cannot be read: {error}") from error
        return {"version": self.run(["--version"], 30)[1].strip(), "sha256": digest}

    def doctor(self, limit_s):
        return self._json(["doctor"], limit_s)[1]

    def check_gpu(self, limit_s):
        """Kernels, forward, gradients and training steps against the CPU; a failed check is an answer, no failure of the program."""
        code, document = self._json(["doctor", "--check-gpu", self.device], limit_s, codes=(0, 1))
        if not isinstance(document.get("passed"), bool):
            raise Failed("`esr doctor --check-gpu` does not say whether it passed")
        if document["passed"] != (code == 0):
            raise Failed(f"`esr doctor --check-gpu` says passed: {document['passed']} and ends with code {code}")
        return document

    def sanitized(self, wrapper, size, limit_s):
        """A short inference under a tool of the CUDA toolkit, which reports errors by exit code 99; whether it was clean, and its last words."""
        budget = ["--budget", "0.1", "--launches", "eager", "--json"]
        arguments = ["measure", "--model", MODEL, "--size", size, "--device", self.device, "--precision", "f16", *budget]
        code, text = self.run(arguments, limit_s, codes=(0, 99), wrapper=wrapper)
        return code == 0, [line for line in text.splitlines() if line.startswith("=========")][-LAST_LINES:]

    def measure(self, model, precision, launches, limit_s, *, size=None, lr=None, protocol="steady", budget_s=None, out=None, log=True, selection=kernels.FIXED):
        """One measurement of inference, on one random input of `size` or on the images of folder `lr`."""
        arguments = ["measure", "--model", model, "--device", self.device, "--precision", precision, "--protocol", protocol]
        arguments += ["--launches", launches]
        arguments += ["--lr", lr] if lr else ["--size", size]
        return self._timed(arguments, precision, limit_s, budget_s, out, log, selection)

    def measure_step(self, batch, patch, precision, limit_s, *, budget_s=None, out=None, selection=kernels.FIXED):
        """One measurement of the training step on `batch` LR patches of `patch` pixels a side; milliseconds a step."""
        arguments = ["measure", "--model", TRAINED_MODEL, "--training-step", f"{batch}x{patch}"]
        arguments += ["--device", self.device, "--precision", precision]
        return self._timed(arguments, precision, limit_s, budget_s, out, True, selection)

    def _timed(self, arguments, precision, limit_s, budget_s, out, log, selection):
        arguments += ["--budget", budget_s] if budget_s else []
        arguments += ["--out", out] if out else []
        environment = None if log else {NVML_VARIABLE: os.path.join(str(self.logs), "no-such-library.so")}
        return timing(self._json(arguments, limit_s, selection, environment=environment)[1], self.device, precision, selection)

    def upscale(self, model, image, folder, precision, limit_s, selection=kernels.FIXED):
        """The SR image of an LR image, as the file that our program writes."""
        folder = Path(folder)
        for old in folder.glob("*.png"):
            old.unlink()
        arguments = ["upscale", "--model", model, "--out", folder, "--device", self.device, "--precision", precision, image]
        self.computing(arguments, selection, limit_s)
        written = sorted(folder.glob("*.png"))
        if len(written) != 1:
            raise Failed(f"`esr upscale` wrote {len(written)} images, expected one")
        return written[0]

    def profile(self, name, limit_s=30):
        """The settings of a profile, as TOML."""
        return self.run(["reproduce", "--profile", name, "--print-config"], limit_s)[1]

    def train(self, settings, run, precision, limit_s, selection=kernels.FIXED):
        """Trains, and returns the lines of the run's log."""
        arguments = ["train", "--settings", settings, "--run", run, "--device", self.device, "--precision", precision]
        self.computing(arguments, selection, limit_s)
        log = Path(run) / "train" / "metrics.jsonl"
        try:
            return [json.loads(line) for line in log.read_text().splitlines()]
        except (OSError, ValueError) as error:
            raise Failed(f"`{log.name}` of the training run cannot be read: {error}") from error


def timing(document, device, precision, selection=kernels.FIXED):
    """What counts of a measurement.

    >>> document = {"device": "cuda:0", "precision": "f16", "median_ms": 2.0, "samples_ms": [2.0, 2.5], "relative_iqr": 0.1}
    >>> document |= {"validity": "valid", "gpu": {"sm_clock": {"median_mhz": 1980.0}}, "on_device": {"memory": {"planned_bytes": 7}}}
    >>> found = timing(document, "cuda:0", "f16")
    >>> found["samples_ms"], found["clock"], found["memory"], found["sampler"], found["validity"]
    ([2.0, 2.5], {'median_mhz': 1980.0}, {'planned_bytes': 7}, None, 'valid')
    >>> timing(document, "cuda:0", "bf16")
    Traceback (most recent call last):
    program.Failed: `esr measure` was asked for bf16 on cuda:0 and computed f16 on cuda:0
    >>> timing(document, "cuda:0", "f16", "fastest")
    Traceback (most recent call last):
    program.Failed: `esr measure` was asked for `--kernels fastest` and says of its kernels: None
    """
    asked, found = (precision, device), (document.get("precision"), document.get("device"))
    if asked != found:
        raise Failed(f"`esr measure` was asked for {asked[0]} on {asked[1]} and computed {found[0]} on {found[1]}")
    try:
        samples, median = document["samples_ms"], document["median_ms"]
        kept = {"samples_ms": samples, "median_ms": median, "relative_iqr": document["relative_iqr"], "validity": document["validity"]}
    except KeyError as error:
        raise Failed(f"`esr measure` does not tell {error}") from error
    if not samples or min(samples) <= 0:
        raise Failed(f"`esr measure` took {len(samples)} samples, expected some and all above zero")
    gpu, on_device = document.get("gpu") or {}, document.get("on_device") or {}
    used = kernels.used(on_device.get("timer"))
    if (used is not None) != (selection == kernels.FASTEST):
        raise Failed(f"`esr measure` was asked for `--kernels {selection}` and says of its kernels: {used}")
    return {
        **kept,
        "validity_reason": document.get("validity_reason"),
        "mean_ms": document.get("mean_ms"),
        "mean_without_first_ms": document.get("mean_without_first_ms"),
        "rejected_samples": document.get("rejected_samples"),
        "procedure": document.get("procedure"),
        "timer": on_device.get("timer"),
        "kernels": selection,
        "convolutions": used,
        "clock": gpu.get("sm_clock"),
        "throttle_reasons": gpu.get("throttle_reasons"),
        "memory": on_device.get("memory"),
        "sampler": gpu.get("sampler"),
        "notes": document.get("notes"),
    }


def stages(settings):
    """The stages of a profile's settings: LR patch, batch, epochs and crops an image; and how many training pairs there are.

    Python 3.10 has no reader of TOML, and these few lines of whole numbers need none.

    >>> text = 'pairs = 800\\n[data.valid]\\npairs = 100\\n[[training.stages]]\\nname = "stage 1"\\npatch_lr = 64\\nbatch = 32\\nepochs = 500\\ncrops_per_image = 10\\n'
    >>> stages("[[data.train]]\\n" + text)
    (800, [{'patch_lr': 64, 'batch': 32, 'epochs': 500, 'crops_per_image': 10}])
    """
    pairs, found, table = 0, [], ""
    for line in settings.splitlines():
        if head := re.fullmatch(r"\s*\[+([\w.]+)\]+\s*", line):
            table = head[1]
            if table == "training.stages":
                found.append({})
        elif value := re.fullmatch(r"\s*(\w+)\s*=\s*(\d+)\s*(#.*)?", line):
            if table == "data.train" and value[1] == "pairs":
                pairs += int(value[2])
            if table == "training.stages" and value[1] in ("patch_lr", "batch", "epochs", "crops_per_image"):
                found[-1][value[1]] = int(value[2])
    return pairs, found


def with_settings(settings, values):
    """Settings with other values, each a line `key = value` that must be there.

    >>> with_settings("a = 1\\nb = 2\\nb = 3\\n", {"b": "4"})
    'a = 1\\nb = 4\\nb = 4\\n'
    >>> with_settings("a = 1\\n", {"c": "4"})
    Traceback (most recent call last):
    program.Failed: the settings have no line `c = …`
    """
    for key, value in values.items():
        settings, count = re.subn(rf"(?m)^{key} = .*$", lambda _, key=key, value=value: f"{key} = {value}", settings)
        if count == 0:
            raise Failed(f"the settings have no line `{key} = …`")
    return settings
