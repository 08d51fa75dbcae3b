"""Statistics of samples and the table people read. Standard library only."""

import math


def quantile(values, p):
    """The p-quantile by linear interpolation between order statistics (type 7 of Hyndman and Fan), as `esr measure` computes it.

    >>> quantile([8, 1, 4, 2], 0.5), quantile([8, 1, 4, 2], 0.25), quantile([8, 1, 4, 2], 0.75)
    (3.0, 1.75, 5.0)
    >>> quantile([7.5], 0.25)
    7.5
    """
    ordered = sorted(values)
    position = (len(ordered) - 1) * p
    low, high = ordered[math.floor(position)], ordered[math.ceil(position)]
    return low + (high - low) * (position - math.floor(position))


def summary(samples, enough):
    """What a contender's samples say. Quiet samples count when there are `enough` of them; otherwise all do, and `noisy` says so.

    >>> quiet = [{"seconds": s, "cpu_seconds": 2 * s, "peak_rss_mib": 10 * s, "quiet": True} for s in (1.0, 2.0, 4.0)]
    >>> loud = [{"seconds": 9.0, "cpu_seconds": 9.0, "peak_rss_mib": 5.0, "quiet": False}]
    >>> s = summary(quiet + loud, enough=3)
    >>> s["median_s"], s["min_s"], s["relative_iqr"], s["cpu_median_s"], s["peak_rss_mib"], s["noisy"]
    (2.0, 1.0, 0.75, 4.0, 40.0, False)
    >>> s["n"], s["n_quiet"]
    (4, 3)
    >>> s = summary(quiet + loud, enough=4)
    >>> s["median_s"], s["noisy"]
    (3.0, True)
    """
    quiet = [sample for sample in samples if sample["quiet"]]
    noisy = len(quiet) < enough
    used = samples if noisy else quiet
    seconds = [sample["seconds"] for sample in used]
    median = quantile(seconds, 0.5)
    return {
        "n": len(samples),
        "n_quiet": len(quiet),
        "noisy": noisy,
        "median_s": median,
        "min_s": min(seconds),
        "relative_iqr": (quantile(seconds, 0.75) - quantile(seconds, 0.25)) / median,
        "cpu_median_s": quantile([sample["cpu_seconds"] for sample in used], 0.5),
        "peak_rss_mib": max(sample["peak_rss_mib"] for sample in samples),
    }


def fastest(contenders):
    """The contender of the smallest median among those that agree with the others; None of nobody.

    >>> fastest([{"name": "a", "median_s": 2, "agrees": True}, {"name": "b", "median_s": 1, "agrees": False}])["name"]
    'a'
    >>> fastest([])
    """
    return min((c for c in contenders if c["agrees"]), key=lambda c: c["median_s"], default=None)


def table(header, rows):
    """Columns of text: the first to the left, the others to the right.

    >>> print(table(("name", "s"), [("ncnn", "0.5"), ("esr", "10.25")]))
    name      s
    ncnn    0.5
    esr   10.25
    """
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]

    def line(row):
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        return "  ".join([row[0].ljust(widths[0]), *cells[1:]]).rstrip()

    return "\n".join(line(row) for row in (header, *rows))


def result_table(contenders):
    """One line a contender.

    >>> c = {"name": "x", "n": 9, "n_quiet": 8, "noisy": True, "median_s": 0.5, "min_s": 0.25, "relative_iqr": 0.031}
    >>> print(result_table([{**c, "cpu_median_s": 1.0, "peak_rss_mib": 99.6, "difference": 1e-6, "agrees": True}]))
    contender  median s   min s   IQR  CPU s  peak MiB  quiet  difference
    x            0.5000  0.2500  3.1%  1.000       100   8/9!     1.0e-06
    """
    header = ("contender", "median s", "min s", "IQR", "CPU s", "peak MiB", "quiet", "difference")
    rows = []
    for c in contenders:
        difference = "-" if c["difference"] is None else f"{c['difference']:.1e}"
        rows.append(
            (
                c["name"],
                f"{c['median_s']:.4f}",
                f"{c['min_s']:.4f}",
                f"{c['relative_iqr']:.1%}",
                f"{c['cpu_median_s']:.3f}",
                f"{c['peak_rss_mib']:.0f}",
                f"{c['n_quiet']}/{c['n']}" + ("!" if c["noisy"] else ""),
                difference + ("" if c["agrees"] else "!"),
            )
        )
    return table(header, rows)
