"""Stacks that a reader's own program sent: raw addresses in, names out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import record
from .result import Stacks
from .symbols import Resolver

if TYPE_CHECKING:
    from ..lab import Lab



def fold(lab: Lab, kernel=None, user=None, pid=None, counts=None) -> Stacks:
    """See `bpflab.stacks.fold`."""
    from . import named

    parts = [_rows(part, what) for part, what in ((user, "user"), (kernel, "kernel"))]
    samples = max(len(part) for part in parts)
    parts = [part if len(part) else np.zeros((samples, 0), np.uint64) for part in parts]
    if len(parts[0]) != len(parts[1]):
        raise ValueError(f"user has {len(parts[0])} stacks and kernel {len(parts[1])}; give both of the same samples, in the same order")
    if user is not None and pid is None:
        raise ValueError("user stacks are addresses of a process; say of which: pid=")
    pids = _column(0 if pid is None else getattr(pid, "pid", pid), samples, "pid", np.uint32)
    counts = _column(1 if counts is None else counts, samples, "counts", np.uint64)
    recorded = _recorded(pids, *parts, counts)
    whose = np.unique(recorded.head["pid"])
    only = int(whose[0]) if len(whose) == 1 else 0
    watch = lab.call("executable mappings cannot be read", "mappings.watch", [], only)
    try:
        names = lab.ask("processes.comms", whose.tolist())
        for number, name in names.items():
            recorded.head["comm"][recorded.head["pid"] == number] = name.encode()
        resolver = Resolver(lab, watch)
        recorded, found, where = named(resolver, recorded, False)
    finally:
        if lab.alive:
            lab.ask("mappings.close", watch)
    return Stacks(lab, "stacks", recorded, found, where, mangled=resolver.mangled)


def _rows(part, what: str) -> np.ndarray:
    if part is None:
        return np.zeros((0, 0), np.uint64)
    # asked for by name: of small and large numbers in one list NumPy would make inexact floats
    rows = part if isinstance(part, np.ndarray) and part.dtype != object else np.array(list(part), np.uint64)
    if rows.ndim != 2:
        raise ValueError(f"{what} has {rows.ndim} dimensions; give a row of addresses for each sample, with zeros behind the last")
    return rows.astype(np.uint64, copy=False)


def _column(value, samples: int, what: str, dtype) -> np.ndarray:
    column = np.asarray(value)
    if column.ndim > 1 or column.ndim == 1 and len(column) != samples:
        raise ValueError(f"{what} has shape {column.shape}; give one number, or one for each of the {samples} samples")
    return np.broadcast_to(column, samples).astype(dtype)


def _recorded(pids: np.ndarray, user: np.ndarray, kernel: np.ndarray, counts: np.ndarray) -> record.Recorded:
    """Each distinct stack once."""
    # a sum of products with random factors: two different stacks have the same one by a chance of about 1 in 2**60
    factors = np.random.default_rng(len(pids)).integers(0, 2**64, user.shape[1] + kernel.shape[1] + 1, np.uint64)
    name = pids * factors[0] + user @ factors[1 : user.shape[1] + 1] + kernel @ factors[user.shape[1] + 1 :]
    inverse, names = pd.factorize(name)
    first = np.empty(len(names), np.int64)
    first[inverse[::-1]] = np.arange(len(name))[::-1]
    head = np.zeros(len(first), record.HEAD)
    head["hash"], head["pid"], head["first_ns"] = names, pids[first], np.uint64(2**63)
    both = np.concatenate([user[first], kernel[first]], axis=1)
    inside = np.concatenate([_whole(user[first]), _whole(kernel[first])], axis=1)
    head["user"], head["kernel"] = inside[:, : user.shape[1]].sum(1), inside[:, user.shape[1] :].sum(1)
    times = np.bincount(inverse, counts.astype(np.float64), len(first)).astype(np.uint64)
    return record.Recorded(head, both[inside], times, times, 0.0, 0, 0, 0, False)


def _whole(part: np.ndarray) -> np.ndarray:
    """Which addresses of each row come before the first zero."""
    return np.logical_and.accumulate(part != 0, axis=1) if part.shape[1] else np.zeros(part.shape, bool)
