"""Packets made by scapy, which knows the formats by itself: what our own dissector is held against."""

from __future__ import annotations

from hypothesis import strategies as st
from scapy.layers.igmp import IGMP
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_Router_Alert, IPOption_RR
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    RouterAlert,
)
from scapy.layers.ipsec import AH
from scapy.layers.l2 import ARP, GRE, LLC, STP, Dot1AD, Dot1Q, Dot3, Ether
from scapy.layers.sctp import SCTP
from scapy.layers.vxlan import VXLAN

MACS = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}
ETHER = Ether(**MACS)
V4 = IP(src="192.0.2.1", dst="198.51.100.2")
V6 = IPv6(src="2001:db8::1", dst="2001:db8::2")
OPTIONS = [("MSS", 1460), ("NOP", None), ("WScale", 7), ("SAckOK", b""), ("Timestamp", (5, 6)), ("EOL", None)]

SEEDS = {
    "tcp": ETHER / V4 / TCP(sport=40000, dport=80, flags="SA", options=OPTIONS) / b"GET / HTTP/1.1\r\n",
    "udp": ETHER / V4 / UDP(sport=5353, dport=53) / b"question",
    "padded": ETHER / V4 / UDP(sport=1, dport=2) / b"x" / bytes(17),
    "ip options": ETHER / IP(src="192.0.2.1", dst="198.51.100.2", options=[IPOption_Router_Alert(), IPOption_RR(routers=["1.2.3.4"])]) / UDP(sport=7, dport=9),
    "vlan": ETHER / Dot1Q(vlan=42, prio=5) / V4 / TCP(sport=1, dport=2),
    "two vlans": ETHER / Dot1AD(vlan=7) / Dot1Q(vlan=42) / V6 / UDP(sport=1, dport=2),
    "arp": ETHER / ARP(op=2, psrc="192.0.2.1", pdst="192.0.2.9"),
    "ping": ETHER / V4 / ICMP(id=3, seq=4) / b"abcdefgh",
    "unreachable": ETHER / V4 / ICMP(type=3, code=4, nexthopmtu=1400) / IP(src="198.51.100.2", dst="192.0.2.1") / UDP(sport=9, dport=10),
    "ping6": ETHER / V6 / ICMPv6EchoRequest(id=3, seq=4, data=b"abc"),
    "neighbour": ETHER / V6 / ICMPv6ND_NS(tgt="2001:db8::9"),
    "too big": ETHER / V6 / ICMPv6PacketTooBig(mtu=1280) / V6 / TCP(sport=1, dport=2),
    "extensions": ETHER / V6 / IPv6ExtHdrHopByHop(options=[RouterAlert()]) / IPv6ExtHdrDestOpt() / UDP(sport=11, dport=12) / b"y",
    "routed": ETHER / V6 / IPv6ExtHdrRouting(addresses=["2001:db8::5"]) / TCP(sport=11, dport=12),
    "first fragment": ETHER / V6 / IPv6ExtHdrFragment(m=1, id=5, nh=17) / UDP(sport=11, dport=12, len=99) / b"y",
    "later fragment": ETHER / IP(src="192.0.2.1", dst="198.51.100.2", frag=185, proto=17) / bytes(range(30)),
    "later fragment 6": ETHER / V6 / IPv6ExtHdrFragment(offset=185, id=5, nh=6) / bytes(range(30)),
    "gre": ETHER / V4 / GRE(key_present=1, key=7) / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2),
    "ipip": ETHER / V4 / IP(src="10.0.0.1", dst="10.0.0.2") / TCP(sport=1, dport=2),
    "6in4": ETHER / V4 / V6 / UDP(sport=1, dport=2),
    "vxlan": ETHER / V4 / UDP(sport=1, dport=4789) / VXLAN(vni=77) / ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2),
    "ah": ETHER / V4 / AH(nh=17, spi=1, seq=2, icv=bytes(12), payloadlen=4) / UDP(sport=1, dport=2),
    "igmp": ETHER / V4 / IGMP(type=0x16, gaddr="224.0.0.5"),
    "sctp": ETHER / V4 / SCTP(sport=5, dport=6, tag=9),
    "llc": Dot3(**MACS) / LLC() / STP(),
    "unknown": Ether(**MACS, type=0x88B5) / b"experiment",
}
PACKETS = {name: bytes(packet) for name, packet in SEEDS.items()}


@st.composite
def damaged(draw) -> bytes:
    """A good packet with some bytes changed, cut somewhere."""
    data = bytearray(draw(st.sampled_from(list(PACKETS.values()))))
    for at, value in draw(st.lists(st.tuples(st.integers(0, len(data) - 1), st.integers(0, 255)), max_size=6)):
        data[at] = value
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.booleans()) else data)


any_packet = st.one_of(damaged(), st.binary(max_size=150), st.sampled_from(list(PACKETS.values())))
