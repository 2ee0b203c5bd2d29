"""`test_run(cpu=...)` runs a program where it says."""

from __future__ import annotations

import os

import pytest

C = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

SEC("xdp") int frame(struct xdp_md *ctx) { return bpf_get_smp_processor_id(); }
SEC("raw_tp") int point(void *ctx) { return bpf_get_smp_processor_id(); }
SEC("syscall") int call(void *ctx) { return bpf_get_smp_processor_id(); }

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.mark.parametrize("name", ["frame", "point", "call"])
def test_runs_on_that_cpu(lab, name):
    with lab.load(C, name="places") as obj:
        for cpu in sorted(os.sched_getaffinity(0)) * 2:
            assert obj.programs[name].test_run(cpu=cpu).retval == cpu


def test_the_agent_may_go_everywhere_afterwards(lab):
    script = "import os; print(len(os.sched_getaffinity(0)))"
    before = lab.sh(["/usr/bin/python3", "-c", script]).stdout
    with lab.load(C, name="places") as obj:
        obj.programs["frame"].test_run(cpu=0)
        for _ in range(8):  # whichever thread of the agent starts it
            assert lab.sh(["/usr/bin/python3", "-c", script]).stdout == before


@pytest.mark.parametrize("cpu", [-1, 100_000])
def test_a_cpu_that_is_not_there(lab, cpu):
    with lab.load(C, name="places") as obj:
        with pytest.raises(ValueError, match=f"no CPU {cpu} on .*; give 0 to"):
            obj.programs["frame"].test_run(cpu=cpu)
