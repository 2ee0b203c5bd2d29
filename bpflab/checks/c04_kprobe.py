"""Exercise 04-kprobe: deletions by name, from the argument of a function of the kernel."""

import json
import random
import secrets

from . import Hint, kprobes, load

SECTION = "4.1"
TASK = "deletions by name, at a kprobe"

_LONGEST = 32  # bytes of a name in a key
_DELETER = """
import json, os, sys, tempfile
os.chdir(tempfile.mkdtemp())
for name in json.loads(sys.argv[1]):
    os.mknod(name)
    os.unlink(name)
os.rmdir(os.getcwd())
"""


def check(lab, answer):
    obj = _loaded(lab, answer)  # what is wrong with the text needs no kprobe to be told
    with kprobes.machine(lab) as machine:
        _judge(machine, obj if machine is lab else _loaded(machine, answer))


def _loaded(lab, answer):
    obj = load(lab, answer, programs={"deleted": "kprobe"}, maps={"deletions": ("hash", "lru_hash")})
    deletions = obj.maps["deletions"]
    if (deletions.key_type.size, deletions.value_type.size) != (_LONGEST, 8):
        raise Hint("the key of 'deletions' is struct name (32 bytes of text), its value a __u64")
    return obj


def _judge(lab, obj):
    names = [secrets.token_hex(random.randrange(3, 14)) for _ in range(6)]
    plan = [*names, *random.choices(names, k=24)]
    random.shuffle(plan)
    with obj.programs["deleted"].attach():
        lab.sh(["/usr/bin/python3", "-S", "-E", "-c", _DELETER, json.dumps(plan)])
    found = [(key if isinstance(key, str) else key[0], value) for key, value in obj.maps["deletions"].items()]
    want = {name: plan.count(name) for name in names}
    got = {key: value for key, value in found if key in want}
    if got == want and sum(key in want for key, _ in found) == len(want):
        return
    seen = f"deleted: {want}; in the map: {found}"
    if not found:
        raise Hint("the map is empty: count the first deletion of a name, too, when there is no entry yet", seen)
    if not got and any(key == "" for key, _ in found):
        raise Hint(
            "the names are empty: filename->name points into the kernel's memory, so bpf_probe_read_kernel_str reads it, "
            "and not the helper for the memory of processes",
            seen,
        )
    if not got and any(key == "python3" for key, _ in found):
        raise Hint("the map counts who deletes; what is asked for is the name of the file, in the function's second argument", seen)
    beginnings = {key for key, _ in found if len(key) > 2}
    if all(name in got or any(name.startswith(key) for key in beginnings) for name in want) and len(got) < len(want):
        raise Hint("names are cut: the key has room for 32 bytes, so read as many", seen)
    if not got:
        raise Hint(
            "there are entries, but none is a name that was deleted: 'wanted' points to a struct filename, and the text is "
            "where its member 'name' points to (BPF_CORE_READ)",
            seen,
        )
    if all(value == 1 for value in got.values()):
        raise Hint("every name was deleted once, says the map: add to an entry that is there, instead of writing over it", seen)
    if all(got.get(name, 0) == times - 1 for name, times in want.items()):
        raise Hint("each name is one short: its first deletion finds no entry, and counts as well", seen)
    raise Hint("the counts are not those of the deletions made", seen)
