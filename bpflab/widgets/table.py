"""The map explorer's table: NumPy arrays in, one page of text out.

Nothing here knows of a kernel or of a browser. A `Table` keeps the last two snapshots of a map, says what changed between
them, and sorts and searches whole arrays; only the rows of the page become text.
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np

from .cells import COMPARE, QueryError

_WORD = re.compile(
    r"""(?P<name>[A-Za-z_][\w.@]*)\s*(?P<op>==|!=|>=|<=|=|<|>)\s*(?P<value>"[^"]*"|[^\s"]+)|(?P<text>"[^"]*"|\S+)""",
)


def as_bytes(array):
    """The rows of `array` as bytes: uint8 of shape (n, size of a row)."""
    size = array.dtype.itemsize * math.prod(array.shape[1:])
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).reshape(len(array), size)


def take_rows(array, rows):
    """``array[rows]`` with the bytes between the members of a struct, which NumPy leaves behind.

    They are part of a key: the kernel compares all of its bytes.
    """
    return as_bytes(array)[rows].view(array.dtype).reshape(len(rows), *array.shape[1:])


def hash_rows(array):
    """One uint64 a row: the bytes themselves up to eight, a mix of them beyond.

    Two of a million rows share a hash by chance once in about 37 million snapshots; a row would then be lit wrongly.
    """
    if not len(array):
        return np.zeros(0, np.uint64)
    rows = as_bytes(array)
    words = -(-rows.shape[1] // 8)
    padded = np.zeros((len(rows), words * 8), np.uint8)
    padded[:, : rows.shape[1]] = rows
    padded = padded.view(np.uint64)
    if words == 1:
        return padded[:, 0].copy()
    mixed = np.full(len(rows), 0x9E3779B97F4A7C15, np.uint64)
    for word in range(words):  # xorshift-multiply, the constants of MurmurHash3's finaliser
        mixed ^= padded[:, word]
        mixed *= np.uint64(0xFF51AFD7ED558CCD)
        mixed ^= mixed >> np.uint64(33)
        mixed *= np.uint64(0xC4CEB9FE1A85EC53)
        mixed ^= mixed >> np.uint64(29)
    return mixed


def match(old, new):
    """For each hash of `new` the index of the same hash in `old`, or -1 (int64, shape of `new`)."""
    if len(old) == len(new) and np.array_equal(old, new):
        return np.arange(len(new))
    before = np.full(len(new), -1)
    if not len(old) or not len(new):
        return before
    by_old, by_new = np.argsort(old, kind="stable"), np.argsort(new, kind="stable")
    sorted_old, sorted_new = old[by_old], new[by_new]
    at = np.minimum(np.searchsorted(sorted_old, sorted_new), len(old) - 1)
    found = sorted_old[at] == sorted_new
    before[by_new[found]] = by_old[at[found]]
    return before


@dataclass
class Snapshot:
    """What a map held at one moment.

    Attributes
    ----------
    keys : ndarray
        Shape (n,) or (n, bytes); any dtype.
    values : ndarray
        Shape (n,), or (n, CPUs) for a per-CPU map; any dtype.
    at : float
        Seconds of a monotonic clock.
    """

    keys: np.ndarray
    values: np.ndarray
    at: float
    hashes: np.ndarray = field(init=False, repr=False)

    def __post_init__(self):
        self.hashes = hash_rows(self.keys)

    def __len__(self):
        return len(self.keys)


@dataclass
class Page:
    """What the browser is sent of a table.

    Attributes
    ----------
    rows : list
        One dict a row: ``key`` (the raw key, hex), ``cells`` (list of str), ``new`` (bool), ``changed`` (list of column numbers).
    offset, matched, total : int
        Of the first row; rows that the search leaves; rows in the map.
    """

    rows: list
    offset: int
    matched: int
    total: int


class Table:
    """The last two snapshots of a map, as columns.

    Parameters
    ----------
    columns : list of Column
        See `bpflab.widgets.cells`.
    rate : Rate, optional
        Column for the change per second of another one, `rate_of`.
    """

    def __init__(self, columns, rate=None, rate_of=None):
        self.columns = list(columns)
        self.rate, self.rate_of = rate, rate_of
        self.forget()

    def forget(self):
        """Let go of the snapshots."""
        self.now = self.last = self._before = None
        self.new = self.changed = self.gone = 0
        self._drop()

    @property
    def shown(self):
        """The columns in the order in which they are shown: the rate last."""
        return [*self.columns, self.rate] if self.rate is not None else self.columns

    @property
    def seconds(self):
        """Seconds between the two snapshots; None when there is only one."""
        return self.now.at - self.last.at if self.last is not None else None

    def watch(self, column):
        """Let the rate be that of `column`, by id."""
        self.rate_of = next(c for c in self.columns if c.id == column and c.numeric)
        self._drop()

    def refresh(self, keys, values, at):
        """Take in a new snapshot (arrays as in `Snapshot`, `at` in seconds) and compare it with the one before."""
        self.last, self.now = self.now, Snapshot(keys, values, at)
        self._drop()
        self.new = self.changed = self.gone = 0
        self._before = None
        if self.last is None:
            return
        self._before = match(self.last.hashes, self.now.hashes)
        known = self._before >= 0
        kept = np.zeros(len(self.last), bool)
        kept[self._before[known]] = True
        self.new, self.gone = int(len(known) - known.sum()), int(len(kept) - kept.sum())
        self.changed = int(self._differs(known).sum())

    def _differs(self, known):
        old, new = as_bytes(self.last.values), as_bytes(self.now.values)
        if old.shape[1] % 8 == 0:
            old, new = old.view(np.uint64), new.view(np.uint64)
        if not np.array_equal(self._before, np.arange(len(old))):
            old, new = old[self._before[known]], new[known]
        if new.shape[1] == 1:
            return old[:, 0] != new[:, 0]
        return (old != new).any(axis=1)

    def _drop(self):
        self._orders, self._rates = {}, None

    def array(self, column):
        """The whole of `column`, now."""
        return self.rates() if column is self.rate else column.take(self.now.keys, self.now.values)

    def rates(self):
        """Change per second of the watched column (float64, shape (n,)); NaN for rows that were not there before."""
        if self._rates is None:
            self._rates = np.full(len(self.now), np.nan)
            if self.last is not None and self.seconds > 0:
                known = self._before >= 0
                old = self.rate_of.take(self.last.keys, self.last.values)[self._before[known]]
                self._rates[known] = (
                    difference(self.rate_of.take(self.now.keys, self.now.values)[known], old) / self.seconds
                )
        return self._rates

    def column(self, name):
        """The column with this id or label, or with this last part of its id.

        Raises
        ------
        QueryError
            There is none, or the name fits several.
        """
        for fits in (lambda c: c.id == name, lambda c: c.label == name, lambda c: name in re.split(r"[.@]", c.id)):
            found = [c for c in self.shown if fits(c)]
            if len(found) == 1:
                return found[0]
            if found:
                raise QueryError(f"{name} fits {' and '.join(c.id for c in found[:4])}; write one of these")
        raise QueryError(f"no column {name!r}; the columns are {', '.join(c.id for c in self.shown[:12])}")

    def search(self, query):
        """Mask of the rows in which every word of `query` holds; None for an empty one.

        A word is text or a number to be found in any column, or ``column op value`` with = != < <= > >=.

        Raises
        ------
        QueryError
            The query names a column that is not there, or compares a number with text.
        """
        mask = None
        for word in _WORD.finditer(query):
            if word["name"]:
                column = self.column(word["name"])
                hit = column.compare(self.array(column), word["op"], word["value"].strip('"'))
            else:
                text = word["text"].strip('"')
                if text[:1] in COMPARE or not text:
                    raise QueryError(f"{text!r} compares nothing; write a column before it, as in value > 5")
                hit = np.zeros(len(self.now), bool)
                for column in self.columns:
                    hit |= column.find(self.array(column), text)
            mask = hit if mask is None else mask & hit
        return mask

    def order(self, query="", sort=None, descending=False):
        """Indices of the rows that `query` leaves, in the order of column `sort` (an id), else as the kernel listed them."""
        asked = (query, sort, descending)
        if asked not in self._orders:
            mask = self.search(query)
            rows = np.arange(len(self.now)) if mask is None else np.flatnonzero(mask)
            if sort is not None:
                column = self.column(sort)
                by = column.order(self.array(column)[rows])
                if descending:  # from behind and turned round, so that equal rows keep their order
                    rows = rows[len(rows) - 1 - np.argsort(by[::-1], kind="stable")[::-1]]
                else:
                    rows = rows[np.argsort(by, kind="stable")]
            self._orders = {asked: rows}  # one is enough: the page that is looked at
        return self._orders[asked]

    def page(self, query="", sort=None, descending=False, offset=0, limit=50):
        """`Page` of at most `limit` rows from row `offset` on; an offset past the end gives the last page."""
        rows = self.order(query, sort, descending)
        if offset >= len(rows):
            offset = max(0, (len(rows) - 1) // limit * limit)
        rows_here = rows[offset : offset + limit]
        cells = self._text(self.now, rows_here)
        if self.last is None:
            before = np.zeros(len(rows_here), np.int64)
            was = cells
        else:
            before = self._before[rows_here]
            was = self._text(self.last, np.maximum(before, 0)) if len(self.last) else cells
        rate = [self.rate.text(self.rates()[rows_here])] if self.rate is not None else []
        keys = [bytes(key).hex() for key in as_bytes(self.now.keys)[rows_here]]
        shown = [
            {
                "key": key,
                "cells": [column[i] for column in (*cells, *rate)],
                "new": bool(before[i] < 0),
                "changed": [n for n, column in enumerate(cells) if before[i] >= 0 and column[i] != was[n][i]],
            }
            for i, key in enumerate(keys)
        ]
        return Page(shown, offset, len(rows), len(self.now))

    def _text(self, snapshot, rows):
        keys, values = take_rows(snapshot.keys, rows), take_rows(snapshot.values, rows)
        return [column.text(column.take(keys, values)) for column in self.columns]


def difference(now, then):
    """`now` - `then` as float64; whole numbers wrap as the kernel's counters do."""
    if now.dtype.kind not in "iu":
        return now.astype(float) - then.astype(float)
    size = now.dtype.itemsize
    return (now.astype(f"u{size}") - then.astype(f"u{size}")).view(f"i{size}").astype(float)
