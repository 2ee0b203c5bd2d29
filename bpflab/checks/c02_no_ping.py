"""Exercise 02-no-ping: drop ICMP echo requests, and nothing else."""

import random

from . import Hint, load
from .packets import ETH_P_ARP, ETH_P_IPV6, XDP_DROP, XDP_PASS, ethernet, ipv4, random_address

SECTION = "2.2.4"
TASK = "drop pings, and nothing else"
_ICMP, _TCP, _UDP = 1, 6, 17  # include/uapi/linux/in.h
_REPLY, _UNREACHABLE, _REQUEST = 0, 3, 8  # include/uapi/linux/icmp.h
_NO_OPERATION = b"\x01"  # the IP option that only fills; RFC 791


def check(lab, answer):
    obj = load(lab, answer, programs={"filter": "xdp"}, maps={})
    run = obj.programs["filter"].test_run
    for make, want, hint in _KINDS:
        for _ in range(random.randrange(5, 10)):
            frame = make()
            got = run(frame).retval
            if got not in (XDP_DROP, XDP_PASS):
                raise Hint("a packet got neither XDP_PASS nor XDP_DROP", f"verdict {got} on {frame.hex(' ')}")
            if got != want:
                raise Hint(hint, f"verdict {got} instead of {want} on {frame.hex(' ')}")


def _ip(protocol, payload, options=b""):
    return ipv4(protocol, random_address(), random_address(), payload, options)


def _message(kind):
    return bytes([kind]) + random.randbytes(random.randrange(20, 200))


def _options():
    return _NO_OPERATION * 4 * random.randrange(1, 11)


_KINDS = [
    (
        lambda: _ip(_ICMP, _message(_REQUEST)),
        XDP_DROP,
        "an echo request got through: it is ICMP (protocol 1) and its type is 8",
    ),
    (
        lambda: _ip(_ICMP, _message(random.choice([_REPLY, _UNREACHABLE]))),
        XDP_PASS,
        "ICMP that is no echo request was dropped: the type is the first byte behind the IP header",
    ),
    (
        lambda: _ip(random.choice([_TCP, _UDP]), _message(_REQUEST)),
        XDP_PASS,
        "a packet that is not ICMP was dropped: read ip->protocol",
    ),
    (
        lambda: ethernet(random.choice([ETH_P_ARP, ETH_P_IPV6]), _ip(_ICMP, _message(_REQUEST))[14:]),
        XDP_PASS,
        "a frame that is not IPv4 was dropped: read eth->h_proto before you look for an IP header",
    ),
    (
        lambda: _ip(_ICMP, _message(_REQUEST), _options()),
        XDP_DROP,
        "an echo request got through whose IP header has options: the header is ip->ihl * 4 bytes long",
    ),
    (
        lambda: _ip(_ICMP, _message(_REPLY), bytes([_REQUEST]) * 4),
        XDP_PASS,
        "an option of the IP header was taken for the ICMP type: the header is ip->ihl * 4 bytes long",
    ),
    (
        lambda: _ip(_ICMP, b""),
        XDP_PASS,
        "a packet was dropped that ends before its ICMP type: nobody can know what it was",
    ),
]
