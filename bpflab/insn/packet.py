"""The fields of a packet by their places: Ethernet, VLAN tags, ARP, IPv4, IPv6, TCP, UDP, ICMP."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

_ETHERTYPES = {0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "VLAN", 0x88A8: "VLAN"}
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 6: "TCP", 17: "UDP", 41: "IPv6 in IPv4", 47: "GRE", 58: "ICMPv6", 132: "SCTP"}


class Field(NamedTuple):
    """A field of a header: `size` bytes at `offset`; `said` is its value in words."""

    offset: int
    size: int
    layer: str
    name: str
    said: str

    @property
    def title(self) -> str:
        return f"{self.layer} {self.name}"


def fields(packet: bytes, link_header: bool = True) -> list[Field]:
    """The fields of a packet, in order; what is no known header is left out.

    Parameters
    ----------
    link_header : bool
        Whether it begins with an Ethernet header, not with an IP header.
    """
    reader = _Reader(packet)
    try:
        if link_header:
            _ethernet(reader)
        else:
            _network(reader, {4: 0x0800, 6: 0x86DD}.get(packet[0] >> 4 if packet else 0, 0))
    except IndexError:
        pass  # the packet ends in the middle of a header
    return reader.fields


class _Reader:
    def __init__(self, packet: bytes):
        self.packet, self.at, self.fields = packet, 0, []

    def take(self, size: int, layer: str, name: str, say=None) -> int:
        data = self.packet[self.at : self.at + size]
        if len(data) < size:
            raise IndexError
        value = int.from_bytes(data, "big")
        said = say(data) if callable(say) else say.get(value, "") if say else ""
        self.fields.append(Field(self.at, size, layer, name, said or (str(value) if size <= 4 else data.hex())))
        self.at += size
        return value


def _mac(data: bytes) -> str:
    return data.hex(":")


def _ip(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


def _ethernet(r: _Reader) -> None:
    r.take(6, "Ethernet", "destination", _mac)
    r.take(6, "Ethernet", "source", _mac)
    kind = r.take(2, "Ethernet", "EtherType", lambda d: _ETHERTYPES.get(int.from_bytes(d, "big"), f"0x{d.hex()}"))
    while kind in (0x8100, 0x88A8):
        r.take(2, "VLAN", "tag", lambda d: f"id {int.from_bytes(d, 'big') & 0xFFF}")
        kind = r.take(2, "VLAN", "EtherType", _ETHERTYPES)
    _network(r, kind)


def _network(r: _Reader, kind: int) -> None:
    if kind == 0x0800:
        _ipv4(r)
    elif kind == 0x86DD:
        _ipv6(r)
    elif kind == 0x0806:
        _arp(r)


def _arp(r: _Reader) -> None:
    for size, name in ((2, "hardware type"), (2, "protocol type"), (1, "hardware length"), (1, "protocol length")):
        r.take(size, "ARP", name)
    r.take(2, "ARP", "operation", {1: "request", 2: "reply"})
    for who in ("sender", "target"):
        r.take(6, "ARP", f"{who} MAC", _mac)
        r.take(4, "ARP", f"{who} IP", _ip)


def _ipv4(r: _Reader) -> None:
    start = r.at
    first = r.take(1, "IPv4", "version and header length", lambda d: f"version {d[0] >> 4}, {4 * (d[0] & 15)} bytes")
    r.take(1, "IPv4", "TOS")
    r.take(2, "IPv4", "total length")
    r.take(2, "IPv4", "identification")
    fragment = r.take(2, "IPv4", "flags and fragment offset")
    r.take(1, "IPv4", "TTL")
    protocol = r.take(1, "IPv4", "protocol", _PROTOCOLS)
    r.take(2, "IPv4", "checksum", lambda d: f"0x{d.hex()}")
    r.take(4, "IPv4", "source", _ip)
    r.take(4, "IPv4", "destination", _ip)
    options = 4 * (first & 15) - (r.at - start)
    if options > 0:
        r.take(options, "IPv4", "options")
    if not fragment & 0x1FFF:
        _transport(r, protocol)


def _ipv6(r: _Reader) -> None:
    r.take(4, "IPv6", "version, class and flow label", lambda d: f"version {d[0] >> 4}")
    r.take(2, "IPv6", "payload length")
    protocol = r.take(1, "IPv6", "next header", _PROTOCOLS)
    r.take(1, "IPv6", "hop limit")
    r.take(16, "IPv6", "source", _ip)
    r.take(16, "IPv6", "destination", _ip)
    _transport(r, protocol)


def _transport(r: _Reader, protocol: int) -> None:
    if protocol == 17:
        for name in ("source port", "destination port", "length", "checksum"):
            r.take(2, "UDP", name)
    elif protocol == 6:
        r.take(2, "TCP", "source port")
        r.take(2, "TCP", "destination port")
        r.take(4, "TCP", "sequence number")
        r.take(4, "TCP", "acknowledgement number")
        r.take(1, "TCP", "header length", lambda d: f"{4 * (d[0] >> 4)} bytes")
        r.take(1, "TCP", "flags", lambda d: " ".join(n for bit, n in enumerate("FIN SYN RST PSH ACK URG".split()) if d[0] >> bit & 1))
        r.take(2, "TCP", "window")
        r.take(2, "TCP", "checksum")
        r.take(2, "TCP", "urgent pointer")
    elif protocol in (1, 58):
        layer = _PROTOCOLS[protocol]
        r.take(1, layer, "type", {8: "echo request", 0: "echo reply"} if protocol == 1 else {128: "echo request", 129: "echo reply"})
        r.take(1, layer, "code")
        r.take(2, layer, "checksum", lambda d: f"0x{d.hex()}")
