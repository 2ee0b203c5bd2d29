"""Every program type: each way to use it attached, driven and seen to run; and the table that is made of it."""

from __future__ import annotations

import html
import json
import re

import lanes
import pytest
from cli_support import TREE, complaint
from cli_support import lab as command

import bpflab as bl
from bpflab import hooks, kinds, type_table
from bpflab.errors import LabError, NotSupportedError

RESULTS = json.loads(type_table.RESULTS.read_text())["machines"]
WAYS = [pytest.param(name, way, marks=pytest.mark.needs(way)) for name, hook in hooks.HOOKS.items() for way in hook.ways]


@pytest.mark.parametrize("name, way", WAYS)
def test_a_program_of_the_type_runs(lab, name, way):
    """Loaded, attached, and run by its event; or the kernel's own words for why not."""
    if reason := lab.missing(way):
        raise NotSupportedError(way, lab.where, reason)


@pytest.fixture(scope="module")
def table(lab):
    return bl.program_types(lab)


@pytest.mark.needs("socket_filter")  # so that it runs on the virtual machine too
def test_what_is_committed_is_what_this_kernel_does(lab):
    """Of this kernel every word is as recorded; of another every type is there. Hardware is nothing that a kernel promises."""
    now, then = type_table.tried(lab), RESULTS.get(lab.machine, {"kernel": None})
    for ways in [*now["types"].values(), *then.get("types", {}).values()]:
        for way in lanes.HARDWARE:
            ways.pop(way, None)
    if now["kernel"] == then["kernel"]:
        assert now == then, "run ./lab matrix --types"
    assert set(now["types"]) <= {name for found in RESULTS.values() for name in found["types"]}, "run ./lab matrix --types"


def test_every_type_of_the_kernel_has_a_row(lab, table):
    # bpftool writes the same enum another way
    dumped = lab.sh("bpftool btf dump file /sys/kernel/btf/vmlinux format c | grep -oE 'BPF_PROG_TYPE_[A-Z0-9_]+ = [0-9]+'")
    names = [re.match(r"BPF_PROG_TYPE_(\w+)", line)[1].lower() for line in dumped.lines]
    names = list(dict.fromkeys(name for name in names if name != "unspec"))
    assert len(names) >= 31
    assert list(table["type"])[: len(names)] == names
    assert table["type"].is_unique


def test_what_is_known_has_prose_and_a_source(table):
    for row in table.to_dict("records"):
        if row["type"] in hooks.HOOKS:
            assert row["hook"] and row["returns"]
            assert re.fullmatch(r"\d\.\d+", row["since"]) and re.fullmatch(r"[0-9a-f]{12}", row["commit"])
            assert re.match(r"[a-z]+/[\w/.-]+\.[ch]\b", row["source"])
    assert set(hooks.HOOKS) == set(kinds.PROG_TYPES[1:])


def test_releases_go_up_with_the_numbers():
    """The enum grows at its end only."""
    releases = [tuple(map(int, hook.since.split("."))) for hook in hooks.HOOKS.values()]
    assert releases == sorted(releases)


def test_contexts_are_those_of_the_kernels_btf(table):
    contexts = dict(zip(table["type"], table["context"]))
    assert contexts["xdp"] == "struct xdp_md; in the kernel struct xdp_buff"
    assert contexts["cgroup_device"] == "struct bpf_cgroup_dev_ctx"
    assert contexts["lsm"] == "void *"


def test_the_columns_are_the_machines(lab, table):
    names = [name for name in table.columns if ", Linux " in name]
    assert lab.where in names and len(names) >= len(RESULTS)
    own = dict(zip(table["type"], table[lab.where]))
    assert own["socket_filter"] == "yes"
    for name, hook in hooks.HOOKS.items():
        marks = {line.partition(":")[0] for line in own[name].split("\n")}
        assert marks <= {"yes", "no"} and ("no" in marks) == any(lab.missing(way) for way in hook.ways), name


