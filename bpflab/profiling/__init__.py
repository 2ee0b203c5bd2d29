"""Profiles: where programs spend time on a CPU, and what they wait for off it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..stacks import symbols as kernel_symbols
from . import record
from .result import BEGINNINGS, Stacks
from .symbols import NOWHERE, Found, Resolver
from .tree import KERNEL

if TYPE_CHECKING:
    from ..lab import Lab

__all__ = ["Stacks", "offcpu", "profile"]
TRACING = ("bpf_trace_run", "__bpf_trace_", "__traceiter_", "bpf_prog_")
LONGEST = 3600  # seconds; more is a mistake of units


def profile(lab: Lab, seconds: float = 2, hz: int = 99, pid=None) -> Stacks:
    """See `Lab.profile`."""
    seconds = _seconds(seconds)
    if isinstance(hz, bool) or not isinstance(hz, (int, np.integer)):
        raise TypeError(f"hz is {hz!r}; give whole samples a second, such as 99")
    most = lab.ask("processes.most_hz")
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
    kernel_symbols(lab)  # says so before, and not after, where the kernel hides its addresses
    recorded, watch = record.run(lab, program, seconds, pid, attach, **settings)
    try:
        lost = lab.ask("mappings.stop", watch)
        resolver = Resolver(lab, watch)
        recorded, found, where = named(resolver, recorded, program == "off_cpu")
    finally:
        if lab.alive:
            lab.ask("mappings.close", watch)
    return Stacks(lab, what, recorded, found, where, pid=pid or None, lost_mappings=lost, mangled=resolver.mangled, **about)


def named(resolver: Resolver, recorded: record.Recorded, traced: bool) -> tuple[record.Recorded, Found, np.ndarray]:
    """Names of all frames, less the frames that are none; see `Resolver.resolve`.

    Parameters
    ----------
    traced : bool
        A tracepoint saw them, whose own functions are the innermost.
    """
    place, within = recorded.places()
    # a caller's address is the one behind its call, which may be another function's first when the call never returns
    is_caller = (place != 0) & (place != within)
    frames = recorded.frames - is_caller.astype(np.uint64)
    length = recorded.lengths
    found, where = resolver.resolve(
        frames, place >= within, np.repeat(recorded.head["pid"], length), np.repeat(recorded.head["first_ns"], length)
    )
    keep = ~_astray(recorded, found, where)
    if traced:
        keep &= ~_tracing(recorded, found, where)
    return recorded.without(~keep), found, where[keep]


def _tracing(recorded: record.Recorded, found: Found, where: np.ndarray) -> np.ndarray:
    """The tracepoint's own functions, through which we looked: the innermost of the kernel's."""
    ours = np.array([kind == KERNEL and name.startswith(TRACING) for name, kind in zip(found.name, found.kind)], bool)
    drop = np.zeros(len(where), bool)
    at = recorded.starts + recorded.head["user"]
    end = recorded.starts + recorded.lengths
    at, end = at[at < end], end[at < end]
    while len(at):
        on = ours[where[at]]
        at, end = at[on], end[on]
        drop[at] = True
        at, end = (at + 1)[at + 1 < end], end[at + 1 < end]
    return drop


def _astray(recorded: record.Recorded, found: Found, where: np.ndarray) -> np.ndarray:
    """What lies outwards of where a thread begins, or of a return address where no code is: there the walk by frame
    pointers has lost its way."""
    place, within = recorded.places()
    user = place < within
    lost = (found.why == NOWHERE)[where] & (place > 0) & user
    found.why[np.unique(where[lost])] = ""  # not a frame without a name, but no frame: `Stacks.incomplete` counts it
    begins = pd.Index(found.name).isin(BEGINNINGS)[where] & user
    # main has a caller that is one as well; where it has not, that is a main of another kind
    last = begins & (found.name != "main").astype(bool)[where]
    last[:-1] &= ~begins[1:]
    stack = np.repeat(np.arange(len(recorded.head)), recorded.lengths)
    end = np.full(len(recorded.head), len(where))
    at = np.flatnonzero(lost | last)
    stacks, first = np.unique(stack[at], return_index=True)
    end[stacks] = at[first]
    return (np.arange(len(where)) > end[stack]) & user
