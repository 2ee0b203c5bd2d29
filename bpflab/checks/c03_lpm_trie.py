"""Exercise 03-lpm-trie: a firewall whose longest matching prefix decides."""

import ipaddress
import random

from . import Hint, load
from .packets import XDP_DROP, XDP_PASS, not_ip, random_address, udp

SECTION = "3.9.11"
TASK = "a firewall whose longest matching prefix decides"


def check(lab, answer):
    obj = load(
        lab,
        answer,
        programs={"firewall": "xdp"},
        maps={"rules": ("lpm_trie",)},
        refused=(
            "the kernel refuses to create 'rules': an LPM trie wants map_flags BPF_F_NO_PREALLOC, "
            "and a key that begins with a __u32 prefixlen"
        ),
    )
    rules = obj.maps["rules"]
    if (rules.key_type.size, rules.value_type.size) != (8, 4):
        raise Hint("the key of 'rules' is a __u32 prefixlen and four bytes of address, its value a __u32 verdict")
    verdicts = _nested_rules()
    for prefix, verdict in verdicts.items():
        rules[str(prefix)] = verdict

    senders = [random_address(str(prefix)) for prefix in verdicts for _ in range(12)]
    senders += [random_address() for _ in range(20)]
    random.shuffle(senders)
    receivers = random.choices(senders, k=len(senders))
    got = [_run(obj, udp(s, r)) for s, r in zip(senders, receivers)]
    want = [_longest(verdicts, s) for s in senders]
    if got != want:
        raise _diagnose(verdicts, senders, receivers, got, want)

    dropped = [s for s in senders if _longest(verdicts, s) == XDP_DROP]
    if any(_run(obj, not_ip(s)) != XDP_PASS for s in dropped):
        raise Hint("a frame that is not IPv4 was dropped: read eth->h_proto before you read an address")


def _run(obj, frame):
    return obj.programs["firewall"].test_run(frame).retval


def _nested_rules():
    """Draw a /8, a /16, a /24 and a /32, each within the one before, drop and pass by turns; three such nests.

    The last address of a nest, read back to front, lies in a /8 of its own that drops.
    """
    rules = {}
    octets = iter(random.sample([n for n in range(1, 224) if n != 127], 12))
    for first, second, third, last in zip(octets, octets, octets, octets):
        address = ipaddress.IPv4Address(bytes([first, second, third, last]))
        for length, verdict in ((8, XDP_DROP), (16, XDP_PASS), (24, XDP_DROP), (32, XDP_PASS)):
            rules[ipaddress.IPv4Network((address, length), strict=False)] = verdict
        rules[ipaddress.IPv4Network((last << 24, 8))] = XDP_DROP
    return rules


def _longest(rules, address, most=32):
    matching = [p for p in rules if address in p and p.prefixlen <= most]
    return rules[max(matching, key=lambda p: p.prefixlen)] if matching else XDP_PASS


def _diagnose(rules, senders, receivers, got, want):
    """Compare what the program did with what it would do with each of the usual mistakes."""

    def swapped(a):
        return type(a)(a.packed[::-1])

    wrong = next(i for i, (g, w) in enumerate(zip(got, want)) if g != w)
    seen = f"sender {senders[wrong]}: verdict {got[wrong]}, the longest prefix says {want[wrong]}; rules: " + ", ".join(
        f"{p} -> {v}" for p, v in rules.items() if senders[wrong] in p
    )
    if XDP_DROP not in got:
        return Hint("every packet passed: look the sender up in 'rules' and return what the entry says", seen)
    for length in (8, 16, 24):
        if got == [_longest(rules, s, length) for s in senders]:
            return Hint(
                f"rules longer than /{length} never match: look up with prefixlen 32, "
                "so that all of the address may be compared",
                seen,
            )
    if got == [_longest(rules, r) for r in receivers]:
        return Hint("the rules were matched against the destination: a firewall for senders looks at ip->saddr", seen)
    if got == [_longest(rules, swapped(s)) for s in senders]:
        return Hint(
            "addresses are matched back to front: a trie compares from the first byte on, "
            "so keep the address in network order as the packet has it",
            seen,
        )
    return Hint("the verdict is not that of the longest prefix that holds the sender", seen)
