"""Networks drawn in text: read, given addresses, made; and what is not clear is shown with its place."""

from __future__ import annotations

import ipaddress
import random

import pytest

from bpflab.errors import DrawingError
from bpflab.netlab import plan
from bpflab.netlab.drawing import Wire, parse

SMALL = """
client -- router -- server   # the way of most packets
router -- [sw] -- b1, b2
"""


def test_a_drawing():
    drawing = parse(SMALL)
    assert drawing.switches == {"client": False, "router": False, "server": False, "sw": True, "b1": False, "b2": False}
    assert drawing.wires == [Wire("client", "router"), Wire("router", "server"), Wire("router", "sw"), Wire("sw", "b1"), Wire("sw", "b2")]


def test_both_sides_may_be_several():
    assert parse("a, b -- [s], c").wires == [Wire("a", "s"), Wire("a", "c"), Wire("b", "s"), Wire("b", "c")]
    assert parse("a ---- b-1").wires == [Wire("a", "b-1")]
    assert parse("a--b--c (mtu 9000)").wires == [Wire("a", "b", 9000), Wire("b", "c", 9000)]


@pytest.mark.parametrize(
    ("text", "marked", "words"),
    [
        ("a --", "a --^", "the name of a host is missing here"),
        ("a -- b\nb -- ", "b --^", "the name of a host is missing here"),
        ("-- a", "^-- a", "the name of a host is missing"),
        ("a - b -- c", "a ^- b -- c", "a single '-' joins nothing; write '--'"),
        ("a — b\na -- b", "a ^— b", "a single '-' joins nothing"),
        ("a b -- c", "a ^b -- c", "expected '--' here"),
        ("a -- b\nc", "c^", "'--' that joins it to another is missing"),
        ("a -- [b", "a -- [b^", "']' is missing after the switch 'b'"),
        ("a -- []", "a -- [^]", "the name of a switch is missing"),
        ("a -- b; c", "a -- b^; c", "';' means nothing in a drawing"),
        ("a -- elevenchars", "a -- ^elevenchars", "too long: 11 characters, at most 10"),
        ("a -- _x", "a -- ^_x", "must begin with a letter or digit"),
        ("a -- a", "a -- ^a", "'a' is joined to itself"),
        ("a -- b\nb -- a", "b -- ^a", "'b' and 'a' are joined already, in line 1"),
        ("a -- [s]\ns -- b", "^s -- b", "'s' is a switch in line 1; write [s]"),
        ("a -- s\n[s] -- b", "[^s] -- b", "'s' is a host in line 1"),
        ("a -- b\nc -- d", "^c -- d", "nothing joins 'c' to 'a'"),
        ("a -- [s] -- [t] -- [u]\n[u] -- [s]", "a -- [^s] -- [t] -- [u]", "switches in a ring"),
        ("a -- b (mtu 500)", "a -- b (mtu ^500)", "an MTU of 500 cannot be"),
        ("a -- b (mtu x)", "a -- b (^mtu x)", "'(mtu 9000)' and nothing else"),
        ("a -- b (mtu 9000", "a -- b (mtu 9000^", "')' is missing"),
        ("a -- b (mtu 9000) c", "a -- b (mtu 9000) ^c", "the line should end here"),
    ],
)
def test_what_is_not_clear(text, marked, words):
    with pytest.raises(DrawingError, match=".") as caught:
        parse(text)
    said, drawn, caret = str(caught.value).splitlines()[-3:]
    at = caret.index("^") - 4
    assert words in said
    assert drawn[4:][:at] + "^" + drawn[4:][at:] == marked
    assert f"column {at + 1}" in said and caught.value.column == at + 1
    assert text.splitlines()[caught.value.line - 1].rstrip() == drawn[4:]


def test_an_empty_drawing():
    with pytest.raises(DrawingError, match="nothing is joined in the drawing"):
        parse("# a -- b\n\n")


def test_addresses_are_those_of_a_row():
    """A row of hosts has the same plan drawn or named."""
    from bpflab.netlab.drawing import of_names

    assert plan.make(parse("a -- r -- b"), None, None) == plan.make(of_names(("a", "r", "b")), None, None)


