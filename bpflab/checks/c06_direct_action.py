"""Exercise 06-direct-action: a door that opens from inside."""

import random
import secrets
import time

from ..errors import BpfError
from . import Hint, load, packets
from .segments import port

SECTION = "6.5"
TASK = "a door that opens from inside"

_BEHIND = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u64 in, out;
SEC("tc") int behind_in(struct __sk_buff *skb) { __sync_fetch_and_add(&in, 1); return -1; }
SEC("tc") int behind_out(struct __sk_buff *skb) { __sync_fetch_and_add(&out, 1); return -1; }
char LICENSE[] SEC("license") = "GPL";
"""


def check(lab, answer):
    obj = load(
        lab, answer, programs={"leaving": "sched_cls", "arriving": "sched_cls"}, maps={"asked": ("hash", "lru_hash")}
    )
    with lab.netlab("inside -- [sw] -- friend, stranger") as net, lab.load(_BEHIND) as behind:
        dev = net["inside"].dev
        behind.programs["behind_out"].attach_tc(dev, "egress")
        behind.programs["behind_in"].attach_tc(dev, "ingress")
        # a filter without a priority of its own stands before those that are there (tcf_auto_prio in net/sched/cls_api.c)
        obj.programs["leaving"].attach_tc(dev, "egress")
        obj.programs["arriving"].attach_tc(dev, "ingress")
        street = _Street(net)
        try:
            _walk(street, obj.programs, behind)
        finally:
            street.seen.append(f"in 'asked': {obj.maps['asked'].to_frame().to_dict('records')}")


def _walk(street, programs, behind):
    net = street.net
    for name, program in programs.items():
        if program.test_run(_ARP).retval == _SHOT:
            raise Hint(
                f"'{name}' drops an ARP frame: only UDP over IPv4 is your business, all else passes (and 2, which is XDP_PASS in XDP, is TC_ACT_SHOT here)"
            )
    inside, other, four = street.socket("inside"), street.socket("inside"), street.socket("friend")
    wrong_port, stranger = street.socket("friend"), street.socket("stranger")

    street.wants(inside, four, True, _LEAVES)
    street.wants(four, inside, True, _ANSWER, _STAY)
    street.wants(
        stranger,
        inside,
        False,
        "a packet came in from a host that nobody had asked: drop it with TC_ACT_SHOT, unless 'asked' has an entry for it",
    )
    street.wants(
        wrong_port, inside, False, "a packet came in from another port than was asked: both ports belong into the key"
    )
    street.wants(
        four,
        other,
        False,
        "a packet came in for another port of this host, which had asked nobody: both ports belong into the key",
    )
    street.wants(inside, stranger, True, "only the first packet leaves: the program 'leaving' lets everything pass")
    street.wants(
        stranger, inside, True, "only the first who was asked may answer: every question is an entry of its own"
    )
    street.wants(four, inside, True, _STAY)

    if not net["stranger"].ping("inside").received or not net["inside"].ping("stranger").received:
        raise Hint("a ping was dropped: only UDP is your business, all else passes", street.text)
    if not net["stranger"].ping(net["inside"].ip6).received:
        raise Hint("a packet of IPv6 was dropped: only UDP over IPv4 is your business", street.text)

    street.seen.append(f"programs behind saw {behind.globals['in']} packets come and {behind.globals['out']} go")
    if not behind.globals["in"] and not behind.globals["out"]:
        raise Hint(_UNSPEC, street.text)
    if not behind.globals["in"]:
        raise Hint(
            "a program attached behind 'arriving' sees nothing: TC_ACT_OK ends the row, TC_ACT_UNSPEC leaves it to who comes next",
            street.text,
        )
    if not behind.globals["out"]:
        raise Hint(
            "a program attached behind 'leaving' sees nothing: TC_ACT_OK ends the row, TC_ACT_UNSPEC leaves it to who comes next",
            street.text,
        )


_ARP = packets.not_ip("192.0.2.1")
_SHOT = 2  # TC_ACT_SHOT, include/uapi/linux/pkt_cls.h
_LEAVES = "what leaves does not arrive: 'leaving' (egress) only takes notes and lets everything pass; what is dropped is dropped by 'arriving' (ingress)"
_STAY = "an answer was dropped that came after another one: entries stay, for there may be more than one answer"
_ANSWER = (
    "the answer of somebody who was asked is dropped: in a packet that comes back, source and destination have changed places, "
    "so what 'leaving' notes as its destination 'arriving' finds as its source"
)
_UNSPEC = "programs that are attached behind yours see nothing: TC_ACT_OK ends the row, TC_ACT_UNSPEC leaves it to who comes next"


class _Street:
    """UDP sockets on hosts, and packets from one to another."""

    def __init__(self, net):
        self.net, self.seen = net, []

    @property
    def text(self) -> str:
        return "; ".join(self.seen)

    def socket(self, name):
        for _ in range(10):
            sock = self.net[name].socket("inet", "dgram")
            try:
                return sock.bind((self.net[name].ip, port()))
            except BpfError:  # another has this port
                sock.close()
        raise AssertionError(f"no free port on {name}")

    def wants(self, sender, receiver, arrives: bool, hint: str, in_part: str = "") -> None:
        """Send some packets, and see whether they arrive; `in_part` is the hint when some do."""
        texts = {secrets.token_bytes(random.randrange(8, 40)) for _ in range(random.randrange(2, 5))}
        self.seen.append(
            f"{len(texts)} packets from {sender.host.name} {sender.port} to {receiver.host.name} {receiver.port}, {'to pass' if arrives else 'to drop'}"
        )
        for text in texts:
            sender.sendto(text, receiver)
        got, end = set(), time.monotonic() + (1 if arrives else 0.15)
        while got != texts and (left := end - time.monotonic()) > 0:
            if receiver.readable(left):
                got.add(receiver.recv())
        if got != (texts if arrives else set()):
            self.seen.append(f"{len(got & texts)} arrived")
            raise Hint(in_part if in_part and got else hint, self.text)
