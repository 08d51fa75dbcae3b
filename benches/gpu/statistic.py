"""Medians, ratios with an interval, and what they say about a target. Standard library only."""

import math
import statistics

CONFIDENCE = 0.95
# A ratio of fewer rounds than this is no basis for a verdict.
FEWEST_ROUNDS = 5
# The spread above which a measurement is noisy, as in our program.
NOISY = 0.10


def relative_iqr(samples):
    """
    >>> relative_iqr([1.0, 2.0, 3.0]), relative_iqr([4.0])
    (0.5, None)
    """
    if len(samples) < 3:
        return None
    first, median, third = statistics.quantiles(samples, n=4, method="inclusive")
    return (third - first) / median


def ratio(pairs):
    """The median of the ratios of (ours, theirs) pairs, with the distribution-free interval between two order statistics.

    The k-th smallest and k-th largest ratio enclose the true median with probability 1 - 2 P(Binomial(n, 1/2) < k), whatever the
    distribution, if pairs are independent (David and Nagaraja, Order Statistics, section 7.1). With fewer than six pairs 95 % is out of
    reach; then k is 1, and `confidence` says how much is left.

    >>> found = ratio([(1.0, 2.0), (3.0, 2.0), (2.0, 2.0)])
    >>> found["median"], found["low"], found["high"], found["confidence"], found["pairs"]
    (1.0, 0.5, 1.5, 0.75, 3)
    >>> found = ratio([(float(i), 1.0) for i in range(1, 11)])
    >>> found["low"], found["high"], round(found["confidence"], 3)
    (2.0, 9.0, 0.979)
    >>> ratio([]) is None
    True
    """
    ratios = sorted(ours / theirs for ours, theirs in pairs)
    if not ratios:
        return None
    n, k = len(ratios), 1
    while k < (n + 1) // 2 and _coverage(n, k + 1) >= CONFIDENCE:
        k += 1
    return {
        "median": statistics.median(ratios),
        "low": ratios[k - 1],
        "high": ratios[n - k],
        "confidence": max(0.0, _coverage(n, k)),
        "pairs": n,
    }


def _coverage(n, k):
    return 1 - 2 * sum(math.comb(n, i) for i in range(k)) / 2**n


def verdict(found, target, doubts):
    """Whether a ratio meets a target: by its whole interval, and only where nothing speaks against the figures.

    >>> low = {"median": 0.6, "low": 0.5, "high": 0.65, "pairs": 6}
    >>> verdict(low, 0.7, []), verdict({**low, "high": 0.75}, 0.7, []), verdict({**low, "low": 0.71, "high": 0.8}, 0.7, [])
    ('met', 'undecided', 'missed')
    >>> verdict(low, 0.7, ["noisy"]), verdict({**low, "pairs": 2}, 0.7, []), verdict(None, 0.7, [])
    ('doubtful', 'too few rounds', 'not measured')
    """
    if found is None:
        return "not measured"
    if found["pairs"] < FEWEST_ROUNDS:
        return "too few rounds"
    if doubts:
        return "doubtful"
    if found["high"] <= target:
        return "met"
    return "missed" if found["low"] > target else "undecided"
