#!/usr/bin/env python3
"""Lets the engine and its peers take turns at the same works and says who needs how long.

A table for people goes to standard error, one JSON object with every sample to standard output. README.md describes the method. Standard
library only: the peers run in the Python that --python names, and any of them may be missing.
"""

import argparse
import doctest
import json
import os
import shlex
import sys
import time
from pathlib import Path

import contenders
import host
import npy
import samples
import works

SCHEMA = 1
# Runs before the timed ones: the first maps memory and compiles, the second finds caches and clocks as the others will.
WARM_UP = 2
# Fewer rounds say little about the spread; a smoke run may have fewer all the same.
ROUNDS, FEWEST_ROUNDS = 9, 7
# Samples that were disturbed are taken again, in further whole rounds: at most this many times the rounds asked for.
MOST_ROUNDS = 2


def say(text):
    print(text, file=sys.stderr, flush=True)


def orders(names, rounds):
    """Who runs in each round: every other one the other way round, so that nobody always follows the same neighbour.

    >>> list(orders(["a", "b", "c"], 2))
    [['a', 'b', 'c'], ['c', 'b', 'a']]
    """
    for number in range(rounds):
        yield list(names) if number % 2 == 0 else list(reversed(names))


class Match:
    """One work and those who take turns at it."""

    def __init__(self, watch):
        self.watch, self.running, self.samples, self.warm_up, self.absent = watch, {}, {}, {}, []

    def enter(self, name, start):
        """Starts a contender and warms it up."""
        try:
            self.running[name] = contender = start(name)
            self.samples[name] = []
            self.warm_up[name] = [contender.measure() for _ in range(WARM_UP)]
        except (contenders.Missing, contenders.Failed) as error:
            self.drop(name, error)

    def drop(self, name, error):
        """Goes on without a contender."""
        kind = "missing" if isinstance(error, contenders.Missing) else "failed"
        say(f"  {kind}: {name}: {error}")
        self.absent.append({"name": name, "kind": kind, "reason": str(error)})
        if name in self.running:
            self.running.pop(name).close()
            self.samples.pop(name, None)

    def run(self, rounds):
        """Rounds until everybody has as many quiet samples as rounds were asked for, or the most rounds are over."""
        for number, order in enumerate(orders(list(self.running), MOST_ROUNDS * rounds)):
            quiet = [sum(sample["quiet"] for sample in taken) for taken in self.samples.values()]
            if number >= rounds and min(quiet, default=rounds) >= rounds:
                break
            for name in order:
                if name not in self.running:
                    continue
                try:
                    sample = self.watch.sample(self.running[name].measure)
                except contenders.Failed as error:
                    self.drop(name, error)
                    continue
                self.samples[name].append({"round": number, **sample})

    def close(self):
        for contender in self.running.values():
            contender.close()


def agreements(work, match):
    """For each contender, how far its result is from the first one's."""
    reference, differences = None, {}
    for name in list(match.running):
        try:
            result = work.result(match.running[name], match.warm_up[name] + match.samples[name])
            differences[name] = work.difference(reference[1], result) if reference else None
            reference = reference or (name, result)
        except (contenders.Failed, ValueError) as error:
            match.drop(name, error)
    return reference and reference[0], differences


def compare(description, place, peers, rounds, watch):
    """Everything about one work."""
    say(f"\n{description}, {place.threads} thread(s)")
    try:
        work = works.work(description, place)
    except ValueError as error:
        say(f"  left out: {error}")
        return {"work": description, "left_out": str(error)}
    except (contenders.Missing, contenders.Failed) as error:
        say(f"  failed: {error}")
        return {"work": description, "failed": str(error)}
    match = Match(watch)
    try:
        # The first one is what the others' results are compared with: a peer, if there is one.
        for name in [*(peer for peer in work.peers if peers is None or peer in peers), works.ESR]:
            match.enter(name, work.start)
        match.run(rounds)
        compared_with, differences = agreements(work, match)
    finally:
        match.close()
    entries = []
    for name, contender in match.running.items():
        difference = differences[name]
        entries.append(
            {
                "name": name,
                "version": contender.version,
                "command": contender.command,
                **samples.summary(match.samples[name], min(rounds, FEWEST_ROUNDS)),
                "difference": difference,
                "agrees": difference is None or difference <= work.limit,
                "samples": [{k: v for k, v in sample.items() if k != "stdout"} for sample in match.samples[name]],
            }
        )
    result = {
        "work": description,
        "contenders": entries,
        "absent": match.absent,
        "compared_with": compared_with,
        "difference_is": work.unit,
        "difference_limit": work.limit,
        **standing(entries),
    }
    report(result)
    return result


def standing(entries):
    """The fastest peer and our time beside it.

    >>> entry = {"agrees": True, "min_s": 0.5}
    >>> standing([{**entry, "name": "esr", "median_s": 1.0}, {**entry, "name": "ncnn", "median_s": 2.0}])
    {'fastest_peer': 'ncnn', 'esr_to_fastest_peer': 0.5}
    >>> standing([{**entry, "name": "esr", "median_s": 1.0}])
    {'fastest_peer': None, 'esr_to_fastest_peer': None}
    """
    best = samples.fastest([entry for entry in entries if entry["name"] != works.ESR])
    ours = samples.fastest([entry for entry in entries if entry["name"] == works.ESR])
    ratio = ours["median_s"] / best["median_s"] if best and ours else None
    return {"fastest_peer": best and best["name"], "esr_to_fastest_peer": ratio}


