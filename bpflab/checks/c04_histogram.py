"""Exercise 04-histogram: how long a process sleeps, in powers of two of a microsecond."""

import json
import random

from . import Hint, load

SECTION = "4.8"
TASK = "a histogram of sleeps in the kernel, in microseconds"

# two threads sleep as planned (us), between two lines of its input; prints what each sleep took (us, seen from outside)
_SLEEPER = """
import json, os, sys, threading, time
print(os.getpid(), flush=True)
sys.stdin.readline()
took, ready = [], threading.Barrier(2)
def sleep(part):
    ready.wait()
    for us in part:
        start = time.monotonic_ns()
        time.sleep(us / 1e6)
        took.append((us, (time.monotonic_ns() - start) // 1000))
plans = json.loads(sys.argv[1])
other = threading.Thread(target=sleep, args=(plans[0],))
other.start()
sleep(plans[1])
other.join()
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
    while True:
        plans = [random.choices((2100, 33500, 132000), k=4), random.choices((2100, 33500), k=9)]
        before = _counts(slots)
        took = _run(lab, obj, plans)
        got = [now - then for now, then in zip(_counts(slots), before)]
        asked = [us.bit_length() - 1 for us, _ in took]
        if asked == [ns.bit_length() - 1 for _, ns in took]:  # else a sleep took so long that its bucket is in doubt
            break
    want = [asked.count(n) for n in range(_SLOTS)]
    if got == want:
        return
    seen = f"sleeps (us asked, us taken): {took}; by slot, want: {_shown(want)}, got: {_shown(got)}"
    raise _diagnose(want, got, seen)


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


def _moved(counts, by):
    return [counts[n - by] if 0 <= n - by < _SLOTS else 0 for n in range(_SLOTS)]


def _diagnose(want, got, seen):
    if not any(got):
        return Hint("nothing was counted: does 'leave' find what 'enter' has written down, and is 'watched' compared with the process?", seen)
    if got in (_moved(want, 10), _moved(want, 9)) or sum(got[19:]) and not sum(got[:19]):
        return Hint("the slots are about ten too high: bpf_ktime_get_ns gives nanoseconds, and the histogram is one of microseconds", seen)
    if not sum(got[10:]):
        return Hint("the slots are about ten too low: divide nanoseconds by 1000 to get microseconds, not by more", seen)
    if got == _moved(want, 1):
        return Hint("every slot is one too high: slot n is for 2**n to 2**(n+1) - 1 microseconds", seen)
    return Hint(
        "the sleeps of two threads get mixed up: two of them sleep at the same time, so keep the start of each thread apart", seen
    )
