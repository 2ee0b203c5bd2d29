"""Exercise 04-uretprobe: the longest call of each thread."""

import json
import random

from . import Hint, load

SECTION = "4.5"
TASK = "the longest call of each thread"

# threads sleep at the same time, as planned; prints for each its number and what its calls took (ns, seen from outside)
_SLEEPER = """
import ctypes, json, sys, threading, time
libc = ctypes.CDLL("libc.so.6")
results, ready = [], threading.Barrier(3)
def sleep(part):
    took = []
    ready.wait()
    for us in part:
        start = time.monotonic_ns()
        libc.usleep(us)
        took.append(time.monotonic_ns() - start)
    results.append((threading.get_native_id(), part, took))
threads = [threading.Thread(target=sleep, args=(part,)) for part in json.loads(sys.argv[1])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps(results))
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"enter": "kprobe", "leave": "kprobe"}, maps={"longest": ("hash", "lru_hash")})
    found = obj.maps["longest"]
    if (found.key_type.size, found.value_type.size) != (4, 8):
        raise Hint("the key of 'longest' is a __u32, the number of the thread, its value a __u64 of nanoseconds")
    # the longest in the middle, so that neither the first nor the last of a thread is it
    plans = [[random.randrange(10_000, 20_000), 1000 * longest, random.randrange(10_000, 20_000)] for longest in (60, 95, 130)]
    with obj.programs["enter"].attach_uprobe("libc.so.6", "usleep"), obj.programs["leave"].attach_uprobe("libc.so.6", "usleep", retprobe=True):
        said = lab.sh(["/usr/bin/python3", "-S", "-E", "-c", _SLEEPER, json.dumps(plans)]).stdout
    table = dict(found.items())
    threads = json.loads(said)
    got = [table.get(thread) for thread, *_ in threads]
    # a call lasts as long as it was told to at least, and as long as it seems from outside at most
    calls = [[(1000 * us, ns) for us, ns in zip(asked, took)] for _, asked, took in threads]
    longest = [max(of_thread, key=lambda call: call[1]) for of_thread in calls]
    if all(value is not None and least <= value <= most for value, (least, most) in zip(got, longest)):
        return
    seen = f"threads, us asked, ns taken: {threads}; in the map: {table}"
    if not table:
        raise Hint("the map is empty: does 'leave' find what 'enter' has written down?", seen)
    if all(value is None for value in got):
        raise Hint(
            "there is no entry for any of the threads, only for their process: key by the thread, the lower half of "
            "bpf_get_current_pid_tgid(), for calls of several threads overlap",
            seen,
        )
    mixed = Hint("the times are not those of the threads' longest calls: keep the start of a call for each thread apart", seen)
    if None in got:
        raise mixed
    if all(value >> 63 for value in got):
        raise Hint("the times are negative (huge, for a __u64 has no sign): a duration is the end minus the start", seen)
    if all(value > 10 * most for value, (_, most) in zip(got, longest)):
        raise Hint("these are moments, not durations: subtract what 'enter' has written down", seen)
    if all(least <= 1000 * (value + 1) and 1000 * value <= most for value, (least, most) in zip(got, longest)):
        raise Hint("the times are a thousand times too small: they are asked for in nanoseconds, as bpf_ktime_get_ns gives them", seen)
    if all(value > most for value, (_, most) in zip(got, longest)):
        raise Hint("longer than any call was: keep the longest one, do not add them up", seen)
    if all(least <= value <= most for value, ((least, most), *_) in zip(got, calls)):
        raise Hint("it is each thread's first call, not its longest: replace the entry when a longer one comes", seen)
    if all(least <= value <= most for value, (*_, (least, most)) in zip(got, calls)):
        raise Hint("it is each thread's last call, not its longest: replace the entry only when the new one is longer", seen)
    raise mixed
