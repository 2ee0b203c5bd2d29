"""Exercise 03-bpffs-pin: a map that outlives its loader."""

import json
import random

from . import Hint, call

SECTION = "3.10"
TASK = "a map that outlives its loader"

# counts calls of kill() with a signal that does not exist, so that no other process can add to it
_PROGRAM = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} total SEC(".maps");

SEC("tracepoint/syscalls/sys_enter_kill")
int count(struct trace_event_raw_sys_enter *ctx)
{
	__u32 key = 0;
	__u64 *sum = bpf_map_lookup_elem(&total, &key);

	if (sum && ctx->args[1] == %d)
		__sync_fetch_and_add(sum, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


# the kernel refuses each of these calls, after the program has seen it
_COMMAND = """
import os
for _ in range(%d):
    try:
        os.kill(os.getpid(), %d)
    except OSError:
        pass
"""


def check(lab, answer):
    signal, calls = random.randrange(1000, 1 << 30), random.randrange(20, 200)
    path = f"/sys/fs/bpf/handover-{random.randrange(1 << 32):08x}"
    command = f"/usr/bin/python3 -S -c '{_COMMAND % (calls, signal)}'"
    call(answer, lab, _PROGRAM % signal, command, path)

    if lab.sh(["test", "-e", path], check=False).returncode:
        raise Hint("there is nothing at the path: without a pin the map went away with its loader")
    shown = lab.sh(["bpftool", "-j", "map", "show", "pinned", path], check=False)
    if shown.returncode:
        raise Hint("what is pinned at the path is no map", shown.stdout + shown.stderr)
    if _users(lab, json.loads(shown.stdout)["id"]):
        raise Hint(
            "the loader has not left: its program is still loaded; close the object, and let the pin alone hold the map"
        )
    entry = json.loads(lab.sh(["bpftool", "-j", "map", "dump", "pinned", path]).stdout)[0]
    total = int.from_bytes(bytes(int(byte, 16) for byte in entry["value"]), "little")
    if total == 0:
        raise Hint("the pinned map has counted nothing: the program must be attached while the command runs")
    if total != calls:
        raise Hint(
            "the pinned map has not the count of one run of the command",
            f"{calls} calls were made, the map says {total}",
        )


def _users(lab, map_id):
    """Programs that use the map; one that is being freed is given the time to go."""
    for _ in range(20):
        programs = json.loads(lab.sh(["bpftool", "-j", "prog", "list"]).stdout)
        users = [p["id"] for p in programs if map_id in p.get("map_ids", ())]
        if not users:
            break
    return users
