"""A long verifier log in words: what a reader would do instead is read it, so it is held against the load that made it."""

from __future__ import annotations

import time
from collections.abc import Iterator

from ..errors import LabError, VerifierError
from ..lab import Lab
from . import Measure

ROUNDS = 5
SIZE = 1_000_000  # characters, about
# the verifier walks every turn of the loop, and writes down each instruction; then it finds the fault
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1);
    __type(key, u32);
    __type(value, u64);
} counts SEC(".maps");

SEC("socket") int count(struct __sk_buff *skb)
{
    volatile u64 sum = 0;
    u32 key = 0;

    for (u32 i = 0; i < TURNS; i++)
        sum += skb->len ^ i;
    u64 *n = bpf_map_lookup_elem(&counts, &key);
    *n += sum;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def refused(lab: Lab, turns: int) -> tuple[float, VerifierError]:
    """Seconds that the load took, and the refusal."""
    text = PROGRAM.replace("TURNS", str(turns))
    lab.compile(text, name="count")
    start = time.perf_counter()
    try:
        lab.load(text, name="count").close()
    except VerifierError as error:
        return time.perf_counter() - start, error
    raise LabError("the kernel took a program that should be refused; please report it")


def _pairs() -> Iterator[tuple]:
    with Lab("local", quiet=True) as lab:
        few = refused(lab, 500)[1]  # how much a turn writes differs from kernel to kernel
        turns = 500 * SIZE // len(few.log)
        for _ in range(ROUNDS):
            load, error = refused(lab, turns)
            start = time.perf_counter()
            found = error.explain()
            shown = found._repr_html_()
            ours = time.perf_counter() - start
            if found.kind != "pointer-unchecked":
                raise LabError(f"the refusal was taken for '{found.kind}'; please report it")
            yield ours, load, 0, f"{len(error.log):,} characters, {error.log.count(chr(10)):,} lines; the unchecked lookup on line {found.line} in {len(shown):,} characters of HTML"


MEASURES = [Measure("VerifierError.explain() of a log of 1 MB, as a notebook shows it", "the load that made it", 1 / 3, _pairs)]
