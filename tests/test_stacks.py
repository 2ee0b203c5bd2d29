"""Kernel stacks: addresses to symbols, maps to folded stacks."""

from __future__ import annotations

import numpy as np
import pytest

from bpflab import stacks
from bpflab.errors import NotSupportedError

KALLSYMS = b"""ffffffff81000000 T _text
ffffffff81000000 t local_name
ffffffff81000040 t first_function
ffffffff81000040 T also_global
ffffffff81000100 T second_function
ffffffff81000180 D some_data
ffffffffc0000000 t module_function\t[some_module]
"""


def test_symbols_by_address():
    found = stacks.Symbols(KALLSYMS).find(
        [0xFFFFFFFF81000000, 0xFFFFFFFF8100003F, 0xFFFFFFFF81000041, 0xFFFFFFFF81000190]
    )
    assert found == [("_text", 0), ("_text", 0x3F), ("also_global", 1), ("second_function", 0x90)]
    assert stacks.Symbols(KALLSYMS).find([0xFFFFFFFFC0000008]) == [("module_function", 8)]


def test_addresses_without_a_function():
    symbols = stacks.Symbols(KALLSYMS)
    assert symbols.find([5, 0xFFFFFFFFA0000000]) == [(None, 5), (None, 0xFFFFFFFFA0000000)]


def test_hidden_addresses_are_seen():
    assert stacks.Symbols(b"0000000000000000 T _text\n0000000000000000 t other\n").hidden
    assert not stacks.Symbols(KALLSYMS).hidden


def test_names_agree_with_kallsyms(lab):
    lines = [
        line.split()
        for line in lab.sh("grep -E ' T (vfs_read|schedule|do_sys_openat2|vfs_write)$' /proc/kallsyms").lines
    ]
    assert lines
    addresses = [int(line[0], 16) for line in lines]
    assert stacks.kernel(lab, addresses) == [line[2] for line in lines]
    assert stacks.kernel(lab, [addresses[0] + 1, 0, 0], offsets=True) == [f"{lines[0][2]}+0x1"]


PROGRAM = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
char LICENSE[] SEC("license") = "GPL";
struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(key_size, 4);
    __uint(value_size, 127 * 8);
    __uint(max_entries, 1024);
} stacks SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, s32);
    __type(value, u64);
    __uint(max_entries, 1024);
} counts SEC(".maps");

SEC("tp/sched/sched_process_exec")
int on_exec(void *ctx)
{
    s32 id = bpf_get_stackid(ctx, &stacks, 0);
    u64 one = 1, *count = bpf_map_lookup_elem(&counts, &id);
    if (count)
        __sync_fetch_and_add(count, 1);
    else
        bpf_map_update_elem(&counts, &id, &one, BPF_ANY);
    return 0;
}
"""


def test_stacks_of_a_map(lab):
    with lab.load(PROGRAM, name="stacked") as obj:
        assert stacks.of_map(obj.maps["stacks"]) == {}
        with obj.programs["on_exec"].attach():
            lab.sh("/bin/true; /bin/true")
        found = stacks.of_map(obj.maps["stacks"])
        counts = obj.maps["counts"].items()
    assert found and set(found) >= {number for number, _ in counts if number >= 0}
    frames = found[counts[0][0]]
    # the way of an execve: from the system call down to where the tracepoint is
    assert any("execve" in frame for frame in frames) and not any(frame.startswith("0x") for frame in frames)
    lines = stacks.folded(found, counts)
    assert sum(lines.values()) == sum(count for _, count in counts) >= 3
    assert any(line.endswith(frames[0]) for line in lines)


def test_folding():
    by_id = {1: ["leaf", "root"], 2: ["leaf", "root"], 3: ["other"]}
    assert stacks.folded(by_id, {1: 2, 2: 3, 3: 1, -14: 4}) == {"root;leaf": 5, "[lost stack]": 4, "other": 1}
    assert list(stacks.folded(by_id, [(3, 9), (1, 1)])) == ["other", "root;leaf"]


def test_other_maps_are_refused(lab):
    m = lab.create_map("hash", "u32", "u64", 4)
    with pytest.raises(TypeError, match="is a hash; only a stack_trace"):
        stacks.of_map(m)
    m.close()


def test_hidden_symbols_are_told(fresh_lab):
    """kernel.kptr_restrict belongs to the whole machine, so the lab alone gets to see a /proc/kallsyms full of zeros."""
    pid = fresh_lab.id.split("-")[1]
    hidden = fresh_lab.sh("mktemp").stdout.strip()
    fresh_lab.sh(f"sed 's/^[0-9a-f]*/0000000000000000/' /proc/kallsyms | head -1000 > {hidden}")
    fresh_lab.sh(f"nsenter -t {pid} -m mount --bind {hidden} /proc/kallsyms")
    with pytest.raises(NotSupportedError, match="kptr_restrict is \\d.*sysctl -w"):
        stacks.kernel(fresh_lab, [0xFFFFFFFF81000000])
    with pytest.raises(NotSupportedError, match="kernel addresses not supported"):
        fresh_lab.profile(0.1)


def test_arrays_and_lists(lab):
    address = int(lab.sh("grep -m1 ' T vfs_read$' /proc/kallsyms").stdout.split()[0], 16)
    assert stacks.kernel(lab, np.array([address, 0], "u8")) == stacks.kernel(lab, iter([address])) == ["vfs_read"]


def test_symbols_that_come_and_go(lab):
    """A program that was loaded after the symbols were read has its name; without a change they are not read again."""
    before = stacks.symbols(lab)
    with lab.load(PROGRAM, name="stacked") as obj:
        lines = lab.sh("grep bpf_prog_.*_on_exec /proc/kallsyms").lines
        at = [int(line.split()[0], 16) + 8 for line in lines]
        now = stacks.symbols(lab, again=True)
        assert now is not before
        assert all("_on_exec" in name for name, _ in now.find(at)) and at
        assert stacks.symbols(lab, again=True) is stacks.symbols(lab)
        assert obj.programs["on_exec"].id
