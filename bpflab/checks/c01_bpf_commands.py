"""Exercise 01-bpf-commands: the commands that a process gives to bpf(2), counted."""

import json
import random

from ..errors import NotSupportedError
from . import Hint, load

SECTION = "1.6"
TASK = "count the commands of bpf(2) that a process gives"

_NUMBERS = {"x86_64": 321, "aarch64": 280, "riscv64": 280}  # __NR_bpf: arch's syscall tables, include/uapi/asm-generic/unistd.h
# Waits for the word, then gives commands from its main thread and from another one. A union larger than a page is refused
# before anyone looks at the command (bpf_check_uarg_tail_zero in kernel/bpf/syscall.c), so none of them does a thing.
_CALLER = """
import ctypes, json, sys, threading
number, plan = json.loads(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
attr = ctypes.create_string_buffer(8192)
def give(commands):
    for command in commands:
        libc.syscall(ctypes.c_long(number), ctypes.c_long(command), attr, ctypes.c_long(8192))
print("ready", flush=True)
while not open(sys.argv[2]).read():
    pass
other = threading.Thread(target=give, args=[plan[1]])
other.start()
other.join()
give(plan[0])
"""
_OF_2019 = 24  # commands that Linux 5.3 knew


def check(lab, answer):
    if lab.arch not in _NUMBERS:
        raise NotSupportedError("exercise 01-bpf-commands", lab.where, f"the number of bpf(2) on {lab.arch} is not known here", remedy="use x86_64 or aarch64")
    kinds = ("hash", "array", "lru_hash")
    obj = load(lab, answer, programs={"count": "tracepoint"}, maps={"commands": kinds})
    commands = obj.maps["commands"]
    if (commands.key_type.size, commands.value_type.size) != (4, 8):
        raise Hint("the key of 'commands' is a __u32 (or enum bpf_cmd), its value a __u64")
    if "who" not in obj.globals:
        raise Hint("the global variable 'who' is gone: by it the program is told which process to watch")
    main = random.choices(range(60), k=200) + [random.randrange(1000, 1 << 31)]
    other = random.choices(range(60), k=150)
    foreign = random.choices(range(60), k=100)
    _run(lab, obj, [main, other], [foreign, []])
    got = {int(key): value for key, value in commands.items() if value}
    want = _counted(main + other)
    if got != want:
        raise _diagnose(got, want, main, foreign, commands)


def _run(lab, obj, plan, foreign):
    go = lab.sh("mktemp").stdout.strip()
    start = ["/usr/bin/python3", "-S", "-c", _CALLER]
    number = _NUMBERS[lab.arch]
    try:
        with lab.spawn([*start, json.dumps([number, plan]), go]) as watched, lab.spawn([*start, json.dumps([number, foreign]), go]) as stranger:
            for process in (watched, stranger):
                process.wait_for("ready")
            obj.globals["who"] = watched.pid
            with obj.programs["count"].attach():
                lab.sh(f"echo go > {go}")
                for process in (watched, stranger):
                    process.wait()
    finally:
        lab.sh(["rm", "-f", go])


def _counted(commands):
    return {command: commands.count(command) for command in set(commands)}


def _diagnose(got, want, main, foreign, commands):
    seen = f"command: times it was given {want}; in the map {got}"
    if not got:
        return Hint("the map holds nothing: insert an entry for a command that is not there yet", seen)
    if len(got) == 1 and sum(got.values()) > 1:
        return Hint("all calls are under one number, that of the system call: the command is its first argument, ctx->args[0]", seen)
    if set(got.values()) == {1}:
        return Hint("every count is 1: add to an entry that is there, instead of writing over it", seen)
    if got == {command: times - 1 for command, times in want.items() if times > 1}:
        return Hint("each count is one short: the first call finds no entry, and counts as well", seen)
    if got == _counted(main):
        return Hint("the calls of one thread are counted, not those of the process: the process (tgid) is the upper half of bpf_get_current_pid_tgid()", seen)
    both = {c: n for c, n in want.items() if c < commands.max_entries}
    if commands.type == "array" and got == both:
        return Hint("the map has no room for commands with high numbers: the kernel gets new ones every year, so use a hash, which needs no list of them", seen)
    if sum(got.values()) >= sum(want.values()) + len(foreign):
        return Hint("the calls of other processes are counted too: compare with who", seen)
    return Hint("the counts are not those of the calls made", seen)
