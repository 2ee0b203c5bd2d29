"""Plots: histograms by powers of two, and bars. They are Altair charts; `charts` shows them without a network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import altair as alt
import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from .map import Map

BUCKETS = ["low", "high", "count"]
BAR = "#4c78a8"

# -- histograms


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


def histogram(data, *, unit: str, title: str = "", by: str | None = None, first: int | None = None) -> alt.LayerChart:
    """Draw a histogram whose buckets are the powers of two.

    Parameters
    ----------
    data : pandas.Series, array_like, pandas.DataFrame or Map
        Numbers; or what bpftrace's hist() gives, a frame with `low`, `high` and `count`; or an array map in which a
        program counts by slots (BCC's BPF_HISTOGRAM with bpf_log2l, or the logarithm itself), per CPU or not.
    unit : str
        Of the values: "ns", "bytes". There is no default: a histogram without a unit says nothing.
    title : str
        What was measured.
    by : str, optional
        A key column of a frame of buckets: one histogram for each of its values.
    first : {0, 1}, optional
        For a map: the slot of the values 0 and 1. If it is not given, 1 for a map of a BCC program, else 0.

    Returns
    -------
    altair.LayerChart
        Its `data` is the frame that is drawn.

    Raises
    ------
    TypeError
        The data is none of these; the text says how to get there.
    """
    buckets = _buckets(data, by, first)
    labels = [_label(low, high) for low, high in zip(buckets["low"], buckets["high"])]
    shown = pd.DataFrame({"bucket": labels, "count": buckets["count"].to_numpy()})
    if by:
        shown[by] = [f"{by} {value}" for value in buckets[by]]
    rows = [*([by] if by else []), "bucket"]
    return _bars(shown, rows, "count", title or "distribution", f"{unit}, from – to", by)


def _bars(shown: pd.DataFrame, names: list[str], value: str, title: str, subtitle: str, by: str | None = None):
    """Lying bars with their numbers, in the order of the frame, the last of `names` on the axis."""
    order = list(dict.fromkeys(shown[names[-1]]))
    base = alt.Chart(shown).encode(
        y=alt.Y(f"{names[-1]}:N", sort=order, title=None, axis=alt.Axis(labelLimit=200, ticks=False)),
        x=alt.X(f"{value}:Q", title=value, axis=alt.Axis(format=",~r", tickCount=5)),
        tooltip=[*(alt.Tooltip(f"{name}:N") for name in names), alt.Tooltip(f"{value}:Q", format=",")],
    )
    numbers = base.mark_text(align="left", dx=3).encode(text=alt.Text(f"{value}:Q", format=",~r"))
    chart = alt.layer(base.mark_bar(color=BAR), numbers, data=shown).properties(width=380, height=20 * len(order))
    if by:
        header = alt.Header(title=None, labelOrient="top", labelAnchor="start")
        chart = chart.facet(row=alt.Row(f"{by}:N", header=header))
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start", frame="group")
    return chart.properties(title=heading, padding={"left": 30, "top": 5, "right": 40, "bottom": 5})


def _label(low, high) -> str:
    if low is None or pd.isna(low):
        return f"below {high + 1:,}"
    if high is None or pd.isna(high):
        return f"{low:,} and more"
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def _buckets(data, by: str | None, first: int | None) -> pd.DataFrame:
    if hasattr(data, "max_entries"):
        return _of_map(data, first)
    if isinstance(data, pd.DataFrame):
        return _of_frame(data, by)
    return log2_buckets(data)


def _of_map(source: Map, first: int | None) -> pd.DataFrame:
    if source.type not in ("array", "percpu_array"):
        raise TypeError(
            f"map '{source.name}' is a {source.type}; only an array of slots is a histogram: give a column of its to_frame()"
        )
    _, values = source.to_numpy()
    if values.dtype.names is not None or values.dtype.kind not in "iu":
        raise TypeError(f"the values of map '{source.name}' are no counts; give a column of its to_frame()")
    if first is None:
        from .bcc_program import BccProgram

        programs = source._object.programs.values() if source._object else ()
        first = int(any(isinstance(program, BccProgram) for program in programs))
    return slot_buckets(values.sum(axis=1) if values.ndim == 2 else values, first)


def _of_frame(frame: pd.DataFrame, by: str | None) -> pd.DataFrame:
    if set(BUCKETS) <= set(frame.columns):
        keys = [name for name in frame.columns if name not in BUCKETS]
        if by is not None and by not in keys:
            raise TypeError(f"there is no key column '{by}'; there are: {', '.join(keys) or 'none'}")
        if keys and by is None and frame[["low", "high"]].duplicated().any():
            raise TypeError(
                f"there is a histogram for each {' and '.join(keys)}; say by='{keys[0]}', or pick one of them"
            )
        if len(keys) > 1 and frame[[by, "low", "high"]].duplicated().any():
            raise TypeError(f"there are several histograms for one {by}; pick rows of the frame before")
        return frame
    if len(frame.columns) == 1:
        return log2_buckets(frame.iloc[:, 0])
    raise TypeError(
        f"say which column: histogram(frame['{frame.columns[-1]}'], unit=...); it has {', '.join(map(str, frame.columns))}"
    )


# -- bars


def bars(frame: pd.DataFrame, name: str, value: str, *, unit: str, title: str = "", limit: int = 30) -> alt.LayerChart:
    """Draw one bar for each row of a frame, the longest first.

    Parameters
    ----------
    frame : pandas.DataFrame
    name, value : str
        Columns: what a row is, and the number that its bar shows.
    unit : str
        Of the numbers: "packets", "ms".
    limit : int
        Only so many rows, the largest; the title says so.
    """
    for column in (name, value):
        if column not in frame.columns:
            raise TypeError(f"there is no column '{column}'; there are: {', '.join(map(str, frame.columns))}")
    rows = frame.sort_values(value, ascending=False, kind="stable")
    title = title or f"{value} by {name}"
    if len(rows) > limit:
        title += f" (the {limit} largest of {len(rows)})"
        rows = rows.head(limit)
    shown = pd.DataFrame({name: rows[name].astype(str).to_numpy(), value: rows[value].to_numpy()})
    return _bars(shown, [name], value, title, unit)
