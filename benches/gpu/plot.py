"""Draws the log of the GPU (docs/gpu-log.md) as SVG, for light and for dark pages. Standard library only."""

import html
import json

WIDTH, LEFT, RIGHT, TOP = 900, 70, 16, 34
ROW, GAP = 130, 34
# Field of a sample, what it is called, and what its numbers are divided by.
ROWS = (
    ("sm_mhz", "SM clock, MHz", 1),
    ("power_instant_mw", "power, W", 1000),
    ("temperature_celsius", "temperature, °C", 1),
)
MOST_MARKS = 40

STYLE = """
  svg { background: #ffffff; font: 12px sans-serif; }
  text { fill: #24292f; } .small { font-size: 10px; fill: #57606a; }
  .frame { fill: none; stroke: #8c959f; } .grid { stroke: #d0d7de; }
  .line { fill: none; stroke: #0969da; stroke-width: 1.4; } .mark { stroke: #bc4c00; stroke-dasharray: 2 3; }
  @media (prefers-color-scheme: dark) {
    svg { background: #0d1117; } text { fill: #e6edf3; } .small { fill: #9198a1; }
    .frame { stroke: #656c76; } .grid { stroke: #30363d; } .line { stroke: #4493f8; } .mark { stroke: #db6d28; }
  }
"""


def parse(lines):
    """Samples and marks with seconds since the first sample, and what the footer says; ValueError for what is no complete log.

    >>> log = parse(EXAMPLE)
    >>> [round(sample["at_s"], 3) for sample in log["samples"]], log["marks"], log["share_of_wall"], log["name"]
    ([0.0, 0.02], [(0.01, 'window 1')], 0.004, 'a GPU')
    >>> parse(EXAMPLE[:-1])
    Traceback (most recent call last):
    ValueError: the log has no footer, so it is not complete
    """
    records = [json.loads(line) for line in lines if line.strip()]
    if not records or records[0].get("kind") != "header":
        raise ValueError("the log does not begin with a header")
    if records[-1].get("kind") != "footer":
        raise ValueError("the log has no footer, so it is not complete")
    header, footer = records[0], records[-1]
    if header.get("unavailable"):
        raise ValueError(f"NVML was not available: {json.dumps(header['unavailable'])}")
    samples = [record for record in records if record["kind"] == "sample"]
    if not samples:
        raise ValueError("the log has no samples")
    start = samples[0]["at_ns"]
    for sample in samples:
        sample["at_s"] = (sample["at_ns"] - start) / 1e9
    marks = [((record["at_ns"] - start) / 1e9, record["label"]) for record in records if record["kind"] == "mark"]
    facts = header.get("facts") or {}
    share = (footer.get("cost") or {}).get("share_of_wall")
    return {"samples": samples, "marks": marks, "share_of_wall": share, "name": facts.get("name"), "period_ms": header.get("period_ms")}


EXAMPLE = [
    '{"kind": "header", "schema": 1, "period_ms": 20, "unavailable": null, "facts": {"name": "a GPU"}}',
    '{"kind": "sample", "at_ns": 1000000000, "sm_mhz": 1980, "power_instant_mw": 300000, "temperature_celsius": 40}',
    '{"kind": "mark", "at_ns": 1010000000, "label": "window 1"}',
    '{"kind": "sample", "at_ns": 1020000000, "sm_mhz": 1965, "power_instant_mw": null, "temperature_celsius": 41}',
    '{"kind": "footer", "cost": {"share_of_wall": 0.004}}',
]


def scale(values):
    """Lower and upper end of an axis, with room even where nothing changes.

    >>> scale([10.0, 20.0]), scale([5.0])
    ((9.0, 21.0), (4.0, 6.0))
    """
    low, high = min(values), max(values)
    room = (high - low) * 0.1 or 1.0
    return low - room, high + room


def svg(log):
    """The picture.

    >>> import xml.etree.ElementTree as tree
    >>> picture = tree.fromstring(svg(parse(EXAMPLE)))
    >>> [text.text for text in picture.iter("{http://www.w3.org/2000/svg}text")][:2]
    ['a GPU: 2 samples in 0.02 s, sampler busy 0.40 % of the time', 'SM clock, MHz']
    >>> len(list(picture.iter("{http://www.w3.org/2000/svg}polyline")))
    3
    """
    samples, end = log["samples"], log["samples"][-1]["at_s"] or 1.0
    height = TOP + len(ROWS) * (ROW + GAP)
    inner = WIDTH - LEFT - RIGHT
    share = "unknown" if log["share_of_wall"] is None else f"{log['share_of_wall']:.2%}".replace("%", " %")
    title = f"{log['name'] or 'GPU'}: {len(samples)} samples in {end:.2f} s, sampler busy {share} of the time"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{html.escape(title)}</title><style>{STYLE}</style>",
        f'<text x="{LEFT}" y="18">{html.escape(title)}</text>',
    ]

    def x(at_s):
        return LEFT + inner * at_s / end

    for number, (field, label, divisor) in enumerate(ROWS):
        top = TOP + number * (ROW + GAP)
        points = [(s["at_s"], s[field] / divisor) for s in samples if s.get(field) is not None]
        parts.append(f'<text x="{LEFT}" y="{top + 12}">{label}</text>')
        upper, lower = top + 18, top + ROW
        parts.append(f'<rect class="frame" x="{LEFT}" y="{upper}" width="{inner}" height="{lower - upper}"/>')
        if not points:
            parts.append(f'<text class="small" x="{LEFT + 8}" y="{upper + 16}">not told</text>')
            continue
        low, high = scale([value for _, value in points])

        def y(value, low=low, high=high, lower=lower, upper=upper):
            return lower - (lower - upper) * (value - low) / (high - low)

        for value in (low, (low + high) / 2, high):
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{LEFT + inner}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
            parts.append(f'<text class="small" text-anchor="end" x="{LEFT - 6}" y="{y(value) + 3:.1f}">{value:.0f}</text>')
        # All marks are drawn when they are few; many windows would be a wall of lines.
        for at_s, name in log["marks"][:: max(1, len(log["marks"]) // MOST_MARKS)]:
            if 0 <= at_s <= end:
                line = f'x1="{x(at_s):.1f}" x2="{x(at_s):.1f}" y1="{upper}" y2="{lower}"'
                parts.append(f'<line class="mark" {line}><title>{html.escape(name)}</title></line>')
        joined = " ".join(f"{x(at_s):.1f},{y(value):.1f}" for at_s, value in points)
        parts.append(f'<polyline class="line" points="{joined}"/>')
    parts.append(f'<text class="small" x="{LEFT}" y="{height - 8}">0 s</text>')
    parts.append(f'<text class="small" text-anchor="end" x="{LEFT + inner}" y="{height - 8}">{end:.2f} s</text></svg>')
    return "\n".join(parts) + "\n"
