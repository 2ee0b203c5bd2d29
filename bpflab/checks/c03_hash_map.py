"""Exercise 03-hash-map: count the signals that each process sends."""

import json
import random

from . import Hint, load

SECTION = "3.9.1"
TASK = "count the signals that each process sends"

# sends signals that do nothing (or none: 0) to itself, from its main thread and from two others
_SENDER = """
import json, os, sys, threading
plan = json.loads(sys.argv[1])
threads = []
def send(signals):
    threads.append(threading.get_native_id())
    for signal in signals:
        os.kill(os.getpid(), signal)
for signals in plan[1:]:
    thread = threading.Thread(target=send, args=[signals])
    thread.start()
    thread.join()
send(plan[0])
print(json.dumps([os.getpid(), threads]))
"""
_HARMLESS = (0, 17, 18, 23, 28)  # none, SIGCHLD, SIGCONT, SIGURG, SIGWINCH: signal(7), "Standard signals"


def check(lab, answer):
    obj = load(lab, answer, programs={"count": "tracepoint"}, maps={"signals": ("hash",)})
    signals = obj.maps["signals"]
    if not signals.key_type.members or (signals.key_type.size, signals.value_type.size) != (8, 8):
        raise Hint("the key of 'signals' is struct sender (two __u32), its value a __u64")
    want, threads = {}, set()
    with obj.programs["count"].attach():
        for _ in range(3):
            plan = [random.choices(_HARMLESS, k=random.randrange(20, 60)) for _ in range(3)]
            out = lab.sh(["/usr/bin/python3", "-S", "-c", _SENDER, json.dumps(plan)]).stdout
            tgid, tids = json.loads(out)
            threads.update(tids)
            for signal in sum(plan, []):
                want[tgid, signal] = want.get((tgid, signal), 0) + 1
    got = {tuple(key)[:2]: value for key, value in signals.items()}
    ours = {key: value for key, value in got.items() if key[0] in threads}
    if ours != want:
        raise _diagnose(want, ours, threads)


def _diagnose(want, ours, threads):
    processes = {tgid for tgid, _ in want}
    seen = f"(tgid, signal): calls made {want}; in the map {ours}"
    if not ours:
        return Hint(
            "the map holds no entry of the processes that sent signals: insert one for a key that is not there", seen
        )
    if any(tid in threads - processes for tid, _ in ours):
        return Hint(
            "the threads of one process have entries of their own: the process (tgid) is the upper half of "
            "bpf_get_current_pid_tgid()",
            seen,
        )
    if all(tgid == signal for tgid, signal in ours):
        return Hint("the key holds the receiver, not the signal: kill(pid, sig) has the signal in args[1]", seen)
    if ours.keys() == want.keys() and set(ours.values()) == {1}:
        return Hint("every count is 1: add to an entry that is there, instead of writing over it", seen)
    if ours == {key: value - 1 for key, value in want.items()}:
        return Hint("each count is one short: the first call finds no entry, and counts as well", seen)
    return Hint("the counts are not those of the calls made", seen)
