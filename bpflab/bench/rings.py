"""1,000,000 events of one size from a ring buffer to a DataFrame."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..lab import Lab
from . import Measure
from .programs import bcc_script, c_program, seconds

EVENTS = 1_000_000
ROUNDS = 5
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 time_ns; u32 pid, cpu; u64 bytes; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 64 << 20);
    __type(value, struct event);
} ring SEC(".maps");
u64 lost;

static long send(u32 i, void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        lost++;
        return 0;
    }
    e->time_ns = i;
    e->pid = 1;
    e->cpu = 2;
    e->bytes = 3;
    bpf_ringbuf_submit(e, BPF_RB_NO_WAKEUP);
    return 0;
}
SEC("syscall") int fill(void *ctx)
{
    bpf_loop(1000000, send, 0, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def _pairs(other) -> Iterator[tuple[float, float, int]]:
    with Lab("local", quiet=True) as lab, lab.load(PROGRAM, name="ring") as obj:
        obj.maps["ring"].pin("ring")
        with obj.events() as events:
            for _ in range(ROUNDS):
                obj.programs["fill"].test_run()
                start = time.perf_counter()
                frame = events.read()
                ours = time.perf_counter() - start
                missing = EVENTS - len(frame)
                assert int(frame.time_ns.sum()) == EVENTS * (EVENTS - 1) // 2
                del frame
                theirs, theirs_missing = other(lab, obj)
                yield ours, theirs, missing + int(theirs_missing)


def _c_consumer(program: str, lab: Lab, obj) -> list[float]:
    obj.programs["fill"].test_run()
    return seconds(lab, [program, "/sys/fs/bpf/ring", str(EVENTS)])


def _against_c() -> Iterator[tuple[float, float, int]]:
    program = c_program("ring_consumer.c")
    return _pairs(lambda lab, obj: _c_consumer(program, lab, obj))


def _against_bcc() -> Iterator[tuple[float, float, int]]:
    return _pairs(lambda lab, obj: bcc_script(lab, "bcc_ring.py", str(EVENTS)))


NAME = "1,000,000 ring buffer events to a DataFrame"
MEASURES = [
    Measure(NAME, "bcc open_ring_buffer with a Python callback", 20, _against_bcc),
    Measure(NAME, "libbpf in C, each event copied into an array", 1 / 3, _against_c),
]
