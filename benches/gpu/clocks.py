"""The GPU's clocks while anybody is timed, ours or a peer: NVML asked by this process, the same way for all. Standard library only."""

import ctypes
import threading

LIBRARY = "libnvidia-ml.so.1"
PERIOD_S = 0.1
SM = 1
# Bits of NVML's throttle reasons under which a timing is disturbed: hardware slowdown, software thermal, hardware thermal, power brake.
DISTURBING = 8 | 32 | 64 | 128


class Unavailable(Exception):
    """NVML is not there or refuses."""


class Nvml:
    """The questions that are asked. `library` is NVML, or something that answers like it.

    >>> class Fake:
    ...     def __getattr__(self, name):
    ...         if name == "nvmlDeviceGetPowerUsage":
    ...             raise AttributeError(name)
    ...         def answer(*arguments):
    ...             if name != "nvmlInit_v2" and hasattr(arguments[-1]._obj, "value") and name != "nvmlDeviceGetHandleByUUID":
    ...                 arguments[-1]._obj.value = 7
    ...             return 3 if name == "nvmlDeviceGetTemperature" else 0
    ...         return answer
    >>> Nvml("GPU-x", Fake()).look()
    {'sm_mhz': 7, 'reasons': 7, 'celsius': None, 'milliwatts': None}
    >>> Nvml(None, Fake())
    Traceback (most recent call last):
    clocks.Unavailable: the device's UUID is not known, and NVML counts devices in another order than CUDA
    """

    def __init__(self, uuid, library=None):
        try:
            self.library = library or ctypes.CDLL(LIBRARY)
        except OSError as error:
            raise Unavailable(f"{LIBRARY} cannot be loaded: {error}") from error
        self.handle = ctypes.c_void_p()
        if not uuid:
            raise Unavailable("the device's UUID is not known, and NVML counts devices in another order than CUDA")
        self._call("nvmlInit_v2")
        self._call("nvmlDeviceGetHandleByUUID", uuid.encode(), ctypes.byref(self.handle))

    def _call(self, name, *arguments):
        try:
            code = getattr(self.library, name)(*arguments)
        except AttributeError as error:
            raise Unavailable(f"{LIBRARY} has no {name}") from error
        if code != 0:
            raise Unavailable(f"{name} answered {code}")

    def _number(self, name, kind, *arguments):
        value = kind()
        try:
            self._call(name, self.handle, *arguments, ctypes.byref(value))
        except Unavailable:
            return None
        return value.value

    def look(self):
        """One reading; what is refused is None."""
        return {
            "sm_mhz": self._number("nvmlDeviceGetClockInfo", ctypes.c_uint, SM),
            "reasons": self._number("nvmlDeviceGetCurrentClocksThrottleReasons", ctypes.c_ulonglong),
            "celsius": self._number("nvmlDeviceGetTemperature", ctypes.c_uint, 0),
            "milliwatts": self._number("nvmlDeviceGetPowerUsage", ctypes.c_uint),
        }


def summary(looks):
    """What readings during one measurement say.

    >>> looks = [{"sm_mhz": mhz, "reasons": bits, "celsius": 40, "milliwatts": 300000} for mhz, bits in ((1700, 4), (1980, 64))]
    >>> summary(looks)
    {'n': 2, 'sm_min_mhz': 1700, 'sm_mean_mhz': 1840.0, 'sm_max_mhz': 1980, 'reasons': 68, 'disturbed': True, 'celsius_max': 40, 'watts_max': 300.0}
    >>> summary([]) is None
    True
    """
    clocks = [look["sm_mhz"] for look in looks if look["sm_mhz"] is not None]
    if not clocks:
        return None
    reasons = 0
    for look in looks:
        reasons |= look["reasons"] or 0
    celsius = [look["celsius"] for look in looks if look["celsius"] is not None]
    watts = [look["milliwatts"] / 1000 for look in looks if look["milliwatts"] is not None]
    return {
        "n": len(clocks),
        "sm_min_mhz": min(clocks),
        "sm_mean_mhz": sum(clocks) / len(clocks),
        "sm_max_mhz": max(clocks),
        "reasons": reasons,
        "disturbed": bool(reasons & DISTURBING),
        "celsius_max": max(celsius, default=None),
        "watts_max": max(watts, default=None),
    }


class Watch:
    """Reads while something runs; without NVML the answer is None and `why` says so.

    >>> class Fake:
    ...     def look(self):
    ...         return {"sm_mhz": 1000, "reasons": 0, "celsius": None, "milliwatts": None}
    >>> watch = Watch(Fake(), period_s=0.001)
    >>> with watch.during() as seen:
    ...     pass
    >>> seen.summary()["sm_mean_mhz"]
    1000.0
    >>> with Watch(None, "no NVML").during() as seen:
    ...     pass
    >>> seen.summary()
    """

    def __init__(self, nvml, why=None, period_s=PERIOD_S):
        self.nvml, self.why, self.period_s = nvml, why, period_s

    @classmethod
    def of(cls, uuid):
        try:
            return cls(Nvml(uuid))
        except Unavailable as error:
            return cls(None, str(error))

    def during(self):
        return _Span(self)


class _Span:
    def __init__(self, watch):
        self.watch, self.looks, self.end, self.thread = watch, [], threading.Event(), None

    def __enter__(self):
        if self.watch.nvml:
            self.thread = threading.Thread(target=self._read, daemon=True)
            self.thread.start()
        return self

    def _read(self):
        while True:
            self.looks.append(self.watch.nvml.look())
            if self.end.wait(self.watch.period_s):
                return

    def __exit__(self, *_):
        self.end.set()
        if self.thread:
            self.thread.join()

    def summary(self):
        # The program is starting or warming up in the first readings, and the clock has not risen yet.
        return summary(self.looks[len(self.looks) // 3 :])
