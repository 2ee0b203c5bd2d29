"""Features are found by trying, in a moment, and nothing of the tries is left."""

from __future__ import annotations

import kernelstate
import pytest

import bpflab as bl
from bpflab import features, kinds
from bpflab.errors import NotSupportedError, UnknownNameError

COLUMNS = ["feature", "kind", "available", "how", "reason"]


@pytest.fixture(scope="module")
def table(lab):
    return lab.features()


def test_table_has_a_reason_for_each_gap_and_only_there(table):
    assert list(table.columns) == COLUMNS
    assert table["available"].dtype == bool
    assert table["feature"].is_unique
    assert (table["how"] != "").all()
    assert ((table["reason"] == "") == table["available"]).all()


def test_every_map_type_is_tried(table):
    tried = set(table.loc[table["kind"] == "map type", "feature"])
    assert tried == {f"map {name}" for name in kinds.MAP_TYPES if name != "unspec"}


@pytest.mark.parametrize(
    "name",
    "kprobe kprobe.multi fentry fexit fmod_ret lsm freplace tp_btf raw_tp tracepoint uprobe uretprobe usdt perf_event iter"
    " syscall struct_ops sk_lookup tcx clsact cgroup_skb sock_ops sk_msg test_run BTF batch ringbuf bpf_loop timer JIT".split()
    + ["xdp native", "xdp generic", "tail call"],
)
def test_names_are_the_fields(table, name):
    assert name in set(table["feature"])


def test_what_is_said_to_be_there_really_is(lab, table):
    """One of each kind that a test can do again by another way, through libbpf or the map room."""
    there = set(table.loc[table["available"], "feature"])
    assert "map hash" in there and lab.create_map("hash", "u32", "u64", 4).id
    if "tp_btf" in there:
        with (
            lab.load(_ONE.format(section="tp_btf/sched_switch"), name="one") as obj,
            obj.programs["one"].attach() as link,
        ):
            assert link.id
    if "xdp generic" in there:
        with lab.load(_ONE.format(section="xdp"), name="one") as obj:
            assert obj.programs["one"].test_run(bytes(64)).retval == 0


@pytest.mark.parametrize(
    "section", ["kprobe/do_sys_openat2", "fentry/do_nanosleep", "lsm/file_open", "tp_btf/sched_switch"]
)
def test_table_agrees_with_libbpf(lab, table, section):
    """A feature is missing in the table exactly when libbpf cannot load and attach such a program either."""
    row = table[table["feature"] == section.split("/")[0]].iloc[0]
    try:
        with lab.load(_ONE.format(section=section), name="one") as obj, obj.programs["one"].attach():
            worked = True
    except NotSupportedError:
        worked = False
    assert worked == row["available"]


_ONE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
SEC("{section}") int one(void *ctx) {{ return 0; }}
"""


def test_nothing_is_left(fresh_lab):
    before = kernelstate.take()
    interfaces = fresh_lab.sh("ls /sys/class/net").lines
    features._known.clear()
    fresh_lab.features()
    assert fresh_lab.sh("ls /sys/class/net").lines == interfaces
    assert "bpflab" not in fresh_lab.sh("cat /proc/sys/net/ipv4/tcp_available_congestion_control").stdout
    # the watcher that would have removed the cgroup ends with the lab
    assert [line for line in kernelstate.left(before) if not line.startswith(("process", "record"))] == []


def test_once_for_each_start_of_a_kernel(machine, monkeypatch):
    with bl.Lab(machine, quiet=True) as first:
        found = first.features()
    with bl.Lab(machine, quiet=True) as second:
        asked = []
        monkeypatch.setattr(second, "call", lambda what, name, *rest: asked.append(name) or second.ask(name, *rest))
        assert second.features().equals(found)
    assert asked == ["features.boot"]


def test_a_table_that_is_changed_does_not_change_the_next(lab):
    first = lab.features()
    first["available"] = False
    assert lab.features()["available"].any()


def test_needs_that_are_met(machine):
    with bl.Lab(machine, needs=("map hash", "test_run"), quiet=True) as lab:
        assert lab.alive


def test_needs_that_are_not(machine, table):
    gaps = table[~table["available"]]
    if not len(gaps):
        assert bl.Lab(machine, needs=list(table["feature"]), quiet=True).close() is None
        return
    gap = gaps.iloc[0]
    with pytest.raises(NotSupportedError) as caught:
        bl.Lab(machine, needs=gap["feature"], quiet=True)
    text = str(caught.value)
    assert caught.value.feature == gap["feature"]
    assert gap["feature"] in text and f"{machine}, Linux" in text and gap["reason"] in text and ";" in text


def test_needs_that_nobody_knows(machine):
    with pytest.raises(UnknownNameError, match="did you mean 'kprobe'"):
        bl.Lab(machine, needs=("kprob",), quiet=True)


@pytest.mark.parametrize(
    "word, feature",
    [
        ("kprobe", "kprobe"),
        ("fentry.s", "fentry"),
        ("LSM programs", "lsm"),
        ("XDP native", "xdp native"),
        ("tc", "clsact"),
        ("raw_tracepoint", "raw_tp"),
        ("perf event cpu-clock", "perf_event"),
        ("perf event cpu-cycles", "hardware perf events"),
    ],
)
def test_missing_agrees_with_the_table(lab, table, word, feature):
    row = table[table["feature"] == feature].iloc[0]
    assert lab.missing(word) == (None if row["available"] else row["reason"])


def test_missing_of_what_cannot_be_tried(lab):
    assert lab.missing("the moon") is None


def test_settings_say_what_the_kernel_says(lab, table):
    row = table[table["feature"] == "unprivileged BPF"].iloc[0]
    setting = lab.sh("cat /proc/sys/kernel/unprivileged_bpf_disabled").stdout.strip()
    assert row["available"] == (setting == "0")
    if setting != "0":
        assert setting in row["reason"]


def test_agent_keeps_no_descriptor(fresh_lab):
    features._known.clear()
    fresh_lab.features()
    pid = int(fresh_lab.id.split("-")[1])
    before = fresh_lab.sh(f"ls /proc/{pid}/fd | wc -l").stdout
    features._known.clear()
    fresh_lab.features()
    assert fresh_lab.sh(f"ls /proc/{pid}/fd | wc -l").stdout == before
