#!/usr/bin/env python3
"""PyTorch doing what it is told, one JSON object a line in and one out: README.md describes the protocol. Needs PyTorch and nothing else.

One process is one variant: how the model is run. Which precision, work and size come with the commands.
"""

import argparse
import ctypes
import json
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

import images  # noqa: E402
import weights as weight_files  # noqa: E402

LEARNING_RATE = 2e-4
WINDOW_S, WARM_UP_SHARE = 0.5, 1 / 6
MOST_RATES = 100
# How the model is run: in PyTorch's own memory format, in channels_last, as one captured CUDA graph, or compiled in three ways.
MODES = {
    "eager": None,
    "channels_last": None,
    "graph": None,
    "compile": "default",
    "compile_max_autotune": "max-autotune",
    "compile_reduce_overhead": "reduce-overhead",
}


class Device:
    """Timing and memory of a GPU, or of the CPU in a trial without one."""

    def __init__(self, torch, name):
        self.torch, self.device, self.cuda = torch, torch.device(name), name.startswith("cuda")
        self.flushed = None
        if self.cuda:
            torch.cuda.set_device(self.device)
            # Twice the second-level cache, overwritten before each timed run as our program does it.
            size = getattr(torch.cuda.get_device_properties(self.device), "L2_cache_size", 0) or 64 << 20
            self.flushed = torch.empty(2 * size, dtype=torch.uint8, device=self.device)
            self.marks = [torch.cuda.Event(enable_timing=True) for _ in range(2)]

    def facts(self):
        if not self.cuda:
            return {"device": "cpu", "uuid": None}
        found = self.torch.cuda.get_device_properties(self.device)
        uuid = getattr(found, "uuid", None)
        return {
            "device": found.name,
            "uuid": f"GPU-{str(uuid).removeprefix('GPU-')}" if uuid else None,
            "multiprocessors": found.multi_processor_count,
            "memory_bytes": found.total_memory,
            "cuda": self.torch.version.cuda,
            "cudnn": self.torch.backends.cudnn.version(),
        }

    def flush(self):
        if self.cuda:
            self.flushed.zero_()

    def wait(self):
        if self.cuda:
            self.torch.cuda.synchronize()

    def timed_ms(self, run):
        """Milliseconds between two marks around `run`; the device is idle before."""
        self.wait()
        if not self.cuda:
            start = time.perf_counter()
            run()
            return (time.perf_counter() - start) * 1e3
        self.marks[0].record()
        run()
        self.marks[1].record()
        self.torch.cuda.synchronize()
        return self.marks[0].elapsed_time(self.marks[1])

    def reset_peaks(self):
        if self.cuda:
            self.torch.cuda.reset_peak_memory_stats()

    def peaks(self, counted):
        """Peaks since the last reset; `counted` says what happened since."""
        if not self.cuda:
            return None
        cuda = self.torch.cuda
        allocated, reserved = cuda.max_memory_allocated(), cuda.max_memory_reserved()
        return {"max_memory_allocated": allocated, "max_memory_reserved": reserved, "counted": counted}


def set_precision(torch, precision):
    """TF32 on or off for everything; f16 and bf16 are types of their own."""
    allowed = precision != "f32"
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    torch.backends.cudnn.benchmark = True


def load(torch, model, path):
    """The weights of a file that `weights.py` can read, or of a .pth file."""
    if str(path).endswith(".safetensors"):
        tensors = {}
        for name, (shape, data) in weight_files.read(path).items():
            tensors[name] = torch.frombuffer(bytearray(data), dtype=torch.float32).reshape(shape)
    else:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    model.load_state_dict(tensors)


