"""The calls of many stacks as one tree, which is what a flame graph draws."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd

PROCESS, USER, KERNEL, SCRIPT, UNKNOWN = range(5)
MARKS = {"_[p]": PROCESS, "_[k]": KERNEL, "_[j]": SCRIPT}


class Tree:
    """A tree of calls.

    Nodes are in the order of their depth, within it of their parents, within these of their names: so siblings stand
    beside each other, and a parent comes before its children.

    Attributes
    ----------
    names, files : list of str
        Each function once, sorted by name.
    kinds : ndarray of u8
        PROCESS, USER, KERNEL, SCRIPT or UNKNOWN, of each name.
    parent : ndarray of i64
        Of each node; -1 for those at the root.
    name : ndarray of i64
        Of each node: its index in `names`.
    own, total : ndarray of i64
        What was counted in the node itself, and with all below it.
    """

    def __init__(self, names, kinds, files, parent, name, own):
        self.names, self.kinds, self.files = list(names), np.asarray(kinds, np.uint8), list(files)
        self.parent, self.name, self.own = parent, name, own
        self.total = own.copy()
        for n in reversed(self._levels()):
            inner = n[self.parent[n] >= 0]
            np.add.at(self.total, self.parent[inner], self.total[inner])

    def _levels(self) -> list[np.ndarray]:
        """Nodes of each depth; parents never fall from a node to the next."""
        found, start, end = [], 0, int(np.searchsorted(self.parent, 0))
        while start < end:
            found.append(np.arange(start, end))
            start, end = end, int(np.searchsorted(self.parent, end))
        return found

    @property
    def depth(self) -> np.ndarray:
        """Of each node, 0 for those at the root; it never falls from a node to the next."""
        found = np.zeros(len(self.parent), np.int64)
        for depth, level in enumerate(self._levels()):
            found[level] = depth
        return found

    @property
    def whole(self) -> int:
        """What all stacks add up to."""
        return int(self.own.sum())

    def paths(self, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Names on the way to each of some nodes, one way behind the other, the outermost first; and the ways' lengths."""
        lengths = self.depth[ends] + 1
        found = np.empty(int(lengths.sum()), np.int64)
        at, node, left = np.cumsum(lengths) - 1, ends.copy(), np.arange(len(ends))
        while len(left):
            found[at[left]] = self.name[node[left]]
            node[left] = self.parent[node[left]]
            at[left] -= 1
            left = left[node[left] >= 0]
        return found, lengths

    def lists(self, ends: np.ndarray) -> list[list[int]]:
        """As `paths`, a list for each."""
        found, lengths = self.paths(ends)
        flat, edges = found.tolist(), [0, *np.cumsum(lengths).tolist()]
        return [flat[a:b] for a, b in zip(edges[:-1], edges[1:])]

    def folded(self) -> dict[str, int]:
        """ "outermost;...;innermost" and what it counts, the largest first."""
        # Rust writes [u8; 4]
        clean = np.array([name.replace(";", ":") if ";" in name else name for name in self.names], object)
        ends = np.flatnonzero(self.own)
        ends = ends[np.argsort(-self.own[ends], kind="stable")]
        found, lengths = self.paths(ends)
        flat, edges = clean[found].tolist() if len(found) else [], [0, *np.cumsum(lengths).tolist()]
        lines = [";".join(flat[a:b]) for a, b in zip(edges[:-1], edges[1:])]
        counts = self.own[ends].tolist()
        total = dict(zip(lines, counts))
        if len(total) < len(lines):  # names that differ in what they are, or in a semicolon
            total = dict.fromkeys(lines, 0)
            for line, count in zip(lines, counts):
                total[line] += count
        return total


