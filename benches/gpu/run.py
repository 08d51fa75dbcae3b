#!/usr/bin/env python3
"""Everything that is to be shown on a GPU, in parts that are short and can be repeated: README.md describes them.

Results go to `results.json` in --out the moment a part ends, with every sample, and `report.md` is made of them. A later call goes on with
the parts that are not finished. It builds nothing and needs no network. Standard library only, except in the Python of --python.
"""

import argparse
import doctest
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

import checks  # noqa: E402
import clocks  # noqa: E402
import extras  # noqa: E402
import host  # noqa: E402
import images  # noqa: E402
import kernels  # noqa: E402
import peers  # noqa: E402
import plot  # noqa: E402
import program  # noqa: E402
import report  # noqa: E402
import statistic  # noqa: E402
import store  # noqa: E402
import turns  # noqa: E402
import weights  # noqa: E402
import works  # noqa: E402

ROUNDS, BUDGET_S = 6, 3.0
# A call ends by itself within ten minutes; a part takes at most half of them.
CALL_S, PART_S = 540, 265
# A part is only begun when this much is left of the call.
LEAST_S = 20


def say(text):
    print(text, file=sys.stderr, flush=True)


def all_parts():
    """Names of parts in the order in which they are worth having, each with what does it."""
    parts = {"doctor": checks.doctor, "correct": checks.correct, "floor": extras.floor}
    for name in works.infer_names() + works.train_names():
        kind, what, precision = name.split(":")
        work = {"infer": works.infer, "train": works.train}[kind]
        parts[name] = lambda ctx, work=work, what=what, precision=precision: work(ctx, what, precision)
    parts |= {"sampler": extras.sampler, "ntire": extras.ntire}
    for selection in kernels.SELECTIONS:
        for seed in extras.SEEDS:
            parts[extras.psnr_name(seed, selection)] = lambda ctx, seed=seed, selection=selection: extras.psnr(ctx, seed, selection)
    return parts


# Words for parts that make something of the others' results: that happens at the end of every call.
DERIVED = {"memory": (), "plot": ("sampler",), "report": ()}


def selected(wanted, names):
    """The parts that a list of names or beginnings of names asks for.

    >>> selected("infer:256x256,plot", ["doctor", "infer:256x256:f16", "infer:510x339:f16", "sampler"])
    ['infer:256x256:f16', 'sampler']
    >>> selected(None, ["doctor"]), selected("report", ["doctor"])
    (['doctor'], [])
    >>> selected("walk", ["doctor"])
    Traceback (most recent call last):
    ValueError: no part is named `walk`: there are doctor, memory, plot, report
    """
    if wanted is None:
        return list(names)
    found = []
    for word in wanted.split(","):
        meant = DERIVED.get(word)
        if meant is None:
            meant = [name for name in names if name == word or name.startswith(word + ":")]
            if not meant:
                kinds = dict.fromkeys(name.partition(":")[0] for name in names)
                raise ValueError(f"no part is named `{word}`: there are {', '.join([*kinds, *DERIVED])}")
        found += meant
    return [name for name in names if name in found]


class Context:
    """What the parts share."""

    def __init__(self, args, esr, found):
        self.out, self.scratch, self.rounds, self.budget_s = args.out, args.out / "scratch", args.rounds, args.budget
        self.esr, self.store, self.say = esr, found, say
        self.peers = peers.Peers(args.python, args.peer, args.device, self.scratch, esr.logs)
        self.deadline = self._watch = None
        self.weights = args.weights
        if self.weights is None:
            self.weights = self.scratch / "untrained.safetensors"
            weights.write(self.weights)

    def left(self, most=PART_S):
        """Seconds that something may take: what is left of the part, at most `most`."""
        return max(1.0, min(most, self.deadline - time.monotonic()))

    @property
    def watch(self):
        """Who reads the clocks. The device's UUID is asked of PyTorch, because NVML counts devices in another order than CUDA."""
        if self._watch is None:
            uuid = None
            try:
                greeting = self.peers.get("eager").greeting
                uuid = greeting.get("uuid")
                self.store.describe(peer={key: value for key, value in greeting.items() if key != "ready"})
            except (program.Failed, program.Missing) as error:
                say(f"no peer: {error}")
            self._watch = clocks.Watch.of(uuid)
            self.store.describe(clocks=self._watch.why or f"NVML, every {clocks.PERIOD_S:g} s, also for the peers")
        return self._watch


def one_part(ctx, name, work, end):
    """Does a part and keeps what came of it; whether it succeeded."""
    begun = time.monotonic()
    ctx.deadline = min(end, begun + PART_S)
    say(f"{name} (at most {ctx.left():.0f} s)")
    try:
        result, state, reason = work(ctx), store.DONE, None
    except program.Missing as error:
        result, state, reason = None, store.MISSING, str(error)
    except (program.Failed, OSError, ValueError, KeyError) as error:
        result, state, reason = None, store.FAILED, f"{type(error).__name__}: {error}"
    ctx.store.keep(name, state, time.monotonic() - begun, result, reason)
    ctx.store.describe(choices=ctx.esr.choices(), cudnn=cudnn_facts(ctx.esr, ctx.cudnn))
    say(f"  {state} after {time.monotonic() - begun:.0f} s" + (f": {reason}" if reason else ""))
    return state == store.DONE


