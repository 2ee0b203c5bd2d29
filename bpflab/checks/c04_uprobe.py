"""Exercise 04-uprobe: bytes that processes ask a library for."""

import json
import random

from . import Hint, load

SECTION = "4.4"
TASK = "bytes asked of a library, by process"

# two processes with two threads each ask for memory as planned, and print their numbers
_ASKER = """
import ctypes, json, os, sys, threading
libc = ctypes.CDLL("libc.so.6")
libc.aligned_alloc.argtypes, libc.aligned_alloc.restype = [ctypes.c_size_t, ctypes.c_size_t], ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
def ask(part):
    for size in part:
        libc.free(libc.aligned_alloc(64, size))
for plan in json.loads(sys.argv[1]):
    child = os.fork()
    if not child:
        other = threading.Thread(target=ask, args=(plan[::2],))
        other.start()
        ask(plan[1::2])
        other.join()
        os._exit(0)
    print(child)
    os.waitpid(child, 0)
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"asked": "kprobe"}, maps={"bytes": ("hash", "lru_hash")})
    found = obj.maps["bytes"]
    if (found.key_type.size, found.value_type.size) != (4, 8):
        raise Hint("the key of 'bytes' is a __u32, the number of the process, its value a __u64")
    plans = [[random.randrange(1000, 9000) for _ in range(random.randrange(10, 20))] for _ in range(2)]
    with obj.programs["asked"].attach_uprobe("libc.so.6", "aligned_alloc"):
        said = lab.sh(["/usr/bin/python3", "-S", "-E", "-c", _ASKER, json.dumps(plans)]).stdout
    pids = [int(word) for word in said.split()]
    table = dict(found.items())
    want, got = [sum(plan) for plan in plans], [table.get(pid, 0) for pid in pids]
    if got == want:
        return
    seen = f"processes {pids} asked for {want} bytes, in {[len(plan) for plan in plans]} calls; in the map: {table}"
    if not table:
        raise Hint("the map is empty: the first call of a process finds no entry, and has to make one", seen)
    if got == [64 * len(plan) for plan in plans]:
        raise Hint("the sums are of the first argument, the alignment: aligned_alloc(alignment, size) has the size as its second", seen)
    if got == [len(plan) for plan in plans]:
        raise Hint("calls are counted, not bytes: add the size", seen)
    if got == [sum(plan[1::2]) for plan in plans]:
        raise Hint(
            "half of the bytes are missing, those of another thread: the lower half of bpf_get_current_pid_tgid() is the thread, "
            "the upper half (>> 32) the process",
            seen,
        )
    if all(one in plan for one, plan in zip(got, plans)):
        raise Hint("only one call of each process counts: add to an entry that is there, instead of writing over it", seen)
    if all(whole - one in plan for one, whole, plan in zip(got, want, plans)):
        raise Hint("one call of each process is missing: the first one finds no entry, and counts as well", seen)
    raise Hint("the sums are not the bytes that the processes asked for", seen)
