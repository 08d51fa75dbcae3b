"""Runs commands and says what they cost. Linux; standard library only."""

import os
import statistics
import subprocess
import time

FIELDS = ("seconds", "user_s", "system_s", "peak_rss_mib")


class Failed(Exception):
    """A command did not succeed."""


def run(command, folder=None, log=None):
    """Runs one command to its end: wall seconds, CPU seconds and the peak of resident memory, of it and of what it started.

    The peak cannot be less than this process's own, from which the command was forked.
    """
    started = time.monotonic()
    with open(log or os.devnull, "ab") as output:
        child = subprocess.Popen([str(part) for part in command], cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        _, status, usage = os.wait4(child.pid, 0)
    seconds = time.monotonic() - started
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode != 0:
        raise Failed(f"`{' '.join(map(str, command))}` ended with {child.returncode}" + (f"; see `{log}`" if log else ""))
    return {"seconds": seconds, "user_s": usage.ru_utime, "system_s": usage.ru_stime, "peak_rss_mib": usage.ru_maxrss / 1024}


def together(runs):
    """The costs of commands that ran one after the other.

    >>> together([dict(seconds=1, user_s=1, system_s=0, peak_rss_mib=9), dict(seconds=2, user_s=0, system_s=1, peak_rss_mib=5)])
    {'seconds': 3, 'user_s': 1, 'system_s': 1, 'peak_rss_mib': 9}
    """
    total = {field: sum(run[field] for run in runs) for field in FIELDS[:3]}
    return {**total, "peak_rss_mib": max(run["peak_rss_mib"] for run in runs)}


def summary(runs, data_bytes):
    """Medians, quartiles and rates over rounds. `data_bytes` is what the rate counts.

    >>> runs = [dict(seconds=s, user_s=s, system_s=0, peak_rss_mib=8) for s in (1.0, 2.0, 4.0)]
    >>> [summary(runs, 8_000_000)[key] for key in ("n", "median_s", "iqr_s", "mb_per_s", "cores_busy", "peak_rss_mib")]
    [3, 2.0, 1.5, 4.0, 1.0, 8]
    """
    seconds = [run["seconds"] for run in runs]
    cpu = [run["user_s"] + run["system_s"] for run in runs]
    median = statistics.median(seconds)
    first, _, third = statistics.quantiles(seconds, n=4, method="inclusive") if len(runs) > 1 else (median, median, median)
    return {
        "n": len(runs),
        "median_s": median,
        "iqr_s": third - first,
        "min_s": min(seconds),
        "mb_per_s": data_bytes / median / 1e6,
        "cpu_s": statistics.median(cpu),
        "cores_busy": statistics.median(used / wall for used, wall in zip(cpu, seconds, strict=True)),
        "peak_rss_mib": max(run["peak_rss_mib"] for run in runs),
    }
