"""The parts that are neither turns at one work nor checks: device rates, protocol ntire, the sampler, PSNR. Standard library only."""

import json
import shutil
import statistics

import images
import plot
import statistic
from program import MODEL, NVML_VARIABLE, TRAINED_MODEL, Failed, Missing, with_settings
from store import replace
from works import SEED, STEP_LIMIT_S

# Large enough that a matrix product runs at the device's rate, and that memory is copied and not a cache.
SIDE, COPIED_BYTES, RATE_SECONDS = 8192, 1 << 30, 0.7
# As among the LR images of DIV2K: mostly 510x339, the other way round, and the largest; width x height.
NTIRE_SIZES = [(510, 339)] * 7 + [(339, 510)] * 3 + [(486, 510), (510, 384)]
NTIRE_PRECISIONS, NTIRE_ROUNDS = ("f32", "tf32", "f16"), 3
SAMPLER_ROUNDS, SAMPLER_TARGET = 6, 0.01
SEEDS, REFERENCE_PRECISION, COMPARED = (2022, 2023, 2024), "f32", ("bf16", "tf32")
# The demo's rate is for a model of 16 channels; the paper's stages start at 2e-4 and have far more steps.
DEMO_RATE = "5e-4"


def floor(ctx):
    """The device's own rates: matrix products in each format, and copying. Operations a second, and bytes read and written a second."""
    command = {"do": "rates", "side": SIDE, "copied_bytes": COPIED_BYTES, "seconds": RATE_SECONDS}
    with ctx.watch.during() as seen:
        found = ctx.peers.get("eager").ask(command, ctx.left(120))
    rates = {}
    for name, samples in found.items():
        spread = statistic.relative_iqr(samples)
        rates[name] = {"median": statistics.median(samples), "n": len(samples), "relative_iqr": spread, "samples": samples}
    return {"matrix_side": SIDE, "copied_bytes": COPIED_BYTES, "rates": rates, "clock_during": seen.summary()}


def ntire(ctx):
    """Image after image as the official script does: no warm-up, the first image in, each turn a process of its own."""
    folder = ctx.scratch / "ntire"
    folder.mkdir(exist_ok=True)
    listed = [(width, height, SEED + number) for number, (width, height) in enumerate(NTIRE_SIZES)]
    for number, (width, height, seed) in enumerate(listed):
        (folder / f"{number + 1:04}.png").write_bytes(images.png(width, height, images.pixels(width, height, seed)))
    turns, absent = [], {}

    def ours(precision):
        limit = ctx.left(STEP_LIMIT_S)
        return ctx.esr.measure(ctx.weights, precision, "eager", limit, lr=folder, protocol="ntire")

    def theirs(precision):
        peer = ctx.peers.fresh("eager")
        try:
            prepare = {"do": "prepare", "work": "infer", "precision": precision, "weights": str(ctx.weights)}
            peer.ask(prepare, ctx.left(60))
            return peer.ask({"do": "ntire", "images": listed}, ctx.left(60))
        finally:
            peer.close()

    for number in range(NTIRE_ROUNDS):
        for precision in NTIRE_PRECISIONS:
            for name, take in (("esr", ours), ("PyTorch eager", theirs))[:: 1 if number % 2 == 0 else -1]:
                if (name, precision) in absent:
                    continue
                try:
                    with ctx.watch.during() as seen:
                        taken = take(precision)
                except (Failed, Missing) as error:
                    absent[name, precision] = str(error)
                    continue
                samples = taken["samples_ms"]
                if len(samples) != len(listed):
                    absent[name, precision] = f"{len(samples)} times for {len(listed)} images"
                    continue
                entry = {"round": number, "name": name, "precision": precision, "samples_ms": samples, "memory": taken["memory"]}
                turns.append({**entry, "clock_during": seen.summary()})
    if not turns:
        raise Failed("; ".join(sorted(set(absent.values()))))
    left_out = [{"name": name, "precision": precision, "reason": reason} for (name, precision), reason in absent.items()]
    return {"model": MODEL, "images": listed, "turns": turns, "summaries": ntire_summaries(turns), "absent": left_out}


