"""Bulk data of a virtual machine to a DataFrame here, against BCC in there that prints JSON through ssh."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
import time
from collections.abc import Iterator

import pandas as pd

from ..errors import LabError
from ..events import Events
from ..machines import vm
from ..object import Object
from . import Measure, maps, rings, vms
from .programs import HERE

EVENTS = 1_000_000
ROUNDS = 3
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 number, time_ns; u32 pid, cpu; u64 address; };
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
    e->number = i;
    e->time_ns = bpf_ktime_get_ns();
    e->pid = bpf_get_prandom_u32() % 4096;
    e->cpu = bpf_get_smp_processor_id();
    e->address = 0xffff888000000000 + bpf_get_prandom_u32();
    bpf_ringbuf_submit(e, i % 1024 ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
    return 0;
}
SEC("syscall") int fill(void *ctx)
{
    bpf_loop(1000000, send, 0, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def _json_over_ssh(address: dict, what: str, count: int) -> tuple[float, int]:
    """Seconds from the wish to a DataFrame, and the events lost; the script has its data before."""
    script = (HERE / "bcc_json.py").read_text()
    command = [*vm.ssh_command(address), f"exec /usr/bin/python3 -W ignore -c {shlex.quote(script)} {what} {count} 2>&1"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as far:
        said: list[str] = []  # what clang warns of
        for line in far.stdout:
            if line == "ready\n":
                break
            said.append(line)
        else:
            raise LabError(f"BCC does not read in the virtual machine: {''.join(said[-5:]).strip()}; see ./lab doctor")
        start = time.perf_counter()
        far.stdin.write("\n")
        far.stdin.flush()
        frame = pd.DataFrame(json.loads(far.stdout.readline()))
        taken = time.perf_counter() - start
        lost = int(far.stdout.readline())
    assert len(frame) == count - lost, len(frame)
    return taken, lost


def _map() -> Iterator[tuple[float, float, int]]:
    with vms.own() as version, vms.lab(version) as (lab, address):
        m = maps.filled(lab)
        maps.read(m)  # the guest's pages come with their first use
        for _ in range(ROUNDS):
            ours = maps.read(m)
            yield ours, *_json_over_ssh(address, "map", maps.ENTRIES)


def _read(obj: Object, events: Events) -> float:
    """Seconds until all events, which are sent meanwhile, are in a DataFrame."""
    sender = threading.Thread(target=obj.programs["fill"].test_run)
    start = time.perf_counter()
    sender.start()
    frame = events.read(count=EVENTS)
    taken = time.perf_counter() - start
    sender.join()
    assert (frame.number == range(len(frame))).all()
    return taken


def _ring() -> Iterator[tuple[float, float, int]]:
    with vms.own() as version, vms.lab(version) as (lab, address), lab.load(PROGRAM, name="far_ring") as obj, obj.events() as events:
        _read(obj, events)
        before = events.lost
        ours = _read(obj, events)
        other, lost = _json_over_ssh(address, "ring", EVENTS)
        yield ours, other, lost + events.lost - before


MEASURES = [
    Measure(f"{maps.NAME}, from a VM over ssh", "bcc items_lookup_batch() in the VM, printed as JSON over ssh", 10, _map),
    Measure(f"{rings.NAME}, from a VM over ssh", "bcc open_ring_buffer in the VM, printed as JSON over ssh", 10, _ring),
]
