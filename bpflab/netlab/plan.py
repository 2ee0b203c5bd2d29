"""Addresses and routes for a drawing: every host reaches every other."""

from __future__ import annotations

from collections import Counter, defaultdict

from .drawing import Drawing, root

MOST_ENDS = 253  # of an Ethernet: 10.0.n.1 to .253
MOST_SEGMENTS = 65535
FEW_ROUTES = 16  # to more networks than this the most common next hop gets one route for all
FEW_NEIGHBOURS = 32  # hosts of an Ethernet that know each other's MAC address beforehand
LONG_WAY = 60  # hops, beyond which a TTL of 64 does not do
NETWORK4, NETWORK6 = "10.0.0.0/8", "fd00:0:0::/48"


def network4(n: int) -> str:
    return f"10.{n >> 8}.{n & 255}"


def network6(n: int) -> str:
    return f"fd00:0:0:{n:x}::"


def make(drawing: Drawing, mtu: int | None, queues: int | None) -> list[dict]:
    """What the agent makes: a dict for each host and switch, in order.

    Returns
    -------
    list of dict
        `name`; `switch`; `forwards`; `ttl`; `interfaces`: dicts of `name`, `neighbour`, `mac`, `ip`, `ip6`, `segment`, `mtu`, `queues`
        and `makes` (whether this end makes the pair); `neighbours`: (interface,
        address, MAC); `routes`: (network, next hop, interface); of a switch `ports`: (MAC, interface that leads there).

    Raises
    ------
    ValueError
        More hosts on one Ethernet, or more Ethernets, than there are addresses.
    """
    segment_of = _segments(drawing)
    ends: dict[int, list[tuple[str, str, dict]]] = defaultdict(list)  # segment -> (host, neighbour, interface)
    interfaces: dict[str, list[dict]] = {name: [] for name in drawing.switches}
    for number, wire in enumerate(drawing.wires):
        segment = segment_of[number]
        for host, other, makes in ((wire.left, wire.right, True), (wire.right, wire.left, False)):
            one = {"name": f"veth-{other}", "neighbour": other, "segment": segment, "makes": makes, "mtu": wire.mtu or mtu or 0, "queues": queues or 0}
            one |= {"mac": "", "ip": "", "ip6": ""}
            if not drawing.switches[host]:
                end = len(ends[segment]) + 1
                one["mac"] = f"02:00:00:{segment >> 8:02x}:{segment & 255:02x}:{end:02x}"
                one["ip"], one["ip6"] = f"{network4(segment)}.{end}", f"{network6(segment)}{end:x}"
                ends[segment].append((host, other, one))
            interfaces[host].append(one)
    _check_sizes(ends)
    plan = []
    for name, switch in drawing.switches.items():
        mine = interfaces[name]
        about = {"name": name, "switch": switch, "interfaces": mine, "forwards": not switch and len({one["segment"] for one in mine}) > 1}
        about |= {"ttl": 255 if len(ends) > LONG_WAY else 0, "neighbours": [], "routes": [], "ports": []}
        if switch:
            about["ports"] = _ports(drawing, name, ends, segment_of)
        else:
            about["neighbours"] = _neighbours(mine, ends)
            about["routes"] = _routes(name, mine, ends, interfaces)
        plan.append(about)
    return plan


def _segments(drawing: Drawing) -> list[int]:
    """For each wire the number of its Ethernet, from 1: the wires of switches that are joined are one."""
    parents = {number: number for number in range(len(drawing.wires))}
    at_switch: dict[str, int] = {}
    for number, wire in enumerate(drawing.wires):
        for end in (wire.left, wire.right):
            if drawing.switches[end]:
                first = at_switch.setdefault(end, number)
                parents[root(parents, number)] = root(parents, first)
    numbers: dict[int, int] = {}
    return [numbers.setdefault(root(parents, number), len(numbers) + 1) for number in range(len(drawing.wires))]


def _check_sizes(ends: dict) -> None:
    if len(ends) > MOST_SEGMENTS:
        raise ValueError(f"a network has at most {MOST_SEGMENTS:,} Ethernets, not {len(ends):,}")
    for found in ends.values():
        if len(found) > MOST_ENDS:
            raise ValueError(f"{len(found)} hosts are on one switch, and its Ethernet has {MOST_ENDS} addresses; put a router between two switches")


def _neighbours(mine: list[dict], ends: dict) -> list[tuple[str, str, str]]:
    found = []
    for one in mine:
        others = ends[one["segment"]]
        if len(others) <= FEW_NEIGHBOURS:
            found += [
                (one["name"], address, other["mac"])
                for _, _, other in others
                if other is not one
                for address in (other["ip"], other["ip6"])
            ]
    return found


def _routes(name: str, mine: list[dict], ends: dict, interfaces: dict) -> list[tuple[str, str, str]]:
    """Shortest ways to all other Ethernets."""
    over = {one["segment"]: one["name"] for one in mine}
    first: dict[int, dict | None] = {one["segment"]: None for one in mine}
    queue = list(first)
    for segment in queue:
        for host, _, end in ends[segment]:
            if host == name:
                continue
            for one in interfaces[host]:
                if one["segment"] not in first:
                    first[one["segment"]] = first[segment] or end
                    queue.append(one["segment"])
    remote = {segment: end for segment, end in first.items() if end}
    routes = []
    if len(remote) > FEW_ROUTES:
        (ip, ip6, segment), _ = Counter((end["ip"], end["ip6"], end["segment"]) for end in remote.values()).most_common(1)[0]
        routes = [(NETWORK4, ip, over[segment]), (NETWORK6, ip6, over[segment])]
        remote = {segment: end for segment, end in remote.items() if end["ip"] != ip}
    for segment, end in sorted(remote.items()):
        device = over[end["segment"]]
        routes += [(f"{network4(segment)}.0/24", end["ip"], device), (f"{network6(segment)}/64", end["ip6"], device)]
    return routes


def _ports(drawing: Drawing, name: str, ends: dict, segment_of: list[int]) -> list[tuple[str, str]]:
    """Which port of a switch leads to which MAC address, so that it floods nothing."""
    beside = defaultdict(list)
    for wire in drawing.wires:
        beside[wire.left].append(wire.right)
        beside[wire.right].append(wire.left)
    segment = next(segment_of[n] for n, wire in enumerate(drawing.wires) if name in (wire.left, wire.right))
    macs = {(host, other): end["mac"] for host, other, end in ends[segment]}
    found = []
    for port in beside[name]:
        queue, seen = [(name, port)], {name}
        for back, here in queue:
            if not drawing.switches[here]:
                found.append((macs[here, back], f"veth-{port}"))
            elif here not in seen:
                seen.add(here)
                queue += [(here, other) for other in beside[here] if other != back]
    return found
