"""Events of a tracepoint, sent by every CPU at once for 2 s, to a DataFrame: the highest rate at which none is lost."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from ..errors import LabError, NotSupportedError
from ..lab import Lab
from . import Measure
from .programs import HERE, bcc_script, c_program

SECONDS = 2
LATE_S = 0.1 * SECONDS  # who needs longer to finish has lived on its buffer, and could not have gone on
SLOW_S = 0.5  # bpftrace hands on what it has that much later even when it has little to do; that is no backlog
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 time_ns; u32 pid, cpu; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 << 20);
    __type(value, struct event);
} ring SEC(".maps");
u64 lost;
const volatile long getppid_number;
SEC("raw_tp/sys_enter") int send(struct bpf_raw_tracepoint_args *ctx)
{
    struct event *e;

    if (ctx->args[1] != getppid_number)
        return 0;
    e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        __sync_fetch_and_add(&lost, 1);
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->pid = bpf_get_current_pid_tgid() >> 32;
    e->cpu = bpf_get_smp_processor_id();
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


class Storm(NamedTuple):
    """What came of one storm: calls that were made, rows of the frame, seconds from its end to the frame."""

    calls: int
    rows: int
    late_s: float

    @property
    def rate(self) -> float:
        return self.calls / SECONDS

    @property
    def held(self) -> bool:
        return self.rows == self.calls and self.late_s <= LATE_S


def _command(rate: float) -> list[str]:
    return [c_program("storm.c"), str(os.cpu_count()), str(SECONDS), str(int(rate))]


def _ours(lab: Lab, rate: float) -> Storm:
    number = {"x86_64": 110}.get(lab.arch, 173)
    with lab.load(PROGRAM, name="storm", getppid_number=number) as obj, obj.events() as events, obj.programs["send"].attach():
        with lab.spawn(_command(rate)) as storm:
            frames = [events.read(seconds=SECONDS)]
            result = storm.wait(60)
            ended = time.perf_counter()
            frames.append(events.read())
            late = time.perf_counter() - ended
    calls, _, pid = result.stdout.split()
    return Storm(int(calls), sum(int((frame.pid == int(pid)).sum()) for frame in frames), late)


def _bcc(lab: Lab, rate: float) -> Storm:
    calls, rows, late = bcc_script(lab, "bcc_storm.py", *_command(rate))
    return Storm(int(calls), int(rows), late)


def _bpftrace(lab: Lab, rate: float) -> Storm:
    done = lab.sh([sys.executable, str(HERE / "bpftrace_storm.py"), *_command(rate)], timeout=300)
    calls, rows, late = map(float, done.stdout.split())
    return Storm(int(calls), int(rows), max(0.0, late - SLOW_S))


def sustained(run: Callable[[Lab, float], Storm], lab: Lab) -> Storm:
    """The fastest storm that was held: at the full rate if that is, else found by trying.

    Raises
    ------
    LabError
        None was.
    """
    full = run(lab, 0)
    if full.held:
        return full
    # what it got through in the time it took is about what it can; between that and half of it lies the truth
    low, high, best = 0.0, min(full.rate, 1.5 * full.rows / (SECONDS + full.late_s)), None
    for _ in range(7):
        rate = high if best is None and low == 0.0 else (low + high) / 2
        found = run(lab, rate)
        if found.held:
            best, low = found, rate
        else:
            high = rate if low else rate / 1.4
        if best and high < 1.1 * low:
            break
    if best is None:
        raise LabError(f"no rate was held, down to {high:,.0f} a second: the computer is too busy; try again later")
    return best


def _pairs(other: Callable[[Lab, float], Storm]) -> Iterator[tuple[float, float, int, str]]:
    with Lab("local", quiet=True) as lab:
        ours = max((_ours(lab, 0) for _ in range(3)), key=lambda storm: (storm.held, storm.rate))
        theirs = sustained(other, lab)
        note = f"ours {ours.rate:,.0f} events a second (the kernel's full rate), the other {theirs.rate:,.0f}"
        # seconds for a million events
        yield 1e6 / ours.rate, 1e6 / theirs.rate, ours.calls - ours.rows, note


def _against_bcc() -> Iterator[tuple[float, float, int, str]]:
    return _pairs(_bcc)


def _against_bpftrace() -> Iterator[tuple[float, float, int, str]]:
    with Lab("local", quiet=True) as lab:
        if lab.sh(["bpftrace", "--version"], check=False).returncode:
            raise NotSupportedError("bpftrace", lab.where, remedy="install it: apt install bpftrace")
    return _pairs(_bpftrace)


NAME = "1,000,000 events of a tracepoint to a DataFrame at the rate that is held without loss"
MEASURES = [
    Measure(NAME, "bcc open_ring_buffer with a Python callback", 10, _against_bcc),
    Measure(NAME, "bpftrace -f json piped into pandas", 10, _against_bpftrace),
]
