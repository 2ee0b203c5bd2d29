"""What differs between two packets: byte by byte, field by field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .dissect import Packet
from .reader import Field


class Row(NamedTuple):
    """A field before and after.

    Attributes
    ----------
    layer, name : str
        Those of the packet after, where it has the field.
    before, after : Field or None
        None where the packet has no such field.
    state : {"same", "changed", "new", "gone"}
    """

    layer: str
    name: str
    before: Field | None
    after: Field | None
    state: str


@dataclass(frozen=True, eq=False, repr=False)
class Diff:
    """Two packets beside each other; true when they differ.

    Attributes
    ----------
    before, after : Packet
    marked_before, marked_after : numpy.ndarray of bool
        Which bytes differ, one for each byte of either packet. Where one packet is longer, a single run of bytes is taken for put in or taken out
        (a header pushed or popped, room at either end): the place that leaves the fewest bytes different.
    at : int
        Where that run begins.
    """

    before: Packet
    after: Packet
    marked_before: np.ndarray
    marked_after: np.ndarray
    at: int

    @property
    def grown(self) -> int:
        """Bytes that were put in; negative: taken out."""
        return len(self.after) - len(self.before)

    @property
    def changed(self) -> int:
        """Bytes that differ: changed, put in, or taken out."""
        return int(self.marked_after.sum() if self.grown >= 0 else self.marked_before.sum())

    def __bool__(self) -> bool:
        return bool(self.changed)

    def __repr__(self) -> str:
        from .text import of_diff, size_words

        return "\n".join(filter(None, [size_words(self), of_diff(self)]))

    def _repr_html_(self) -> str:
        from .html import frame, of_diff
        from .text import size_words

        return frame(f"<p><b>{size_words(self).capitalize()}</b></p>", of_diff(self))

    def rows(self) -> list[Row]:
        """The fields of both, those with the same bytes side by side."""
        return _rows(self)


def compare(before: Packet, after: Packet) -> Diff:
    """What differs between two packets."""
    a, b = (np.frombuffer(p.data, np.uint8) for p in (before, after))
    at, marked_a, marked_b = _marks(a, b, {f.offset for f in before.fields} & {f.offset for f in after.fields} | {0})
    return Diff(before, after, marked_a, marked_b, at)


def changed_bytes(before: bytes, after: bytes) -> int:
    """`Diff.changed` of two packets, without taking them apart."""
    if before == after:
        return 0
    a, b = (np.frombuffer(data, np.uint8) for data in (before, after))
    _, marked_a, marked_b = _marks(a, b, {0})
    return int(max(marked_a.sum(), marked_b.sum()))


def _marks(a: np.ndarray, b: np.ndarray, starts: set[int]) -> tuple[int, np.ndarray, np.ndarray]:
    """Where the one run of bytes is that the longer one has more, and which bytes of each differ; `starts` are places to prefer."""
    if len(a) == len(b):
        return 0, a != b, a != b
    short, long = (a, b) if len(a) < len(b) else (b, a)
    extra = len(long) - len(short)
    head, tail = short != long[: len(short)], short != long[extra:]
    # cost[p]: bytes that differ when the run stands at p, so that those before p keep their place and those behind it move
    cost = np.concatenate([[0], np.cumsum(head)]) + np.concatenate([np.cumsum(tail[::-1])[::-1], [0]])
    best = np.flatnonzero(cost == cost.min())
    at = next((int(p) for p in best if int(p) in starts), int(best[0]))
    marked = np.concatenate([head[:at], tail[at:]]), np.concatenate([head[:at], np.ones(extra, bool), tail[at:]])
    return at, *(marked if len(a) < len(b) else marked[::-1])


def _rows(diff: Diff) -> list[Row]:
    """Fields whose bytes stand at the same place, once the run that was put in or taken out is reckoned with, and that have the same name."""
    old, new = diff.before.fields, diff.after.fields
    by_place = {f.offset: f for f in new}
    rows, done = [], 0  # done: how many of the new ones are in a row
    for f in old:
        place = _moved(diff, f.offset)
        partner = by_place.get(place) if place is not None else None
        if partner is None or partner.name != f.name:
            rows.append(Row(f.layer, f.name, f, None, "gone"))
            continue
        while new[done] is not partner:
            rows.append(_new(new[done]))
            done += 1
        rows.append(_pair(diff, f, partner))
        done += 1
    return rows + [_new(f) for f in new[done:]]


def _moved(diff: Diff, place: int) -> int | None:
    """Where a byte of the packet before is after; None when it was taken out."""
    if place < diff.at:
        return place
    return None if place < diff.at - diff.grown else place + diff.grown


def _new(field: Field) -> Row:
    return Row(field.layer, field.name, None, field, "new")


def _pair(diff: Diff, x: Field, y: Field) -> Row:
    same = diff.before.data[x.offset : x.offset + x.size] == diff.after.data[y.offset : y.offset + y.size]
    return Row(y.layer, y.name, x, y, "same" if same else "changed")
