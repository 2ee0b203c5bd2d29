"""Ethernet, VLAN tags, 802.2, ARP. Each function reads one header and returns the one that reads the next."""

from __future__ import annotations

import ipaddress

from .names import ARP_OPERATIONS, ETHERTYPES, VLAN_TYPES
from .reader import Reader


def mac(data: bytes) -> str:
    return data.hex(":")


def ip(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


def ethertype(data: bytes) -> str:
    value = int.from_bytes(data, "big")
    return ETHERTYPES.get(value, f"0x{value:04x}")


def ethernet(r: Reader):
    r.begin("Ethernet")
    r.take(6, "destination", mac)
    r.take(6, "source", mac)
    kind = r.take(2, "EtherType", lambda d: ethertype(d) if d >= b"\x06" else f"{int.from_bytes(d, 'big')}, a length")
    if kind >= 0x600:  # ETH_P_802_3_MIN in include/uapi/linux/if_ether.h
        return by_ethertype(kind)
    if kind > r.left:
        r.note(f"its length says {kind:,} bytes, {r.left:,} are there")
    r.ends_at(r.at + kind, "Ethernet's length")
    return llc if r.left else None


def by_ethertype(kind: int):
    from .network import arp_or_ip

    return vlan if kind in VLAN_TYPES else arp_or_ip.get(kind)


def vlan(r: Reader):
    r.begin("VLAN")
    r.take(2, "tag", _tag)
    kind = r.take(2, "EtherType", ethertype)
    return by_ethertype(kind)


def _tag(data: bytes) -> str:
    tci = int.from_bytes(data, "big")
    words = [f"id {tci & 0xFFF}"]
    if tci >> 13:
        words.append(f"priority {tci >> 13}")
    if tci & 0x1000:
        words.append("drop eligible")
    return ", ".join(words)


def llc(r: Reader):
    r.begin("LLC")
    r.take(1, "destination SAP", lambda d: f"0x{d.hex()}")
    r.take(1, "source SAP", lambda d: f"0x{d.hex()}")
    r.take(1, "control", lambda d: f"0x{d.hex()}")


def arp(r: Reader):
    r.begin("ARP")
    r.take(2, "hardware type", {1: "Ethernet"})
    r.take(2, "protocol type", ethertype)
    hardware = r.take(1, "hardware length")
    protocol = r.take(1, "protocol length")
    r.take(2, "operation", ARP_OPERATIONS)
    for who in ("sender", "target"):
        r.take(hardware, f"{who} MAC", mac if hardware == 6 else None)
        r.take(protocol, f"{who} IP", ip if protocol in (4, 16) else None)
