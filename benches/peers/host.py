"""The machine: what it is, and whether anybody else computes on it. Linux only; standard library only."""

import os
import platform
import time

# The machine counts as idle when at most this share of all its CPU time was used. A look of OBSERVE_S sees whole ticks of 10 ms only.
IDLE_SHARE = 0.05
# A sample counts as quiet when everybody else together used at most this many CPUs while it ran ...
OTHERS_CPUS = 0.1
# ... give or take this much CPU time in seconds: both readings are rounded to ticks.
ROUNDING_S = 0.03
# After a run, spinning threads of the last contender are given this long to go to sleep; then the machine is looked at for this long.
SETTLE_S, OBSERVE_S = 0.1, 0.2

FLAGS_THAT_MATTER = ("fma", "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_tile")


def cpu_ticks(stat):
    """All ticks and busy ticks since boot from the text of /proc/stat; time stolen by the hypervisor is busy.

    >>> cpu_ticks("cpu  100 5 20 300 10 1 2 3 0 0\\ncpu0 1 2 3 4\\n")
    (441, 131)
    """
    fields = [int(field) for field in stat.split("\n", 1)[0].split()[1:9]]
    return sum(fields), sum(fields) - fields[3] - fields[4]


def busy_share(before, after):
    """The share of CPU time used between two readings of `cpu_ticks`.

    >>> busy_share((1000, 500), (1200, 650))
    0.75
    >>> busy_share((1000, 500), (1000, 500))
    0.0
    """
    passed = after[0] - before[0]
    return (after[1] - before[1]) / passed if passed > 0 else 0.0


def is_quiet(busy_before, others_seconds, seconds):
    """Whether a sample of `seconds` was undisturbed: idle before it, and nobody else computed during it.

    >>> is_quiet(0.0, 0.05, 0.5), is_quiet(0.5, 0.0, 0.5), is_quiet(0.0, 0.5, 0.5)
    (True, False, False)
    """
    return busy_before <= IDLE_SHARE and others_seconds <= OTHERS_CPUS * seconds + ROUNDING_S


class Host:
    """Watches /proc/stat around samples."""

    def __init__(self, patience_s, settle_s=SETTLE_S, observe_s=OBSERVE_S):
        self.patience_s, self.settle_s, self.observe_s = patience_s, settle_s, observe_s
        self.tick_s = 1 / os.sysconf("SC_CLK_TCK")

    @staticmethod
    def _ticks():
        with open("/proc/stat") as stat:
            return cpu_ticks(stat.read())

    def _observe(self):
        before = self._ticks()
        time.sleep(self.observe_s)
        return busy_share(before, self._ticks())

    def pause(self):
        """Waits for an idle machine as long as patience lasts; the share of CPU time that was used in the last look."""
        time.sleep(self.settle_s)
        share = self._observe()
        while share > IDLE_SHARE and self.patience_s > 0:
            self.patience_s -= self.observe_s
            share = self._observe()
        return share

    def sample(self, measure):
        """Pauses, lets `measure` run once and adds to what it says how quiet the machine was."""
        busy_before = self.pause()
        before = self._ticks()
        sample = measure()
        busy_s = (self._ticks()[1] - before[1]) * self.tick_s
        others_s = max(0.0, busy_s - sample["cpu_seconds"])
        sample["busy_before"] = round(busy_before, 4)
        sample["others_cpu_seconds"] = round(others_s, 4)
        sample["quiet"] = is_quiet(busy_before, others_s, sample["seconds"])
        return sample


def _field(path, key):
    try:
        with open(path) as text:
            lines = (line.partition(":") for line in text)
            return next((value.strip() for name, _, value in lines if name.strip() == key), None)
    except OSError:
        return None


def machine():
    """What results were measured on."""
    flags = (_field("/proc/cpuinfo", "flags") or "").split()
    memory = _field("/proc/meminfo", "MemTotal")
    return {
        "cpu_model": _field("/proc/cpuinfo", "model name"),
        "logical_cores": os.cpu_count(),
        "available_cores": len(os.sched_getaffinity(0)),
        "cpu_flags": [flag for flag in FLAGS_THAT_MATTER if flag in flags],
        "memory_mib": int(memory.split()[0]) // 1024 if memory else None,
        "kernel": platform.release(),
        "architecture": platform.machine(),
        "python": platform.python_version(),
    }
