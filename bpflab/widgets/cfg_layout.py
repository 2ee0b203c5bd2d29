"""Places the blocks of a control-flow graph in layers, and routes its edges between them.

The usual four steps (Sugiyama, Tagawa, Toda 1981): break cycles, put blocks into layers by their longest way from the entry, order
each layer so that few edges cross, then set them side by side. It is done here and not by Graphviz, because a graph of a BPF
program is small and mostly goes down, and a bundled Graphviz would put 0.8 MB into every saved notebook that shows one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

GAP_X, GAP_Y = 26, 34
LANE = 14  # the width that a passing edge takes
SWEEPS = 12


@dataclass
class Layout:
    """Where everything is.

    Attributes
    ----------
    places : list of (float, float)
        Left upper corner of each block.
    routes : list of str
        The path of each edge, as SVG has it; it ends where the arrow's tip is.
    width, height : float
    """

    places: list[tuple[float, float]]
    routes: list[str]
    width: float
    height: float


@dataclass
class _Node:
    layer: int
    width: float
    height: float
    block: int | None = None
    x: float = 0.0  # of its middle
    y: float = 0.0
    up: list[int] = field(default_factory=list)
    down: list[int] = field(default_factory=list)
    joins: tuple[int, ...] = ()  # of a lane: the blocks at the ends of its edge


def arrange(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    """Lay a graph out.

    Parameters
    ----------
    sizes : sequence of (width, height)
        Of each block, in the order of the program.
    edges : sequence of (source, target)
        Indexes of blocks.
    """
    if not sizes:
        return Layout([], [], 0, 0)
    back = _back_edges(len(sizes), edges)
    layers = _layers(len(sizes), edges, back)
    nodes = [_Node(layer, w, h, block) for block, (layer, (w, h)) in enumerate(zip(layers, sizes))]
    chains = [_chain(nodes, source, target, n in back) for n, (source, target) in enumerate(edges)]
    rows = _order(nodes)
    _set_x(nodes, rows)
    height = _set_y(nodes, rows)
    left = min(n.x - n.width / 2 for n in nodes)
    for n in nodes:
        n.x -= left
    width = max(n.x + n.width / 2 for n in nodes)
    bottoms = [max(nodes[i].y + nodes[i].height for i in row) for row in rows]
    routes = _route(nodes, edges, back, chains, bottoms)
    places = [(n.x - n.width / 2, n.y) for n in nodes[: len(sizes)]]
    return Layout(places, routes, width, height)


def _back_edges(count: int, edges) -> set[int]:
    """Edges that close a cycle, found depth first from the first block on."""
    out: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for n, (source, target) in enumerate(edges):
        out[source].append((n, target))
    state, found = [0] * count, set()  # 0 not seen, 1 on the way, 2 done
    for root in range(count):
        if state[root]:
            continue
        state[root] = 1
        way = [(root, iter(out[root]))]
        while way:
            at, rest = way[-1]
            for n, target in rest:
                if state[target] == 1:
                    found.add(n)
                elif state[target] == 0:
                    state[target] = 1
                    way.append((target, iter(out[target])))
                    break
            else:
                state[at] = 2
                way.pop()
    return found


def _layers(count: int, edges, back: set[int]) -> list[int]:
    """The longest way from where each block can be reached; functions that nothing jumps to begin at the top."""
    out: list[list[int]] = [[] for _ in range(count)]
    waiting = [0] * count
    for n, (source, target) in enumerate(edges):
        if n not in back:
            out[source].append(target)
            waiting[target] += 1
    layer, ready = [0] * count, [n for n in range(count) if not waiting[n]]
    while ready:
        at = ready.pop()
        for target in out[at]:
            layer[target] = max(layer[target], layer[at] + 1)
            waiting[target] -= 1
            if not waiting[target]:
                ready.append(target)
    return layer


def _chain(nodes: list[_Node], source: int, target: int, back: bool) -> list[int]:
    """The lanes an edge passes through, from source to target; of a back edge also beside both blocks."""
    low, high = (target, source) if back else (source, target)
    levels = range(nodes[low].layer, nodes[high].layer + 1) if back else range(nodes[low].layer + 1, nodes[high].layer)
    chain = []
    for level in levels:
        nodes.append(_Node(level, LANE, 0, joins=(source, target)))
        chain.append(len(nodes) - 1)
    linked = chain if back else [low, *chain, high]
    for a, b in zip(linked, linked[1:]):
        nodes[a].down.append(b)
        nodes[b].up.append(a)
    return chain[::-1] if back else chain


def _order(nodes: list[_Node]) -> list[list[int]]:
    """Nodes of each layer from left to right, few crossings."""
    rows: list[list[int]] = [[] for _ in range(max(n.layer for n in nodes) + 1)]
    for i, n in enumerate(nodes):
        rows[n.layer].append(i)
    place = {i: float(k) for row in rows for k, i in enumerate(row)}
    best, fewest = [list(row) for row in rows], _crossings(nodes, rows, place)
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            middle = {}
            for i in row:
                near = nodes[i].up if down else nodes[i].down
                middle[i] = sum(place[j] for j in near) / len(near) if near else place[i]
            row.sort(key=lambda i: middle[i])
            for k, i in enumerate(row):
                place[i] = float(k)
        crossings = _crossings(nodes, rows, place)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    return best


def _crossings(nodes: list[_Node], rows: list[list[int]], place: dict[int, float]) -> int:
    total = 0
    for row in rows:
        ends = [(place[i], place[j]) for i in row for j in nodes[i].down]
        if len(ends) < 400:  # beyond that the count costs more than it brings
            total += sum((a < c) != (b < d) and a != c and b != d for n, (a, b) in enumerate(ends) for c, d in ends[n + 1 :])
    return total


def _set_x(nodes: list[_Node], rows: list[list[int]]) -> None:
    """Each node near the middle of its neighbours, in the order of its layer."""
    for row in rows:
        at = 0.0
        for i in row:
            nodes[i].x = at + nodes[i].width / 2
            at += nodes[i].width + GAP_X
        for i in row:
            nodes[i].x -= at / 2
    for sweep in range(2 * SWEEPS):
        down = sweep % 2 == 0
        for row in rows if down else reversed(rows):
            wish, weight = [], []
            for i in row:
                n = nodes[i]
                near = (n.up if down else n.down) or n.up or n.down
                if sweep >= SWEEPS:
                    near = n.up + n.down
                # like follows like: passing edges are kept straight, blocks stand below blocks
                alike = [j for j in near if (nodes[j].block is None) == (n.block is None)] or near
                x = sum(nodes[j].x for j in alike) / len(alike) if alike else n.x
                if n.joins:  # and a whole edge stays near the blocks that it joins
                    x = 0.7 * x + 0.15 * sum(nodes[j].x for j in n.joins)
                wish.append(x)
                weight.append(0.5 if n.block is None else 1.0 + len(near))
            _fit([nodes[i] for i in row], wish, weight)


def _fit(row: list[_Node], wish: list[float], weight: list[float]) -> None:
    """Least squares with the gaps kept: isotonic regression by pooling neighbours that want to pass each other."""
    offsets = [0.0]
    for a, b in zip(row, row[1:]):
        offsets.append(offsets[-1] + (a.width + b.width) / 2 + GAP_X)
    pools: list[list[float]] = []  # weighted sum, weight, members
    for want, offset, w in zip(wish, offsets, weight):
        pools.append([(want - offset) * w, w, 1])
        while len(pools) > 1 and pools[-2][0] / pools[-2][1] > pools[-1][0] / pools[-1][1]:
            total, heavy, members = pools.pop()
            pools[-1] = [pools[-1][0] + total, pools[-1][1] + heavy, pools[-1][2] + members]
    at = 0
    for total, heavy, members in pools:
        for _ in range(int(members)):
            row[at].x = total / heavy + offsets[at]
            at += 1


def _set_y(nodes: list[_Node], rows: list[list[int]]) -> float:
    y = 0.0
    for row in rows:
        for i in row:
            nodes[i].y = y
        y += max(nodes[i].height for i in row) + GAP_Y
    return y - GAP_Y


def _route(nodes, edges, back: set[int], chains, bottoms: list[float]) -> list[str]:
    """Paths: they leave a block at its lower edge and arrive at the upper one, side by side in the order of where they go."""
    leaving: dict[int, list[int]] = {}
    arriving: dict[int, list[int]] = {}
    for n, (source, target) in enumerate(edges):
        leaving.setdefault(source, []).append(n)
        arriving.setdefault(target, []).append(n)
    first = lambda n: nodes[chains[n][0]].x if chains[n] else nodes[edges[n][1]].x  # noqa: E731
    last = lambda n: nodes[chains[n][-1]].x if chains[n] else nodes[edges[n][0]].x  # noqa: E731
    starts = {n: x for block, all_ in leaving.items() for n, x in _ports(nodes[block], sorted(all_, key=first))}
    ends = {n: x for block, all_ in arriving.items() for n, x in _ports(nodes[block], sorted(all_, key=last))}
    routes = []
    for n, (source, target) in enumerate(edges):
        x, y = starts[n], nodes[source].y + nodes[source].height
        path = [f"M{x:.0f} {y:.0f}"]
        tip = nodes[target].y
        if n in back:
            lane = nodes[chains[n][0]].x
            low = bottoms[nodes[source].layer] + GAP_Y / 3
            path.append(f"C{x:.0f} {low:.0f} {lane:.0f} {low:.0f} {lane:.0f} {bottoms[nodes[source].layer]:.0f}")
            for below, lane_node in zip(chains[n], chains[n][1:]):
                x, top = nodes[lane_node].x, bottoms[nodes[lane_node].layer]
                path.append(f"L{lane:.0f} {nodes[below].y:.0f} C{lane:.0f} {top + GAP_Y / 2:.0f} {x:.0f} {top + GAP_Y / 2:.0f} {x:.0f} {top:.0f}")
                lane = x
            path.append(f"L{lane:.0f} {tip:.0f} C{lane:.0f} {tip - GAP_Y / 2:.0f} {ends[n]:.0f} {tip - GAP_Y / 2:.0f} {ends[n]:.0f} {tip:.0f}")
        else:
            if y < bottoms[nodes[source].layer]:
                y = bottoms[nodes[source].layer]
                path.append(f"L{x:.0f} {y:.0f}")
            for at, top, bottom in [(nodes[c].x, nodes[c].y, bottoms[nodes[c].layer]) for c in chains[n]]:
                path.append(f"C{x:.0f} {y + GAP_Y / 2:.0f} {at:.0f} {top - GAP_Y / 2:.0f} {at:.0f} {top:.0f} L{at:.0f} {bottom:.0f}")
                x, y = at, bottom
            path.append(f"C{x:.0f} {y + GAP_Y / 2:.0f} {ends[n]:.0f} {tip - GAP_Y / 2:.0f} {ends[n]:.0f} {tip:.0f}")
        routes.append(" ".join(path))
    return routes


def _ports(node: _Node, edges: list[int]):
    step = min(28.0, (node.width - 16) / max(1, len(edges)))
    for k, n in enumerate(edges):
        yield n, node.x + (k - (len(edges) - 1) / 2) * step