def cudnn_facts(esr, found):
    """Which cuDNN our program may use, and why it does not where it does not."""
    return {**found, "refused": esr.cudnn_refused}


def is_sound(store_, names):
    """Whether every part asked for is finished and none of them shows a wrong result."""
    for name in names:
        result = store_.result(name)
        if result is None or result.get("passed") is False:
            return False
        if any(e["ours"] and not e["agrees"] for e in result.get("entrants", [])):
            return False
        if "entrants" in result and {e["kernels"] for e in result["entrants"] if e["ours"]} != set(kernels.SELECTIONS):
            return False
    return True


def run(args):
    parts = all_parts()
    names = selected(args.parts, parts)
    logs = args.out / "scratch" / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    folder, why = kernels.find_cudnn(args.python)
    esr = program.Esr(args.esr, args.device, logs, args.out / "cache", folder)
    facts = esr.facts()
    found = store.Store(args.out / "results.json", facts["sha256"])
    found.describe(time=time.strftime("%Y-%m-%dT%H:%M:%S%z"), esr=facts, machine=host.machine(), device=args.device, note=args.note)
    ctx = Context(args, esr, found)
    ctx.cudnn = {"folder": folder, "why_not": why}
    say(f"cuDNN for `--kernels fastest`: {folder or why}")
    try:
        settings = esr.profile("paper")
    except (program.Failed, program.Missing) as error:
        say(f"no recipe: {error}")
        settings = None

    def write_report():
        store.replace(args.out / "report.md", report.Report(found, settings).text())

    found.describe(weights=args.weights.name if args.weights else "untrained, of a fixed seed")
    end = time.monotonic() + args.seconds
    # What failed before is tried again after what was never tried.
    todo = sorted((n for n in names if args.again or not found.is_done(n)), key=found.was_tried)
    try:
        for number, name in enumerate(todo):
            if end - time.monotonic() < LEAST_S and number:
                say(f"the time of this call is over; the same command goes on with {', '.join(todo[number:])}")
                break
            one_part(ctx, name, parts[name], end)
            write_report()
    finally:
        ctx.peers.close()
        write_report()
    say(f"results: {found.path}")
    return 0 if is_sound(found, names) else 1


def arguments(given=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esr", type=Path, required=True, help="the program")
    parser.add_argument("--out", type=Path, required=True, help="folder for results; an earlier call's are gone on with")
    parser.add_argument("--python", required=True, help="a Python with PyTorch")
    parser.add_argument("--device", default="cuda:0", help="[default: %(default)s]")
    parser.add_argument("--weights", type=Path, help="trained weights, .pth or .safetensors [default: random ones]")
    parser.add_argument("--parts", help="names or beginnings of names, with commas between [default: all that are not finished]")
    parser.add_argument("--again", action="store_true", help="repeat parts that are finished")
    parser.add_argument("--seconds", type=float, default=CALL_S, help="time of this call; parts in progress end by then [default: %(default)s]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="rounds of the fastest at each work [default: %(default)s]")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds of one turn [default: %(default)s]")
    parser.add_argument("--note", default="", help="a remark for the results, such as what else ran")
    parser.add_argument("--peer", type=Path, default=HERE / "peer.py", help=argparse.SUPPRESS)
    parser.add_argument("--self-test", action="store_true", help="test this program without a GPU and stop")
    args = parser.parse_args(given)
    try:
        selected(args.parts, all_parts())
    except ValueError as error:
        parser.error(str(error))
    if args.rounds < 1 or args.budget <= 0 or args.seconds <= 0:
        parser.error("--rounds, --budget and --seconds must be above zero")
    args.esr, args.out = args.esr.resolve(), args.out.resolve()
    args.weights = args.weights and args.weights.resolve()
    return args


def self_test():
    """Every example in the documentation of these modules, and a run of all parts with a made-up program and a made-up PyTorch."""
    import rehearsal

    modules = (sys.modules[__name__], checks, clocks, extras, images, kernels, peers, plot, program, report, statistic, store, turns, weights, works)
    counts = [doctest.testmod(module) for module in modules]
    failed, attempted = (sum(column) for column in zip(*counts, strict=True))
    problems = rehearsal.problems(run, arguments, list(all_parts()))
    say("\n".join(problems))
    say(f"benches/gpu: {attempted} examples, {failed} failed; rehearsal of all parts: {len(problems)} problems")
    return 1 if failed or problems or not attempted else 0


def main():
    if "--self-test" in sys.argv[1:]:
        return self_test()
    try:
        return run(arguments())
    except (program.Missing, program.Failed, ValueError) as error:
        say(str(error))
        return 2


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
