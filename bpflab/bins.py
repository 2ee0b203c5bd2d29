"""Events counted into bins of time: by group, by powers of two of a value, and where some are missing."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BUCKETS = 65  # 0 and below, then 1, 2-3, 4-7, ... up to the last u64
MOST = 4096  # bins that are kept; then two become one
GROUPS = 200  # groups that are told apart; further ones are one
REST = "(others)"


class Gap(NamedTuple):
    """A stretch of time, in seconds, of which events are missing."""

    start: float
    end: float
    lost: int


class Picture(NamedTuple):
    """What is to be drawn.

    Attributes
    ----------
    start, width : float
        Of the first bin, and of each, in seconds.
    groups : list of str
        The largest, then what is left.
    rate : numpy.ndarray
        Counts, u32 of shape (groups, bins).
    heat : numpy.ndarray
        Counts by power of two, u32 of shape (BUCKETS, bins).
    totals : numpy.ndarray
        Counts by power of two since the beginning, f64 of shape (groups, BUCKETS).
    missing : numpy.ndarray
        Lost events, u32 for each bin: those of a gap are spread over its time.
    gaps : list of Gap
    """

    start: float
    width: float
    groups: list[str]
    rate: np.ndarray
    heat: np.ndarray
    totals: np.ndarray
    missing: np.ndarray
    gaps: list[Gap]


class Bins:
    """Counts over time.

    Parameters
    ----------
    width : float
        Seconds of a bin, at first.
    """

    def __init__(self, width: float):
        self.width = width
        self.rows: dict[str, int] = {}
        self.rate = np.zeros((4, 256), np.uint32)
        self.heat = np.zeros((BUCKETS, 256), np.uint32)
        self.totals = np.zeros((4, BUCKETS))
        self.missing = np.zeros((1, 256), np.uint32)
        self.gaps: list[Gap] = []

    def add(self, seconds: np.ndarray, groups: np.ndarray, labels: list[str], values: np.ndarray | None) -> None:
        """Count events.

        Parameters
        ----------
        seconds : array of float
            Since the beginning; what is earlier counts as the beginning.
        groups : array of int
            Index into `labels` of each event.
        values : array of numbers or None
        """
        if not len(seconds):
            return
        self._make_room(float(seconds.max()))
        at = np.maximum(0, seconds / self.width).astype(np.int64)
        rows = np.array([self._row(label) for label in labels])[groups]
        np.add.at(self.rate.reshape(-1), rows * self.rate.shape[1] + at, np.uint32(1))
        if values is not None:
            buckets = buckets_of(values)
            np.add.at(self.heat.reshape(-1), buckets * self.heat.shape[1] + at, np.uint32(1))
            self.totals += np.bincount(rows * BUCKETS + buckets, minlength=self.totals.size).reshape(self.totals.shape)

    def add_counts(self, second: float, label: str, counts: np.ndarray) -> None:
        """Count events that somebody else has counted: `counts` has BUCKETS numbers."""
        self._make_room(second)
        row, at = self._row(label), int(second / self.width)
        self.rate[row, at] += np.uint32(counts.sum())
        self.heat[:, at] += counts.astype(np.uint32)
        self.totals[row] += counts

    def _row(self, label: str) -> int:
        if label not in self.rows and len(self.rows) >= GROUPS:
            label = REST
        if label not in self.rows:
            self.rows[label] = len(self.rows)
            if len(self.rows) > len(self.rate):
                self.rate = np.concatenate([self.rate, np.zeros_like(self.rate)])
                self.totals = np.concatenate([self.totals, np.zeros_like(self.totals)])
        return self.rows[label]

    def _make_room(self, last: float) -> None:
        """Bins for times up to `last` seconds."""
        while last / self.width >= MOST:
            self.rate, self.heat, self.missing = (_merged(array, 2) for array in (self.rate, self.heat, self.missing))
            self.width *= 2
        while last / self.width >= self.rate.shape[1]:
            grown = (np.concatenate([array, np.zeros_like(array)], axis=1) for array in (self.rate, self.heat, self.missing))
            self.rate, self.heat, self.missing = grown

    def gap(self, start: float, end: float, lost: int) -> None:
        """Events of this time are missing. One that follows another closely is the same."""
        self._make_room(end)
        # as much of them in each bin as it has of the time; the sum stays what it is
        edges = np.arange(int(start / self.width), int(end / self.width) + 2) * self.width
        share = np.clip((edges - start) / max(end - start, 1e-9), 0, 1)
        share[-1] = 1
        first = int(start / self.width)
        self.missing[0, first : first + len(edges) - 1] += np.diff(np.round(share * lost)).astype(np.uint32)
        if self.gaps and start <= self.gaps[-1].end + self.width:
            before = self.gaps.pop()
            start, lost = min(start, before.start), lost + before.lost
            end = max(end, before.end)
        self.gaps.append(Gap(start, end, lost))

    def picture(self, start: float, end: float, groups: int = 8, bins: int = 400) -> Picture:
        """Counts from `start` to `end` seconds, of the largest groups, in at most so many bins."""
        first = max(0, int(start / self.width))
        last = max(first + 1, min(MOST, int(np.ceil(end / self.width))))
        factor = max(1, -(-(last - first) // bins))
        last = first + -(-(last - first) // factor) * factor
        rate, heat, missing = (_cut(array, first, last) for array in (self.rate, self.heat, self.missing))
        order = sorted(self.rows, key=lambda label: (label == REST, -int(rate[self.rows[label]].sum()), self.rows[label]))
        shown = order if len(order) <= groups else order[: groups - 1]
        rest = order[len(shown) :]
        by_row = {label: [self.rows[label]] for label in shown}
        if rest:
            by_row[REST] = by_row.get(REST, []) + [self.rows[label] for label in rest]
        pick = list(by_row.values())
        empty = np.zeros((0, last - first), np.uint32)
        counts = np.stack([rate[rows].sum(axis=0, dtype=np.uint32) for rows in pick]) if pick else empty
        totals = np.stack([self.totals[rows].sum(axis=0) for rows in pick]) if pick else np.zeros((0, BUCKETS))
        return Picture(
            first * self.width,
            self.width * factor,
            list(by_row),
            _merged(counts, factor),
            _merged(heat, factor),
            totals,
            _merged(missing, factor)[0],
            [gap for gap in self.gaps if gap.end >= first * self.width and gap.start <= last * self.width],
        )


def buckets_of(values: np.ndarray) -> np.ndarray:
    """0 for what is 0 or less, else 1 plus the exponent of the power of two below."""
    values = np.asarray(values)
    if values.dtype.kind == "f":
        values = np.clip(np.nan_to_num(values), 0, 2.0**63)
    elif values.dtype.kind == "i":
        values = np.maximum(values, 0)
    return np.searchsorted(1 << np.arange(64, dtype="u8"), values.astype("u8"), side="right")


def _cut(array: np.ndarray, first: int, last: int) -> np.ndarray:
    part = array[:, first:last]
    return np.pad(part, ((0, 0), (0, last - first - part.shape[1]))) if part.shape[1] < last - first else part


def _merged(array: np.ndarray, factor: int) -> np.ndarray:
    """Sums of neighbours; the number of columns is a multiple of the factor."""
    if factor == 1:
        return np.ascontiguousarray(array)
    return array.reshape(len(array), -1, factor).sum(axis=2, dtype=np.uint32)
