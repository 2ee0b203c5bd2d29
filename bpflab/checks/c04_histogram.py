"""Exercise 04-histogram: how long a process sleeps, in powers of two of a microsecond."""

import json
import random

from . import Hint, load

SECTION = "4.8"
TASK = "a histogram of sleeps in the kernel, in microseconds"

# two threads sleep as planned (us), between two lines of its input, and a child, which is a process of its own; prints what
# each sleep took (us, seen from outside)
_SLEEPER = """
import ctypes, json, os, sys, threading, time
libc = ctypes.CDLL("libc.so.6")  # its usleep is a clock_nanosleep; what time.sleep is depends on Python's version
print(os.getpid(), flush=True)
sys.stdin.readline()
took, ready = [], threading.Barrier(2)
def sleep(part):
    ready.wait()
    for us in part:
        start = time.monotonic_ns()
        libc.usleep(us)
        took.append((us, (time.monotonic_ns() - start) // 1000))
plans = json.loads(sys.argv[1])
child = os.fork()
if not child:
    for us in plans[0]:
        libc.usleep(us)
    os._exit(0)
other = threading.Thread(target=sleep, args=(plans[0],))
other.start()
sleep(plans[1])
other.join()
os.waitpid(child, 0)
print(json.dumps(took), flush=True)
sys.stdin.readline()
"""
_SLOTS = 32


def check(lab, answer):
    obj = load(lab, answer, programs={"enter": "tracepoint", "leave": "tracepoint"}, maps={"slots": ("array", "percpu_array")})
    slots = obj.maps["slots"]
    if slots.value_type.size != 8 or slots.max_entries != _SLOTS:
        raise Hint(f"'slots' has {_SLOTS} elements, each a __u64")
    if "watched" not in obj.globals:
        raise Hint("the answer has no global variable named 'watched'")
    clean = 0
    for _ in range(8):  # a sleep may be broken into two by a signal, or last so long that its slot is in doubt
        plans = [random.choices((2100, 34000, 140000), k=4), random.choices((2100, 34000), k=9)]
        for n in range(_SLOTS):
            slots[n] = [0] * slots.ncpus if slots.ncpus else 0
        took = _run(lab, obj, plans)
        got = _counts(slots)
        parts = [[sum(us.bit_length() - 1 == n for us in part) for n in range(_SLOTS)] for part in plans]
        want = [one + other for one, other in zip(*parts)]
        if got == want:
            return
        clean += all(us.bit_length() == measured.bit_length() for us, measured in took)
        if clean == 2:
            break
    seen = f"sleeps (us asked, us taken): {took}; by slot, want: {_shown(want)}, got: {_shown(got)}"
    raise _diagnose(want, got, parts, seen)


def _run(lab, obj, plans):
    pipe = lab.sh("p=$(mktemp -u) && mkfifo $p && echo $p").stdout.strip()
    words = ["bash", "-c", 'exec 3<>"$0"; rm "$0"; exec /usr/bin/python3 -S -E -c "$1" "$2" <&3', pipe, _SLEEPER, json.dumps(plans)]
    with lab.spawn(words) as process:
        process.wait_for("\n")
        obj.globals["watched"] = int(process.stdout.split()[0])
        with obj.programs["enter"].attach(), obj.programs["leave"].attach():
            lab.sh(f"echo > /proc/{process.pid}/fd/3")
            process.wait_for("]]")
    return json.loads(process.stdout.splitlines()[1])


def _counts(slots):
    return [sum(value) if isinstance(value, list) else value for value in (slots[n] for n in range(_SLOTS))]


def _shown(counts):
    return {n: count for n, count in enumerate(counts) if count}


def _diagnose(want, got, parts, seen):
    if not any(got):
        return Hint("nothing was counted: does 'leave' find what 'enter' has written down, and is 'watched' compared with the process?", seen)
    if sum(got[19:]) > sum(got[:19]):
        return Hint("the slots are about ten too high: bpf_ktime_get_ns gives nanoseconds, and the histogram is one of microseconds", seen)
    if sum(got[:9]) > sum(got[9:]):
        return Hint("the slots are about ten too low: divide nanoseconds by 1000 to get microseconds, not by more", seen)
    if sum(got[n] for n in (12, 16, 18)) > sum(got[n] for n in (11, 15, 17)):
        return Hint("every slot is one too high: slot n is for 2**n to 2**(n+1) - 1 microseconds", seen)
    if all(count <= 1 for count in got):
        return Hint("every slot that was hit holds a 1: add to the count that is there, instead of writing over it", seen)
    if got in parts:
        return Hint("the sleeps of one of the two threads are missing: 'watched' is the process, the upper half of bpf_get_current_pid_tgid()", seen)
    if all(count >= own + childs for count, own, childs in zip(got, want, parts[0])):
        return Hint("sleeps of other processes are counted, too: compare the process with 'watched'", seen)
    return Hint(
        "the sleeps of two threads get mixed up: two of them sleep at the same time, so keep the start of each thread apart", seen
    )
