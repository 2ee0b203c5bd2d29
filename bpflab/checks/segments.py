"""TCP segments, IPv6 packets and VLAN tags for the checks, beside what `packets` has.

Layouts: TCP (RFC 9293), IPv6 (RFC 8200), IEEE 802.1Q.
"""

from __future__ import annotations

import ipaddress
import random
import struct

from . import packets

TCP, UDP, ICMP, ICMPV6 = 6, 17, 1, 58  # include/uapi/linux/in.h, in6.h
FIN, SYN, RST, PSH, ACK, ECE, CWR = 1, 2, 4, 8, 16, 64, 128
ETH_P_8021Q = 0x8100  # include/uapi/linux/if_ether.h
MORE_FRAGMENTS, OFFSET = 0x2000, 0x1FFF  # of the IP header's flags and fragment offset, RFC 791


def port() -> int:
    """Draw a port that has two different bytes and is not well known."""
    return random.choice([n for n in range(2000, 60_000) if n >> 8 != n & 0xFF])


def segment(source: int, destination: int, flags: int = PSH | ACK, payload: bytes = b"", options: bytes = b"") -> bytes:
    """A TCP segment without its checksum; `options` a multiple of 4 bytes, at most 40."""
    words = 5 + len(options) // 4
    return (
        struct.pack(
            "!HHIIBBHHH",
            source,
            destination,
            random.getrandbits(32),
            random.getrandbits(32),
            words << 4,
            flags,
            64_000,
            0,
            0,
        )
        + options
        + payload
    )


def options(words: int) -> bytes:
    """Padding of so many words, for a TCP or an IP header: its byte 1 means "no operation" in both."""
    return b"\1" * 4 * words


def ipv6(protocol: int, payload: bytes, source="2001:db8::1", destination="2001:db8::2") -> bytes:
    """Build an Ethernet frame that carries an IPv6 packet."""
    addresses = ipaddress.IPv6Address(source).packed + ipaddress.IPv6Address(destination).packed
    return packets.ethernet(
        packets.ETH_P_IPV6, struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + addresses + payload
    )


def ipv4(protocol: int, payload: bytes, options: bytes = b"") -> bytes:
    """Build an Ethernet frame that carries an IPv4 packet between two addresses of documentation (RFC 5737)."""
    return packets.ipv4(
        protocol, packets.random_address("192.0.2.0/24"), packets.random_address("198.51.100.0/24"), payload, options
    )


def fragment(frame: bytes, offset: int, more: bool) -> bytes:
    """The same IPv4 packet as a fragment; `offset` in units of 8 bytes."""
    field = offset & OFFSET | (MORE_FRAGMENTS if more else 0)
    return frame[:20] + struct.pack("!H", field) + frame[22:]


def tagged(frame: bytes) -> bytes:
    """The same frame with a VLAN tag in it."""
    return frame[:12] + struct.pack("!HH", ETH_P_8021Q, random.randrange(2, 4000)) + frame[12:]
