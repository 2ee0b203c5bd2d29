"""What a program is given: the context in r1, and the packet behind it, as BPF_PROG_TEST_RUN makes them (net/bpf/test_run.c)."""

from __future__ import annotations

import struct

from .memory import CONTEXT, PACKET, Memory, Region

_SKB_TYPES = ("socket_filter", "sched_cls", "sched_act", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local")
_ETHERNET_TYPES = ("xdp", "sched_cls", "sched_act")  # the others see what follows the Ethernet header
ETH_HLEN = 14
# What an XDP program reaches of a packet: a page less the room before it (XDP_PACKET_HEADROOM) and struct skb_shared_info behind it. The
# test run puts the rest into fragments.
XDP_LINEAR = 4096 - 256 - 320

# members of struct __sk_buff and struct xdp_md, include/uapi/linux/bpf.h: name, bytes
_SKB = (
    "len pkt_type mark queue_mapping protocol vlan_present vlan_tci vlan_proto priority ingress_ifindex ifindex tc_index "
    "cb[0] cb[1] cb[2] cb[3] cb[4] hash tc_classid data data_end napi_id family remote_ip4 local_ip4 remote_ip6[0] "
    "remote_ip6[1] remote_ip6[2] remote_ip6[3] local_ip6[0] local_ip6[1] local_ip6[2] local_ip6[3] remote_port local_port "
    "data_meta flow_keys:8 tstamp:8 wire_len gso_segs sk:8 gso_size tstamp_type hwtstamp:8"
)
_XDP = "data data_end data_meta ingress_ifindex rx_queue_index egress_ifindex"


def _members(text: str) -> dict[str, tuple[int, int]]:
    """name -> (offset, size)"""
    found, offset = {}, 0
    for word in text.split():
        name, _, size = word.partition(":")
        size = int(size or 4)
        offset = (offset + size - 1) // size * size
        found[name] = (offset, size)
        offset += size
    return found


MEMBERS = {"xdp": _members(_XDP), **{kind: _members(_SKB) for kind in _SKB_TYPES}}


def sees_packet(kind: str) -> bool:
    """Whether programs of a type are stepped on a packet; the others are on the bytes of their context."""
    return kind in MEMBERS


def has_link_header(kind: str) -> bool:
    """Whether BPF_PROG_TEST_RUN leaves the Ethernet header in the packet for this type (is_l2 in net/bpf/test_run.c)."""
    return kind in _ETHERNET_TYPES


def lay_out(memory: Memory, kind: str, packet: bytes | None, ctx: bytes | None) -> tuple[Region, Region | None]:
    """Put context and packet into memory.

    Parameters
    ----------
    kind : str
        The program's type, "xdp".
    packet : bytes or None
        As for BPF_PROG_TEST_RUN: with its Ethernet header, which the kernel takes off for some types.
    ctx : bytes or None
        The context, for types without a packet. Of a ``struct __sk_buff`` the fields mark, priority, ... are taken.

    Returns
    -------
    context, packet : Region
    """
    if not sees_packet(kind):
        return memory.add("context", CONTEXT, ctx or b""), None
    packet = packet or b""
    seen = packet[:XDP_LINEAR] if kind == "xdp" else packet if has_link_header(kind) else packet[ETH_HLEN:]
    region = memory.add("packet", PACKET, seen)
    members = MEMBERS[kind]
    if kind == "xdp":
        values = {"ingress_ifindex": 1}  # of the loopback device, whose receive queue the test run borrows
    else:
        values = _skb_values(packet, len(seen), ctx, members)
    values |= {"data": region.base, "data_end": region.end, "data_meta": region.base}
    data = bytearray(max(offset + size for offset, size in members.values()))
    for name, value in values.items():
        offset, size = members[name]
        data[offset : offset + size] = value.to_bytes(size, "little")
    return memory.add("context", CONTEXT, bytes(data)), region


def _skb_values(packet: bytes, length: int, ctx: bytes | None, members) -> dict[str, int]:
    values = {"len": length, "ifindex": 1, "protocol": _protocol(packet), "pkt_type": _packet_type(packet)}
    # convert___skb_to_skb in net/bpf/test_run.c
    for name in ("mark", "priority", "ingress_ifindex", "tstamp", "gso_segs", "gso_size", *(f"cb[{n}]" for n in range(5))):
        offset, size = members[name]
        if ctx and len(ctx) >= offset + size:
            values[name] = int.from_bytes(ctx[offset : offset + size], "little")
    if ctx:
        values["wire_len"] = length
    return values


def _protocol(packet: bytes) -> int:
    """eth_type_trans in net/ethernet/eth.c: the EtherType in network order; a length means 802.2 or raw 802.3."""
    if len(packet) < ETH_HLEN:
        return 0
    (kind,) = struct.unpack_from(">H", packet, 12)
    if kind < 0x600:
        kind = 1 if packet[14:16] == b"\xff\xff" else 4
    return struct.unpack("<H", struct.pack(">H", kind))[0]


def _packet_type(packet: bytes) -> int:
    """PACKET_HOST 0, PACKET_MULTICAST 2, PACKET_OTHERHOST 3 (include/uapi/linux/if_packet.h).

    The test run takes the loopback for the packet's device, whose address and broadcast address are zero, so there is no broadcast.
    """
    target = packet[:6]
    if target == bytes(6):
        return 0
    return 2 if target and target[0] & 1 else 3