class Work:
    """What inference and training share."""

    def __init__(self, torch, device, mode, precision):
        self.torch, self.device, self.mode, self.precision = torch, device, mode, precision
        self.channels_last = mode != "eager"
        self.captures = mode in ("graph", "compile_reduce_overhead", "compile_max_autotune")
        self.dtype = {"f16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
        set_precision(torch, precision)
        if MODES[mode]:
            torch._dynamo.reset()
        device.reset_peaks()

    def placed(self, what, dtype=None):
        what = what.to(device=self.device.device, dtype=dtype)
        return what.to(memory_format=self.torch.channels_last) if self.channels_last else what

    def random(self, batch, width, height, seed):
        """Images in 0..1 whose pixels our program could have been given too."""
        data = bytearray(images.pixels(width, height * batch, seed))
        flat = self.torch.frombuffer(data, dtype=self.torch.uint8).reshape(batch, height, width, 3)
        return flat.permute(0, 3, 1, 2).float().div(255).contiguous()

    def compiled(self, model):
        kind = MODES[self.mode]
        return self.torch.compile(model, dynamic=False, mode=kind) if kind else model

    def captured(self, run):
        """Captures a run once it is warm; replaying it is the new run."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            output = run()

        def replay():
            graph.replay()
            return output

        return replay


class Inference(Work):
    """One forward at a time."""

    def __init__(self, torch, device, mode, command):
        super().__init__(torch, device, mode, command["precision"])
        from model import build

        model = build().eval().requires_grad_(False)
        load(torch, model, command["weights"])
        self.model = self.placed(model, self.dtype)
        self.forward, self.frozen = self.model, False
        if "width" in command:
            self.x = self.placed(self.random(1, command["width"], command["height"], command["seed"]), self.dtype)
            self._prepare()

    def _prepare(self):
        if MODES[self.mode]:
            import torch._inductor.config as config

            # Weights as constants may not be to a version's liking; then without.
            for self.frozen in (True, False):
                config.freezing = self.frozen
                self.torch._dynamo.reset()
                self.forward = self.compiled(self.model)
                try:
                    self.run()
                    break
                except Exception as error:  # noqa: BLE001: whatever the compiler raises, the other way is tried or the error goes on
                    if not self.frozen:
                        raise
                    print(f"frozen weights: {error}", file=sys.stderr)
        elif self.mode == "graph":
            eager = self.run
            with self.torch.no_grad():
                self.run = self.captured(eager)

    def run(self):
        if MODES[self.mode]:
            self.torch.compiler.cudagraph_mark_step_begin()
        with self.torch.no_grad():
            return self.forward(self.x)

    def save(self, path):
        """The SR image as 8-bit RGB bytes, row by row, rounded as our program does."""
        output = self.run()[0].float().clamp(0, 1).mul(255).add(0.5).floor().to(self.torch.uint8)
        output = output.permute(1, 2, 0).contiguous().cpu()
        Path(path).write_bytes(ctypes.string_at(output.data_ptr(), output.numel()))

    def in_order(self, sizes):
        """Protocol ntire: image after image, the first one in, no warm-up, nothing flushed."""
        taken = []
        self.torch.backends.cudnn.benchmark = False
        for number, (width, height, seed) in enumerate(sizes):
            self.x = self.placed(self.random(1, width, height, seed), self.dtype)
            if number == 0:
                self.device.reset_peaks()
            taken.append(self.device.timed_ms(self.run))
        return taken


class Training(Work):
    """Forward, L1 loss, backward, fused Adam, always on the same batch. Mixed precision is PyTorch's autocast; weights stay f32."""

    def __init__(self, torch, device, mode, command):
        super().__init__(torch, device, mode, command["precision"])
        from model import build

        batch, patch, scale = command["batch"], command["patch"], weight_files.SCALE
        self.model = self.placed(build(None, branches=True, fold=command["form"] == "folded").train())
        self.x = self.placed(self.random(batch, patch, patch, command["seed"]))
        self.target = self.placed(self.random(batch, scale * patch, scale * patch, command["seed"] + 1))
        captured = mode == "graph"
        self.adam = torch.optim.Adam(self.model.parameters(), lr=LEARNING_RATE, fused=True, capturable=captured)
        self.forward = self.compiled(self.loss_of)
        if captured:
            self.run = self.captured(self.run)

    def loss_of(self, x, target):
        with self.torch.autocast(self.device.device.type, dtype=self.dtype, enabled=self.dtype != self.torch.float32):
            output = self.model(x)
        return self.torch.nn.functional.l1_loss(output.float(), target)

    def run(self):
        if MODES[self.mode]:
            self.torch.compiler.cudagraph_mark_step_begin()
        # A captured step needs the gradients' memory to stay where it is; it is overwritten because it is empty at the capture.
        self.adam.zero_grad(set_to_none=True)
        loss = self.forward(self.x, self.target)
        loss.backward()
        self.adam.step()
        return loss.detach()

    def losses(self, count):
        return [float(self.run()) for _ in range(count)]


def measure(work, device, budget_s):
    """Warm-up for a share of the budget, then windows of half a second; a sample is the mean of a window, as in our program's protocol steady."""
    run, end = work.run, time.perf_counter() + budget_s * WARM_UP_SHARE
    forwards_before = 0
    while forwards_before < 3 or time.perf_counter() < end:
        run()
        device.wait()
        forwards_before += 1
    samples, forwards, start = [], 0, time.perf_counter()
    budget_s -= budget_s * WARM_UP_SHARE
    window_s = min(WINDOW_S, budget_s / 3)
    if work.captures:
        counted = "preparation and turns: the memory of a captured graph is only seen when it is captured"
    else:
        counted = "this turn"
        device.reset_peaks()
    while not samples or time.perf_counter() - start < budget_s:
        taken, begun = [], time.perf_counter()
        while not taken or time.perf_counter() - begun < window_s:
            device.flush()
            taken.append(device.timed_ms(run))
        samples.append(sum(taken) / len(taken))
        forwards += len(taken)
    return {"samples_ms": samples, "forwards": forwards, "warm_up_forwards": forwards_before, "memory": device.peaks(counted)}


def rates(torch, device, side, copied_bytes, seconds):
    """Rate of square matrix products in each format, and of copying memory on the device: samples by name."""
    found = {}
    for name in ("f32", "tf32", "f16", "bf16"):
        set_precision(torch, name)
        dtype = {"f16": torch.float16, "bf16": torch.bfloat16}.get(name, torch.float32)
        a, b = (torch.randn(side, side, device=device.device).to(dtype) for _ in range(2))
        c = torch.empty(side, side, device=device.device, dtype=dtype)
        found[name] = rated(device, lambda a=a, b=b, c=c: torch.matmul(a, b, out=c), 2 * side**3, seconds)
    source = torch.zeros(copied_bytes, dtype=torch.uint8, device=device.device)
    target = torch.empty_like(source)
    # Each byte is read once and written once.
    found["copy"] = rated(device, lambda: target.copy_(source), 2 * copied_bytes, seconds)
    return found


def rated(device, run, amount, seconds):
    for _ in range(3):
        run()
    device.wait()
    samples, start = [], time.perf_counter()
    while len(samples) < 5 or (len(samples) < MOST_RATES and time.perf_counter() - start < seconds):
        samples.append(amount / (device.timed_ms(run) / 1e3))
    return samples


def obey(torch, device, mode, work, command):
    """One command: the work to go on with, and the answer."""
    what = command["do"]
    if what == "prepare":
        start = time.perf_counter()
        work = (Inference if command["work"] == "infer" else Training)(torch, device, mode, command)
        # The first run compiles.
        losses = work.losses(2) if command["work"] == "train" and mode != "graph" else None
        if command["work"] == "infer" and "width" in command:
            work.run()
        device.wait()
        frozen = getattr(work, "frozen", None)
        return work, {"prepared": True, "seconds": time.perf_counter() - start, "losses": losses, "frozen": frozen}
    if what == "measure":
        return work, measure(work, device, command["seconds"])
    if what == "save":
        work.save(command["file"])
        return work, {"written": command["file"]}
    if what == "ntire":
        return work, {"samples_ms": work.in_order(command["images"]), "memory": device.peaks("all images")}
    if what == "rates":
        return work, rates(torch, device, command["side"], command["copied_bytes"], command["seconds"])
    return work, {"error": f"unknown command `{what}`"}


def serve(torch, device, mode, say):
    say({"ready": True, "version": torch.__version__, **device.facts()})
    work = None
    for line in sys.stdin:
        try:
            command = json.loads(line)
            if command["do"] == "prepare":
                # The last work's memory is free before the next one's is counted.
                work = None
                if device.cuda:
                    torch.cuda.empty_cache()
            work, answer = obey(torch, device, mode, work, command)
        except Exception as error:  # noqa: BLE001: PyTorch raises anything; whoever asked decides what becomes of it
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        say(answer)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=MODES, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--scratch", required=True, help="folder for compiled code")
    args = parser.parse_args()
    # Libraries print to standard output as they like; the protocol keeps it for itself.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def say(answer):
        print(json.dumps(answer), file=answers, flush=True)

    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.join(os.path.abspath(args.scratch), "inductor"))
    try:
        import torch
    except ModuleNotFoundError as error:
        return say({"ready": False, "missing": f"{error.name} is not installed"})
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        return say({"ready": False, "missing": "PyTorch finds no CUDA device"})
    return serve(torch, Device(torch, args.device), args.mode, say)


if __name__ == "__main__":
    main()
