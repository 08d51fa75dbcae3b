"""The results as Markdown: every figure with its n, spread, clocks and verdict; what is missing says "not measured". Standard library only."""

import statistics

import kernels
import program
import works
from extras import SAMPLER_TARGET, SEEDS, psnr_name
from turns import TARGET
from weights import shapes

NOT = "not measured"
# Multiply-adds for one LR pixel; each counts as two operations.
MAC_PER_PIXEL = sum(outputs * inputs * side * side for outputs, inputs, side in shapes().values())
# Seconds an epoch that the paper publishes for its machine, by LR patch.
PUBLISHED_EPOCH_S = {64: 63, 160: 342}
TARGET_HOURS = 4
MIB = 1 << 20


def table(header, rows):
    """
    >>> print(table(("a", "b"), [(1, "x|y")]))
    | a | b |
    | --- | --- |
    | 1 | x\\|y |
    """
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines)


def percent(share):
    return NOT if share is None else f"{100 * share:.1f} %"


def clock_of(turns):
    """The range of the SM clock over turns, and what disturbed them."""
    clocks = [turn["clock_during"] for turn in turns if turn.get("clock_during")]
    if not clocks:
        return "not seen"
    low, high = min(c["sm_min_mhz"] for c in clocks), max(c["sm_max_mhz"] for c in clocks)
    disturbed = sum(c["disturbed"] for c in clocks)
    return f"{low} to {high} MHz" + (f", {disturbed} disturbed" if disturbed else "")


def interval(found, digits=3):
    """
    >>> interval({"median": 0.6, "low": 0.55, "high": 0.65, "confidence": 0.96875, "pairs": 6})
    '0.600 [0.550, 0.650], n 6, 96.9 %'
    """
    if found is None:
        return NOT
    ends = f"[{found['low']:.{digits}f}, {found['high']:.{digits}f}]"
    return f"{found['median']:.{digits}f} {ends}, n {found['pairs']}, {100 * found['confidence']:.1f} %"