def ntire_summaries(turns):
    """For each program and precision, the official mean with and without the first image, over all turns.

    >>> turns = [{"name": "esr", "precision": "f32", "samples_ms": [9.0, 1.0, 2.0]}, {"name": "esr", "precision": "f32", "samples_ms": [3.0, 1.0, 2.0]}]
    >>> ntire_summaries(turns)
    [{'name': 'esr', 'precision': 'f32', 'turns': 2, 'mean_ms': [4.0, 2.0], 'mean_without_first_ms': [1.5, 1.5]}]
    """
    found = {}
    for turn in turns:
        key = turn["name"], turn["precision"]
        entry = found.setdefault(
            key, {"name": key[0], "precision": key[1], "turns": 0, "mean_ms": [], "mean_without_first_ms": []}
        )
        entry["turns"] += 1
        entry["mean_ms"].append(statistics.mean(turn["samples_ms"]))
        entry["mean_without_first_ms"].append(statistics.mean(turn["samples_ms"][1:]))
    return list(found.values())


def sampler(ctx):
    """The log of our program's sampler, drawn; and what the sampler costs: the same measurement with and without it, in turns."""
    out = ctx.scratch / "measured" / "log"
    limit = ctx.left(STEP_LIMIT_S)
    taken = ctx.esr.measure(ctx.weights, "f16", "graph", limit, size="256x256", budget_s=2 * ctx.budget_s, out=out)
    try:
        lines = (out / "gpu-clocks.jsonl").read_text().splitlines()
        log = plot.parse(lines)
    except (OSError, ValueError) as error:
        raise Failed(f"the log `gpu-clocks.jsonl` cannot be read: {error}") from error
    replace(ctx.out / "gpu-clocks.jsonl", "\n".join(lines) + "\n")
    replace(ctx.out / "gpu-clocks.svg", plot.svg(log))
    pairs, turns = [], []
    for number in range(min(ctx.rounds, SAMPLER_ROUNDS)):
        medians = {}
        for logged in (True, False)[:: 1 if number % 2 == 0 else -1]:
            limit, budget = ctx.left(STEP_LIMIT_S), ctx.budget_s
            turn = ctx.esr.measure(ctx.weights, "f16", "graph", limit, size="256x256", budget_s=budget, log=logged)
            medians[logged] = turn["median_ms"]
            turns.append({"round": number, "logged": logged, **turn})
        pairs.append((medians[True], medians[False]))
    return {
        "measurement": taken,
        "samples": len(log["samples"]),
        "share_of_wall": log["share_of_wall"],
        "with_to_without": statistic.ratio(pairs),
        "without_by": f"{NVML_VARIABLE} names no file",
        "target": SAMPLER_TARGET,
        "turns": turns,
    }


def psnr_name(seed, selection):
    return f"psnr:{seed}:{selection}"


def psnr(ctx, seed, selection):
    """Mean PSNR on the demo's validation images after the demo's training of the paper's model, in each precision with the same seed and selection of kernels."""
    settings = with_settings(
        ctx.esr.profile("demo"), {"architecture": json.dumps(TRAINED_MODEL), "seed": str(seed), "rate": DEMO_RATE}
    )
    found = {}
    for precision in (REFERENCE_PRECISION, *COMPARED):
        # A part that is run again begins at the beginning: what an earlier one left is no result of this program.
        run = ctx.scratch / "psnr" / f"{seed}-{selection}-{precision}"
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        file = run.with_suffix(".toml")
        file.write_text(settings)
        lines = ctx.esr.train(file, run, precision, ctx.left(), selection)
        values = [line["valid_psnr_rgb_db"] for line in lines if line.get("valid_psnr_rgb_db") is not None]
        if not values:
            raise Failed("the log of the training run has no PSNR")
        found[precision] = {"psnr_rgb_db": values[-1], "steps": lines[-1]["step"], "last_loss": lines[-1]["loss"]}
    base = found[REFERENCE_PRECISION]["psnr_rgb_db"]
    effects = {precision: found[precision]["psnr_rgb_db"] - base for precision in COMPARED}
    return {"seed": seed, "kernels": selection, "model": TRAINED_MODEL, "rate": DEMO_RATE, "runs": found, "difference_db": effects}
