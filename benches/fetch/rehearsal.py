#!/usr/bin/env python3
"""Fetches a synthetic DIV2K of the real layout and size from loopback, in turns with curl, sha256sum and unzip, and says who needs how long.

A short table goes to standard output, one JSON object with every run to --output. README.md describes the method. Linux. Standard library only,
except that making the images needs numpy in the Python that --python names.
"""

import argparse
import contextlib
import doctest
import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

import children  # noqa: E402
import host  # noqa: E402
import listing  # noqa: E402
import server  # noqa: E402

SCHEMA = 1
ROUNDS = 3
ESR, PEER, STEPS = "esr fetch", "curl + sha256sum + unzip + sync", ("curl", "sha256sum", "unzip", "sync")
VERIFY, PACK = "esr fetch --verify", "esr pack"
# What a lab may ask of the program: so much faster than the tools in sequence, in so much memory.
RATIO_WANTED, PEAK_WANTED_MIB = 1.5, 200 * 1e6 / 2**20


def say(text):
    print(text, file=sys.stderr, flush=True)


@contextlib.contextmanager
def serving(folder):
    """A server in a process of its own; its base URL and process number."""
    command = [sys.executable, HERE / "server.py", folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.stdin.close()


def cpu_seconds(pid):
    """User and system time of a process so far."""
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rehearsal:
    """Folders and commands of all rounds."""

    def __init__(self, args, made, url, server_pid):
        self.args, self.made, self.url, self.server_pid = args, made, url, server_pid
        self.ours, self.theirs, self.log = args.work / "esr", args.work / "peer", args.work / "commands.log"
        self.manifest, self.sums = args.work / "datasets.toml", args.work / "SHA256SUMS"
        self.manifest.write_text(listing.toml(made, url))
        self.sums.write_text("".join(f"{facts['sha256']}  {file}\n" for file, facts in made["archives"].items()))
        self.watch = host.Host(args.patience)
        self.runs = {}

    def timed(self, name, commands, folder=None):
        """Runs commands one after the other, with nothing left to write from before."""
        os.sync()

        def measure():
            before = cpu_seconds(self.server_pid)
            steps = [children.run(command, folder, self.log) for command in commands]
            run = {**children.together(steps), "steps": steps if len(steps) > 1 else []}
            run["server_cpu_s"] = cpu_seconds(self.server_pid) - before
            # The server is no stranger to the watch.
            run["cpu_seconds"] = run["user_s"] + run["system_s"] + run["server_cpu_s"]
            return run

        run = self.watch.sample(measure)
        del run["cpu_seconds"]
        run["load_1min"] = os.getloadavg()[0]
        self.runs.setdefault(name, []).append(run)
        others = run["others_cpu_seconds"] / run["seconds"]
        say(f"  {name}: {run['seconds']:.2f} s, peak {run['peak_rss_mib']:.0f} MiB, others used {others:.2f} CPUs")

    def esr(self):
        shutil.rmtree(self.ours, ignore_errors=True)
        names = [dataset["name"] for dataset in self.made["sets"]]
        common = ["--data", self.ours, "--manifest", self.manifest]
        self.timed(ESR, [[self.args.esr, "fetch", *names, *common]])
        self.timed(VERIFY, [[self.args.esr, "fetch", "--verify", *names, *common]])
        if self.args.pack:
            out = self.ours / "train.esrpack"
            folders = {"LR": "DIV2K_train_LR_bicubic/X4", "HR": "DIV2K_train_HR"}
            places = {"OUT": out, **{key: self.ours / folder for key, folder in folders.items()}}
            command = [part.format(**places) for part in shlex.split(self.args.pack)]
            self.timed(PACK, [[self.args.esr, *command]])
            self.packed_bytes = out.stat().st_size
        shutil.rmtree(self.ours)

    def peer(self):
        shutil.rmtree(self.theirs, ignore_errors=True)
        self.theirs.mkdir(parents=True)
        files = list(self.made["archives"])
        urls = [part for file in files for part in ("-O", f"{self.url}/{file}")]
        unzip = [["unzip", "-q", file] for file in files]
        commands = [["curl", "-sS", *urls], ["sha256sum", "-c", "--quiet", self.sums], *unzip, ["sync", "-f", self.theirs]]
        self.timed(PEER, commands, self.theirs)
        run = self.runs[PEER][-1]
        costs = run["steps"]
        run["steps"] = dict(zip(STEPS, [costs[0], costs[1], children.together(costs[2:-1]), costs[-1]], strict=True))
        shutil.rmtree(self.theirs)

    def result(self):
        """Summaries, and what they say about the two goals."""
        archives = sum(facts["bytes"] for facts in self.made["archives"].values())
        counted = {ESR: archives, PEER: archives, VERIFY: archives, PACK: getattr(self, "packed_bytes", 0)}
        summaries = {name: children.summary(runs, counted[name]) for name, runs in self.runs.items()}
        ratio = summaries[PEER]["median_s"] / summaries[ESR]["median_s"]
        pairs = sorted(peer["seconds"] / esr["seconds"] for peer, esr in zip(self.runs[PEER], self.runs[ESR], strict=True))
        steps = {step: children.summary([run["steps"][step] for run in self.runs[PEER]], archives) for step in STEPS}
        peak = max(entry["peak_rss_mib"] for name, entry in summaries.items() if name != PEER)
        return {
            "archive_bytes": archives,
            "packed_bytes": counted[PACK] or None,
            "summaries": summaries,
            "peer_steps": steps,
            "times_faster": {"of_medians": ratio, "by_round": pairs, "wanted": RATIO_WANTED, "reached": ratio >= RATIO_WANTED},
            "peak": {"mib": peak, "wanted_mib": PEAK_WANTED_MIB, "reached": peak <= PEAK_WANTED_MIB},
            "runs": self.runs,
        }


def table(result):
    """The summaries for people.

    >>> entry = dict(n=3, median_s=2.0, iqr_s=0.5, mb_per_s=500.0, cpu_s=3.0, cores_busy=1.5, peak_rss_mib=60.0)
    >>> print(table({"summaries": {"esr fetch": entry}}))
    command                           n  median s   IQR s    MB/s   CPU s  cores  peak MiB
    esr fetch                         3      2.00    0.50     500     3.0   1.50        60
    """
    lines = [f"{'command':<32}{'n':>3}{'median s':>10}{'IQR s':>8}{'MB/s':>8}{'CPU s':>8}{'cores':>7}{'peak MiB':>10}"]
    for name, entry in result["summaries"].items():
        lines.append(
            f"{name:<32}{entry['n']:>3}{entry['median_s']:>10.2f}{entry['iqr_s']:>8.2f}{entry['mb_per_s']:>8.0f}"
            f"{entry['cpu_s']:>8.1f}{entry['cores_busy']:>7.2f}{entry['peak_rss_mib']:>10.0f}"
        )
    return "\n".join(lines)


def versions(esr):
    """What was compared, in its own words."""

    def first_line(*command):
        try:
            return subprocess.run(command, capture_output=True, text=True, check=False).stdout.partition("\n")[0].strip()
        except OSError as error:
            return str(error)

    asked = {"esr": (esr, "--version"), "curl": ("curl", "--version"), "sha256sum": ("sha256sum", "--version")}
    return {name: first_line(*command) for name, command in {**asked, "unzip": ("unzip", "-v")}.items()}


def has_command(esr, name):
    """Whether the program knows this subcommand."""
    return subprocess.run([esr, name, "--help"], capture_output=True, check=False).returncode == 0


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for archives and runs, on the disk that is measured; some 15 GB")
    parser.add_argument("--output", type=Path, required=True, help="where the JSON object goes")
    parser.add_argument("--esr", default=os.environ.get("CARGO_TARGET_DIR", "target") + "/release/esr", help="the program [default: %(default)s]")
    parser.add_argument("--python", default=os.environ.get("PEERS_PYTHON", sys.executable), help="a Python with numpy [default: $PEERS_PYTHON]")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"[default: {ROUNDS}]")
    parser.add_argument("--pack", default="pack {OUT} --lr {LR} --hr {HR} --scale 4", help="arguments that pack, empty for none [default: %(default)s]")
    parser.add_argument("--images", type=int, default=900, help="of each split at most, for a trial [default: all]")
    parser.add_argument("--patience", type=float, default=60, help="seconds to wait for an idle machine, in all [default: 60]")
    parser.add_argument("--note", default="", help="a remark for the JSON object, such as what else ran")
    parser.add_argument("--self-test", action="store_true", help="test this program and stop")
    if "--self-test" in sys.argv[1:]:
        return parser.parse_args(["--self-test", "--work", ".", "--output", os.devnull])
    args = parser.parse_args()
    args.work, args.esr = args.work.resolve(), str(Path(args.esr).resolve())
    if args.rounds < 1:
        parser.error("--rounds must be at least 1")
    return args


