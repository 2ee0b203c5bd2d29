"""Plots: histograms, heat maps and bars. They are Altair charts; `charts` shows them without a network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import altair as alt
import numpy as np
import pandas as pd

from . import buckets
from .bins import buckets_of
from .buckets import BUCKETS, linear_buckets, log2_buckets, slot_buckets

__all__ = ["bars", "heatmap", "histogram", "linear_buckets", "log2_buckets", "slot_buckets"]
BAR = "#4c78a8"
NUMBER = "#808080"  # read on a light and on a dark page: marks do not follow JupyterLab's theme
NAMED = "of"  # tells histograms apart that come with names of their own

# -- histograms


def histogram(
    data,
    *,
    unit: str,
    title: str = "",
    value: str | None = None,
    by: str | None = None,
    scale: str = "log2",
    step: int | float | None = None,
    first: int | None = None,
    side_by_side: bool = False,
) -> alt.LayerChart:
    """Draw a histogram, its buckets the powers of two or of one width.

    Parameters
    ----------
    data : pandas.Series, array_like, pandas.DataFrame, mapping or Map
        Numbers; or a frame and the column `value` of it; or numbers by name, for a histogram each; or what bpftrace's hist()
        gives, a frame with `low`, `high` and `count`; or a map in which a program counts by slots, per CPU or not: an array
        (BCC's BPF_HISTOGRAM with bpf_log2l, the logarithm itself, or value / step), or for several histograms a hash whose key has
        a member `slot`, or whose values are arrays of slots.
    unit : str
        Of the values: "ns", "us", "bytes". There is no default: a histogram without a unit says nothing.
    title : str
        What was measured.
    value : str, optional
        Of a frame: the column with the numbers.
    by : str, optional
        Of a frame: a histogram for each value of this column. Of a map with several: what they are told apart by, for the title.
    scale : {"log2", "linear"}
    step : number, optional
        Width of a linear bucket. A round one if it is not given; of a map it has to be, for the map does not say it.
    first : {0, 1}, optional
        For a map by powers of two: the slot of the values 0 and 1. If it is not given, 1 for a map of a BCC program, else 0.
    side_by_side : bool
        Several histograms beside each other, not one below the other.

    Returns
    -------
    altair.LayerChart
        Its `data` is the frame that is drawn.

    Raises
    ------
    TypeError
        The data is none of these; the text says how to get there.
    """
    if scale not in ("log2", "linear"):
        raise ValueError(f"scale is log2 or linear, not {scale!r}")
    linear = scale == "linear" or step is not None
    found, by = _buckets(data, value, by, first, linear, step)
    if by:
        found = _aligned(found, by)
    labels = [_label(low, high) for low, high in zip(found["low"], found["high"])]
    shown = pd.DataFrame({"bucket": labels, "count": found["count"].to_numpy()})
    if by:
        shown[by] = [str(key) if by == NAMED else f"{by} {key}" for key in found[by]]
    rows = [*([by] if by else []), "bucket"]
    return _bars(shown, rows, "count", title or "distribution", f"{unit}, from – to", by, side_by_side)


def _aligned(found: pd.DataFrame, by: str) -> pd.DataFrame:
    """The same buckets for each histogram, so that bars of one height stand for the same values."""
    edges = found[["low", "high"]].drop_duplicates()
    order = edges["low"].isna().map({True: 0, False: 1}), edges["low"].fillna(0)
    edges = _without_gaps(edges.iloc[np.lexsort((order[1].to_numpy(), order[0].to_numpy()))])
    parts = []
    for key in dict.fromkeys(found[by]):
        one = edges.merge(found[found[by] == key], on=["low", "high"], how="left")
        parts.append(one.assign(**{by: key, "count": one["count"].fillna(0).astype("int64")}))
    return pd.concat(parts, ignore_index=True) if parts else found


def _without_gaps(edges: pd.DataFrame) -> pd.DataFrame:
    """Powers of two with the empty ones between them, which a program that counts in a hash does not name."""
    whole = edges["low"].dtype.kind in "iu" and not edges.isna().any(axis=None)
    lows = edges["low"].tolist() if whole else []
    if not lows or any(low < 1 or low & (low - 1) or high != 2 * low - 1 for low, high in zip(lows, edges["high"].tolist())):
        return edges
    lows = [1 << power for power in range(lows[0].bit_length() - 1, lows[-1].bit_length())]
    return pd.DataFrame({"low": lows, "high": [2 * low - 1 for low in lows]}).astype(edges.dtypes)


def _bars(shown: pd.DataFrame, names: list[str], value: str, title: str, subtitle: str, by: str | None = None, wide: bool = False):
    """Lying bars with their numbers, in the order of the frame, the last of `names` on the axis."""
    order = list(dict.fromkeys(shown[names[-1]]))
    exact = ",d" if shown[value].dtype.kind in "iu" else ",.3~r"
    base = alt.Chart(shown).encode(
        y=alt.Y(f"{names[-1]}:N", sort=order, title=None, axis=alt.Axis(labelLimit=200, ticks=False)),
        x=alt.X(f"{value}:Q", title=value, axis=alt.Axis(format=",~r", tickCount=5)),
        tooltip=[*(alt.Tooltip(f"{name}:N") for name in names), alt.Tooltip(f"{value}:Q", format=",")],
    )
    numbers = base.mark_text(align="left", dx=3, color=NUMBER).encode(text=alt.Text(f"{value}:Q", format=exact))
    count = shown[by].nunique() if by else 1
    width = max(110, 760 // count - 40) if wide else 380
    chart = alt.layer(base.mark_bar(color=BAR), numbers, data=shown).properties(width=width, height=20 * len(order))
    if by:
        header, sort = alt.Header(title=None, labelOrient="top", labelAnchor="start"), list(dict.fromkeys(shown[by]))
        where = {"column": alt.Column(f"{by}:N", header=header, sort=sort)} if wide else {"row": alt.Row(f"{by}:N", header=header, sort=sort)}
        chart = chart.facet(**where)
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start", frame="group")
    return chart.properties(title=heading, padding={"left": 30, "top": 5, "right": 40, "bottom": 5})


def _label(low, high) -> str:
    if low is None or pd.isna(low):
        return f"below {high + 1:,}"
    if high is None or pd.isna(high):
        return f"{low:,} and more"
    return f"{low:,}" if low == high else f"{low:,} – {high:,}"


def _buckets(data, value: str | None, by: str | None, first: int | None, linear: bool, step) -> tuple[pd.DataFrame, str | None]:
    """Buckets, and the column that tells several histograms apart."""
    if hasattr(data, "max_entries"):
        if linear and step is None:
            raise TypeError(f"map '{data.name}' does not say how wide a slot is; say it with step=, as the program divides")
        return buckets.of_map(data, first, step, by)
    count = functools.partial(buckets.linear_buckets, step=step) if linear else buckets.log2_buckets
    if isinstance(data, Mapping):
        by = NAMED
        data, value = pd.concat([pd.DataFrame({by: name, "value": np.asarray(one)}) for name, one in data.items()], ignore_index=True), "value"
    if isinstance(data, pd.DataFrame):
        return _of_frame(data, value, by, count)
    return count(data), None


def _of_frame(frame: pd.DataFrame, value: str | None, by: str | None, count: Callable) -> tuple[pd.DataFrame, str | None]:
    for column in filter(None, (value, by)):
        if column not in frame.columns and (value or not set(BUCKETS) <= set(frame.columns)):
            raise TypeError(f"there is no column '{column}'; there are: {', '.join(map(str, frame.columns))}")
    if value is not None and by is None:
        return count(frame[value]), None
    if value is not None:
        if getattr(count, "keywords", {}).get("step", 0) is None:  # one width for all, or nothing could be compared
            edges = count(frame[value])
            count = functools.partial(count, step=edges["low"].iloc[1] - edges["low"].iloc[0] if len(edges) > 1 else 1)
        groups = frame.groupby(by, sort=False, observed=True)[value]
        return pd.concat([count(one.to_numpy()).assign(**{by: key}) for key, one in groups], ignore_index=True), by
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
        return frame, by
    if len(frame.columns) == 1:
        return count(frame.iloc[:, 0]), None
    raise TypeError(
        f"say which column: histogram(frame['{frame.columns[-1]}'], unit=...); it has {', '.join(map(str, frame.columns))}"
    )


# -- heat maps


def heatmap(
    frame: pd.DataFrame, time: str, value: str, *, unit: str, title: str = "", seconds: float | None = None, bins: int = 60
) -> alt.Chart:
    """Draw how a distribution changes over time: counts by powers of two, in bins of time.

    Parameters
    ----------
    frame : pandas.DataFrame
        Of events.
    time : str
        Column with the time of an event: nanoseconds if they are whole numbers, else seconds.
    value : str
        Column of numbers.
    unit : str
        Of the value.
    seconds : float, optional
        Width of a bin; a round one that makes about `bins` if it is not given.

    Returns
    -------
    altair.Chart
        Its `data` is the frame that is drawn: `second`, `until`, `bucket`, `count`.
    """
    for column in (time, value):
        if column not in frame.columns:
            raise TypeError(f"there is no column '{column}'; there are: {', '.join(map(str, frame.columns))}")
    if not len(frame):
        raise ValueError("there are no events to draw; see that the program was attached while they happened")
    when = frame[time].to_numpy()
    when = (when - when.min()) / (1e9 if when.dtype.kind in "iu" else 1)
    if seconds is None:
        seconds = buckets._round_step(max(float(when.max()), 1e-6) / bins, whole=False)
    numbers = np.floor(when / seconds).astype(np.int64)
    counts = pd.DataFrame({"bin": numbers, "bucket": buckets_of(frame[value].to_numpy())}).value_counts().reset_index()
    lows = {n: 0 if n == 0 else 1 << n - 1 for n in range(66)}
    every = range(int(counts["bucket"].max()), int(counts["bucket"].min()) - 1, -1)
    labels = {n: "0 and below" if n == 0 else _label(lows[n], lows[n + 1] - 1) for n in every}
    shown = pd.DataFrame(
        {
            "second": counts["bin"] * seconds,
            "until": (counts["bin"] + 1) * seconds,
            "bucket": counts["bucket"].map(labels),
            "count": counts["count"],
        }
    )
    heading = alt.TitleParams(title or f"{value} over time", subtitle=f"{unit}, from – to; a bin is {seconds:g} s", anchor="start", frame="group")
    return (
        alt.Chart(shown)
        .mark_rect()
        .encode(
            x=alt.X("second:Q", title="seconds", scale=alt.Scale(nice=False)),
            x2="until:Q",
            y=alt.Y("bucket:N", sort=list(labels.values()), title=None, scale=alt.Scale(domain=list(labels.values())), axis=alt.Axis(labelLimit=200)),
            color=alt.Color("count:Q", scale=alt.Scale(type="sqrt", scheme="blues"), legend=alt.Legend(title="events")),
            tooltip=[alt.Tooltip("second:Q", format=".3~f"), "bucket:N", alt.Tooltip("count:Q", format=",")],
        )
        .properties(width=560, height=20 * len(labels), title=heading, padding={"left": 30, "top": 5, "right": 40, "bottom": 5})
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
