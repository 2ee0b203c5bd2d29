"""Numbers counted into buckets: by powers of two or of one width, here or by a program in the kernel."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from .map import Map

BUCKETS = ["low", "high", "count"]


def log2_buckets(values) -> pd.DataFrame:
    """Count values by powers of two.

    Parameters
    ----------
    values : array_like of numbers
        u64 is taken exactly.

    Returns
    -------
    pandas.DataFrame
        `low`, `high` (the smallest and the largest integer in the bucket; both 0, and up to -1 for what is negative)
        and `count`, from the first bucket that holds something to the last, without gaps.
    """
    data = np.asarray(values)
    if data.dtype.kind not in "iuf" or data.ndim != 1:
        raise TypeError(f"a histogram takes numbers, one after the other, not {data.dtype} of shape {data.shape}")
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise ValueError("there are values that are no finite numbers; leave them out with frame.dropna()")
        data = np.floor(data)
    negative = int((data < 0).sum())
    zero = int((data == 0).sum())
    positive = data[data > 0]
    # floats cannot tell 2**63 - 1 from 2**63, so whole numbers go by their bits
    exponent = np.log2(positive).astype(int) if data.dtype.kind == "f" else _bit_lengths(positive.astype("u8")) - 1
    counts = np.bincount(exponent, minlength=0) if len(exponent) else np.zeros(0, int)
    rows = [(None, -1, negative), (0, 0, zero)] + [(1 << i, (2 << i) - 1, int(n)) for i, n in enumerate(counts)]
    return _trimmed(rows)


def _bit_lengths(numbers: np.ndarray) -> np.ndarray:
    return np.searchsorted(1 << np.arange(64, dtype="u8"), numbers, side="right")


def _trimmed(rows: list[tuple[int | None, int | None, int]]) -> pd.DataFrame:
    """Rows without the empty ones at both ends."""
    full = [i for i, row in enumerate(rows) if row[2]]
    rows = rows[full[0] : full[-1] + 1] if full else []
    frame = pd.DataFrame(rows, columns=BUCKETS, dtype="object")
    bounds = {name: _whole(frame[name]) for name in ("low", "high")}
    return frame.assign(**bounds, count=frame["count"].astype("int64"))


def _whole(column: pd.Series) -> pd.Series:
    """Bounds as exact integers: the last bucket of u64 ends beyond int64."""
    if column.isna().any():
        return column.astype("Int64")
    return column.astype("uint64" if len(column) and min(column) >= 0 else "int64")


def slot_buckets(counts, first: int = 1) -> pd.DataFrame:
    """Buckets of a map that a program counts in by slots.

    Parameters
    ----------
    counts : array_like of int
        counts[i] is how often slot i was hit.
    first : {0, 1}
        Slot of the values 0 and 1. 1 for BCC's `bpf_log2l`, which gives 1 plus the logarithm; 0 for the logarithm
        itself.
    """
    counts = [int(n) for n in counts]
    if first:
        if counts and counts[0]:
            raise ValueError("slot 0 was hit, which bpf_log2l never gives; say first=0 if slots are plain logarithms")
        counts = counts[1:]
    return _trimmed([(0 if i == 0 else 1 << i, (2 << i) - 1, n) for i, n in enumerate(counts)])


def linear_buckets(values, step: int | float | None = None, count: int = 20) -> pd.DataFrame:
    """Count values by buckets of one width.

    Parameters
    ----------
    values : array_like of numbers
    step : number, optional
        Width of a bucket; a round number that makes about `count` buckets if it is not given.

    Returns
    -------
    pandas.DataFrame
        `low`, `high` (for a whole step the largest integer in the bucket, else where the next one begins) and `count`.
    """
    data = np.asarray(values)
    if data.dtype.kind not in "iuf" or data.ndim != 1:
        raise TypeError(f"a histogram takes numbers, one after the other, not {data.dtype} of shape {data.shape}")
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ValueError("there are values that are no finite numbers; leave them out with frame.dropna()")
    if not len(data):
        return pd.DataFrame({"low": [], "high": [], "count": []}).astype("int64")
    if step is None:
        step = _round_step((float(data.max()) - float(data.min())) / count, whole=data.dtype.kind != "f")
    if step <= 0:
        raise ValueError(f"the width of a bucket is more than 0, not {step}")
    numbers = np.floor_divide(data, data.dtype.type(step) if data.dtype.kind != "f" and step == int(step) else step)
    first = numbers.min()
    counts = np.bincount((numbers - first).astype(np.int64))
    lows = [(int(first) + i) * step for i in range(len(counts))]
    inside = 1 if float(step).is_integer() and data.dtype.kind != "f" else 0
    return pd.DataFrame({"low": lows, "high": [low + step - inside for low in lows], "count": counts})


def _round_step(rough: float, whole: bool) -> int | float:
    """1, 2 or 5 times a power of ten, at least `rough`."""
    if rough <= 0 or (whole and rough <= 1):
        return 1
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(n for n in (1, 2, 5, 10) if n * ten >= rough * 0.999) * ten
    return int(step) if step >= 1 else step


def linear_slots(counts, step: int | float) -> pd.DataFrame:
    """Buckets of a map that a program counts in by slots of one width: slot = value / step, the last one for all above."""
    counts = [int(n) for n in counts]
    inside = 1 if float(step).is_integer() else 0
    rows = [(i * step, (i + 1) * step - inside, n) for i, n in enumerate(counts)]
    if rows:
        rows[-1] = (rows[-1][0], None, rows[-1][2])
    full = [i for i, row in enumerate(rows) if row[2]]
    frame = pd.DataFrame(rows[full[0] : full[-1] + 1] if full else [], columns=BUCKETS, dtype="object")
    kind = "Int64" if inside else "Float64"
    return frame.astype({"low": kind, "high": kind, "count": "int64"})


# -- maps that a program counts in


def of_map(source: Map, first: int | None, step: int | float | None, by: str | None) -> tuple[pd.DataFrame, str | None]:
    """Buckets of a map, and the column that tells several histograms apart.

    An array is one histogram, a slot for each element. A hash map is several: its key has a member `slot` beside what they are
    told apart by, or its values are arrays of slots.
    """
    found = counts(source)
    first = first_slot(source, first)

    def buckets(one) -> pd.DataFrame:
        return slot_buckets(one, first) if step is None else linear_slots(one, step)

    if len(found) == 1 and None in found:
        return buckets(found[None]), None
    name = by or "key"
    parts = [buckets(one).assign(**{name: str(key)}) for key, one in found.items()]
    return (pd.concat(parts, ignore_index=True) if parts else buckets([]).assign(**{name: []})), name


def first_slot(source: Map, first: int | None) -> int:
    """The slot of the values 0 and 1: 1 for BCC's bpf_log2l, else 0, unless it is said."""
    if first is not None:
        return first
    from .bcc_program import BccProgram

    programs = source._object.programs.values() if source._object else ()
    return int(any(isinstance(program, BccProgram) for program in programs))


