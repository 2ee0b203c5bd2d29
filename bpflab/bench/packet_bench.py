"""The packet bench beside a bare loop over BPF_PROG_TEST_RUN in C."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..lab import Lab
from . import Measure
from .programs import c_program, seconds

SIZE = 64  # bytes
ROUNDS = 7
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#define LOOK \
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end; \
    return data + 34 <= end && data[12] == 8 && data[23] == 17 ? 1 : 2;

SEC("xdp") int frame(struct xdp_md *ctx) { LOOK }
SEC("tc") int packet(struct __sk_buff *ctx) { LOOK }
char LICENSE[] SEC("license") = "GPL";
"""


def _pairs(program: str, packets: int, repeat: int) -> Iterator[tuple[float, float, int]]:
    loop = c_program("packet_runs.c")
    table = [i.to_bytes(4, "little").ljust(SIZE, b"\0") for i in range(packets)]
    with Lab("local", quiet=True) as lab, lab.load(PROGRAM, name="bench") as obj:
        prog = obj.programs[program]
        for _ in range(ROUNDS):
            start = time.perf_counter()
            found = prog.bench(table, repeat=repeat)
            ours = time.perf_counter() - start
            assert found.changed.sum() == 0 and len(found) == packets and found.verdict.notna().all()
            (other,) = seconds(lab, [loop, str(prog.id), str(packets), str(SIZE), str(repeat)])
            yield ours, other, 0


NAME = "packet bench"
OTHER = "bare BPF_PROG_TEST_RUN in C"
MEASURES = [
    Measure(f"{NAME}, a packet, five million runs of an XDP program", OTHER, 1 / 1.2, lambda: _pairs("frame", 1, 5_000_000)),
    Measure(f"{NAME}, 200 packets, 10,000 runs of a tc program on each", OTHER, 1 / 1.2, lambda: _pairs("packet", 200, 10_000)),
    # the price of a verdict by name, of what changed, of a table
    Measure(f"{NAME}, 10,000 packets, one run on each", OTHER, 1 / 6, lambda: _pairs("packet", 10_000, 1)),
]
