"""Flame graphs as files: speedscope's JSON, and SVG."""

from __future__ import annotations

import html

import numpy as np

from .tree import KERNEL, PROCESS, SCRIPT, UNKNOWN, Tree

SCHEMA = "https://www.speedscope.app/file-format-schema.json"
UNITS = {"samples": "none", "us": "microseconds"}
WIDTH, ROW, CHAR = 1200, 17, 6.7
NARROWEST = 0.3  # pixels; what is narrower cannot be seen
HUES = {PROCESS: (215, 38), KERNEL: (22, 75), SCRIPT: (140, 45), UNKNOWN: (0, 0)}
USER_HUE = (42, 85)


def speedscope(tree: Tree, name: str, unit: str) -> dict:
    """A tree as a file of speedscope (its file-format-spec.ts): one sampled profile, a weight for each distinct stack."""
    ends = np.flatnonzero(tree.own)
    samples = tree.lists(ends)
    weights = tree.own[ends].tolist()
    frames = [{"name": one} | ({"file": file} if file else {}) for one, file in zip(tree.names, tree.files)]
    profile = {
        **{"type": "sampled", "name": name, "unit": UNITS.get(unit, "none"), "startValue": 0, "endValue": sum(weights)},
        **{"samples": samples, "weights": weights},
    }
    return {"$schema": SCHEMA, "shared": {"frames": frames}, "profiles": [profile], "name": name, "exporter": "bpflab"}


def places(tree: Tree) -> np.ndarray:
    """Where each node begins, in the tree's unit: behind its siblings that come before it, within its parent."""
    before = np.cumsum(tree.total) - tree.total
    found = np.zeros(len(tree.total), np.int64)
    for level in tree._levels():
        parent = tree.parent[level]
        first = np.ones(len(level), bool)
        first[1:] = parent[1:] != parent[:-1]
        # totals of earlier siblings: the running sum less that of the first child
        base = before[level][np.maximum.accumulate(np.where(first, np.arange(len(level)), 0))]
        found[level] = before[level] - base + np.where(parent >= 0, found[np.maximum(parent, 0)], 0)
    return found


def svg(tree: Tree, title: str, unit: str, change: np.ndarray | None = None, narrowest: float = NARROWEST) -> str:
    """A picture without scripts: each box has its name and numbers as a tooltip.

    Parameters
    ----------
    change : ndarray of float, optional
        Of each node, -1 (less than before) to 1: colours of a differential flame graph.
    narrowest : float
        Pixels; narrower boxes are left out.
    """
    whole = max(tree.whole, 1)
    scale = WIDTH / whole
    left, depth = places(tree), tree.depth
    seen = np.flatnonzero(tree.total * scale >= narrowest)
    height = (int(depth[seen].max()) + 2 if len(seen) else 2) * ROW + 8
    parts = [  # no width: JupyterLab cuts a picture that says it is wider than the page
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{html.escape(title)}">',
        "<style>text{font:11px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1a1a1a}</style>",
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/><text x="4" y="13">{html.escape(title)}</text>',
    ]
    for n in seen.tolist():
        x, wide = left[n] * scale, tree.total[n] * scale
        y = height - (depth[n] + 1) * ROW - 4
        name = tree.names[tree.name[n]]
        colour = _changed(change[n]) if change is not None else _colour(name, int(tree.kinds[tree.name[n]]))
        count = f"{tree.total[n]:,} {unit}, {100 * tree.total[n] / whole:.2f} %"
        parts.append(f'<g><title>{html.escape(name)}: {count}</title><rect x="{x:.2f}" y="{y}" width="{max(wide - 0.4, 0.2):.2f}" height="{ROW - 1}" fill="{colour}"/>')
        room = int((wide - 6) / CHAR)
        if room >= 3:
            text = name if len(name) <= room else name[: room - 1] + "…"
            parts.append(f'<text x="{x + 3:.2f}" y="{y + 12}">{html.escape(text)}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _colour(name: str, kind: int) -> str:
    hue, full = HUES.get(kind, USER_HUE)
    spread = sum(map(ord, name)) % 17
    return f"hsl({hue + spread % 9 - 4},{full}%,{72 + spread % 8}%)"


def _changed(change: float) -> str:
    if abs(change) < 0.005:
        return "hsl(0,0%,90%)"
    return f"hsl({4 if change > 0 else 212},{80}%,{92 - 32 * min(abs(change), 1):.0f}%)"
