"""tests/kernelstate.py sees what it is there to see."""

from __future__ import annotations

import subprocess

import kernelstate
import pytest

SUDO = kernelstate.SUDO


def run(*command):
    subprocess.run([*SUDO, *command], check=True)


def left_now(before):
    return kernelstate.left(before, patience=0)


def test_what_a_lab_holds_is_seen_and_then_gone(fresh_lab):
    before = kernelstate.take()
    obj = fresh_lab.load(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
        'int n; SEC("tracepoint/syscalls/sys_enter_kill") int watched(void *ctx) { return n++; } '
        'char LICENSE[] SEC("license") = "GPL";'
    )
    obj.programs["watched"].attach()
    seen = left_now(before)
    assert any(one.startswith("program ") and one.endswith(" tracepoint watched") for one in seen)
    assert any(one.startswith("map ") for one in seen)
    assert any(one.startswith("link ") for one in seen)
    obj.close()
    assert kernelstate.left(before) == []


def test_pins_namespaces_cgroups_and_processes_of_a_lab_are_seen(fresh_lab):
    before = kernelstate.take()
    fresh_lab.create_map("array", "u32", "u32", 1).pin("kept")
    fresh_lab.netlab("a", "b")
    fresh_lab.cgroup("c")
    fresh_lab.spawn("sleep 1000")
    seen = left_now(before)
    for kind in ("pin", "namespace", "cgroup", "process", "record"):
        assert any(one.startswith(kind + " ") for one in seen), f"{kind}: {seen}"
    fresh_lab.close()
    # its agent was there before, and is gone as well
    assert kernelstate.left(before) == []


@pytest.mark.parametrize(
    "make, undo, kind",
    [
        (("ip", "netns", "add", "bpflab-seen"), ("ip", "netns", "delete", "bpflab-seen"), "namespace"),
        (
            ("sh", "-c", "ip link add seen0 type veth peer seen1 && tc qdisc add dev seen0 clsact"),
            ("ip", "link", "delete", "seen0"),
            "qdisc",
        ),
    ],
)
def test_what_has_a_name_is_seen(make, undo, kind):
    before = kernelstate.take()
    run(*make)
    try:
        seen = left_now(before)
    finally:
        run(*undo)
    assert {one.split()[0] for one in seen} == {kind}
    assert kernelstate.left(before) == []


def test_labs_of_other_runs_are_not_counted(monkeypatch):
    before = kernelstate.take()
    monkeypatch.setenv(kernelstate.RUN, "another run")
    import bpflab as bl

    with bl.Lab("local", quiet=True) as lab:
        lab.cgroup("c")
        lab.create_map("array", "u32", "u32", 1)
        monkeypatch.undo()
        assert kernelstate.left(before, patience=0) == []
