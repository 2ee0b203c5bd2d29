"""The four programs of chapter 7, sections 7.7 to 7.10, on the packet bench: the same files that the notebook loads."""

from __future__ import annotations

import ipaddress
import random
import time

import pytest
from nbrun import ROOT
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether

from bpflab.testing import assert_packet, assert_table, assert_verdict

PROGRAMS = ROOT / "notebooks/programs"
HERE, THERE = "02:00:00:00:00:0b", "02:00:00:00:00:0a"
WIRE = Ether(src=THERE, dst=HERE)
HOUR = 3600 * 10**9
DROP, PASS = 1, 2


@pytest.fixture
def load(lab):
    opened = []

    def one(name, **variables):
        opened.append(lab.load(PROGRAMS / f"07-{name}.bpf.c", **variables))
        return opened[-1]

    yield one
    for obj in opened:
        obj.close()


def packet(sender, receiver="", port=53, sport=4000):
    if ":" in sender:
        return WIRE / IPv6(src=sender, dst=receiver or "2001:db8::99") / UDP(sport=sport, dport=port)
    return WIRE / IP(src=sender, dst=receiver or "192.0.2.99") / UDP(sport=sport, dport=port)


# -- 7.7, the monitor


def services(obj):
    return {tuple(key): sum(cpu.packets for cpu in tally) for key, tally in obj.maps["services"].items()}


@pytest.mark.parametrize(
    "frame, key",
    [
        (packet("192.0.2.1"), (0x0800, 17, 53)),
        (packet("2001:db8::1"), (0x86DD, 17, 53)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2") / TCP(dport=80), (0x0800, 6, 80)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2", options=[b"\x01"] * 8) / TCP(dport=80), (0x0800, 6, 80)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2", flags="MF") / UDP(dport=53), (0x0800, 17, 53)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2", frag=1) / UDP(dport=53), (0x0800, 17, 0)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2", ihl=2) / UDP(dport=53), (0x0800, 17, 0)),
        (WIRE / IP(src="192.0.2.1", dst="192.0.2.2") / ICMP(), (0x0800, 1, 0)),
        (bytes(packet("192.0.2.1"))[:37], (0x0800, 17, 0)),
        (bytes(packet("192.0.2.1"))[:33], (0x0800, 0, 0)),
        (bytes(packet("2001:db8::1"))[:53], (0x86DD, 0, 0)),
        (WIRE / ARP(), (0x0806, 0, 0)),
        (WIRE / Dot1Q(vlan=5) / IP(src="192.0.2.1", dst="192.0.2.2") / UDP(), (0x8100, 0, 0)),
        (bytes(WIRE)[:14], (0x9000, 0, 0)),
    ],
)
def test_monitor_knows_the_service(load, frame, key):
    obj = load("monitor")
    frame = bytes(frame) if len(bytes(frame)) > 14 else bytes(frame)[:12] + b"\x90\0"
    assert_packet(obj.programs["monitor"], frame, frame, verdict="XDP_PASS")
    assert services(obj) == {key: 1}
    ((_, tally),) = obj.maps["services"].items()
    assert sum(cpu.bytes for cpu in tally) == len(frame)


def test_monitor_tells_flows_apart(load):
    obj = load("monitor")
    ends = [(f"192.0.2.{random.randrange(1, 255)}", random.randrange(1024, 65536)) for _ in range(50)]
    sent = [random.choice(ends) for _ in range(300)]
    obj.programs["monitor"].bench([bytes(packet(address, sport=port)) for address, port in sent])
    found = {}
    for key, tally in obj.maps["flows"].items():
        source = ipaddress.IPv6Address(bytes(key.source)).ipv4_mapped
        found[str(source), key.source_port] = sum(cpu.packets for cpu in tally)
        assert ipaddress.IPv6Address(bytes(key.target)).ipv4_mapped == ipaddress.IPv4Address("192.0.2.99")
    assert found == {end: sent.count(end) for end in set(sent)}


