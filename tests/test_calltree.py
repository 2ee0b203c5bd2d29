"""Trees of calls: built, compared, written for other tools. No kernel."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET

import jsonschema
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import bpflab as bl
from bpflab import elf
from bpflab.profiling import export, symbols
from bpflab.profiling.tree import aligned, build, of_folded

FOLDED = {"sh;main;work": 5, "sh;main": 2, "sh;main;rest;deep": 3, "cat;main;work": 1}
# speedscope's file-format-spec.ts, as far as sampled profiles go: what must be there, and of which type
NUMBERS = {"type": "array", "items": {"type": "number"}}
FRAME = {
    "type": "object",
    "required": ["name"],
    "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "file": {"type": "string"}, "line": {"type": "number"}, "col": {"type": "number"}},
}
SAMPLED = {
    "type": "object",
    "required": ["type", "name", "unit", "startValue", "endValue", "samples", "weights"],
    "properties": {
        "type": {"const": "sampled"},
        "name": {"type": "string"},
        "unit": {"enum": ["bytes", "microseconds", "milliseconds", "nanoseconds", "none", "seconds"]},
        "startValue": {"type": "number"},
        "endValue": {"type": "number"},
        "samples": {"type": "array", "items": NUMBERS},
        "weights": NUMBERS,
    },
}
SPEEDSCOPE = {
    "type": "object",
    "required": ["$schema", "profiles", "shared"],
    "properties": {
        "$schema": {"const": "https://www.speedscope.app/file-format-schema.json"},
        "shared": {"type": "object", "required": ["frames"], "properties": {"frames": {"type": "array", "items": FRAME}}},
        "profiles": {"type": "array", "items": SAMPLED},
        "name": {"type": "string"},
        "activeProfileIndex": {"type": "number"},
        "exporter": {"type": "string"},
    },
}
stacks_of_text = st.dictionaries(
    st.lists(st.sampled_from("abcde"), min_size=1, max_size=6).map(";".join), st.integers(1, 1000), min_size=1, max_size=30
)


def test_totals():
    tree = of_folded(FOLDED)
    assert tree.whole == 11
    ways = tree.lists(np.arange(len(tree.name)))
    shown = {";".join(tree.names[n] for n in way): (tree.own[node], tree.total[node]) for node, way in enumerate(ways)}
    assert shown == {
        "cat": (0, 1), "sh": (0, 10), "cat;main": (0, 1), "sh;main": (2, 10), "cat;main;work": (1, 1), "sh;main;rest": (0, 3),
        "sh;main;work": (5, 5), "sh;main;rest;deep": (3, 3),
    }  # fmt: skip
    assert tree.depth.tolist() == [0, 0, 1, 1, 2, 2, 2, 3]


@given(stacks_of_text)
def test_folding_gives_back_what_was_folded(stacks):
    tree = of_folded(stacks)
    assert tree.folded() == stacks
    assert (np.diff(tree.parent) >= 0).all() and tree.whole == sum(stacks.values())
    inner = tree.parent >= 0
    assert (tree.total[tree.parent[inner]] >= tree.total[inner]).all()


@given(stacks_of_text)
def test_boxes_lie_within_their_callers_and_beside_each_other(stacks):
    tree = of_folded(stacks)
    left = export.places(tree)
    for node, parent in enumerate(tree.parent.tolist()):
        if parent >= 0:
            assert left[parent] <= left[node] and left[node] + tree.total[node] <= left[parent] + tree.total[parent]
        if node and tree.parent[node - 1] == parent:
            assert left[node] == left[node - 1] + tree.total[node - 1]


@given(stacks_of_text, stacks_of_text)
def test_two_trees_of_one_shape(now, before):
    both, past = aligned(of_folded(now), of_folded(before))
    assert both.folded() == now and past.folded() == before
    assert both.names == past.names and both.parent is past.parent


def test_stacks_without_frames_and_without_stacks():
    tree, ends = build(["a"], [1], [""], np.array([0]), np.array([1, 0]), np.array([3, 4]))
    assert ends.tolist() == [0, -1] and tree.whole == 3
    empty = of_folded({})
    assert empty.whole == 0 and empty.folded() == {} and export.speedscope(empty, "x", "samples")["profiles"][0]["samples"] == []


def test_text_with_empty_names():
    assert of_folded({";a;;b": 2, "a;b;": 3, "": 4}).folded() == {"a;b": 5}


def test_rows_of_a_frame():
    rows = pd.DataFrame({"process": ["sh", "s;h"], "pid": [1, 2], "samples": [3, 4], "user": ["main;[x]", ""], "kernel": ["read;iter", "idle"]})
    graph = bl.flamegraph(rows)
    tree = graph.tree
    assert tree.folded() == {"s:h;idle": 4, "sh;main;[x];read;iter": 3}
    kinds = dict(zip(tree.names, tree.kinds.tolist()))
    assert kinds == {"s:h": 0, "sh": 0, "main": 1, "[x]": 4, "read": 2, "iter": 2, "idle": 2}
    assert bl.flamegraph(rows[rows.pid == 1], before=rows).tree.whole == 3
    with pytest.raises(ValueError, match="counts samples and before us"):
        bl.flamegraph(rows, before=rows.rename(columns={"samples": "us"}))
    with pytest.raises(TypeError, match="stacks is a DataFrame; give"):
        bl.flamegraph(rows.drop(columns="user"))


def test_separators_in_names():
    """Rust writes [u8; 4]; in folded text ";" stands between functions."""
    tree, _ = build(["main", "f<[u8; 4]>"], [1, 1], ["", ""], np.array([0, 1]), np.array([2]), np.array([7]))
    assert tree.folded() == {"main;f<[u8: 4]>": 7}


def test_speedscope_is_as_its_specification_says():
    made = json.loads(json.dumps(bl.flamegraph(FOLDED).to_speedscope()))
    jsonschema.validate(made, SPEEDSCOPE)
    frames = [frame["name"] for frame in made["shared"]["frames"]]
    profile = made["profiles"][0]
    read = {";".join(frames[n] for n in sample): weight for sample, weight in zip(profile["samples"], profile["weights"])}
    assert read == FOLDED and profile["endValue"] == 11
    wrong = json.loads(json.dumps(made))
    wrong["profiles"][0]["unit"] = "samples"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, SPEEDSCOPE)


def test_picture(tmp_path):
    graph = bl.flamegraph(FOLDED | {"<b>;a&b": 4})
    graph.to_svg(tmp_path / "f.svg")
    root = ET.parse(tmp_path / "f.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in root.iter(f"{space}title")]
    assert len(titles) == 10 and "<b>: 4 counts, 26.67 %" in titles
    widths = {g.find(f"{space}title").text.split(":")[0]: float(g.find(f"{space}rect").get("width")) for g in root.iter(f"{space}g")}
    assert abs(widths["sh"] - 1200 * 10 / 15) < 1
    assert "<script" not in graph.svg


def test_what_changed():
    graph = bl.flamegraph({"a;x": 50, "a;y": 50}, before={"a;x": 10, "a;z": 30})
    change = {graph.tree.names[n]: c for n, c in zip(graph.tree.name, graph.change)}
    # shares: x 25 % -> 50 %, y 0 -> 50 %, z 75 % -> 0, the largest
    assert change == pytest.approx({"a": 0, "x": 1 / 3, "y": 2 / 3, "z": -1})
    assert "how they changed" in repr(graph)
    assert len(re.findall(r"<title>", graph.svg)) == 3, "z has no width now"


@pytest.mark.parametrize(
    "arguments, error, text",
    [
        (({},), ValueError, "no stack to draw"),
        ((["a"],), TypeError, "stacks is a list; give what lab.profile"),
        (({"a": 1}, 5), TypeError, "before is a int"),
    ],
)
def test_what_cannot_be_drawn(arguments, error, text):
    with pytest.raises(error, match=text):
        bl.flamegraph(*arguments)


def test_lines_of_a_perf_map():
    found = symbols.PerfMap(b"20 8 second one\n10 8 first\nzz 1 no number\n30\n40 4 last")
    at = found.find(np.array([0x10, 0x17, 0x18, 0x27, 0x0F, 0x44], np.uint64))
    assert [found.names[n] if n >= 0 else None for n in at] == ["first", "first", None, "second one", None, None]
    assert symbols.PerfMap(b"").find(np.array([1], np.uint64)).tolist() == [-1]


def table(rows):
    """A `symbols.Table` of (value, size, info, section) rows, whose names lie at 1, 2, ..."""
    data = np.zeros(len(rows), elf.SYMBOL[64])
    for n, (value, size, info, section) in enumerate(rows):
        data[n] = (n + 1, info, 0, section, value, size)
    about = {"key": [1], "why": "", "loads": [[0x1000, 0x401000, 0x1000]], "packed": False, "bits": 64, "order": "<"}
    return symbols.Table(about | {"tables": [[data.tobytes(), [1]]]})


def test_symbols_by_address():
    func, weak, local, label, data = 0x12, 0x22, 0x02, 0x10, 0x11
    found = table([
        (0x100, 0x20, local, 1), (0x100, 0x20, func, 1), (0x100, 0x20, weak, 1),  # one function, three names
        (0x130, 0, func, 1), (0x150, 0x100, func, 1), (0x160, 0x10, func, 1),  # without a size; one within another
        (0x90, 8, data, 1), (0x98, 8, func, 0), (0x9F, 0, label, 1), (0xA8, 8, func, 2),  # data, undefined, a label, no code
    ])  # fmt: skip
    at = found.find(np.array([0x100, 0x11F, 0x120, 0x130, 0x14F, 0x165, 0x175, 0x24F, 0x250, 0x9F, 0x90, 0xA8], np.uint64))
    names = [int(found.name[n]) if n >= 0 else None for n in at]
    assert names == [2, 2, None, 4, 4, 6, 5, 5, None, 9, None, 9]
    assert found.addresses(np.array([0x1010, 0x10], np.uint64)).tolist() == [0x401010, 0x10]
    assert table([]).find(np.array([1], np.uint64)).tolist() == [-1]
