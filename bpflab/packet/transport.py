"""TCP, UDP, ICMP, ICMPv6, IGMP, SCTP, VXLAN."""

from __future__ import annotations

from .link import ethernet, ip
from .names import ICMP6_ERRORS, ICMP6_TYPES, ICMP_ERRORS, ICMP_TYPES, TCP_FLAGS, TCP_OPTIONS, UNREACHABLE
from .reader import Reader, ones_sum, say_checksum

VXLAN_PORT = 4789  # IANA_VXLAN_UDP_PORT, include/net/vxlan.h


def _check(r: Reader, index: int, protocol: int | None, start: int) -> None:
    """Say whether the checksum, field `index` of the layer, is right; nothing where that cannot be told."""
    fields = r.layers[-1].fields
    if not r.whole or r.quoting or (protocol is not None and r.pseudo is None):
        return
    body = r.packet[start : r.end]
    pseudo = b"" if protocol is None else r.pseudo + len(body).to_bytes(4, "big") + protocol.to_bytes(4, "big")
    covered = ones_sum(pseudo, body)
    r.replace_said(index, say_checksum(fields[index].value, covered, ones_sum(pseudo) if protocol is not None else None))


def _hex(data: bytes) -> str:
    return f"0x{data.hex()}"


def tcp(r: Reader):
    start = r.at
    r.begin("TCP")
    r.take(2, "source port")
    r.take(2, "destination port")
    r.take(4, "sequence number")
    r.take(4, "acknowledgement number")
    header = 4 * (r.take(1, "header length", lambda d: f"{4 * (d[0] >> 4)} bytes") >> 4)
    r.take(1, "flags", lambda d: " ".join(n for bit, n in enumerate(TCP_FLAGS) if d[0] >> bit & 1) or "none")
    r.take(2, "window")
    r.take(2, "checksum", _hex)
    r.take(2, "urgent pointer")
    _check(r, 7, 6, start)
    if header < 20:
        r.note(f"its header length of {header} bytes is less than 20")
    r.options(start + header, TCP_OPTIONS, _TCP_SAY)


def _number(data: bytes) -> str:
    return str(int.from_bytes(data, "big"))


_TCP_SAY = {
    2: _number,
    3: lambda d: f"shift by {d[0]}",
    8: lambda d: f"{_number(d[:4])}, echoes {_number(d[4:])}",
}


def udp(r: Reader):
    start = r.at
    r.begin("UDP")
    r.take(2, "source port")
    port = r.take(2, "destination port")
    length = r.take(2, "length")
    there = r.end - start
    stored = r.take(2, "checksum", _hex)
    if length < 8:
        r.note(f"its length of {length} is less than its header's 8 bytes")
    elif length > there:
        # the first of several fragments has less than the whole, and is right
        if r.whole:
            r.note(f"cut short: its length says {length:,} bytes, {there:,} are there")
    else:
        r.ends_at(start + length, f"UDP length {length}")
        if stored:
            _check(r, 3, 17, start)
        else:
            r.replace_said(3, "0x0000, none")
    return vxlan if port == VXLAN_PORT and r.left >= 8 and r.peek() & 0x08 else None


def vxlan(r: Reader):
    """RFC 7348."""
    r.begin("VXLAN")
    r.take(1, "flags", _hex)
    r.take(3, "reserved")
    r.take(3, "network identifier")
    r.take(1, "reserved byte")
    return ethernet


def icmp(r: Reader):
    start = r.at
    r.begin("ICMP")
    kind = r.take(1, "type", ICMP_TYPES)
    r.take(1, "code", UNREACHABLE if kind == 3 else None)
    r.take(2, "checksum", _hex)
    _check(r, 2, None, start)
    if kind in (0, 8, 13, 14):
        _echo(r)
    elif kind in ICMP_ERRORS:
        r.take(4, "gateway", ip) if kind == 5 else _unused_and_mtu(r, kind == 3)
        return _quoted(r)
    return None


def _echo(r: Reader) -> None:
    r.take(2, "identifier")
    r.take(2, "sequence number")


def _unused_and_mtu(r: Reader, has_mtu: bool) -> None:
    if has_mtu:
        r.take(2, "unused")
        r.take(2, "next-hop MTU")
    else:
        r.take(4, "unused")


def _quoted(r: Reader):
    from .network import by_version

    r.quoting = True
    return by_version


def icmp6(r: Reader):
    start = r.at
    r.begin("ICMPv6")
    kind = r.take(1, "type", ICMP6_TYPES)
    r.take(1, "code")
    r.take(2, "checksum", _hex)
    _check(r, 2, 58, start)
    if kind in (128, 129):
        _echo(r)
    elif kind in ICMP6_ERRORS:
        r.take(4, {2: "MTU", 4: "pointer"}.get(kind, "unused"))
        return _quoted(r)
    elif kind in (135, 136, 137):
        r.take(4, "flags", _hex)
        r.take(16, "target", ip)
        if kind == 137:
            r.take(16, "destination", ip)
    return None


def igmp(r: Reader):
    start = r.at
    r.begin("IGMP")
    r.take(1, "type", {0x11: "query", 0x12: "report", 0x16: "report, version 2", 0x17: "leave", 0x22: "report, version 3"})
    r.take(1, "longest answer time")
    r.take(2, "checksum", _hex)
    _check(r, 2, None, start)
    r.take(4, "group", ip)


def sctp(r: Reader):
    r.begin("SCTP")
    r.take(2, "source port")
    r.take(2, "destination port")
    r.take(4, "verification tag", _hex)
    r.take(4, "checksum", _hex)


READERS = {1: icmp, 2: igmp, 6: tcp, 17: udp, 58: icmp6, 132: sctp}
