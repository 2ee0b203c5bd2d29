"""Exercise 01-opens: which files are opened, how often, and how often in vain."""

import json
import random
import secrets

from . import Hint, load

SECTION = "1.1"
TASK = "opens by file, those that worked and those that failed"

# opens files as planned; meanwhile another thread of it is inside an open, of a pipe that nobody writes to yet
_OPENER = """
import json, os, sys, threading
folder, plan = sys.argv[1], json.loads(sys.argv[2])
os.chdir(folder)
pipe = folder + "/pipe"
os.mkfifo(pipe)
go, start = os.pipe()
def wait():
    os.read(go, 1)
    os.close(os.open(pipe, os.O_RDONLY, dir_fd=0x7777))  # a mark to know the call by: the path is absolute
waiting = threading.Thread(target=wait)
waiting.start()
call = os.open("/proc/self/task/%d/syscall" % waiting.native_id, os.O_RDONLY)
os.write(start, b"!")  # from here on nothing else is opened, until it sleeps in its call
while b" 0x7777 " not in os.pread(call, 200, 0):
    pass
for name, there in plan:
    path = folder + "/" + name
    if there:
        os.mknod(path)
    try:
        os.close(os.open(path, os.O_RDONLY))
    except FileNotFoundError:
        pass
    if there:
        os.unlink(path)
os.close(os.open(folder + "/./pipe", os.O_WRONLY))  # by another path: both calls return at the same time
waiting.join()
os.unlink(pipe)
"""
_LONGEST = 64  # bytes of a path in a key


def check(lab, answer):
    obj = load(lab, answer, programs={"enter": "tracepoint", "leave": "tracepoint"}, maps={"files": ("hash", "lru_hash")})
    files = obj.maps["files"]
    if (files.key_type.size, files.value_type.size) != (_LONGEST, 16):
        raise Hint("the key of 'files' is struct pathname (64 bytes of text), its value is struct tally (two __u64)")
    folder = f"/tmp/{secrets.token_hex(4)}"
    names = [secrets.token_hex(random.randrange(1, 20)) for _ in range(8)]
    plan = [(random.choice(names), random.random() < 0.5) for _ in range(120)]
    plan += [(name, there) for name in names for there in (True, False, False)]
    lab.sh(["mkdir", folder])
    try:
        with obj.programs["enter"].attach(), obj.programs["leave"].attach():
            lab.sh(["/usr/bin/python3", "-S", "-c", _OPENER, folder, json.dumps(plan)])
    finally:
        lab.sh(["rmdir", folder], check=False)
    want = {f"{folder}/{name}": (plan.count((name, True)), plan.count((name, False))) for name in names}
    found = [(key if isinstance(key, str) else key[0], tuple(value)) for key, value in files.items()]
    ours = [(key, value) for key, value in found if key.startswith(folder)]
    waited = dict(ours).get(f"{folder}/pipe")
    got = {key: value for key, value in ours if not key.endswith("/pipe")}
    if len(dict(ours)) == len(ours) and got == want and waited == (1, 0):
        return
    raise _diagnose(want, got, ours, waited)


def _diagnose(want, got, ours, waited):
    seen = f"path: (opened, failed) as it was {want}; in the map {ours}"
    if not ours:
        return Hint("the map holds none of the files that were opened: insert an entry for a path that is not there yet", seen)
    if len(dict(ours)) < len(ours):
        return Hint("a path stands there twice: the bytes behind its end are a part of the key, so clear all 64 before you read a path into them", seen)
    if got == {key: (opened + failed, 0) for key, (opened, failed) in want.items()}:
        return Hint("opens that failed count as opened: openat has failed when its answer, ctx->ret, is below 0", seen)
    if got == {key: value[::-1] for key, value in want.items()}:
        return Hint("opened and failed are the wrong way round: an answer below 0 is an error", seen)
    if got == {key: (opened, failed - 1) if failed > opened else got.get(key) for key, (opened, failed) in want.items()}:
        return Hint("the first open of a file is not counted: the entry that you insert is for one, not for none", seen)
    if all(sum(value) == 1 for value in got.values()):
        return Hint("every file was opened once: add to an entry that is there, instead of writing over it", seen)
    if all(sum(got.get(key, ())) == sum(value) - 1 for key, value in want.items()):
        return Hint("each file is one short: the first open finds no entry, and counts as well", seen)
    if waited != (1, 0):
        return Hint(
            "an open that took long is not counted: while one thread of a process is in openat another may enter it, "
            "so keep apart what each thread has opened, by all of bpf_get_current_pid_tgid()",
            seen,
        )
    return Hint("the counts are not those of the opens made", seen)
