"""Ours and the peers taking turns at one work: everybody once, then rounds of the best. Standard library only."""

import statistics
import time

import statistic
from program import Failed, Missing

TARGET = 0.7
FINALISTS = 2
# Ours and the peer's mean SM clock may differ by this much before the ratio of times is doubted.
CLOCK_GAP = 0.02


class Entrant:
    """Someone who can do the work. `start()` prepares it, `measure()` is one turn and returns at least `samples_ms`."""

    def __init__(self, name, ours, start, measure, check=None, release=None, kernels=None):
        self.name, self.ours, self.start, self.measure, self.check = name, ours, start, measure, check
        # Which kernels of ours it computes with; the fastest with each play the rounds.
        self.kernels = kernels
        self.release, self.released = release, False
        self.turns, self.prepared, self.difference, self.agrees = [], None, None, True

    def median_ms(self):
        return statistics.median(self.samples())

    def samples(self):
        return [sample for turn in self.turns for sample in turn["samples_ms"]]

    def entry(self):
        """What is kept of it: every turn with every sample."""
        samples = self.samples()
        return {
            "name": self.name,
            "ours": self.ours,
            "kernels": self.kernels,
            "prepared": self.prepared,
            "n": len(samples),
            "turns": self.turns,
            "median_ms": self.median_ms(),
            "min_ms": min(samples),
            "max_ms": max(samples),
            "relative_iqr": statistic.relative_iqr(samples),
            "difference": self.difference,
            "agrees": self.agrees,
        }


class Match:
    """One work. `watch` reads the clocks during every turn, ours and theirs; `deadline` is when no further round begins.

    >>> import clocks
    >>> class Fake:
    ...     def look(self):
    ...         return {"sm_mhz": 1000, "reasons": 0, "celsius": None, "milliwatts": None}
    >>> def entrant(name, ours, ms):
    ...     return Entrant(name, ours, lambda: None, lambda: {"samples_ms": [ms]}, release=lambda: print(f"{name} is out"))
    >>> match = Match(clocks.Watch(Fake()), time.monotonic() + 60, lambda text: None)
    >>> for each in (entrant("esr", True, 1.0), entrant("a", False, 4.0), entrant("b", False, 3.0), entrant("c", False, 2.0)):
    ...     match.enter(each)
    a is out
    >>> result = match.run(6)
    >>> result["fastest_peer"], result["ratio"]["median"], result["ratio_in_cycles"]["median"], result["verdict"]
    ('c', 0.5, 0.5, 'met')
    >>> [len(entry["turns"]) for entry in result["entrants"]]
    [7, 1, 7, 7]
    >>> both = Match(clocks.Watch(Fake()), time.monotonic() + 60, lambda text: None)
    >>> for name, ms, kernels in (("esr fixed", 1.5, "fixed"), ("esr slower", 1.6, "fixed"), ("esr fastest", 1.0, "fastest"), ("a", 2.0, None)):
    ...     both.enter(Entrant(name, bool(kernels), lambda: None, lambda ms=ms: {"samples_ms": [ms]}, kernels=kernels))
    >>> result = both.run(6)
    >>> result["ours"], result["counts"], [(key, each["ours"], each["ratio"]["median"]) for key, each in result["by_kernels"].items()]
    ('esr fastest', 'fastest', [('fixed', 'esr fixed', 0.75), ('fastest', 'esr fastest', 0.5)])
    """

    def __init__(self, watch, deadline, say):
        self.watch, self.deadline, self.say = watch, deadline, say
        self.entrants, self.absent, self.dropped, self.final = [], [], [], []

    def turn(self, entrant, number):
        with self.watch.during() as seen:
            taken = entrant.measure()
        entrant.turns.append({"round": number, **taken, "clock_during": seen.summary()})

    def enter(self, entrant):
        """Prepares an entrant and lets it do the work once; who cannot is named, and the others go on."""
        if time.monotonic() > self.deadline:
            self.absent.append({"name": entrant.name, "kind": "no time", "reason": "the time of this part was over"})
            return
        try:
            begun = time.monotonic()
            entrant.prepared = entrant.start()
            self.turn(entrant, 0)
            # With what was prepared, and for ours with the trial of kernels that nobody chose before.
            entrant.turns[0]["seconds_with_preparation"] = round(time.monotonic() - begun, 1)
            if entrant.check:
                entrant.difference, entrant.agrees = entrant.check()
        except (Failed, Missing) as error:
            self.drop(entrant, error)
            return
        self.say(f"    {entrant.name}: {entrant.median_ms():.4f} ms" + ("" if entrant.agrees else ", computes something else"))
        self.entrants.append(entrant)
        self.release_losers()

    def release_losers(self):
        """Who is no longer among the fastest peers gives back what it holds: several training steps do not fit into one device."""
        finalists = self.best(False, FINALISTS)
        for other in self.entrants:
            if not other.ours and other.release and other not in finalists and not other.released:
                other.release()
                other.released = True

    def drop(self, entrant, error):
        kind = "missing" if isinstance(error, Missing) else "failed"
        self.say(f"    {kind}: {entrant.name}: {error}")
        if entrant.release:
            entrant.release()
        self.absent.append({"name": entrant.name, "kind": kind, "reason": str(error)})

    def best(self, ours, count):
        agreeing = [e for e in self.entrants if e.ours == ours and e.agrees and e not in self.dropped]
        return sorted(agreeing, key=Entrant.median_ms)[:count]

    def best_of_ours(self):
        """Our fastest with each selection of kernels, in the order in which they entered."""
        found = {}
        for entrant in self.best(True, len(self.entrants)):
            found.setdefault(entrant.kernels, entrant)
        return [entrant for entrant in self.entrants if entrant in found.values()]

    def run(self, rounds):
        """Rounds of our fastest with each selection of kernels and the fastest peers, every other one the other way round, so that nobody always follows the same neighbour."""
        self.final = final = [*self.best_of_ours(), *self.best(False, FINALISTS)]
        for number in range(1, rounds + 1):
            if time.monotonic() > self.deadline or len(final) < 2:
                break
            for entrant in final if number % 2 else reversed(final):
                if entrant in self.dropped:
                    continue
                try:
                    self.turn(entrant, number)
                except (Failed, Missing) as error:
                    self.drop(entrant, error)
                    self.dropped.append(entrant)
        return self.result()

    def result(self):
        # Only who played rounds beside the other can be compared; a loser's single turn may have been a lucky one.
        theirs = next((e for e in self.best(False, len(self.entrants)) if e in self.final), None)
        sides = {e.kernels: side(e, theirs) for e in self.final if e.ours and e not in self.dropped}
        counts = min(sides, key=lambda key: sides[key]["ratio"]["median"] if sides[key]["ratio"] else sides[key]["median_ms"], default=None)
        nobody = {"ours": None, "ratio": None, "ratio_in_cycles": None, "doubts": [], "verdict": statistic.verdict(None, TARGET, [])}
        return {
            "entrants": [entrant.entry() for entrant in self.entrants],
            "absent": self.absent,
            "fastest_peer": theirs.name if theirs else None,
            "target": TARGET,
            "by_kernels": sides,
            # The better of them is the one that counts, and what stands here is a copy of its figures.
            "counts": counts,
            **(sides[counts] if sides else nobody),
        }


