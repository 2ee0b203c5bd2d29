"""What a live view showed at its end, as a picture without scripts: for a notebook that is read and not run."""

from __future__ import annotations

import html
from typing import Any

import numpy as np

from ..bins import BUCKETS, REST, Picture

WIDTH, HEIGHT = 760, 300
LEFT, RIGHT, TOP, BOTTOM = 72, 740, 58, 264
INK, SOFT, LINE, MAIN, BAD = "#1a1a1a", "#5c5c5c", "#dddddd", "#1565c0", "#c62828"
COLOURS = ("#2f6fb3", "#d9730d", "#2e8b57", "#b8433f", "#7d5fb2", "#8a6d3b", "#c2579a", "#3a8f9e")  # those of live.css, light
_SCALES = {
    "ns": (("ns", 1), ("us", 1e3), ("ms", 1e6), ("s", 1e9)),
    "us": (("us", 1), ("ms", 1e3), ("s", 1e6)),
    "ms": (("ms", 1), ("s", 1e3)),
    "bytes": (("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)),
}


def svg(picture: Picture, about: dict[str, Any], view: str, state: str) -> str:
    """Draw what the widget draws.

    Parameters
    ----------
    picture : Picture
    about : dict
        `title`, `unit`, `value`, `step` of the view.
    view : {"rate", "histogram", "heat map"}
    state : str
        How many events, how long, how it ended.
    """
    draw = {"rate": _rate, "histogram": _histogram, "heat map": _heat}[view]
    title = html.escape(about["title"])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" aria-label="{title}: {html.escape(state)}">',
        f"<style>text{{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:{SOFT}}}.t{{font-size:13px;font-weight:bold;fill:{INK}}}.bad{{fill:{BAD}}}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text class="t" x="8" y="18">{title}</text><text x="8" y="34">{html.escape(state)}</text>',
        *_legend(picture, view),
        *draw(picture, about),
    ]
    return "".join([*parts, "</svg>"])


def _legend(picture: Picture, view: str) -> list[str]:
    names = [] if view == "heat map" or len(picture.groups) < 2 else [(name, _colour(picture, n)) for n, name in enumerate(picture.groups)]
    names += [("lost", BAD)] if picture.gaps and view != "histogram" else []
    parts, x = [], LEFT
    for name, colour in names:
        shown = name if len(name) <= 16 else name[:15] + "…"
        parts.append(f'<rect x="{x}" y="41" width="9" height="9" fill="{colour}"/><text x="{x + 13}" y="50">{html.escape(shown)}</text>')
        x += 28 + 7 * len(shown)
    return parts


def _colour(picture: Picture, n: int) -> str:
    return SOFT if picture.groups[n] == REST else COLOURS[n % len(COLOURS)]


def _rate(picture: Picture, about: dict) -> list[str]:
    counts = np.vstack([picture.rate.astype(float), picture.missing[None]]) / picture.width
    tops = counts.cumsum(axis=0)
    most = _nice(float(tops[-1].max(initial=0)) or 1)
    wide = (RIGHT - LEFT) / counts.shape[1]
    parts = []
    for n in range(5):
        y = BOTTOM - n / 4 * (BOTTOM - TOP)
        parts.append(f'<path d="M{LEFT} {y:.1f}H{RIGHT}" stroke="{LINE}"/><text x="{LEFT - 7}" y="{y + 4:.1f}" text-anchor="end">{_short(most * n / 4)}</text>')
    parts.append(f'<text transform="translate(14 {(TOP + BOTTOM) / 2})rotate(-90)" text-anchor="middle">events a second</text>')
    colours = [*(_colour(picture, n) for n in range(len(picture.groups))), BAD]
    for row, colour in enumerate(colours):
        boxes = []
        for at in np.flatnonzero(counts[row]).tolist():
            y, high = (value / most * (BOTTOM - TOP) for value in (tops[row, at], counts[row, at]))
            boxes.append(f"M{LEFT + at * wide:.1f} {BOTTOM - y:.1f}h{max(wide - (wide > 4), 0.6):.1f}v{high:.2f}h-{max(wide - (wide > 4), 0.6):.1f}z")
        if boxes:
            parts.append(f'<path d="{"".join(boxes)}" fill="{colour}"/>')
    return [*parts, *_gaps(picture), *_times(picture)]


def _histogram(picture: Picture, about: dict) -> list[str]:
    first, last = _range(picture)
    rows, groups = last - first + 1, max(len(picture.groups), 1)
    wide, high = (RIGHT - LEFT) / groups, min(24, (BOTTOM - TOP) / rows)
    most = float(picture.totals.max(initial=0)) or 1
    parts = []
    for row in range(rows):
        if high >= 11 or not row % 2:
            parts.append(f'<text x="{LEFT - 7}" y="{TOP + (row + 0.5) * high + 4:.1f}" text-anchor="end">{html.escape(_label(first + row, about))}</text>')
    for n in range(len(picture.groups)):
        x = LEFT + n * wide
        for row in range(rows):
            value = float(picture.totals[n, first + row])
            if value:
                y, long = TOP + row * high, max(1, value / most * (wide - 70))
                colour = _colour(picture, n) if groups > 1 else MAIN
                parts.append(f'<rect x="{x:.1f}" y="{y + 1:.1f}" width="{long:.1f}" height="{max(1, high - 2):.1f}" fill="{colour}"/>')
                if high >= 11 and groups <= 4:
                    parts.append(f'<text x="{x + long + 4:.1f}" y="{y + high / 2 + 4:.1f}">{value:,.0f}</text>')
        parts.append(f'<path d="M{x:.1f} {TOP}v{rows * high:.1f}" stroke="{LINE}"/>')
    return [*parts, f'<text x="{LEFT}" y="{HEIGHT - 10}">{html.escape(about["value"])}, from ... to the next line; bars count events</text>']


def _heat(picture: Picture, about: dict) -> list[str]:
    first, last = _range(picture)
    rows = last - first + 1
    wide, high = (RIGHT - LEFT) / picture.heat.shape[1], min(28, (BOTTOM - TOP) / rows)
    most = float(picture.heat.max(initial=0)) or 1
    parts = []
    for row in range(rows):
        y = BOTTOM - (row + 1) * high
        if high >= 11 or not row % 2:
            parts.append(f'<text x="{LEFT - 7}" y="{y + high / 2 + 4:.1f}" text-anchor="end">{html.escape(_label(first + row, about))}</text>')
        for at in np.flatnonzero(picture.heat[first + row]).tolist():
            strength = 0.12 + 0.88 * (float(picture.heat[first + row, at]) / most) ** 0.5
            box = f'x="{LEFT + at * wide:.1f}" y="{y:.1f}" width="{wide + 0.3:.1f}" height="{max(1, high - 1):.1f}"'
            parts.append(f'<rect {box} fill="{MAIN}" fill-opacity="{strength:.2f}"/>')
    return [*parts, *_gaps(picture), *_times(picture)]


def _gaps(picture: Picture) -> list[str]:
    parts = []
    for start, end, lost in picture.gaps:
        x = max(LEFT, _x(picture, start))
        wide = max(2, min(RIGHT, _x(picture, end)) - x)
        parts.append(f'<rect x="{x:.1f}" y="{TOP}" width="{wide:.1f}" height="{BOTTOM - TOP}" fill="{BAD}" fill-opacity="0.1"/>')
        if wide > 60:
            parts.append(f'<text class="bad" x="{x + wide / 2:.1f}" y="{TOP + 14}" text-anchor="middle">{_short(lost)} lost</text>')
    return parts


def _times(picture: Picture) -> list[str]:
    span = picture.width * picture.rate.shape[1]
    step = _nice(span / 6)
    ticks = np.arange(np.ceil(picture.start / step), (picture.start + span) / step + 1e-9) * step
    return [f'<text x="{min(_x(picture, at), RIGHT - 8):.1f}" y="{BOTTOM + 16}" text-anchor="middle">{at:.4g} s</text>' for at in ticks.tolist()]


def _x(picture: Picture, seconds: float) -> float:
    return LEFT + (seconds - picture.start) / (picture.width * picture.rate.shape[1]) * (RIGHT - LEFT)


def _range(picture: Picture) -> tuple[int, int]:
    """Buckets from the first that holds something to the last."""
    found = np.flatnonzero(picture.totals.sum(axis=0)) if len(picture.totals) else np.zeros(0, int)
    return (int(found[0]), min(int(found[-1]), BUCKETS - 1)) if len(found) else (0, 0)


def _label(bucket: int, about: dict) -> str:
    value = bucket * about["step"] if about["step"] else 2.0 ** (bucket - 1) if bucket else 0
    known = _SCALES.get(about["unit"], ((about["unit"], 1),))
    name, size = next(((name, size) for name, size in reversed(known) if value >= size), known[0])
    return f"{float(f'{value / size:.3g}'):g} {name}"


def _short(value: float) -> str:
    name, size = next(((name, size) for name, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)) if value >= size), ("", 1))
    return f"{round(value / size, 1):g}{name}"


def _nice(value: float) -> float:
    """A round number that is not below."""
    ten = 10.0 ** np.floor(np.log10(value))
    return float(next(n for n in (1, 2, 4, 5, 8, 10) if n * ten >= value * 0.999) * ten)