class Report:
    """`store` has the parts; `settings` is the paper profile as TOML, or None."""

    def __init__(self, store, settings=None):
        self.store, self.settings = store, settings

    def why(self, name):
        """Why a part has no result, in a cell."""
        part = self.store.document["parts"].get(name)
        if part is None:
            return NOT
        if part["state"] == "done":
            return f"{NOT} with this program (only with an earlier one)"
        return f"{NOT}: {part['state']}, {(part['reason'] or '').splitlines()[0][:160]}"

    def text(self):
        parts = [
            ("# The engine on a GPU", self.head()),
            ("## Targets", self.targets()),
            ("## Correctness", self.correctness()),
            ("## Inference", self.turns(works.infer_names())),
            ("## Against the floor", self.floor()),
            ("## Training step", self.turns(works.train_names())),
            ("## The paper's recipe", self.recipe()),
            ("## Chosen kernels", self.choices()),
            ("## Protocol ntire", self.ntire()),
            ("## Peak memory", self.memory()),
            ("## PSNR of lower precision", self.psnr()),
            ("## The sampler", self.sampler()),
        ]
        return "\n\n".join(f"{title}\n\n{body}" for title, body in parts) + "\n"

    def head(self):
        document = self.store.document
        esr, torch = document.get("esr") or {}, document.get("peer") or {}
        rows = [
            ("device", torch.get("device", NOT)),
            ("UUID", torch.get("uuid") or NOT),
            ("program", f"{esr.get('version', NOT)}, SHA-256 {esr.get('sha256', NOT)}"),
            ("PyTorch", f"{torch.get('version', NOT)}, CUDA {torch.get('cuda', NOT)}, cuDNN {torch.get('cudnn', NOT)}"),
            ("weights", document.get("weights", NOT)),
            ("clocks", document.get("clocks") or NOT),
            ("processor", (document.get("machine") or {}).get("cpu_model") or NOT),
            ("time", document.get("time", NOT)),
        ]
        return table(("what", "found"), rows) + "\n\nOf every part the samples are in `results.json`."

    def targets(self):
        rows = []
        found = self.store.result("correct")
        rows.append(("every kernel, forward, gradients, 50 steps as on the CPU", *self.correct_cells(found)))
        for names in (works.infer_names(), works.train_names()):
            for name in names:
                found = self.store.result(name)
                figure = self.why(name) if found is None else interval(found["ratio"])
                if found and found["counts"]:
                    others = [f"{key}: {interval(each['ratio'])}" for key, each in found["by_kernels"].items() if key != found["counts"]]
                    figure = "; ".join([f"{found['counts']} counts: {figure}", *others])
                rows.append((f"{name}: at most {TARGET} of the fastest peer", figure, found["verdict"] if found else ""))
        hours = self.hours()
        shown = ", ".join(f"{precision}: {value:.2f} h" for precision, value in hours.items()) or NOT
        rows.append((f"paper profile in less than {TARGET_HOURS} h", shown, ("met" if min(hours.values()) < TARGET_HOURS else "missed") if hours else ""))
        found = self.store.result("sampler")
        share = found and found["share_of_wall"]
        verdict = "" if share is None else ("met" if share < SAMPLER_TARGET else "missed")
        rows.append((f"sampler below {100 * SAMPLER_TARGET:.0f} % of the time", self.why("sampler") if found is None else percent(share), verdict))
        return table(("target", "figure", "verdict"), rows)

    def correct_cells(self, found):
        if found is None:
            return self.why("correct"), ""
        return f"{len(found['failures'])} failures", "met" if found["passed"] else "missed"

    def correctness(self):
        found = self.store.result("correct")
        if found is None:
            return self.why("correct")
        document = found["document"]
        kernels, networks = document.get("kernels", []), document.get("networks", [])
        lines = [f"- passed: {'yes' if found['passed'] else 'no'}; {len(kernels)} kernels, {len(networks)} networks"]
        lines += [f"- failed: {failure}" for failure in found["failures"]]
        for tool, said in found["sanitizer"].items():
            if tool == "why_not":
                lines.append(f"- compute-sanitizer: {NOT}, {said}")
            else:
                words = {True: "clean", False: "errors", None: f"{NOT}, {said.get('why_not')}"}[said["clean"]]
                lines.append(f"- {tool}: {words}")
        rows = [(n.get("name"), n.get("error"), n.get("tolerance"), "yes" if n.get("passed") else "no") for n in networks]
        return "\n".join(lines) + ("\n\n" + table(("network", "error", "tolerance", "passed"), rows) if rows else "")

    def turns(self, names):
        blocks = []
        for name in names:
            found = self.store.result(name)
            if found is None:
                blocks.append(f"### {name}\n\n{self.why(name)}")
                continue
            rows = []
            for e in sorted(found["entrants"], key=lambda e: e["median_ms"]):
                judged = [turn.get("validity") for turn in e["turns"]]
                verdict = f"{judged.count('valid')} of {len(judged)} turns valid" + ("" if e["agrees"] else "; computes something else")
                rows.append((e["name"], f"{e['median_ms']:.4f}", e["n"], percent(e["relative_iqr"]), clock_of(e["turns"]), verdict, agreement(e)))
            header = ("who", "median ms", "n", "rel. IQR", "SM clock", "verdict", "beside strict f32")
            lines = [f"### {name}", table(header, rows) if rows else NOT]
            for key, each in found["by_kernels"].items():
                counts = ", which counts" if key == found["counts"] else ""
                said = f"{each['ours']} / {found['fastest_peer']}{counts}: ratio {interval(each['ratio'])}; in cycles {interval(each['ratio_in_cycles'])}: **{each['verdict']}**"
                lines.append(said + "".join(f"\n- doubt: {doubt}" for doubt in each["doubts"]))
            if not found["by_kernels"]:
                lines.append(f"ours: **{found['verdict']}**")
            lines += [f"- {a['name']}: {NOT}, {a['kind']}: {a['reason'].splitlines()[0][:160] if a['reason'] else ''}" for a in found["absent"]]
            blocks.append("\n\n".join(lines))
        return "\n\n".join(blocks)

    def ours_ms(self, name):
        """Our median of a work; None where it is not known or the result was wrong."""
        found = self.store.result(name)
        ours = [e for e in found["entrants"] if e["ours"] and e["agrees"]] if found else []
        return min((e["median_ms"] for e in ours), default=None)

    def choices(self):
        """Every convolution that was tried, its time by our own kernels and by the way that was taken."""
        cudnn = self.store.document.get("cudnn") or {}
        lines = [f"cuDNN: {cudnn.get('folder') or cudnn.get('why_not') or NOT}" + (f"; refused: {cudnn['refused']}" if cudnn.get("refused") else "")]
        for kept in self.store.document.get("choices") or []:
            if "why_not" in kept:
                lines.append(f"`{kept['file']}` cannot be read: {kept['why_not']}")
                continue
            about = kept["circumstances"]
            lines.append(f"{about.get('device')}, CUDA {about.get('driver_cuda')}, cuDNN {about.get('cudnn') or 'none'}:")
            rows = [(key, f"{a['own_ms']:.4f}", kernels.way(a["way"]), f"{a['ms']:.4f}") for key, a in kept["answers"].items()]
            lines.append(table(("convolution", "own ms", "chosen way", "ms"), rows))
        return "\n\n".join(lines if len(lines) > 1 else [*lines, NOT])

    def floor(self):
        found = self.store.result("floor")
        if found is None:
            return self.why("floor")
        lines = [("rate", "measured", "n", "rel. IQR")]
        rows = []
        for name, rate in found["rates"].items():
            unit = f"{rate['median'] / 1e12:.2f} TB/s" if name == "copy" else f"{rate['median'] / 1e12:.1f} TFLOP/s"
            rows.append((name, unit, rate["n"], percent(rate["relative_iqr"])))
        clock = clock_of([found])
        text = table(lines[0], rows) + f"\n\nMatrix products of {found['matrix_side']}² and copies of {found['copied_bytes']} bytes, by PyTorch; SM clock {clock}.\n\n"
        rows = []
        for size in works.SIZES:
            width, height = map(int, size.split("x"))
            for precision in program.PRECISIONS:
                least_ms = floor_ms(width * height, found["rates"][precision]["median"])
                ours = self.ours_ms(f"infer:{size}:{precision}")
                rows.append((size, precision, f"{least_ms:.4f}", NOT if ours is None else f"{ours:.4f}", NOT if ours is None else percent(least_ms / ours)))
        header = ("size", "precision", "floor ms", "ours ms", "share of the rate reached")
        return text + f"{MAC_PER_PIXEL:,} multiply-adds a pixel:\n\n" + table(header, rows)

    def recipe_figures(self):
        """For each precision, (LR patch, steps of the stage, ms a step, s an epoch, epochs) of each stage whose step was measured."""
        if not self.settings:
            return {}
        pairs, stages = program.stages(self.settings)
        figures = {}
        for precision in works.TRAINED_IN:
            for stage in stages:
                steps = -(-stage["epochs"] * pairs * stage["crops_per_image"] // stage["batch"])
                step_ms = self.ours_ms(f"train:{stage['batch']}x{stage['patch_lr']}:{precision}")
                epoch_s = None if step_ms is None else steps * step_ms / 1e3 / stage["epochs"]
                figures.setdefault(precision, []).append((stage["patch_lr"], steps, step_ms, epoch_s, stage["epochs"]))
        return figures

    def hours(self):
        """Hours of all stages, in each precision in which every stage's step was measured."""
        found = {}
        for precision, stages in self.recipe_figures().items():
            if stages and all(epoch_s is not None for _, _, _, epoch_s, _ in stages):
                found[precision] = sum(epoch_s * epochs for _, _, _, epoch_s, epochs in stages) / 3600
        return found

    def recipe(self):
        rows = []
        for precision, stages in self.recipe_figures().items():
            for patch, steps, step_ms, epoch_s, _ in stages:
                shown = (NOT, NOT) if step_ms is None else (f"{step_ms:.3f}", f"{epoch_s:.1f}")
                rows.append((precision, patch, f"{steps:,}", *shown, PUBLISHED_EPOCH_S.get(patch, "none")))
        if not rows:
            return NOT
        header = ("precision", "LR patch", "steps of the stage", "ms a step", "s an epoch", "published s an epoch (another machine)")
        said = [f"- {precision}: {value:.2f} h for all stages" for precision, value in self.hours().items()] or [f"- all stages: {NOT}"]
        note = "Projected from the time of a step alone: reading images, validation and checkpoints come on top."
        return table(header, rows) + "\n\n" + "\n".join(said) + "\n\n" + note

    def ntire(self):
        found = self.store.result("ntire")
        if found is None:
            return self.why("ntire")
        rows = []
        for entry in found["summaries"]:
            turns = [t for t in found["turns"] if (t["name"], t["precision"]) == (entry["name"], entry["precision"])]
            rows.append((entry["name"], entry["precision"], spread(entry["mean_ms"]), spread(entry["mean_without_first_ms"]), f"{entry['turns']} × {len(found['images'])}", clock_of(turns)))
        header = ("who", "precision", "mean ms, first image in", "mean ms without the first", "n", "SM clock")
        lines = [f"- {a['name']}, {a['precision']}: {NOT}, {a['reason'].splitlines()[0][:160]}" for a in found["absent"]]
        return "\n".join([table(header, rows), "", "Median of the turns, and their range. Each turn is a new process. No validity is judged: the protocol has no warm-up.", *lines])

    def memory(self):
        rows = []
        for name in [*works.infer_names(), *works.train_names()]:
            found = self.store.result(name)
            if found is None:
                rows.append((name, NOT, NOT, NOT, NOT, NOT))
                continue
            ours = next((e for e in found["entrants"] if e["name"] == found["ours"]), None)
            memory = (ours["turns"][-1].get("memory") if ours else None) or {}
            cells = [mib(memory.get(key)) for key in ("planned_bytes", "pool_peak_bytes", "nvml_peak_bytes")]
            theirs = []
            for e in found["entrants"]:
                peak = (e["turns"][-1].get("memory") or {}).get("max_memory_allocated") if not e["ours"] else None
                if peak is not None:
                    theirs.append((peak, e["name"]))
            fastest = next((peak for peak, who in theirs if who == found["fastest_peer"]), None)
            least = f"{mib(min(theirs)[0])} ({min(theirs)[1]})" if theirs else NOT
            rows.append((name, *cells, mib(fastest), least))
        header = ("work", "ours: planned", "ours: allocator's peak", "ours: NVML's", "max_memory_allocated of the fastest peer", "and the least of all")
        return table(header, rows) + "\n\nMiB. PyTorch's figure is of live tensors and workspaces; where a graph is captured, of the capture too. NVML's has context and kernels in it."

    def psnr(self):
        rows, differences = [], {}
        for seed in SEEDS:
            base = self.store.result(psnr_name(seed, kernels.FIXED))
            base_db = base and base["runs"]["f32"]["psnr_rgb_db"]
            for selection in kernels.SELECTIONS:
                name = psnr_name(seed, selection)
                found = self.store.result(name)
                for precision in ("f32", "bf16", "tf32"):
                    if found is None:
                        rows.append((seed, selection, precision, self.why(name), ""))
                        continue
                    value = found["runs"][precision]["psnr_rgb_db"]
                    is_base = (selection, precision) == (kernels.FIXED, "f32")
                    if base and not is_base:
                        differences.setdefault((selection, precision), []).append(value - base_db)
                    rows.append((seed, selection, precision, f"{value:.4f}", f"{value - base_db:+.4f}" if base and not is_base else ""))
        lines = []
        for selection in kernels.SELECTIONS:
            for precision in ("f32", "bf16", "tf32")[selection == kernels.FIXED :]:
                values = differences.get((selection, precision))
                shown = f"{statistics.mean(values):+.4f} dB, from {min(values):+.4f} to {max(values):+.4f}, n {len(values)}" if values else NOT
                lines.append(f"- {precision} {selection} less f32 fixed: {shown}")
        note = "The paper's model after the demo's short training on generated images: it says whether the precision or the choice of kernels harms, not what the paper's recipe reaches."
        return table(("seed", "kernels", "precision", "PSNR dB", "less f32 fixed"), rows) + "\n\n" + "\n".join(lines) + "\n\n" + note

    def sampler(self):
        found = self.store.result("sampler")
        if found is None:
            return self.why("sampler")
        return "\n".join(
            [
                "![SM clock, power and temperature](gpu-clocks.svg)",
                "",
                f"- {found['samples']} samples; the driver was being asked for {percent(found['share_of_wall'])} of the time",
                f"- time with the log / without it: {interval(found['with_to_without'], 4)}",
                f"- the measurement: median {found['measurement']['median_ms']:.4f} ms, n {len(found['measurement']['samples_ms'])}, rel. IQR {percent(found['measurement']['relative_iqr'])}, {found['measurement']['validity']}",
            ]
        )


def agreement(entrant):
    difference = entrant["difference"]
    if not difference or "not_compared" in difference:
        return "not compared" + (f": {difference['not_compared']}"[:100] if difference else "")
    if "max_levels" in difference:
        return f"{difference['max_levels']} of 255 (limit {difference['limit_levels']})"
    return f"losses {difference['loss_gap']:.1e} (limit {difference['limit']:.0e})"


def floor_ms(pixels, rate):
    """The time that the operations of an image take at a rate in operations a second.

    >>> MAC_PER_PIXEL, round(floor_ms(256 * 256, 67e12), 2)
    (788416, 1.54)
    """
    return 2 * MAC_PER_PIXEL * pixels / rate * 1e3


def spread(values):
    return f"{statistics.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def mib(count):
    return NOT if count is None else f"{count / MIB:.1f}"
