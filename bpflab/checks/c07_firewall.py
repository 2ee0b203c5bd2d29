"""Exercise 07-firewall: two tries, IPv4 and IPv6, and a counter for each rule."""

import ipaddress
import random
import struct

from . import Hint, load
from .packets import ETH_P_IPV6, XDP_DROP, XDP_PASS, ethernet, not_ip, random_address, udp

SECTION = "7.10"
TASK = "an LPM firewall for IPv4 and IPv6 that counts by rule"
_REFUSED = "the kernel refuses to create a map: an LPM trie wants map_flags BPF_F_NO_PREALLOC, and a key that begins with a __u32 prefixlen"


def check(lab, answer):
    obj = load(
        lab,
        answer,
        programs={"firewall": "xdp"},
        maps={"rules4": ("lpm_trie",), "rules6": ("lpm_trie",), "hits": ("percpu_array",)},
        refused=_REFUSED,
    )
    for name, size in (("rules4", 8), ("rules6", 20)):
        if (obj.maps[name].key_type.size, obj.maps[name].value_type.size) != (size, 8):
            raise Hint("a key is a __u32 prefixlen and the bytes of an address, a value two __u32: number and verdict")
    forbidden = []
    for version in (4, 6):
        rules = _nested(version)
        trie = obj.maps[f"rules{version}"]
        numbers = random.sample(range(1, 1000), len(rules))
        ruled = {prefix: (number, verdict) for number, (prefix, verdict) in zip(numbers, rules.items())}
        for prefix, value in ruled.items():
            trie[str(prefix)] = value
            if version == 4 and value[1] == XDP_DROP:
                forbidden.append(prefix[0])
        _judge(obj, version, ruled)
    if any(_run(obj, not_ip(sender)) != XDP_PASS for sender in forbidden):
        raise Hint("a frame that is neither IPv4 nor IPv6 was dropped: read eth->h_proto before you read an address")


def _run(obj, frame):
    return obj.programs["firewall"].test_run(frame).retval


def _frame(sender, receiver):
    if sender.version == 4:
        return udp(sender, receiver)
    data = struct.pack("!HHHH", random.randrange(1024, 65536), 9, 8, 0)
    return ethernet(ETH_P_IPV6, struct.pack("!IHBB", 6 << 28, len(data), 17, 64) + sender.packed + receiver.packed + data)


def _within(prefix):
    return prefix[random.randrange(prefix.num_addresses)]


def _nested(version):
    """Networks in networks, drop and pass by turns; three nests, and a network that drops where a nest's address read back to front lies."""
    rules = {}
    for _ in range(3):
        if version == 4:
            address, lengths = random_address("11.0.0.0/8"), (12, 20, 25, 32)
        else:
            address, lengths = ipaddress.IPv6Address((0x20010DB8 << 96) + random.getrandbits(96)), (34, 50, 70, 128)
        verdict = XDP_DROP
        for length in lengths:
            rules[ipaddress.ip_network((address, length), strict=False)] = verdict
            verdict = XDP_PASS if verdict == XDP_DROP else XDP_DROP
        rules[ipaddress.ip_network((address.packed[::-1], 8), strict=False)] = XDP_DROP
    return rules


def _longest(rules, address, most=128):
    matching = [prefix for prefix in rules if prefix.prefixlen <= most and address in prefix]
    return rules[max(matching, key=lambda prefix: prefix.prefixlen)] if matching else (0, XDP_PASS)


def _judge(obj, version, rules):
    senders = [_within(prefix) for prefix in rules for _ in range(8)]
    random.shuffle(senders)
    receivers = random.sample(senders, len(senders))
    before = _hits(obj)
    got = [_run(obj, _frame(sender, receiver)) for sender, receiver in zip(senders, receivers)]
    want = [_longest(rules, sender) for sender in senders]
    if got != [verdict for _, verdict in want]:
        raise _diagnose(version, rules, senders, receivers, got)
    after = _hits(obj)
    due, counted = {}, {number: after[number] - before[number] for number in after}
    for number, _ in want:
        due[number] = due.get(number, 0) + 1
    wrong = [number for number in counted if counted[number] != due.get(number, 0)]
    if not wrong:
        return
    seen = ", ".join(f"hits[{number}] grew by {counted[number]} instead of {due.get(number, 0)}" for number in wrong[:5])
    passes = {number for number, verdict in rules.values() if verdict == XDP_PASS}
    if not any(counted.values()):
        raise Hint("nothing is counted: add 1 to 'hits' at the number of the rule that decided", seen)
    if wrong == [0]:
        raise Hint("packets that no rule decided count at 0", seen)
    if set(wrong) <= passes | {0}:
        raise Hint("only what is dropped is counted: a rule that lets a packet pass has decided, too", seen)
    raise Hint("a count is not that of the rule that decided: add 1 to 'hits' at the rule's own number", seen)


def _hits(obj):
    keys, values = obj.maps["hits"].to_numpy()
    return {int(key): int(value.sum()) for key, value in zip(keys, values)}


def _diagnose(version, rules, senders, receivers, got):
    wrong = next(i for i, sender in enumerate(senders) if got[i] != _longest(rules, sender)[1])
    of = [f"{prefix} -> {verdict}" for prefix, (_, verdict) in rules.items() if senders[wrong] in prefix]
    seen = f"sender {senders[wrong]}: verdict {got[wrong]}; rules that hold it: {', '.join(of)}"

    def if_(rule):
        return got == [rule(i)[1] for i in range(len(senders))]

    if XDP_DROP not in got:
        return Hint(f"every IPv{version} packet passes: look the sender up in 'rules{version}' and return what the rule says", seen)
    whole = 32 if version == 4 else 128
    for length in (8, 16, 24, 32, 64):
        if length < whole and if_(lambda i, most=length: _longest(rules, senders[i], most)):
            return Hint(f"long IPv{version} rules never match: look up with a prefixlen of {whole} bits, so that all of the address may be compared", seen)
    if if_(lambda i: _longest(rules, receivers[i])):
        return Hint("the rules were matched against the destination: a firewall for senders looks at the source address", seen)
    if if_(lambda i: _longest(rules, type(senders[i])(senders[i].packed[::-1]))):
        return Hint("addresses are matched back to front: a trie compares from the first byte on, so keep the address as the packet has it", seen)
    return Hint(f"an IPv{version} verdict is not that of the longest prefix that holds the sender", seen)
