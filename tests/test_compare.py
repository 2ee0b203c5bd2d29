"""bl.compare and `Lab(needs=...)`: the same experiment on several machines, and which machine is taken."""

from __future__ import annotations

import os
import signal
import threading

import pandas as pd
import pytest

import bpflab as bl
from bpflab import comparison, open_labs
from bpflab.machines import kernels

HERE = ["local", "ssh:nobody@host.invalid"]  # the second is never to be had
KERNELS = ("local", "vm:6.1", "vm:6.12")
PROGRAM = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} seen SEC(".maps");

SEC("xdp")
int see(struct xdp_md *ctx)
{
	__u32 length = ctx->data_end - ctx->data;
	__u64 one = 1;

	bpf_map_update_elem(&seen, &length, &one, BPF_ANY);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""
KPROBE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

__u64 times;

SEC("kprobe/do_unlinkat")
int on_unlink(void *ctx)
{
	times++;
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
ARENA = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
} memory SEC(".maps");
"""


def run(lab):
    with lab.load(PROGRAM) as obj:
        obj.programs["see"].test_run(bytes(77))
        return obj.maps["seen"].to_frame()


def test_a_machine_that_is_not_to_be_had_has_a_row_that_says_why():
    table = bl.compare(lambda lab: lab.sh("uname -r").stdout.split("-")[0], HERE)
    assert list(table) == ["machine", "kernel", "result", "why"]
    assert table.machine.tolist() == HERE
    here, there = table.to_dict("records")
    assert here["result"] == here["kernel"] != "" and here["why"] == ""
    assert there["kernel"] == "" and pd.isna(there["result"]) and "host.invalid" in there["why"]


def test_what_a_machine_lacks_is_a_row_even_when_all_lack_it():
    def lacks(lab):
        raise bl.NotSupportedError("wings", lab.where)

    table = bl.compare(lacks, ["local"])
    assert table.why[0].startswith("wings not supported on local, Linux")
    assert table.kernel[0]


def test_needs_are_tried_before_the_experiment():
    started = []
    table = bl.compare(lambda lab: started.append(lab), ["local"], needs="xdp offload")
    assert not started and "xdp offload not supported on local" in table.why[0]


@pytest.mark.parametrize(
    ("returned", "columns", "rows"),
    [
        (5, ["result"], [(5,)]),
        ({"a": 1, "b": "x"}, ["a", "b"], [(1, "x")]),
        ([{"a": 1}, {"a": 2}], ["a"], [(1,), (2,)]),
        ([1, 2], ["result"], [([1, 2],)]),
        (pd.DataFrame({"n": [1, 2]}, index=pd.Index(["p", "q"], name="who")), ["who", "n"], [("p", 1), ("q", 2)]),
        (pd.Series({"a": 1, "b": 2}), ["a", "b"], [(1, 2)]),
    ],
    ids=["scalar", "dict", "dicts", "list", "frame", "series"],
)
def test_what_an_experiment_may_return(returned, columns, rows):
    table = bl.compare(lambda lab: returned, ["local"])
    assert list(table) == ["machine", "kernel", *columns, "why"]
    assert [tuple(row) for row in table[columns].itertuples(index=False)] == rows


def test_a_struct_of_a_map_gives_its_members():
    def read(lab):
        m = lab.create_map("hash", "u32", [("low", "u4"), ("high", "u8")], 4)
        m[1] = (3, 2**64 - 1)
        return m[1]

    table = bl.compare(read, HERE)
    assert table.low.tolist()[0] == 3
    assert table.high.tolist()[0] == 2**64 - 1, "a missing row must not make a float of it"


def test_no_rows_are_told():
    table = bl.compare(lambda lab: pd.DataFrame({"n": []}), ["local"])
    assert table.why.tolist() == ["the experiment returned no rows"]


def test_a_column_with_a_name_of_ours_is_refused():
    with pytest.raises(ValueError, match="a column 'kernel'"):
        bl.compare(lambda lab: {"kernel": 1}, ["local"])


@pytest.mark.parametrize("machines", [[], ["local", "local"]])
def test_no_machine_and_one_machine_twice(machines):
    with pytest.raises(ValueError, match="machine"):
        bl.compare(lambda lab: 1, machines)


def test_a_mistake_of_the_experiment_is_raised_and_names_the_machine():
    with pytest.raises(TypeError) as caught:
        bl.compare(lambda lab: 1 + "1", HERE[:1])
    assert caught.value.__notes__[-1].startswith("so it went on local, Linux")


def test_what_every_kernel_refuses_is_raised():
    with pytest.raises(bl.BpfError, match="max_entries 0") as caught:
        bl.compare(lambda lab: lab.create_map("hash", "u32", "u32", 0), HERE)
    assert caught.value._render_traceback_()[-1].startswith("so it went on local, Linux"), "what a notebook shows"


def test_the_lab_of_the_experiment_is_the_current_one_there_and_nowhere_else():
    with bl.Lab("local", quiet=True) as mine:
        seen = []

        def look(theirs):
            seen.append((theirs, bl.Lab.current()))
            other = threading.Thread(target=lambda: seen.append((mine, bl.Lab.current())))
            other.start()
            other.join()
            return 1

        bl.compare(look, ["local"])
        assert len(seen) == 2 and all(expected is got for expected, got in seen)
        assert bl.Lab.current() is mine
        assert not seen[0][0].alive, "the lab ends with the experiment"


@pytest.mark.parametrize("busy", ["with its lab", "with itself"])
def test_an_interrupt_ends_every_lab(busy):
    labs = []

    def wait(lab):
        labs.append(lab)
        os.kill(os.getpid(), signal.SIGINT)
        if busy == "with its lab":
            lab.sh("sleep 1000", timeout=2000)
        while True:
            pass

    with pytest.raises(KeyboardInterrupt):
        bl.compare(wait, ["local"])
    assert labs and not any(lab.alive for lab in labs)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("compare ")]


def test_machines_at_hand_are_this_computer_and_what_was_fetched():
    found = comparison.at_hand()
    assert found[0] == "local"
    assert found[1:] == [f"vm:{version}" for version in kernels.OFFERED if kernels.kept(version)]


# -- on several kernels really


def test_two_labs_and_more_at_once():
    labs = [bl.Lab(name, quiet=True) for name in KERNELS]
    try:
        assert len({lab.kernel for lab in labs}) == len(KERNELS)
        objects = [lab.load(PROGRAM) for lab in labs]
        for length, obj in enumerate(objects, 100):
            obj.programs["see"].test_run(bytes(length))
        assert [dict(obj.maps["seen"].items()) for obj in objects] == [{100: 1}, {101: 1}, {102: 1}]
        assert open_labs.newest() is labs[-1]
        labs[1].close()
        assert [dict(obj.maps["seen"].items()) for obj in (objects[0], objects[2])] == [{100: 1}, {102: 1}]
    finally:
        for each in labs:
            each.close()


def test_one_experiment_on_three_kernels():
    together = threading.Barrier(len(KERNELS))

    def experiment(lab):
        together.wait(60)  # they run at the same time, or not at all
        return run(lab)

    table = bl.compare(experiment, KERNELS)
    assert table.machine.tolist() == list(KERNELS)
    assert table.key.tolist() == [77] * 3 and set(table.why) == {""}
    assert table.kernel.nunique() == 3 and table.kernel[1].startswith("6.1.") and table.kernel[2].startswith("6.12.")


def test_a_kernel_that_is_too_old_says_so():
    table = bl.compare(lambda lab: lab.load(ARENA).maps["memory"].type, ["vm:6.1", "vm:6.12"])
    assert table.why[0].startswith("arena maps not supported on vm:6.1, Linux 6.1.") and "bl.Lab('vm')" in table.why[0]
    assert table.result.tolist()[1] == "arena" and table.why[1] == ""


def test_needs_pick_the_first_machine_that_has_them(capsys, monkeypatch):
    monkeypatch.delenv("BPFLAB_MACHINE", raising=False)
    with bl.Lab("local", quiet=True) as here:
        lacks = here.missing("kprobe")
    with bl.Lab(needs="kprobe") as picked:
        said = capsys.readouterr().out.splitlines()[-1]
        with picked.load(KPROBE) as obj, obj.programs["on_unlink"].attach():
            picked.sh("touch /tmp/compare-gone; rm /tmp/compare-gone")
            assert obj.globals["times"] >= 1
    if lacks:
        assert picked.machine == "vm"
        assert said.endswith("chosen because its kernel has kprobe, and local lacks kprobe")
    else:
        assert picked.machine == "local"
        assert said.endswith("chosen because its kernel has kprobe")
