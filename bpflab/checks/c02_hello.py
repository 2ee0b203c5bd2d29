"""Exercise 02-hello: report each start of a program: which process, what it was, what it becomes."""

import json
import random
import string

from . import Hint, load

SECTION = "2.1"
TASK = "report who starts which program"

# For each pair of names: a process that calls itself by the first becomes a link to `true` with the second; every other one calls
# execve in a thread, whose number is not that of the process. Prints [pid, tid, by, file] of each.
_STARTER = """
import json, os, sys, tempfile, threading
with tempfile.TemporaryDirectory() as folder:
    started = []
    for n, (by, name) in enumerate(json.loads(sys.argv[1])):
        file = os.path.join(folder, name)
        os.symlink("/bin/true", file)
        read, write = os.pipe()
        pid = os.fork()
        if not pid:
            with open("/proc/self/comm", "w") as comm:
                comm.write(by)
            def start():
                os.write(write, str(threading.get_native_id()).encode())
                os.execv(file, [name])
            if n % 2:
                thread = threading.Thread(target=start)
                thread.start()
                thread.join()
            start()
        os.waitpid(pid, 0)
        started.append([pid, int(os.read(read, 20)), by, file])
print(json.dumps(started))
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"started": "tracepoint"}, maps={"events": ("ringbuf",)})
    with obj.programs["started"].attach():
        names = [[_word(), _word()] for _ in range(random.randrange(6, 12))]
        out = lab.sh(["/usr/bin/python3", "-S", "-c", _STARTER, json.dumps(names)]).stdout
    started = json.loads(out)
    frame = obj.events("events").read()
    if len(frame) and not {"pid", "by", "file"} <= set(frame.columns):
        raise Hint("an event is a struct start with the members pid, by and file, named in __type(value, struct start)")
    numbers = {number for pid, tid, *_ in started for number in (pid, tid)}
    got = [[int(row.pid), row.by, row.file] for row in frame.itertuples() if row.pid in numbers]
    if got != [[pid, by, file] for pid, _, by, file in started]:
        raise _diagnose(started, got, len(frame))


def _word():
    return "".join(random.choices(string.ascii_lowercase, k=9))


def _diagnose(started, got, events):
    pids, tids = {pid for pid, *_ in started}, {tid for _, tid, *_ in started}
    seen = f"started (pid, tid, by, file): {started}; reported: {got}"
    if not events:
        return Hint("no event arrived: what is reserved must be submitted to be seen", seen)
    if not got:
        return Hint("no event has the number of a process that started something: fill pid", seen)
    if any(pid in tids - pids for pid, *_ in got):
        return Hint(
            "pid holds the number of a thread: the process is the upper half of bpf_get_current_pid_tgid()", seen
        )
    if [pid for pid, *_ in got] != [pid for pid, *_ in started]:
        return Hint("not every start was reported once", seen)
    if all(by == file.rpartition("/")[2] for (*_, file), (_, by, _) in zip(started, got)):
        return Hint("by holds the name of what was started: fill it where execve is entered, not later", seen)
    if any(by != want for (_, _, want, _), (_, by, _) in zip(started, got)):
        return Hint("by is not the name of the caller: fill it with bpf_get_current_comm()", seen)
    if not any(file for *_, file in got):
        return Hint(
            "file is empty: the path lies in the caller's own memory, and bpf_probe_read_user_str() reads that", seen
        )
    return Hint("file is not the path that was given to execve: it is the first argument, ctx->args[0]", seen)