def self_test():
    """Every example in the documentation of these modules."""
    results = [doctest.testmod(module) for module in (sys.modules[__name__], children, listing, server)]
    failed, attempted = (sum(counts) for counts in zip(*results, strict=True))
    say(f"benches/fetch: {attempted} examples, {failed} failed")
    return 1 if failed or not attempted else 0


def main():
    args = arguments()
    if args.self_test:
        return self_test()
    archives = args.work / "archives"
    say("making the archives, unless they are there")
    subprocess.run([args.python, HERE / "synthetic.py", archives, "--images", str(args.images)], check=True)
    made = json.loads((archives / "archives.json").read_text())
    if args.pack and not has_command(args.esr, shlex.split(args.pack)[0]):
        say(f"left out: `{args.esr}` has no command `{shlex.split(args.pack)[0]}`")
        args.pack = ""
    with serving(archives) as (url, pid):
        rehearsal = Rehearsal(args, made, url, pid)
        for number in range(args.rounds):
            say(f"round {number + 1} of {args.rounds}")
            turns = [rehearsal.esr, rehearsal.peer]
            for turn in turns if number % 2 == 0 else reversed(turns):
                turn()
        result = rehearsal.result()
    document = {
        "schema": SCHEMA,
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "note": args.note,
        "machine": host.machine(),
        "versions": versions(args.esr),
        "rounds": args.rounds,
        "warm": "the archives are in the page cache of the server from the first round on; nothing else is",
        "made": made,
        **result,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(document, indent=1) + "\n")
    print(table(result))
    faster, peak = result["times_faster"], result["peak"]
    print(f"esr fetch is {faster['of_medians']:.2f} times as fast as the tools in sequence; peak of esr {peak['mib']:.0f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
