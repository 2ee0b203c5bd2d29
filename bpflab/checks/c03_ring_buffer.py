"""Exercise 03-ring-buffer: report every program that starts, and count what did not fit."""

import json
import random
import string

from . import Hint, load

SECTION = "3.9.22"
TASK = "report every program that starts, and count the lost"

# starts /bin/true under other names, one after the other, and prints the pids
_STARTER = """
import json, os, sys, tempfile
with tempfile.TemporaryDirectory() as folder:
    started = []
    for name in json.loads(sys.argv[1]):
        path = os.path.join(folder, name)
        if not os.path.lexists(path):
            os.symlink("/bin/true", path)
        pid = os.posix_spawn(path, [path], {})
        os.waitpid(pid, 0)
        started.append([pid, name])
print(json.dumps(started))
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"report": "tracepoint"}, maps={"events": ("ringbuf",)})
    if obj.maps["events"].max_entries != 4096:
        raise Hint("'events' has 4096 bytes: max_entries of a ring buffer is its size")
    if "lost" not in obj.globals:
        raise Hint("the answer has no global variable named 'lost'")
    with obj.programs["report"].attach():
        started = _start(
            lab, ["".join(random.choices(string.ascii_lowercase, k=9)) for _ in range(random.randrange(5, 15))]
        )
        _complete(started, _ours(obj, started))
        started = _start(lab, ["true"] * random.randrange(300, 400))
    # nobody read meanwhile: the ring is full
    got = _ours(obj, started)
    if len(got) + obj.globals["lost"] < len(started):
        raise Hint(
            "events that did not fit were neither delivered nor counted: add 1 to 'lost' where "
            "bpf_ringbuf_reserve gives NULL",
            f"{len(started)} programs started, {len(got)} events arrived, lost is {obj.globals['lost']}",
        )


def _start(lab, names):
    return json.loads(lab.sh(["/usr/bin/python3", "-S", "-c", _STARTER, json.dumps(names)]).stdout)


def _ours(obj, started):
    """Read what is in the ring; other programs of the machine start as well."""
    frame = obj.events("events").read()
    if len(frame) and not {"pid", "comm"} <= set(frame.columns):
        raise Hint("an event is a struct event with the members pid and comm, named in __type(value, struct event)")
    pids = {pid for pid, _ in started}
    return [[int(row.pid), row.comm] for row in frame.itertuples() if row.pid in pids]


def _complete(started, got):
    seen = f"started: {started}; reported: {got}"
    if not got:
        raise Hint(
            "no event arrived of the programs that were started: what is reserved must be submitted to be seen", seen
        )
    if [pid for pid, _ in got] != [pid for pid, _ in started]:
        raise Hint("not every program that was started was reported once", seen)
    if got != started:
        raise Hint(
            "the events do not carry the names of the programs started: fill comm with bpf_get_current_comm()", seen
        )
