"""Exercise 03-queue: a recorder of the last sixteen senders."""

import ipaddress
import random

from . import Hint, load
from .packets import not_ip, random_address, udp

SECTION = "3.9.20"
TASK = "a recorder of the last sixteen senders"
_SIZE = 16


def check(lab, answer):
    obj = load(lab, answer, programs={"record": "xdp"}, maps={"recorder": ("queue", "stack")})
    recorder = obj.maps["recorder"]
    if (recorder.max_entries, recorder.value_type.size) != (_SIZE, 4):
        raise Hint("'recorder' holds 16 entries, each a __be32 address")
    for count in (random.randrange(5, _SIZE), random.randrange(20, 60)):
        senders = [random_address() for _ in range(count)]
        others = [random_address() for _ in range(count)]
        receivers = [random_address() for _ in range(count)]
        for sender, other, receiver in zip(senders, others, receivers):
            obj.programs["record"].test_run(udp(sender, receiver))
            obj.programs["record"].test_run(not_ip(other))
        got = _empty(recorder)
        if got != senders[-_SIZE:]:
            raise _diagnose(got, senders, others, receivers)


def _empty(recorder):
    """Take everything out, first out first."""
    got = []
    while len(got) <= _SIZE:
        try:
            got.append(ipaddress.IPv4Address(recorder.value_type.encode(recorder.pop(), "an entry")))
        except KeyError:
            break
    return got


def _diagnose(got, senders, others, receivers):
    last = senders[-_SIZE:]
    seen = f"senders, oldest first: {', '.join(map(str, last))}; popped: {', '.join(map(str, got)) or 'nothing'}"
    if not got:
        return Hint("nothing was recorded: push the sender of each IPv4 packet with bpf_map_push_elem()", seen)
    if set(got) & set(others):
        return Hint("a frame that is not IPv4 was recorded: read eth->h_proto before you read an address", seen)
    if set(got) <= set(receivers):
        return Hint("the recorder holds destinations: the sender is ip->saddr", seen)
    if len(got) > 1 and got in (last[::-1], senders[:_SIZE][::-1]):
        return Hint("the newest comes out first: that is a stack; a queue gives back the oldest first", seen)
    if got == senders[:_SIZE]:
        return Hint(
            "the oldest 16 were kept and the newest refused: a push with BPF_EXIST makes room by dropping the oldest",
            seen,
        )
    return Hint("what comes out is not the last 16 senders, oldest first", seen)