def report(result):
    """The table of one work."""
    entries = result["contenders"]
    if not entries:
        return say("  nobody took part")
    say(samples.result_table(entries))
    if result["esr_to_fastest_peer"] is not None:
        say(f"esr / {result['fastest_peer']} (the fastest peer): {result['esr_to_fastest_peer']:.3f}")
    for entry in entries:
        if not entry["agrees"]:
            say(f"! {entry['name']} computes something else than {result['compared_with']}: {result['difference_is']}")
    if noisy := [entry["name"] for entry in entries if entry["noisy"]]:
        say(f"! others used the machine; too few quiet samples, so that all were counted: {', '.join(noisy)}")


def is_sound(result):
    """Whether nothing failed and all who took part computed the same. What is missing or left out is no failure.

    >>> absent = {"name": "ncnn", "kind": "missing", "reason": "ncnn is not installed"}
    >>> is_sound({"contenders": [{"agrees": True}], "absent": [absent]}), is_sound({"left_out": "no images"})
    (True, True)
    >>> is_sound({"contenders": [{"agrees": False}], "absent": []}), is_sound({"failed": "no cargo"})
    (False, False)
    """
    failed = "failed" in result or any(entry["kind"] == "failed" for entry in result.get("absent", []))
    return not failed and all(entry["agrees"] for entry in result.get("contenders", []))


def arguments():
    reference = os.environ.get("ESR_REFERENCE")
    target = os.environ.get("CARGO_TARGET_DIR", "target")
    default_weights = Path(reference, "weights/team26_imdn_nb7.pth") if reference else None
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--work", action="append", help=f"KIND:PARAMETERS, repeatable [default: {' '.join(works.DEFAULT)}]"
    )
    parser.add_argument("--peers", type=lambda text: text.split(","), help="only these peers, separated by commas")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"timed runs of each [default: {ROUNDS}]")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="[default: all cores]")
    parser.add_argument(
        "--patience", type=float, default=60, help="seconds a work may wait for an idle machine [default: 60]"
    )
    parser.add_argument(
        "--python", default=os.environ.get("PEERS_PYTHON"), help="the peers' Python [default: $PEERS_PYTHON]"
    )
    parser.add_argument(
        "--contender", default="cargo bench --locked --bench engine --", help="command of the Rust contender"
    )
    parser.add_argument("--esr", default=f"{target}/release/esr", help="the program, for whole processes")
    parser.add_argument(
        "--weights", default=default_weights, help="[default: team 26's below $ESR_REFERENCE, else untrained]"
    )
    parser.add_argument(
        "--images", type=Path, default=reference and Path(reference, "images"), help="[default: $ESR_REFERENCE/images]"
    )
    parser.add_argument(
        "--scratch", default=f"{target}/peers", help="folder for exported models, inputs, outputs and logs"
    )
    parser.add_argument("--self-test", action="store_true", help="test this program and stop")
    args = parser.parse_args()
    args.work = args.work or list(works.DEFAULT)
    for description in args.work:
        if not works.is_work(description):
            parser.error(f"`{description}` is no work; works are, for example, {' '.join(works.DEFAULT)}")
    known = {peer for kind in works.KINDS.values() for peer in kind.peers}
    if unknown := set(args.peers or []) - known:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    if args.rounds < 1 or args.threads < 1:
        parser.error("--rounds and --threads must be at least 1")
    return args


def self_test():
    """Every example in the documentation of these modules."""
    results = [doctest.testmod(module) for module in (sys.modules[__name__], contenders, host, npy, samples, works)]
    failed, attempted = (sum(counts) for counts in zip(*results, strict=True))
    say(f"benches/peers: {attempted} examples, {failed} failed")
    return 1 if failed or not attempted else 0


def main():
    args = arguments()
    if args.self_test:
        return self_test()
    peers = args.peers
    if not (args.python and Path(args.python).exists()):
        say(
            f"no peers: PEERS_PYTHON names no Python (`{args.python or ''}`); benches/peers/README.md says how to make it"
        )
        peers = []
    if args.rounds < FEWEST_ROUNDS:
        say(f"{args.rounds} round(s): a smoke run, its times mean little; a result needs at least {FEWEST_ROUNDS}")
    weights = args.weights and str(Path(args.weights).resolve())
    place = works.Place(
        args.python, shlex.split(args.contender), args.esr, weights, args.images, args.threads, args.scratch
    )
    document = {
        "schema": SCHEMA,
        "machine": host.machine(),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "threads": args.threads,
        "rounds": args.rounds,
        "pause_s": host.SETTLE_S + host.OBSERVE_S,
        "idle_share": host.IDLE_SHARE,
        "others_cpus": host.OTHERS_CPUS,
        "works": [],
    }
    for description in args.work:
        watch = host.Host(args.patience)
        document["works"].append(compare(description, place, peers, args.rounds, watch))
    print(json.dumps(document))
    return 0 if all(map(is_sound, document["works"])) else 1


if __name__ == "__main__":
    sys.exit(main())
