"""Exercise 04-tracepoint: the errors that a process gets from its system calls."""

import errno
import json
import random

from . import Hint, load

SECTION = "4.3"
TASK = "errors of system calls, by number"

# makes calls that fail as planned, half of them in another thread, between two lines of its standard input; a child of it,
# which is a process of its own, makes them all as well
_CALLER = """
import json, os, sys, threading
plan = json.loads(sys.argv[1])
calls = {
    20: lambda: os.open("/etc/passwd/x", os.O_RDONLY),
    21: lambda: os.open("/", os.O_WRONLY),
    36: lambda: os.open("x" * 300, os.O_RDONLY),
    0: lambda: os.getppid(),
}
def work(part):
    for number in part:
        try:
            calls[number]()
        except OSError as error:
            assert error.errno == number
print(os.getpid(), flush=True)
sys.stdin.readline()
child = os.fork()
if not child:
    work(plan)
    os._exit(0)
other = threading.Thread(target=work, args=(plan[::2],))
other.start()
work(plan[1::2])
other.join()
os.waitpid(child, 0)
print("done", flush=True)
sys.stdin.readline()
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"leave": "tracepoint"}, maps={"errors": ("hash", "lru_hash")})
    found = obj.maps["errors"]
    if (found.key_type.size, found.value_type.size) != (4, 8):
        raise Hint("the key of 'errors' is a __u32, the number of the error, its value a __u64")
    if "watched" not in obj.globals:
        raise Hint("the answer has no global variable named 'watched'")
    numbers = (errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
    plan = [*numbers * 4, *random.choices((*numbers, 0), k=80)]
    random.shuffle(plan)
    want = {number: plan.count(number) for number in numbers}
    table = _run(lab, obj, plan)
    got = {number: table.get(number, 0) for number in numbers}
    big = [key for key in table if key > 4095]
    if got == want and not big:
        return
    seen = f"errors made: {want}; in the map: {table}"
    if not table:
        raise Hint(
            "the map is empty: does the first error of a kind make an entry, and is the process, the upper half of "
            "bpf_get_current_pid_tgid(), compared with 'watched'?",
            seen,
        )
    if any(key > 1 << 31 for key in table) and not any(got.values()):
        raise Hint("the errors stand there as huge numbers: a call that failed returns the negative number, so turn its sign", seen)
    if big:
        raise Hint("there are entries that are no errors: a call has failed only when ctx->ret is below 0", seen)
    if got == {number: plan[1::2].count(number) for number in numbers}:
        raise Hint(
            "half of the errors are missing, those of another thread: the lower half of bpf_get_current_pid_tgid() is the thread, "
            "the upper half (>> 32) the process",
            seen,
        )
    if all(got[number] >= 2 * want[number] for number in numbers):
        raise Hint("errors of other processes are counted, too: compare the process with 'watched'", seen)
    if not any(got.values()):
        raise Hint("none of the errors that were made is in the map: its key is the number of the error, made from ctx->ret", seen)
    if all(value == 1 for value in table.values()):
        raise Hint("every error was seen once: add to an entry that is there, instead of writing over it", seen)
    if all(got[number] == want[number] - 1 for number in numbers):
        raise Hint("each error is one short: the first one finds no entry, and counts as well", seen)
    raise Hint("the counts are not those of the errors made", seen)


def _run(lab, obj, plan):
    """The process runs under a shell that feeds it lines by a pipe; between them the program is attached."""
    pipe = lab.sh("p=$(mktemp -u) && mkfifo $p && echo $p").stdout.strip()
    words = ["bash", "-c", 'exec 3<>"$0"; rm "$0"; exec /usr/bin/python3 -S -E -c "$1" "$2" <&3', pipe, _CALLER, json.dumps(plan)]
    with lab.spawn(words) as process:
        process.wait_for("\n")
        obj.globals["watched"] = int(process.stdout.split()[0])
        with obj.programs["leave"].attach():
            lab.sh(f"echo > /proc/{process.pid}/fd/3")
            process.wait_for("done")
    return dict(obj.maps["errors"].items())