def test_monitor_says_what_did_not_fit(load):
    obj = load("monitor")
    obj.programs["monitor"].bench([bytes(packet("192.0.2.1", port=port)) for port in range(1, 1101)])
    counted = services(obj)
    assert sum(counted.values()) + obj.globals["no_room"] == 1100
    assert obj.globals["no_room"] > 0 or len(counted) == 1100


# -- 7.8, the rate limit


def test_limit_is_for_each_source(load):
    obj = load("rate-limit", cost=HOUR, burst=3 * HOUR)
    table = {}
    for sender in ("192.0.2.1", "192.0.2.2", "2001:db8::1"):
        for n in range(6):
            table[f"{sender} {n}"] = packet(sender), "XDP_PASS" if n < 3 else "XDP_DROP"
    table["same /64"] = packet("2001:db8::ffff:1"), "XDP_DROP"
    table["next /64"] = packet("2001:db8:0:1::1"), "XDP_PASS"
    table["not IP"] = WIRE / ARP(psrc="192.0.2.1"), "XDP_PASS"
    table["cut short"] = bytes(packet("192.0.2.1"))[:33], "XDP_PASS"
    assert_table(obj.programs["limit"], table)
    counted = obj.maps["sources"].to_frame()
    assert sorted(zip(counted["passed"], counted["dropped"])) == [(1, 0), (3, 3), (3, 3), (3, 4)]
    assert [int(sum(obj.maps["verdicts"][verdict])) for verdict in (DROP, PASS)] == [10, 10]


@pytest.mark.parametrize("bits, together", [(32, False), (31, True), (24, True), (8, True), (0, True)])
def test_limit_by_network(load, bits, together):
    obj = load("rate-limit", cost=HOUR, burst=HOUR, bits=bits)
    assert_verdict(obj.programs["limit"], packet("192.0.2.2"), "XDP_PASS")
    assert_verdict(obj.programs["limit"], packet("192.0.2.3"), "XDP_DROP" if together else "XDP_PASS")
    assert_verdict(obj.programs["limit"], packet("198.51.100.1"), "XDP_DROP" if bits == 0 else "XDP_PASS")


@pytest.mark.parametrize(
    "bits6, same, other",
    [
        (128, "2001:db8::1", "2001:db8::2"),
        (127, "2001:db8::", "2001:db8::2"),
        (96, "2001:db8::ffff:ffff", "2001:db8::1:0:0"),
        (56, "2001:db8:0:ff::1", "2001:db8:0:100::1"),
        (32, "2001:db8:ffff::1", "2001:db9::1"),
    ],
)
def test_limit_by_network_of_ipv6(load, bits6, same, other):
    obj = load("rate-limit", cost=HOUR, burst=HOUR, bits6=bits6)
    assert_verdict(obj.programs["limit"], packet("2001:db8::1"), "XDP_PASS")
    assert_verdict(obj.programs["limit"], packet(same), "XDP_DROP")
    assert_verdict(obj.programs["limit"], packet(other), "XDP_PASS")


def test_limit_gives_tokens_back(load):
    interval, burst = 50_000_000, 20  # a computer that is busy for a second does not matter
    obj = load("rate-limit", cost=interval, burst=burst * interval)
    limit, frame = obj.programs["limit"], bytes(packet("192.0.2.1"))
    begin = time.monotonic()
    passed = 0
    while time.monotonic() - begin < 0.5:
        passed += limit.test_run(frame).retval == PASS
    back = (time.monotonic() - begin) * 1e9 // interval
    assert burst + back - 2 <= passed <= burst + back + 1


def test_limit_sells_no_token_twice(load, lab):
    """Two CPUs at once; the bench runs on the CPU of the one who asks."""
    cpus = lab.sh(["/usr/bin/python3", "-S", "-c", "import os; print(*os.sched_getaffinity(0))"]).stdout.split()[:2]
    if len(cpus) < 2:
        pytest.skip("one CPU")
    tokens = 150_000
    obj = load("rate-limit", cost=HOUR, burst=tokens * HOUR)
    code = "import sys; sys.stdout.buffer.write(bytes.fromhex(sys.argv[1]))"
    one = f"python3 -c '{code}' {bytes(packet('192.0.2.1')).hex()}"
    each = [f"{one} | taskset -c {cpu} bpftool prog run id {obj.programs['limit'].id} data_in - repeat 200000" for cpu in cpus]
    lab.sh(" & ".join(each) + " & wait")
    ((_, allowance),) = obj.maps["sources"].items()
    assert (allowance.passed, allowance.dropped) == (tokens, 400_000 - tokens)


