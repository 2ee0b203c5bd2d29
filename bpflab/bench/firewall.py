"""What a firewall takes for a packet that its last rule forbids: 1, 100 and 10,000 prefixes in an LPM trie, and what an administrator would use.

The programs, the sets and the lists hold the same prefixes and end with the one that the flood comes from. The flood is of live frames, whose
sending is part of every figure (see `drops`); with 10,000 rules in a list it is a small part. The seconds are for 300,000 packets.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import LabError, NotSupportedError
from ..lab import Lab
from . import Measure

COUNTS = (1, 100, 10_000)
PACKETS = 300_000  # what the seconds are for
LISTED = 20_000_000  # rules that a list is made to try in one flood, about
ROUNDS = 5
SENDER = "10.19.136.64/26"
PROGRAM = Path(__file__).parents[2] / "notebooks/programs/07-firewall.bpf.c"
XDP_DROP = 1


def prefixes(count: int) -> list[str]:
    """So many networks that do not hold one another; the last is the flood's, and lies between the others, deep in the trie.

    Their lengths are not whole bytes, which is kind to nftables: for /24 it reads three bytes of the packet, which it cannot do the fast way,
    and a list of 10,000 takes ten times as long (nft_payload_fast_eval, include/net/netfilter/nf_tables_core.h).
    """
    others = (f"10.{n // 256}.{n % 256}.64/26" for n in range(10_000))
    return [*itertools.islice((one for one in others if one != SENDER), count - 1), SENDER]


class Bed:
    """Two hosts, and one firewall at a time on the second."""

    def __init__(self, lab: Lab, net):
        self.lab, self.outside, self.inside = lab, net["outside"], net["inside"]
        self.obj = lab.load(PROGRAM)

    def flood(self, packets: int, counted: Callable[[], int]) -> float:
        """Seconds for PACKETS of them, all of which were met by the last rule."""
        before = counted()
        sent = self.outside.udp_flood(self.inside, packets=packets, way="frames", flows=200, source=SENDER, seconds=120)
        met = counted() - before
        if met != packets:
            raise LabError(f"{packets:,} packets were to meet the last rule, and {met:,} did")
        return sent.seconds * PACKETS / packets

    def trie(self, count: int) -> float:
        rules, hits = self.obj.maps["rules4"], self.obj.maps["hits"]
        rules.clear()
        rules.update_batch(prefixes(count), [(number, XDP_DROP) for number in range(1, count + 1)])
        with self.obj.programs["firewall"].attach_xdp(self.inside.dev):
            return self.flood(PACKETS, lambda: sum(cpu.packets for cpu in hits[count]))

    def _nft(self, rules: list[str], elements: list[str], packets: int) -> float:
        self._need("nft", "nftables")
        chain = "\n".join(["chain in {", "type filter hook prerouting priority raw", *rules, "}"])
        blocked = f"set blocked {{\ntype ipv4_addr; flags interval; elements = {{ {', '.join(elements)} }}\n}}"
        self.inside.sh("nft -f -", input=f"table ip wall {{\n{blocked}\n{chain}\n}}\n")
        try:
            return self.flood(packets, self._last_counter)
        finally:
            self.inside.sh("nft delete table ip wall")

    def _last_counter(self) -> int:
        words = self.inside.sh("nft list chain ip wall in").stdout.split()
        return int(words[len(words) - words[::-1].index("packets")])

    def set(self, count: int) -> float:
        return self._nft(["ip saddr @blocked counter drop"], prefixes(count), PACKETS)

    def list(self, count: int) -> float:
        return self._nft([f"ip saddr {one} counter drop" for one in prefixes(count)], [SENDER], self._few(count))

    def iptables(self, count: int) -> float:
        self._need("iptables-legacy-restore", "iptables")
        lines = "".join(f"-A PREROUTING -s {one} -j DROP\n" for one in prefixes(count))
        self.inside.sh("iptables-legacy-restore", input=f"*raw\n:PREROUTING ACCEPT [0:0]\n{lines}COMMIT\n")
        show = f"iptables-legacy -t raw -L PREROUTING {count} -v -x -n"
        try:
            return self.flood(self._few(count), lambda: int(self.inside.sh(show).stdout.split()[0]))
        finally:
            self.inside.sh("iptables-legacy -t raw -F")

    @staticmethod
    def _few(count: int) -> int:
        return min(PACKETS, max(2000, LISTED // count))

    def _need(self, command: str, package: str) -> None:
        if self.lab.sh(["sh", "-c", f"command -v {command}"], check=False).returncode:
            raise NotSupportedError(package, self.lab.where, f"there is no {command}", remedy=f"install it: apt install {package}")


def _against(ours: tuple[str, int], other: tuple[str, int]) -> Callable[[], Iterator[tuple]]:
    """Pairs of two ways, each with its number of rules."""

    def pairs():
        with Lab("local", quiet=True) as lab, lab.netlab("outside", "inside") as net:
            bed = Bed(lab, net)
            ways = [lambda name=name, count=count: getattr(bed, name)(count) for name, count in (ours, other)]
            ways[0]()
            for _ in range(ROUNDS):
                mine, others = (way() for way in ways)
                yield mine, others, 0, f"{mine / PACKETS * 1e9:,.0f} against {others / PACKETS * 1e9:,.0f} ns for each packet"

    return pairs


def _named(count: int) -> str:
    return f"firewall of {count:,} rule{'s' * (count > 1)}, LPM trie in XDP"


# what a list of one rule costs more than a trie is where it stands, behind the skb; with 10,000 it is the list
_BARS = {1: 1.2, 100: 1.2, 10_000: 20}
MEASURES = [
    *(Measure(_named(count), "nftables, a set", 1.2, _against(("trie", count), ("set", count))) for count in COUNTS),
    *(Measure(_named(count), "nftables, a rule each", _BARS[count], _against(("trie", count), ("list", count))) for count in COUNTS),
    *(Measure(_named(count), "iptables, a rule each", _BARS[count], _against(("trie", count), ("iptables", count))) for count in COUNTS),
    Measure(_named(10_000), "the same with 1 rule (flat)", 1 / 1.5, _against(("trie", 10_000), ("trie", 1))),
    Measure("firewall of 1 rule in a list of nftables", "the same with 10,000 (growing)", 10, _against(("list", 1), ("list", 10_000))),
]
