"""Exercise 02-dispatcher: hand each packet on by tail call, through a table that changes."""

import random

from . import Hint, load
from .packets import ETH_P_ARP, ETH_P_IPV6, XDP_DROP, XDP_PASS, ethernet, ipv4, random_address

SECTION = "2.5"
TASK = "a switchboard of tail calls"
_XDP_TX = 3  # enum xdp_action, include/uapi/linux/bpf.h
_NAMES = {XDP_DROP: "drop", XDP_PASS: "pass", _XDP_TX: "tx"}
_TTL = 64  # of the frames of packets.ipv4
_HANDLERS = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int drop(struct xdp_md *ctx) { return XDP_DROP; }
SEC("xdp") int back(struct xdp_md *ctx) { return XDP_TX; }
char LICENSE[] SEC("license") = "GPL";
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"dispatch": "xdp"}, maps={"table": ("prog_array",)})
    table, run = obj.maps["table"], obj.programs["dispatch"].test_run
    if table.max_entries != 256:
        raise Hint("'table' has 256 elements, one for each IP protocol")
    if "others" not in obj.globals:
        raise Hint("the answer has no global variable named 'others'")
    handlers = lab.load(_HANDLERS, name="handlers").programs
    for index in list(table.keys()):  # what the answer put there itself
        del table[index]
    protocols = random.sample([n for n in range(256) if n != _TTL], 12)
    sits = {}
    for _ in range(4):
        for protocol in random.sample(protocols, 6):
            if protocol in sits and random.random() < 0.5:
                del table[protocol], sits[protocol]
            else:
                name, verdict = random.choice([("drop", XDP_DROP), ("back", _XDP_TX)])
                table[protocol], sits[protocol] = handlers[name], verdict
        # those that somebody takes first, so that what is said of a mistake is the same in every run
        for protocol in sorted(protocols, key=lambda n: n not in sits):
            _one(obj, run, protocol, sits)
    table[_TTL] = handlers["drop"]
    for ether in (ETH_P_ARP, ETH_P_IPV6):
        for protocol in sits:
            frame = ethernet(ether, _packet(protocol)[14:])
            before, verdict = obj.globals["others"], run(frame).retval
            if verdict != XDP_PASS:
                raise Hint("a frame that is not IPv4 was handed on: read eth->h_proto before you read a protocol")
            if obj.globals["others"] != before:
                raise Hint("a frame that is not IPv4 was counted: 'others' counts IPv4 packets that nobody takes")


def _packet(protocol):
    return ipv4(protocol, random_address(), random_address(), random.randbytes(random.randrange(0, 80)))


def _one(obj, run, protocol, sits):
    want = sits.get(protocol, XDP_PASS)
    before, verdict = obj.globals["others"], run(_packet(protocol)).retval
    counted = obj.globals["others"] - before
    seen = (
        f"protocols in the table: { ({p: _NAMES[v] for p, v in sits.items()}) }; a packet of protocol {protocol}: "
        f"{_NAMES.get(verdict, verdict)}, 'others' grew by {counted}"
    )
    if protocol in sits and verdict == XDP_PASS:
        raise Hint(
            "a program sits at the packet's protocol and did not run: tail-call into 'table' at ip->protocol", seen
        )
    if verdict != want:
        raise Hint("a packet got the verdict of a program whose turn it was not", seen)
    if protocol in sits and counted:
        raise Hint(
            "'others' counts packets that somebody took: only the lines behind bpf_tail_call() know that nobody did",
            seen,
        )
    if protocol not in sits and counted != 1:
        raise Hint("'others' does not count the packets that nobody takes: add 1 behind bpf_tail_call()", seen)
