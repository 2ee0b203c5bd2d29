"""Exercise 02-repair: a program that the verifier refuses for three reasons."""

import random

from . import Hint, load
from .packets import ETH_P_ARP, XDP_PASS, ethernet, ipv4, random_address

SECTION = "2.3"
TASK = "repair a program that the verifier refuses"
_HEADERS = 34  # bytes of Ethernet and IPv4 without options
_LONGEST = 1500 - 20


def check(lab, answer):
    obj = load(lab, answer, programs={"weigh": "xdp"}, maps={"tallies": ("hash",)})
    tallies, run = obj.maps["tallies"], obj.programs["weigh"].test_run
    if tallies.value_type.size != 16 or len(tallies.value_type.members) != 2:
        raise Hint("the value of 'tallies' is struct tally: packets and sum, both __u64")
    want, got = {}, {}
    # kinds of packets one after the other, so that what is said of a mistake is the same in every run
    for kind, payloads in _workload():
        for protocol, payload in payloads:
            packets, total = want.get(protocol, (0, 0))
            want[protocol] = packets + 1, total + sum(payload)
            frame = ipv4(protocol, random_address(), random_address(), payload)
            if run(frame).retval != XDP_PASS:
                raise Hint("a packet did not pass: the program only counts")
        got = {protocol: tuple(tally) for protocol, tally in tallies.items()}
        if got != want:
            raise _diagnose(kind, want, got)
    for frame in _not_counted():
        if run(frame).retval != XDP_PASS:
            raise Hint("a frame that is not a whole IPv4 packet did not pass: the program only counts")
    got = {protocol: tuple(tally) for protocol, tally in tallies.items()}
    if got != want:
        raise Hint("a frame that is not IPv4 was counted", f"(packets, sum) by protocol: {want}; in the map {got}")


def _workload():
    protocols = random.sample(range(256), 4)

    def some(low, high):
        return [
            (random.choice(protocols), random.randbytes(random.randrange(low, high)))
            for _ in range(random.randrange(20, 40))
        ]

    yield "first", [(protocol, random.randbytes(64)) for protocol in protocols]
    yield "middling", some(64, 65)
    yield "long", some(65, _LONGEST) + [(protocols[0], random.randbytes(_LONGEST))]
    yield "short", some(0, 64) + [(protocols[0], b"")]


def _not_counted():
    frame = ipv4(17, random_address(), random_address(), random.randbytes(100))
    yield ethernet(ETH_P_ARP, frame[14:])
    yield frame[: random.randrange(14, _HEADERS)]


def _diagnose(kind, want, got):
    seen = f"(packets, sum) by protocol, as sent: {want}; in the map: {got}"
    if not got:
        return Hint("the map stays empty: where a protocol is not in it yet, put it there", seen)
    packets = {protocol: packets for protocol, (packets, _) in got.items()}
    if kind == "first" and all(got.get(p) == (0, 0) for p in want):
        return Hint("the first packet of each protocol is not counted: it finds no entry, and counts as well", seen)
    if packets != {protocol: packets for protocol, (packets, _) in want.items()}:
        if kind == "short":
            return Hint("short packets are not counted: a payload may have any length, even 0", seen)
        return Hint("packets are not all counted", seen)
    if kind == "long":
        return Hint("of long packets only the beginning is added up: a payload has up to 1480 bytes", seen)
    return Hint("packets are counted, and their sums are wrong: add up each byte behind the IP header", seen)
