"""Plots: the buckets are right at powers of two, and what is drawn is what was counted."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bpflab as bl
from bpflab import charts, plots


def _rows(frame: pd.DataFrame) -> list[tuple]:
    return [
        tuple(None if pd.isna(v) else int(v) for v in row)
        for row in frame[["low", "high", "count"]].astype(object).values
    ]


# -- buckets


@pytest.mark.parametrize("power", [1, 2, 10, 31, 32, 53, 62, 63])
def test_powers_of_two_begin_a_bucket(power):
    low = 1 << power
    values = np.array([low - 1, low, low + 1], "u8") if power < 64 else None
    frame = plots.log2_buckets(values)
    assert _rows(frame)[-1] == (low, 2 * low - 1, 2)
    assert _rows(frame)[0] == (low // 2, low - 1, 1)


def test_zero_one_and_negative():
    assert _rows(plots.log2_buckets([-7, -1, 0, 0, 1, 2, 3, 4])) == [
        (None, -1, 2),
        (0, 0, 2),
        (1, 1, 1),
        (2, 3, 2),
        (4, 7, 1),
    ]


def test_the_last_bucket_of_u64():
    assert _rows(plots.log2_buckets(np.array([2**64 - 1], "u8"))) == [(2**63, 2**64 - 1, 1)]


def test_floats_are_rounded_down():
    assert _rows(plots.log2_buckets([0.5, 1.99, 2.0, 3.999, 4.0])) == [(0, 0, 1), (1, 1, 1), (2, 3, 2), (4, 7, 1)]


def test_gaps_are_rows_and_nothing_is_no_row():
    assert _rows(plots.log2_buckets([1, 16])) == [(1, 1, 1), (2, 3, 0), (4, 7, 0), (8, 15, 0), (16, 31, 1)]
    assert _rows(plots.log2_buckets(np.zeros(0, int))) == []


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=50))
def test_every_value_is_in_the_bucket_that_counts_it(values):
    frame = plots.log2_buckets(np.array(values, "u8"))
    for low, high, count in _rows(frame):
        assert sum(low <= value <= high for value in values) == count
    assert frame["count"].sum() == len(values)


@pytest.mark.parametrize(
    "bad, words", [(["a"], "numbers"), ([[1, 2]], "one after the other"), ([1.0, np.nan], "no finite numbers")]
)
def test_what_is_no_row_of_numbers(bad, words):
    with pytest.raises((TypeError, ValueError), match=words):
        plots.log2_buckets(bad)


def test_slots_of_both_conventions():
    assert _rows(plots.slot_buckets([0, 2, 3, 0, 1])) == [(0, 1, 2), (2, 3, 3), (4, 7, 0), (8, 15, 1)]
    assert _rows(plots.slot_buckets([2, 3, 0, 1], first=0)) == [(0, 1, 2), (2, 3, 3), (4, 7, 0), (8, 15, 1)]
    with pytest.raises(ValueError, match="first=0"):
        plots.slot_buckets([1, 2])


# -- against what the kernel counts


def test_slots_agree_with_bpftrace_and_with_bccs_logarithm(lab):
    """The same values by three ways: bpftrace's hist(), BCC's bpf_log2l, and log2_buckets."""
    import warnings

    values = [1, 2, 3, 4, 7, 8, 1023, 1024]
    ours = [row for row in _rows(plots.log2_buckets(values)) if row[2]]
    calls = " ".join(f"@h = hist({v});" for v in values)
    traced = lab.bpftrace(f"BEGIN {{ {calls} exit(); }}")["@h"]
    assert [row for row in _rows(traced) if row[2]] == ours
    text = "BPF_HISTOGRAM(dist);\nint f(struct xdp_md *ctx) {\n"
    text += "".join(f"  dist.increment(bpf_log2l({v}));\n" for v in values) + "  return 0;\n}\n"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obj = lab.bcc(text)
    with obj:
        obj.programs["f"].test_run(bytes(64))
        shown = bl.histogram(obj.maps["dist"], unit="ns").data
    counted = dict(zip(shown["bucket"], shown["count"]))
    assert counted["0 – 1"] == 1 and counted["2 – 3"] == 2 and counted["1,024 – 2,047"] == 1


def test_a_map_of_plain_logarithms(lab):
    with closing(lab.create_map("array", "u32", "u64", 8, name="slots")) as m:
        for slot, count in ((0, 4), (3, 2)):
            m[slot] = count
        assert bl.histogram(m, unit="ns").data["count"].tolist() == [4, 0, 0, 2]
    with closing(lab.create_map("percpu_array", "u32", "u64", 4, name="slots")) as m:
        m[1] = [5] * lab.ncpus
        shown = bl.histogram(m, unit="ns").data
        assert (shown["bucket"].tolist(), shown["count"].tolist()) == (["2 – 3"], [5 * lab.ncpus])


def test_slots_of_one_width(lab):
    """A program that divides by 100 and keeps the last slot for what is above."""
    text = """
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    struct {
        __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
        __type(key, u32);
        __type(value, u64);
        __uint(max_entries, 8);
    } slots SEC(".maps");
    struct of { u32 who, slot; };
    struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __type(key, struct of);
        __type(value, u64);
        __uint(max_entries, 64);
    } by_key SEC(".maps");
    struct hist { u64 slots[16]; };
    struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __type(key, u32);
        __type(value, struct hist);
        __uint(max_entries, 64);
    } arrays SEC(".maps");

    SEC("syscall") int count(u32 *value)
    {
        u32 slot = *value / 100, who = *value % 2;
        struct of key = { .who = who };
        struct hist *hist, none = {};
        u64 one = 1, *times;

        if (slot > 7)
            slot = 7;
        times = bpf_map_lookup_elem(&slots, &slot);
        if (times)
            (*times)++;
        key.slot = slot;
        times = bpf_map_lookup_elem(&by_key, &key);
        if (times)
            (*times)++;
        else
            bpf_map_update_elem(&by_key, &key, &one, BPF_ANY);
        bpf_map_update_elem(&arrays, &who, &none, BPF_NOEXIST);
        hist = bpf_map_lookup_elem(&arrays, &who);
        if (hist)
            hist->slots[slot & 15]++;
        return 0;
    }
    char LICENSE[] SEC("license") = "GPL";"""
    values = [0, 99, 100, 101, 350, 900, 5000]
    with lab.load(text) as obj:
        for value in values:
            obj.programs["count"].test_run(ctx=value.to_bytes(4, "little"))
        shown = bl.histogram(obj.maps["slots"], unit="us", step=100).data
        assert dict(zip(shown["bucket"], shown["count"])) == {
            "0 – 99": 2, "100 – 199": 2, "200 – 299": 0, "300 – 399": 1, "400 – 499": 0, "500 – 599": 0, "600 – 699": 0, "700 and more": 2,
        }  # fmt: skip
        with pytest.raises(TypeError, match="does not say how wide a slot is; say it with step="):
            bl.histogram(obj.maps["slots"], unit="us", scale="linear")
        for name in ("by_key", "arrays"):
            several = bl.histogram(obj.maps[name], unit="us", step=100, by="who").data
            odd = several[several["who"] == "who 1"]
            assert dict(zip(odd["bucket"], odd["count"]))["0 – 99"] == 1 and odd["count"].sum() == 2, name
            assert several["count"].sum() == len(values), name


def test_other_maps_are_refused(lab):
    with (
        closing(lab.create_map("hash", "u32", "u64", 8)) as m,
        pytest.raises(TypeError, match="is a hash; only an array"),
    ):
        bl.histogram(m, unit="ns")


# -- charts


def _spec(chart) -> dict:
    return json.loads(json.dumps(charts.mimebundle(chart)[charts.MIME]))


def test_spec_of_a_histogram():
    chart = bl.histogram(pd.Series([1, 2, 3, 1024]), unit="µs", title="time of openat")
    spec = _spec(chart)
    assert spec["title"]["text"] == "time of openat" and spec["title"]["subtitle"].startswith("µs")
    (rows,) = spec["datasets"].values()
    assert [(row["bucket"], row["count"]) for row in rows if row["count"]] == [
        ("1", 1),
        ("2 – 3", 2),
        ("1,024 – 2,047", 1),
    ]
    marks = [layer["mark"]["type"] for layer in spec["layer"]]
    assert marks == ["bar", "text"]
    encoding = spec["layer"][0]["encoding"]
    assert encoding["y"]["sort"] == [row["bucket"] for row in rows]  # not by alphabet
    assert encoding["x"]["field"] == "count"


def test_the_unit_has_to_be_said():
    with pytest.raises(TypeError, match="unit"):
        bl.histogram([1, 2, 3])


def test_frames():
    buckets = pd.DataFrame({"key": ["a", "b"], "low": [1, 1], "high": [1, 1], "count": [5, 6]})
    with pytest.raises(TypeError, match="by='key'"):
        bl.histogram(buckets, unit="ns")
    spec = _spec(bl.histogram(buckets, unit="ns", by="key"))
    assert spec["facet"]["row"]["field"] == "key"
    assert bl.histogram(buckets[buckets["key"] == "a"], unit="ns").data["count"].tolist() == [5]
    assert bl.histogram(pd.DataFrame({"ns": [1, 2]}), unit="ns").data["count"].sum() == 2
    with pytest.raises(TypeError, match="frame\\['b'\\]"):
        bl.histogram(pd.DataFrame({"a": [1], "b": [2]}), unit="ns")
    with pytest.raises(TypeError, match="no key column 'no'"):
        bl.histogram(buckets, unit="ns", by="no")


def test_open_buckets_are_worded():
    frame = pd.DataFrame(
        {"low": pd.array([None, 0, 10], "Int64"), "high": pd.array([-1, 9, None], "Int64"), "count": [1, 2, 3]}
    )
    assert bl.histogram(frame, unit="ns").data["bucket"].tolist() == ["below 0", "0 – 9", "10 and more"]


@pytest.mark.parametrize(
    "values, options, rows",
    [
        ([0, 9, 10, 25], {"step": 10}, [(0, 9, 2), (10, 19, 1), (20, 29, 1)]),
        ([-5, 5], {"step": 10}, [(-10, -1, 1), (0, 9, 1)]),
        ([3, 3, 3], {}, [(3, 3, 3)]),
        ([0, 1000], {}, [(0, 49, 1), *((n, n + 49, 0) for n in range(50, 1000, 50)), (1000, 1049, 1)]),
        ([], {}, []),
    ],
)
def test_linear_buckets(values, options, rows):
    assert _rows(plots.linear_buckets(np.array(values, "i8"), **options)) == rows


@given(st.lists(st.integers(0, 2**40), min_size=1), st.integers(1, 2**30))
def test_every_value_is_in_its_linear_bucket(values, step):
    low, high = min(values) // step, max(values) // step
    if high - low > 10_000:
        return
    frame = plots.linear_buckets(np.array(values, "u8"), step)
    assert frame["count"].sum() == len(values)
    for row in frame.itertuples():
        assert row.count == sum(row.low <= value <= row.high for value in values)


def test_fractions_have_linear_buckets_too():
    frame = plots.linear_buckets([0.05, 0.15, 0.16], step=0.1)
    assert frame["count"].tolist() == [1, 2] and frame["high"].iloc[1] == pytest.approx(0.2)


def test_empty_powers_of_two_are_drawn_between_the_others():
    frame = pd.DataFrame({"page": ["a", "b", "b"], "low": [8, 2, 64], "high": [15, 3, 127], "count": [5, 1, 2]})
    drawn = bl.histogram(frame, unit="us", by="page").data
    assert drawn["bucket"][drawn["page"] == "page b"].tolist() == ["2 – 3", "4 – 7", "8 – 15", "16 – 31", "32 – 63", "64 – 127"]
    assert drawn["count"].tolist() == [0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 2]
    tens = frame.assign(low=[0, 20, 70], high=[9, 29, 79])
    assert bl.histogram(tens, unit="us", by="page").data["bucket"].nunique() == 3


def test_side_by_side_has_the_same_buckets():
    chart = bl.histogram({"before": [1, 1, 300], "after": [1, 2]}, unit="us", side_by_side=True)
    spec = _spec(chart)
    assert spec["facet"]["column"]["field"] == "of" and spec["facet"]["column"]["sort"] == ["before", "after"]
    rows = chart.data
    assert rows[rows["of"] == "after"]["bucket"].tolist() == rows[rows["of"] == "before"]["bucket"].tolist()
    assert rows.groupby("of")["count"].sum().to_dict() == {"before": 3, "after": 2}


def test_a_column_by_another():
    frame = pd.DataFrame({"comm": ["a", "b", "a"], "ns": [10, 20, 900]})
    rows = bl.histogram(frame, value="ns", by="comm", unit="ns").data
    assert rows.groupby("comm")["count"].sum().to_dict() == {"comm a": 2, "comm b": 1}
    linear = bl.histogram(frame, value="ns", by="comm", unit="ns", scale="linear").data
    assert linear[linear["comm"] == "comm a"]["bucket"].tolist() == linear[linear["comm"] == "comm b"]["bucket"].tolist()
    with pytest.raises(TypeError, match="no column 'us'; there are: comm, ns"):
        bl.histogram(frame, value="us", unit="us")
    with pytest.raises(ValueError, match="log2 or linear"):
        bl.histogram([1], unit="ns", scale="log10")


def test_a_heat_map():
    frame = pd.DataFrame({"time_ns": [5 * 10**9, 5 * 10**9, 8 * 10**9], "ns": [100, 120, 5000]})
    chart = bl.heatmap(frame, "time_ns", "ns", unit="ns", seconds=1)
    assert sorted(map(tuple, chart.data[["second", "bucket", "count"]].values.tolist())) == [(0, "64 – 127", 2), (3, "4,096 – 8,191", 1)]
    spec = _spec(chart)
    assert spec["title"]["subtitle"].startswith("ns") and spec["encoding"]["y"]["sort"][0] == "4,096 – 8,191"
    assert len(spec["encoding"]["y"]["sort"]) == 7  # the empty ones between, too
    with pytest.raises(TypeError, match="no column 'us'"):
        bl.heatmap(frame, "time_ns", "us", unit="us")
    with pytest.raises(ValueError, match="no events to draw"):
        bl.heatmap(frame[:0], "time_ns", "ns", unit="ns")


def test_bars():
    frame = pd.DataFrame({"comm": ["a", "b", "c"], "reads": [1, 30, 20], "more": [0, 0, 0]})
    chart = plots.bars(frame, "comm", "reads", unit="calls", limit=2)
    assert chart.data["comm"].tolist() == ["b", "c"] and chart.data["reads"].tolist() == [30, 20]
    spec = _spec(chart)
    assert spec["title"]["text"] == "reads by comm (the 2 largest of 3)" and spec["title"]["subtitle"] == "calls"
    with pytest.raises(TypeError, match="no column 'read'; there are: comm, reads, more"):
        plots.bars(frame, "comm", "read", unit="calls")


def test_a_picture_goes_with_it():
    shown = charts.mimebundle(bl.histogram([1, 2, 3, 4], unit="ns", title="a title to see"))
    picture = shown["image/svg+xml"]
    assert picture.startswith("<svg") and "a title to see" in picture and "4 – 7" in picture


def test_nbconvert_shows_the_picture_without_a_network(tmp_path):
    """A notebook that is executed and exported has the chart in its HTML, and asks nobody for a script."""
    notebook = nbformat.v4.new_notebook()
    source = "import bpflab as bl\nbl.histogram([1, 2, 3, 1024], unit='ns', title='seen in the export')"
    notebook.cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(notebook, tmp_path / "plot.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--execute", "plot.ipynb"]
    environment = {**os.environ, "PYTHONPATH": str(Path(bl.__file__).parent.parent)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    (picture,) = re.findall(
        r"<img[^>]* src=\"data:image/svg\+xml;base64,([\w+/=]+)", (tmp_path / "plot.html").read_text()
    )
    drawn = base64.b64decode(picture).decode()
    assert "seen in the export" in drawn and "1,024 – 2,047" in drawn