# -- 7.9, the balancer

ADDRESS = "192.0.2.80"
SLOTS = 1021


def to_service(port=4000, layer=TCP, **more):
    return WIRE / IP(src="198.51.100.7", dst=ADDRESS, **more) / layer(sport=port, dport=80)


@pytest.fixture
def balancer(load):
    obj = load("balancer", address=int(ipaddress.ip_address(ADDRESS)))
    for number in range(3):
        obj.maps["backends"][number] = {"mac": [2, 0, 0, 0, 1, number], "alive": 1}
    obj.maps["table"].update_batch(range(SLOTS), [slot % 3 for slot in range(SLOTS)])
    return obj


def chosen(obj, frame):
    run = assert_verdict(obj.programs["balance"], frame, "XDP_TX")
    return run.after.data[5]


def test_balancer_changes_macs_and_nothing_else(balancer):
    frame = to_service()
    number = chosen(balancer, frame)
    expected = frame.copy()
    expected.src, expected.dst = HERE, f"02:00:00:00:01:{number:02x}"
    assert_packet(balancer.programs["balance"], frame, expected, verdict="XDP_TX")


def test_balancer_takes_what_is_for_it(balancer):
    table = {
        "TCP": (to_service(), "XDP_TX"),
        "UDP": (to_service(layer=UDP), "XDP_TX"),
        "IP options": (to_service(options=[b"\x01"] * 8), "XDP_TX"),
        "may not be cut in pieces": (to_service(flags="DF"), "XDP_TX"),
        "ping": (WIRE / IP(dst=ADDRESS, src="198.51.100.7") / ICMP(), "XDP_PASS"),
        "another address": (WIRE / IP(dst="192.0.2.81", src="198.51.100.7") / TCP(), "XDP_PASS"),
        "first fragment": (to_service(flags="MF"), "XDP_PASS"),
        "later fragment": (to_service(frag=100), "XDP_PASS"),
        "IPv6": (packet("2001:db8::1"), "XDP_PASS"),
        "ARP": (WIRE / ARP(pdst=ADDRESS), "XDP_PASS"),
        "no ports": (bytes(to_service())[:37], "XDP_DROP"),
        "a header that lies": (to_service(ihl=15), "XDP_DROP"),
    }
    assert_table(balancer.programs["balance"], table)


def test_balancer_obeys_the_table(balancer):
    ports = random.sample(range(1024, 65536), 300)
    spread = [chosen(balancer, to_service(port)) for port in ports]
    assert all(60 < spread.count(number) < 140 for number in range(3))
    assert [chosen(balancer, to_service(port)) for port in ports] == spread
    assert [int(sum(balancer.maps["packets"][number])) for number in range(3)] == [2 * spread.count(number) for number in range(3)]
    for number in range(3):
        balancer.maps["table"].update_batch(range(SLOTS), [number] * SLOTS)
        assert chosen(balancer, to_service(random.choice(ports))) == number


@pytest.mark.parametrize("remember", [False, True])
def test_balancer_remembers_connections(balancer, remember):
    balancer.globals["remember"] = remember
    ports = random.sample(range(1024, 65536), 30)
    before = [chosen(balancer, to_service(port)) for port in ports]
    balancer.maps["table"].update_batch(range(SLOTS), [(slot + 1) % 3 for slot in range(SLOTS)])
    after = [chosen(balancer, to_service(port)) for port in ports]
    assert after == (before if remember else [(number + 1) % 3 for number in before])
    balancer.maps["backends"][0] = {"mac": [2, 0, 0, 0, 1, 0], "alive": 0}
    balancer.maps["table"].update_batch(range(SLOTS), [1 + slot % 2 for slot in range(SLOTS)])
    last = [chosen(balancer, to_service(port)) for port in ports]
    assert 0 not in last
    if remember:
        assert all(new == old for old, new in zip(after, last) if old)