def _random_drawing(chance: random.Random, count: int) -> str:
    """Hosts and switches, joined as a tree, with a few wires between hosts more."""
    names = [f"[s{i}]" if chance.random() < 0.25 else f"h{i}" for i in range(count)]
    names[0] = "h0"
    pairs = {(chance.randrange(i), i) for i in range(1, count)}
    hosts = [i for i, name in enumerate(names) if name[0] == "h"]
    pairs |= {tuple(sorted(chance.sample(hosts, 2))) for _ in range(count // 4) if len(hosts) > 1}
    return "\n".join(f"{names[a]} -- {names[b]}" for a, b in sorted(pairs))


@pytest.mark.parametrize("seed", range(40))
def test_routes_lead_everywhere(seed):
    """Of any network: followed by hand from hop to hop, by the longest prefix, from every host to every address of both versions."""
    chance = random.Random(seed)
    made = plan.make(parse(_random_drawing(chance, chance.randrange(2, 60))), None, None)
    hosts = {one["name"]: one for one in made if not one["switch"]}
    owner, tables = {}, {}
    for name, host in hosts.items():
        routes = [(ipaddress.ip_network(to), ipaddress.ip_address(hop)) for to, hop, _ in host["routes"]]
        for one in host["interfaces"]:
            owner |= {ipaddress.ip_address(one["ip"]): name, ipaddress.ip_address(one["ip6"]): name}
            near = (f"{one['ip']}/24", f"{one['ip6']}/64")
            routes += [(ipaddress.ip_network(network, strict=False), None) for network in near]
        tables[name] = sorted(routes, key=lambda route: -route[0].prefixlen)
    assert len(owner) == sum(2 * len(host["interfaces"]) for host in hosts.values())  # no address twice
    for start in hosts:
        for address, wanted in owner.items():
            at, hops = start, 0
            while at != wanted:
                hop = next(hop for network, hop in tables[at] if network.version == address.version and address in network)
                at, hops = owner[hop or address], hops + 1
                assert hops <= len(hosts) and (at == wanted or hosts[at]["forwards"]), (start, address)


@pytest.mark.parametrize("seed", range(10))
def test_switches_know_every_host(seed):
    chance = random.Random(seed)
    made = plan.make(parse(_random_drawing(chance, 40)), None, None)
    for switch in (one for one in made if one["switch"]):
        segment = switch["interfaces"][0]["segment"]
        on_it = {end["mac"] for one in made if not one["switch"] for end in one["interfaces"] if end["segment"] == segment}
        ports = dict(switch["ports"])
        assert len(ports) == len(switch["ports"]) and set(ports) == on_it
        assert set(ports.values()) <= {one["name"] for one in switch["interfaces"]}


def test_too_many_on_a_switch():
    many = ", ".join(f"h{i}" for i in range(254))
    with pytest.raises(ValueError, match="254 hosts are on one switch, and its Ethernet has 253 addresses"):
        plan.make(parse(f"[s] -- {many}"), None, None)


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab(SMALL + "b2 -- deep (mtu 4000)\n[sw] -- [sw2] -- far") as net:
        yield net


def test_who_is_what(net):
    assert {name: net[name].kind for name in net._nodes} == {
        **{"client": "host", "router": "router", "server": "host", "sw": "switch", "b1": "host"},
        **{"b2": "router", "deep": "host", "sw2": "switch", "far": "host"},
    }
    assert list(net) == ["client", "router", "server", "b1", "b2", "deep", "far"] == list(net.hosts)
    assert list(net.switches) == ["sw", "sw2"] and len(net) == 7
    assert [net[name].ip for name in ("b1", "b2", "far")] == ["10.0.3.2", "10.0.3.3", "10.0.3.4"]


def test_everybody_reaches_everybody(net):
    for sender in net:
        for other in set(net) - {sender}:
            for address in (net[other].ip, net[other].ip6):
                if address:
                    assert net[sender].ping(address).received == 1, (sender, other, address)


def test_switches_flood_nothing(lab, net):
    """A switch knows who is where from the start: what goes from router to b1 never comes to far."""
    with net["far"].capture() as seen:
        assert net["router"].ping("b1", 3).received == 3
    assert len(seen) == 0


def test_mtu(net):
    assert "mtu 4000" in net["deep"].sh("ip link show dev veth-b2").stdout
    assert "mtu 1500" in net["b2"].sh("ip link show dev veth-sw").stdout
    with net["b2"].capture("deep", "icmp") as seen:
        net["deep"].udp_flood("b2", packets=1, size=3900)
    assert seen.to_frame().empty or seen.to_frame().length.max() < 4100


def test_queues(lab):
    with lab.netlab("q", "p", queues=4, mtu=3000) as net:
        found = net["q"].sh("ls /sys/class/net/veth-p/queues || true; ip -d link show dev veth-p").stdout
        assert "numtxqueues 4" in found and "numrxqueues 4" in found and "mtu 3000" in found


@pytest.mark.parametrize(("options", "words"), [({"mtu": 100}, "an MTU of 100 cannot be"), ({"queues": 0}, "1 to 64 queues"), ({"queues": 99}, "1 to 64")])
def test_sizes_that_cannot_be(lab, options, words):
    with pytest.raises(ValueError, match=words):
        lab.netlab("a", "b", **options)


def test_a_ring_of_routers_goes_on_when_it_is_cut(lab):
    """Two ways: the shorter is taken."""
    with lab.netlab("a -- r1 -- b\na -- r2 -- x -- b") as net:
        assert net["a"].sh(f"ip route get {net['b'].ip}").stdout.split()[2] == net["r1"].ip


def test_two_hundred_hosts(lab):
    """On a switch and in a row (where a TTL of 64 would not do)."""
    names = [f"h{i}" for i in range(200)]
    with lab.netlab("[s] -- " + ", ".join(names)) as net:
        assert net["h0"].ping("h199").received == 1 and net["h77"].ping(net["h123"].ip6).received == 1
        assert "<table>" in net._repr_html_()
    with lab.netlab(*names) as net:
        assert net["h0"].ping("h199").received == 1 and net["h199"].ping(net["h0"].ip6).received == 1
    assert not {line.split()[0] for line in lab.sh("ip netns list").lines} & set(names)