def side(ours, theirs):
    """One of ours beside the fastest peer: the ratio over the rounds that both played, and what speaks against it."""
    pairs = paired(ours.turns, theirs.turns) if theirs else []
    found = statistic.ratio([(mean_ms(a), mean_ms(b)) for a, b in pairs])
    doubts = doubts_of(ours, theirs) if theirs else []
    return {
        "ours": ours.name,
        "median_ms": ours.median_ms(),
        "ratio": found,
        "ratio_in_cycles": statistic.ratio([c for c in map(cycles, pairs) if c]),
        "doubts": doubts,
        "verdict": statistic.verdict(found, TARGET, doubts),
    }


def mean_ms(turn):
    return statistics.median(turn["samples_ms"])


def paired(ours, theirs):
    """The turns of the same rounds; round 0, in which everybody was started, counts for nobody.

    >>> paired([{"round": 0}, {"round": 1}, {"round": 2}], [{"round": 0}, {"round": 2}])
    [({'round': 2}, {'round': 2})]
    """
    by_round = {turn["round"]: turn for turn in theirs if turn["round"] > 0}
    return [(turn, by_round[turn["round"]]) for turn in ours if turn["round"] in by_round]


def cycles(pair):
    """Clock cycles of both turns of a pair; None without clocks.

    >>> turn = {"samples_ms": [2.0], "clock_during": {"sm_mean_mhz": 1000.0}}
    >>> cycles((turn, {**turn, "samples_ms": [4.0]})), cycles((turn, {**turn, "clock_during": None}))
    ((2000.0, 4000.0), None)
    """
    if any(turn["clock_during"] is None for turn in pair):
        return None
    ours, theirs = (mean_ms(turn) * turn["clock_during"]["sm_mean_mhz"] for turn in pair)
    return ours, theirs


def doubts_of(ours, theirs):
    """Why a ratio should not be believed."""
    doubts = []
    for entrant in (ours, theirs):
        turns = [turn for turn in entrant.turns if turn["round"] > 0]
        invalid = [turn["validity"] for turn in turns if turn.get("validity", "valid") != "valid"]
        if invalid:
            doubts.append(f"{entrant.name}: {len(invalid)} of {len(turns)} turns are {', '.join(sorted(set(invalid)))}")
        clocks = [turn["clock_during"] for turn in turns]
        if disturbed := sum(clock is not None and clock["disturbed"] for clock in clocks):
            doubts.append(f"{entrant.name}: the device slowed itself down in {disturbed} of {len(turns)} turns")
        spread = statistic.relative_iqr([mean_ms(turn) for turn in turns])
        if spread is not None and spread > statistic.NOISY:
            doubts.append(f"{entrant.name}: relative IQR {spread:.1%} over rounds")
    means = []
    for entrant in (ours, theirs):
        clocks = [turn["clock_during"]["sm_mean_mhz"] for turn in entrant.turns if turn["round"] > 0 and turn["clock_during"]]
        means.append(statistics.mean(clocks) if clocks else None)
    if None in means:
        doubts.append("nobody saw the clocks")
    elif abs(means[0] / means[1] - 1) > CLOCK_GAP:
        doubts.append(f"mean SM clock {means[0]:.0f} MHz for {ours.name}, {means[1]:.0f} MHz for {theirs.name}: see the ratio in cycles")
    return doubts
