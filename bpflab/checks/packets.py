"""Ethernet frames for the checks, built byte by byte.

Layouts: Ethernet II, IPv4 (RFC 791), UDP (RFC 768), ARP (RFC 826).
"""

from __future__ import annotations

import ipaddress
import random
import struct

ETH_P_IP, ETH_P_ARP, ETH_P_IPV6 = 0x0800, 0x0806, 0x86DD  # include/uapi/linux/if_ether.h
XDP_DROP, XDP_PASS = 1, 2  # enum xdp_action, include/uapi/linux/bpf.h


def random_address(within: str = "0.0.0.0/0") -> ipaddress.IPv4Address:
    """Draw an address of a prefix."""
    network = ipaddress.IPv4Network(within)
    return network[random.randrange(network.num_addresses)]


def udp(source, destination="192.0.2.1", payload: bytes = b"") -> bytes:
    """Build an Ethernet frame that carries an IPv4 UDP datagram."""
    data = struct.pack("!HHHH", random.randrange(1024, 65536), 9, 8 + len(payload), 0) + payload
    return ipv4(17, source, destination, data)


def ipv4(protocol: int, source, destination, payload: bytes, options: bytes = b"") -> bytes:
    """Build an Ethernet frame that carries an IPv4 packet.

    Parameters
    ----------
    options : bytes
        IP options, a multiple of 4 bytes, at most 40.
    """
    length = 20 + len(options)
    header = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 + length // 4,
        0,
        length + len(payload),
        random.randrange(65536),
        0,
        64,
        protocol,
        0,
        ipaddress.IPv4Address(source).packed,
        ipaddress.IPv4Address(destination).packed,
    )
    header += options
    return ethernet(ETH_P_IP, header[:10] + _checksum(header) + header[12:] + payload)


def not_ip(source) -> bytes:
    """Build an ARP frame with `source` where an IPv4 packet has its sender.

    Bytes 26 to 29 of the frame are the IPv4 sender's place and, in ARP, the last
    two bytes of the sender's MAC and the first two of its address.
    """
    packed = ipaddress.IPv4Address(source).packed
    body = struct.pack("!HHBBH4s2s", 1, ETH_P_IP, 6, 4, 1, b"\x02\0\0\0", packed[:2]) + packed[2:] + bytes(12)
    return ethernet(ETH_P_ARP, body + bytes(18))


def ethernet(protocol: int, payload: bytes) -> bytes:
    """Build an Ethernet frame; `protocol` is its EtherType."""
    return bytes.fromhex("020000000001") + bytes.fromhex("020000000002") + struct.pack("!H", protocol) + payload


def _checksum(header: bytes) -> bytes:
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF)