def test_another_kernel_than_the_recorded_is_tried(lab, monkeypatch, tmp_path):
    other = {"machines": {lab.machine: {"kernel": "5.99", "types": {}}, "vm:5.98": {"kernel": "5.98", "types": {"xdp": {"a": "no"}, "later": {}}}}}
    monkeypatch.setattr(type_table, "RESULTS", tmp_path / "types.json")
    (tmp_path / "types.json").write_text(json.dumps(other))
    table = bl.program_types(lab)
    assert list(table.columns[-2:]) == [lab.where, "vm:5.98, Linux 5.98"]
    rows = table.set_index("type")
    assert rows.loc["xdp", "vm:5.98, Linux 5.98"] == "no: no" and rows.loc["lsm", "vm:5.98, Linux 5.98"] == "not tried"
    assert rows.loc["xdp", lab.where].startswith("yes")
    # what only another machine's kernel has
    assert "later" in rows.index and rows.loc["later", "context"] == "this kernel does not know the type"
    (tmp_path / "types.json").unlink()
    assert list(bl.program_types(lab).columns[-1:]) == [lab.where]
    (tmp_path / "types.json").write_text("[]")
    with pytest.raises(LabError, match="run it again"):
        bl.program_types(lab)


def test_a_type_that_bpflab_does_not_know_is_loaded_and_shown(lab, monkeypatch):
    monkeypatch.setattr(hooks, "HOOKS", {name: hook for name, hook in hooks.HOOKS.items() if name not in ("xdp", "lirc_mode2")})
    monkeypatch.setattr(type_table, "RESULTS", type_table.RESULTS.with_name("none.json"))
    rows = bl.program_types(lab).set_index("type")
    assert rows.loc["xdp", lab.where] == "it loads, and bpflab does not know yet what to attach it to"
    assert rows.loc["xdp", "hook"] == "" and rows.loc["xdp", "context"].startswith("struct xdp_md")
    if rows.loc["lirc_mode2", "context"] == "not built into this kernel":
        assert rows.loc["lirc_mode2", lab.where].startswith("no: BPF_PROG_LOAD failed: EINVAL")


def test_a_notebook_shows_every_word(table):
    shown = table._repr_html_().replace("<wbr>", "")
    assert shown.count("<tr>") == len(table) + 1 and "..." not in shown
    assert "XDP_REDIRECT sends it elsewhere" in shown and "6a773a15a1e8" in shown
    assert '<b class="no">no</b> <span>(1)</span>' in shown and '<b class="yes">yes</b>' in shown
    notes = re.findall(r"<li>(.*?)</li>", shown)
    numbers = {int(number) for number in re.findall(r"<span>\((\d+)\)</span>", shown)}
    assert numbers == set(range(1, len(notes) + 1)) and len(notes) == len(set(notes))
    own = "\n".join(table[name].str.cat(sep="\n") for name in table.columns if ", Linux " in name)
    assert all(html.unescape(note) in own for note in notes)
    part = table[table["type"] == "xdp"][["type", "hook", "since"]]
    assert "before the kernel makes an sk_buff of it" in part._repr_html_().replace("<wbr>", "") and "<script" not in shown
    table = table.copy()
    table.loc[0, "hook"] = "<script>"
    assert "<script" not in table._repr_html_()


def test_the_command(tmp_path):
    out = tmp_path / "types.json"
    done = command("matrix", "--types", "--machines", "local", "--output", out)
    assert done.returncode == 0, done.stderr
    assert f"{len(hooks.HOOKS)} program types on local;" in done.stdout
    found = json.loads(out.read_text())["machines"]
    assert list(found) == ["local"] and found["local"]["types"]["syscall"] == {"syscall": ""}
    done = command("matrix", "03", "--types")
    assert done.returncode == 2 and "belong to no chapter" in complaint(done)
    done = command("matrix", "--types", "--machines", "wm:1", "--output", tmp_path / "other.json")
    assert done.returncode == 1 and not (tmp_path / "other.json").exists()
    done = command("matrix", "--types", "--output", TREE / "nowhere/x.json")
    assert done.returncode == 1 and "make it first" in complaint(done)
