"""How long until one can begin: a lab, and a program that was loaded before."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

from ..lab import Lab
from . import Measure
from .programs import bcc_script

ROUNDS = 9
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 10240);
    __type(key, u32);
    __type(value, u64);
} counts SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_execve") int on_exec(void *ctx)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    u64 one = 1, *n = bpf_map_lookup_elem(&counts, &pid);
    if (n)
        __sync_fetch_and_add(n, 1);
    else
        bpf_map_update_elem(&counts, &pid, &one, BPF_ANY);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def _lab() -> Iterator[tuple[float, float, int]]:
    Lab("local", quiet=True).close()  # the agent's bytecode is cached by the first start, as BCC's was by Debian
    for _ in range(ROUNDS):
        start = time.perf_counter()
        lab = Lab("local", quiet=True)
        ours = time.perf_counter() - start
        lab.close()
        start = time.perf_counter()
        subprocess.run(["/usr/bin/python3", "-c", "import bcc"], check=True)
        yield ours, time.perf_counter() - start, 0


def _load() -> Iterator[tuple[float, float, int]]:
    with Lab("local", quiet=True) as lab:
        lab.compile(PROGRAM, name="again")
        for _ in range(ROUNDS):
            start = time.perf_counter()
            obj = lab.load(PROGRAM, name="again")
            obj.programs["on_exec"].attach()
            ours = time.perf_counter() - start
            obj.close()
            yield ours, bcc_script(lab, "bcc_load.py")[0], 0


MEASURES = [
    Measure("a program loaded and attached again (object cached)", "bcc compile and attach of the same", 8, _load),
    Measure("bl.Lab() ready to load", "python3 -c 'import bcc'", 1, _lab),
]