def build(names, kinds, files, sequence: np.ndarray, lengths: np.ndarray, values: np.ndarray) -> tuple[Tree, np.ndarray]:
    """A tree of stacks, and for each stack the node that it ends in.

    Parameters
    ----------
    names, kinds, files : sequence
        Of each function.
    sequence : ndarray of int
        Indices of names, of all stacks one behind the other, the outermost first.
    lengths : ndarray of int
        Of each stack.
    values : ndarray of int
    """
    # a thread may call itself anything, also what no terminal and no XML can stand
    names = [name if name.isprintable() else "".join(c if c.isprintable() else "?" for c in name) for name in names]
    order = sorted(range(len(names)), key=list(zip(names, kinds)).__getitem__)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    sequence = rank[sequence]
    starts = np.cumsum(lengths) - lengths
    node = np.full(len(lengths), -1)
    parents, found, count, level = [], [], 0, 0
    active = np.flatnonzero(lengths > 0)
    while len(active):
        pair = (node[active] + 1) * len(order) + sequence[starts[active] + level]
        distinct, inverse = np.unique(pair, return_inverse=True)
        parents.append(distinct // len(order) - 1)
        found.append(distinct % len(order))
        node[active] = count + inverse
        count, level = count + len(distinct), level + 1
        active = active[lengths[active] > level]
    own = np.zeros(count, np.int64)
    ended = node >= 0
    np.add.at(own, node[ended], values[ended].astype(np.int64))
    whole = [np.concatenate([*parts, np.empty(0, np.int64)]) for parts in (parents, found)]
    return Tree([names[n] for n in order], [kinds[n] for n in order], [files[n] for n in order], *whole, own), node


def of_folded(stacks: Mapping[str, int] | Iterable[tuple[str, int]]) -> Tree:
    """A tree of stacks as text: "outermost;...;innermost" and a number.

    A name that ends in "_[k]" is the kernel's and one in "_[j]" a script's, as stackcollapse-perf.pl marks them; one in
    "_[p]" a thread's. A name in brackets stands for functions without one.
    """
    pairs = list(stacks.items() if isinstance(stacks, Mapping) else stacks)
    parts = np.array(";".join(text for text, _ in pairs).split(";"), object)
    lengths = np.array([text.count(";") + 1 for text, _ in pairs], np.int64)
    if not pairs:
        parts = parts[:0]
    empty = (parts == "").astype(bool)
    lengths = lengths - np.bincount(np.repeat(np.arange(len(lengths)), lengths)[empty], minlength=len(lengths))
    sequence, found = pd.factorize(parts[~empty])
    kinds = [MARKS.get(name[-4:], UNKNOWN if name.startswith("[") and name.endswith("]") else USER) for name in found]
    names = [name[:-4] if name[-4:] in MARKS else name for name in found]
    values = np.array([value for _, value in pairs], np.int64)
    return build(names, kinds, [""] * len(names), sequence, lengths, values)[0]


def of_frame(rows: pd.DataFrame, unit: str) -> Tree:
    """A tree of rows of `Stacks.to_frame`."""
    kernel = rows.kernel.str.replace(";", "_[k];") + "_[k]"
    kernel = kernel.where(rows.kernel != "", "")
    texts = rows.process.str.replace(";", ":") + "_[p];" + rows.user + ";" + kernel
    return of_folded(zip(texts, rows[unit]))


def aligned(now: Tree, before: Tree) -> tuple[Tree, Tree]:
    """Both trees with the same nodes: those of either."""
    parts, names, kinds, files = [], [], [], []
    number: dict[tuple[str, int], int] = {}
    for tree in (now, before):
        known = []
        for name, kind, file in zip(tree.names, tree.kinds.tolist(), tree.files):
            if (name, kind) not in number:
                number[name, kind] = len(names)
                names.append(name)
                kinds.append(kind)
                files.append(file)
            known.append(number[name, kind])
        ends = np.flatnonzero(tree.own)
        way, depth = tree.paths(ends)
        sequence = np.asarray(known, np.int64)[way]
        parts.append((sequence, depth, tree.own[ends]))
    sequence, depth, own = (np.concatenate(column) for column in zip(*parts))
    counts = np.concatenate([parts[0][2], np.zeros(len(parts[1][2]), np.int64)])
    both, node = build(names, kinds, files, sequence, depth, counts)
    old = np.zeros(len(both.own), np.int64)
    np.add.at(old, node[len(parts[0][1]) :], parts[1][2])
    return both, Tree(both.names, both.kinds, both.files, both.parent, both.name, old)

