"""What it costs to be traced: nanoseconds for an event, by the way a program is attached."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from . import workloads
from .errors import NotSupportedError, UnknownNameError

if TYPE_CHECKING:
    from .lab import Lab
    from .link import Link
    from .program import Program

CALLS = 400_000


class Way(NamedTuple):
    """A way to attach: SEC() of an empty program, what `calls.c` is to do, and what it is for."""

    section: str
    mode: str
    place: str


# {syscall} is the kernel's function behind close(2), whose name differs from machine to machine
WAYS = {
    "fentry": Way("fentry/{syscall}", "syscall", "close(2)"),
    "fexit": Way("fexit/{syscall}", "syscall", "close(2)"),
    "raw tracepoint": Way("raw_tp/sys_enter", "syscall", "close(2)"),
    "tracepoint": Way("tp/syscalls/sys_enter_close", "syscall", "close(2)"),
    "kprobe": Way("kprobe/{syscall}", "syscall", "close(2)"),
    "kretprobe": Way("kretprobe/{syscall}", "syscall", "close(2)"),
    "USDT": Way("usdt", "usdt", "a probe in a C program"),
    "uprobe": Way("uprobe", "function", "a function of a C program"),
    "uretprobe": Way("uprobe", "function", "a function of a C program"),
}
_SYSCALL = {"x86_64": "__x64_sys_close", "aarch64": "__arm64_sys_close"}
_TEXT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>
SEC("%s") int nothing(void *ctx) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


def measure(lab: Lab, ways=None, calls: int = CALLS) -> pd.DataFrame:
    """See `Lab.overhead`."""
    named = list(ways or WAYS) if not isinstance(ways, str) else [ways]
    for way in named:
        if way not in WAYS:
            raise UnknownNameError("way to attach", way, WAYS)
    if calls < 1000:
        raise ValueError(f"{calls} calls are too few to measure; give 1000 or more")
    path = workloads.binary(lab, "calls")
    # statistics cost time themselves, and stay on once they are: so first all without them
    rows = [{"way": name, **_event(lab, WAYS[name], name, path, calls)} for name in named]
    for row in rows:
        row["program_ns"] = None if row["reason"] else _program(lab, WAYS[row["way"]], row["way"], path, calls)
    frame = pd.DataFrame(rows)[["way", "place", "event_ns", "program_ns", "reason"]]
    return frame.astype({"event_ns": "float64", "program_ns": "float64"}).sort_values("event_ns", ignore_index=True)


def _time(lab: Lab, path: str, way: Way, calls: int) -> float:
    return float(lab.sh([path, way.mode, str(calls)]).stdout)


def _load(lab: Lab, way: Way):
    return lab.load(_TEXT % way.section.format(syscall=_SYSCALL.get(lab.arch, "sys_close")), name="nothing")


def _attach(program: Program, name: str, path: str) -> Link:
    if name == "USDT":
        return program.attach_usdt(path, "calls", "fired")
    if name in ("uprobe", "uretprobe"):
        return program.attach_uprobe(path, "traced_function", retprobe=name == "uretprobe")
    return program.attach()


def _event(lab: Lab, way: Way, name: str, path: str, calls: int) -> dict:
    """What an event takes longer when an empty program is attached to it."""
    try:
        with _load(lab, way) as obj:
            before = _time(lab, path, way, calls)
            with _attach(obj.programs["nothing"], name, path):
                during = _time(lab, path, way, calls)
            without = min(before, _time(lab, path, way, calls))
    except NotSupportedError as error:
        return {"place": way.place, "event_ns": None, "reason": error.reason or str(error)}
    return {"place": way.place, "event_ns": during - without, "reason": ""}


def _program(lab: Lab, way: Way, name: str, path: str, calls: int) -> float:
    """What the kernel counts for the program alone."""
    with _load(lab, way) as obj:
        program = obj.programs["nothing"]
        program.stats()
        with _attach(program, name, path):
            before = program.stats()
            _time(lab, path, way, calls)
            after = program.stats()
    return (after["run_time_ns"] - before["run_time_ns"]) / (after["run_cnt"] - before["run_cnt"])
