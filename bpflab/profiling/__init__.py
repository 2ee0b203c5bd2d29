"""Profiles: where programs spend time on a CPU, and what they wait for off it."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING

import numpy as np

from . import record
from .result import Stacks
from .symbols import Resolver
from .tree import KERNEL

if TYPE_CHECKING:
    from ..lab import Lab

__all__ = ["Stacks", "offcpu", "profile"]
LONGEST = 3600  # seconds; more is a mistake of units


def profile(lab: Lab, seconds: float = 2, hz: int = 99, pid=None) -> Stacks:
    """See `Lab.profile`."""
    seconds = _seconds(seconds)
    if isinstance(hz, bool) or not isinstance(hz, (int, np.integer)):
        raise TypeError(f"hz is {hz!r}; give whole samples a second, such as 99")
    most = lab.ask("mappings.most_hz")
    if not 1 <= hz <= most:
        raise ValueError(f"hz is {hz}; give 1 to {most:,} samples a second (the sysctl kernel.perf_event_max_sample_rate)")
    number = record.process(lab, pid)
    return _result(lab, "on-CPU", seconds, number, "on_cpu", lambda program: program.attach_perf_event(frequency=int(hz)), {"hz": int(hz)}, {})


def offcpu(lab: Lab, seconds: float = 2, pid=None, min_us: float = 0, preempted: bool = False) -> Stacks:
    """See `Lab.offcpu`."""
    seconds = _seconds(seconds)
    if not (math.isfinite(min_us) and min_us >= 0):
        raise ValueError(f"min_us is {min_us}; give the microseconds of the shortest wait that counts, 0 for all")
    number = record.process(lab, pid)
    settings = {"least_ns": int(min_us * 1000), "preempted": bool(preempted)}
    return _result(lab, "off-CPU", seconds, number, "off_cpu", lambda program: program.attach(), {}, settings)


def _seconds(seconds: float) -> float:
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float, np.number)):
        raise TypeError(f"seconds is {seconds!r}; give a number")
    if not (math.isfinite(seconds) and 0 < seconds <= LONGEST):
        raise ValueError(f"seconds is {seconds}; give more than 0 and at most {LONGEST}")
    return float(seconds)


def _result(lab: Lab, what: str, seconds: float, pid: int, program: str, attach, about: dict, settings: dict) -> Stacks:
    recorded, watch = record.run(lab, program, seconds, pid, attach, **settings)
    try:
        lost = lab.ask("mappings.stop", watch)
        resolver = Resolver(lab, watch)
        found, where = named(resolver, recorded)
        recorded, where = without_tracing(recorded, found, where)
    finally:
        if lab.alive:
            lab.ask("mappings.close", watch)
    return Stacks(lab, what, recorded, found, where, pid=pid or None, lost_mappings=lost, mangled=resolver.mangled, **about)


def named(resolver: Resolver, recorded: record.Recorded):
    """Names of all frames of what was recorded, see `Resolver.resolve`."""
    user, kernel = (recorded.head[part].astype(np.int64) for part in ("user", "kernel"))
    length = user + kernel
    place = record.ranges(np.zeros(len(length), np.int64), length)
    within = np.repeat(user, length)
    # a caller's address is the one behind its call, which may be another function's first when the call never returns
    is_caller = (place != 0) & (place != within)
    frames = recorded.frames - is_caller.astype(np.uint64)
    return resolver.resolve(frames, place >= within, np.repeat(recorded.head["pid"], length), np.repeat(recorded.head["first_ns"], length))


TRACING = ("bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_prog_")


def without_tracing(recorded: record.Recorded, found, where: np.ndarray):
    """Stacks without their innermost functions where these are the tracepoint's own, through which we looked."""
    ours = np.array([kind == KERNEL and name.startswith(TRACING) for name, kind in zip(found.name, found.kind)], bool)
    head, first = recorded.head.copy(), recorded.starts + recorded.head["user"]
    drop = np.zeros(len(where), bool)
    at = np.flatnonzero(head["kernel"] > 0)
    while len(at):
        at = at[ours[where[first[at]]]]
        drop[first[at]] = True
        head["kernel"][at] -= 1
        first[at] += 1
        at = at[head["kernel"][at] > 0]
    return dataclasses.replace(recorded, head=head, frames=recorded.frames[~drop]), where[~drop]