def test_balancer_sends_nothing_to_the_dead(balancer):
    for number in range(3):
        balancer.maps["backends"][number] = {"mac": [2, 0, 0, 0, 1, number], "alive": 0}
    assert_verdict(balancer.programs["balance"], to_service(), "XDP_DROP")


# -- 7.10, the firewall


def put(obj, rules):
    for number, (prefix, verdict) in enumerate(rules.items(), 1):
        obj.maps["rules6" if prefix.version == 6 else "rules4"][str(prefix)] = (number, verdict)


def drawn(version, count):
    bits = 32 if version == 4 else 128
    rules, address = {}, random.getrandbits(bits)
    while len(rules) < count:
        length = random.randrange(1, bits + 1)
        some = address ^ random.getrandbits(bits) >> random.randrange(bits)  # near each other, so that they hold one another
        kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
        rules[ipaddress.ip_network((kind(some), length), strict=False)] = random.choice([DROP, PASS])
    return rules


def test_firewall_does_what_the_longest_prefix_says(load):
    obj = load("firewall")
    rules = drawn(4, 150) | drawn(6, 150)
    put(obj, rules)
    senders = [prefix[random.randrange(prefix.num_addresses)] for prefix in rules]
    table, hits = {}, [0] * (len(rules) + 1)
    for place, sender in enumerate(senders):
        holding = [prefix for prefix in rules if prefix.version == sender.version and sender in prefix]
        best = max(holding, key=lambda prefix: prefix.prefixlen)
        hits[list(rules).index(best) + 1] += 1
        table[f"{place} {sender}"] = bytes(packet(str(sender))), "XDP_DROP" if rules[best] == DROP else "XDP_PASS"
    assert_table(obj.programs["firewall"], table)
    assert [sum(cpu.packets for cpu in obj.maps["hits"][number]) for number in range(len(hits))] == hits


def test_firewall_lets_pass_and_counts_what_no_rule_holds(load):
    obj = load("firewall")
    put(obj, {ipaddress.ip_network("192.0.2.0/24"): DROP, ipaddress.ip_network("2001:db8::/32"): DROP})
    frames = {
        "another network": (packet("198.51.100.1"), "XDP_PASS"),
        "another network of IPv6": (packet("2001:db9::1"), "XDP_PASS"),
        "only the receiver is on the list": (packet("198.51.100.1", "192.0.2.1"), "XDP_PASS"),
        "ARP": (WIRE / ARP(psrc="192.0.2.1"), "XDP_PASS"),
        "cut short": (bytes(packet("192.0.2.1"))[:33], "XDP_PASS"),
        "IPv6 cut short": (bytes(packet("2001:db8::1"))[:53], "XDP_PASS"),
    }
    assert_table(obj.programs["firewall"], frames)
    tally = obj.maps["hits"][0]
    assert sum(cpu.packets for cpu in tally) == len(frames)
    assert sum(cpu.bytes for cpu in tally) == sum(len(bytes(frame)) for frame, _ in frames.values())


def test_firewall_holds_ten_thousand(load):
    obj = load("firewall")
    prefixes = [f"10.{n // 256}.{n % 256}.0/24" for n in range(10_000)]
    obj.maps["rules4"].update_batch(prefixes, [(n + 1, DROP) for n in range(10_000)])
    assert len(obj.maps["rules4"]) == 10_000
    for n in random.sample(range(10_000), 20):
        assert_verdict(obj.programs["firewall"], packet(f"10.{n // 256}.{n % 256}.{random.randrange(256)}"), "XDP_DROP")
        assert sum(cpu.packets for cpu in obj.maps["hits"][n + 1]) == 1
    assert_verdict(obj.programs["firewall"], packet("10.255.0.1"), "XDP_PASS")