def counts(source: Map) -> dict:
    """Counts by slot for each key; None for an array, which has one histogram."""
    if source.type in ("array", "percpu_array"):
        _, values = source.to_numpy()
        if values.dtype.names is not None or values.dtype.kind not in "iu":
            raise TypeError(f"the values of map '{source.name}' are no counts; give a column of its to_frame()")
        return {None: values.sum(axis=1) if values.ndim == 2 else values}
    frame = source.to_frame() if "hash" in source.type else pd.DataFrame()
    numbers = [name for name in frame.columns if name == "value" or name.startswith("cpu")]
    slots = [name for name in frame.columns if name == "slot" or name.endswith(".slot")]
    if slots and numbers:
        keys = [name for name in frame.columns if name not in (*numbers, *slots)]
        frame = frame.assign(total=frame[numbers].sum(axis=1))
        wide = int(frame[slots[0]].max()) + 1 if len(frame) else 0
        found: dict = {}
        for row in frame.itertuples(index=False):
            values = dict(zip(frame.columns, row))
            key = ", ".join(str(values[name]) for name in keys) if keys else None
            found.setdefault(key, np.zeros(wide, np.int64))[int(values[slots[0]])] += int(values["total"])
        return found
    if "hash" in source.type and source.ncpus is None:
        arrays = {}
        for key, value in source.items():
            array = next((one for one in (value if isinstance(value, tuple) else (value,)) if isinstance(one, list)), None)
            if array is None:
                break
            shown = key[0] if isinstance(key, tuple) and len(key) == 1 else key
            arrays[", ".join(map(str, shown)) if isinstance(shown, tuple) else shown] = array
        else:
            if arrays:
                return arrays
    raise TypeError(
        f"map '{source.name}' is a {source.type}; only an array of slots is a histogram, or a hash whose key has a member 'slot', "
        "or whose values are arrays of slots: give a column of its to_frame()"
    )
