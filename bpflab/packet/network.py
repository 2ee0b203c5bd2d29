"""IPv4 with options, IPv6 with extension headers, fragments, GRE, AH, ESP."""

from __future__ import annotations

import functools

from . import transport
from .link import arp, by_ethertype, ethernet, ethertype, ip
from .names import EXTENSIONS, IPV4_OPTIONS, IPV6_OPTIONS, NEXT_HEADERS, PROTOCOLS, SOURCE_ROUTES
from .reader import Reader, ones_sum, say_checksum


def by_version(r: Reader):
    """What an IP packet without a link header begins with."""
    return {4: ipv4, 6: ipv6}.get((r.peek() or 0) >> 4)


def _protocol(data: bytes) -> str:
    return PROTOCOLS.get(data[0], str(data[0]))


def _tos(data: bytes) -> str:
    dscp, ecn = data[0] >> 2, data[0] & 3
    return ", ".join([f"DSCP {dscp}"] * bool(dscp) + [("", "ECT(1)", "ECT(0)", "CE")[ecn]] * bool(ecn)) or "0"


def _fragment(data: bytes) -> str:
    value = int.from_bytes(data, "big")
    flags = [name for bit, name in ((0x8000, "reserved bit"), (0x4000, "don't fragment"), (0x2000, "more fragments")) if value & bit]
    return ", ".join([*flags, *([f"offset {8 * (value & 0x1FFF)}"] if value & 0x1FFF else [])]) or "0"


def ipv4(r: Reader):
    start = r.at
    r.begin("IPv4")
    if r.left and r.peek() >> 4 != 4:
        r.note(f"its version is {r.peek() >> 4}, not 4")
    first = r.take(1, "version and header length", lambda d: f"version {d[0] >> 4}, {4 * (d[0] & 15)} bytes")
    header = 4 * (first & 15)
    r.take(1, "TOS", _tos)
    total = r.take(2, "total length")
    _ipv4_length(r, start, header, total)
    r.take(2, "identification")
    fragment = r.take(2, "flags and fragment offset", _fragment)
    r.take(1, "TTL")
    protocol = r.take(1, "protocol", _protocol)
    stored = r.take(2, "checksum", lambda d: f"0x{d.hex()}")
    checksum = len(r.layers[-1].fields) - 1
    r.take(4, "source", ip)
    r.take(4, "destination", ip)
    kinds = r.options(start + header, IPV4_OPTIONS, {})
    if header >= 20:
        r.replace_said(checksum, say_checksum(stored, ones_sum(r.packet[start : start + header])))
    r.pseudo = None if kinds & set(SOURCE_ROUTES) else r.packet[start + 12 : start + 20]
    return _after(r, protocol, fragment & 0x1FFF, fragment & 0x2000)


def _ipv4_length(r: Reader, start: int, header: int, total: int) -> None:
    there = r.end - start
    r.whole = total >= max(header, 20) and total <= there
    if header < 20:
        r.note(f"its header length of {header} bytes is less than 20")
    if 0 < total < max(header, 20):
        r.note(f"its total length of {total} is less than its header's {max(header, 20)} bytes")
    elif total > there:
        r.note(f"cut short: its total length says {total:,} bytes, {there:,} are there")
    elif total:
        r.ends_at(start + total, f"IPv4 total length {total}")
    else:
        r.note("its total length is 0")


def ipv6(r: Reader):
    start = r.at
    r.begin("IPv6")
    if r.left and r.peek() >> 4 != 6:
        r.note(f"its version is {r.peek() >> 4}, not 6")
    r.take(4, "version, class and flow label", _first_word)
    length = r.take(2, "payload length")
    there = r.end - start - 40
    r.whole = 0 < length <= there
    if length > max(there, 0):
        r.note(f"cut short: its payload length says {length:,} bytes, {max(there, 0):,} are there")
    elif length:
        r.ends_at(start + 40 + length, f"IPv6 payload length {length}")
    protocol = r.take(1, "next header", NEXT_HEADERS)
    r.take(1, "hop limit")
    r.take(16, "source", ip)
    r.take(16, "destination", ip)
    r.pseudo = r.packet[start + 8 : start + 40]
    if not length and r.left and protocol:
        r.note(f"its payload length is 0, and {r.left:,} bytes follow")
    return _next(r, protocol)


def _first_word(data: bytes) -> str:
    word = int.from_bytes(data, "big")
    words = [f"version {word >> 28}"]
    if word >> 20 & 0xFF:
        words.append(f"class {_tos(bytes([word >> 20 & 0xFF]))}")
    if word & 0xFFFFF:
        words.append(f"flow label 0x{word & 0xFFFFF:05x}")
    return ", ".join(words)


def _next(r: Reader, protocol: int):
    if protocol == 44:
        return ipv6_fragment
    if protocol in EXTENSIONS:
        return functools.partial(extension, protocol=protocol)
    return _after(r, protocol, 0, 0)


def extension(r: Reader, protocol: int):
    """An IPv6 extension header (RFC 8200): next header, length in units of 8 bytes beyond the first 8, data."""
    r.begin(f"IPv6 {EXTENSIONS[protocol]}")
    following = r.take(1, "next header", NEXT_HEADERS)
    length = r.take(1, "header length", lambda d: f"{8 * (d[0] + 1)} bytes")
    if protocol == 43:
        r.take(1, "routing type")
        r.take(1, "segments left")
        r.take(8 * (length + 1) - 4, "data")
        r.pseudo = None  # the checksum is made with the last address of the route
    else:
        r.take(8 * (length + 1) - 2, "options", _ipv6_options)
    return _next(r, following)


def _ipv6_options(data: bytes) -> str:
    names, at = [], 0
    while at < len(data):
        names.append(IPV6_OPTIONS.get(data[at], f"option {data[at]}"))
        at += 1 if data[at] == 0 else 2 + data[at + 1] if at + 1 < len(data) else 2
    return ", ".join(dict.fromkeys(names)) or "none"


def ipv6_fragment(r: Reader):
    r.begin("IPv6 fragment")
    protocol = r.take(1, "next header", NEXT_HEADERS)
    r.take(1, "reserved")
    place = r.take(2, "offset and flag", lambda d: _ipv6_place(int.from_bytes(d, "big")))
    r.take(4, "identification", lambda d: f"0x{d.hex()}")
    if place >> 3 == 0 and protocol in EXTENSIONS:
        r.whole = r.whole and not place & 1
        return _next(r, protocol)
    return _after(r, protocol, place >> 3, place & 1)


def _ipv6_place(value: int) -> str:
    return f"offset {8 * (value >> 3)}" + (", more fragments" if value & 1 else "")


def _after(r: Reader, protocol: int, offset: int, more: int):
    """What follows an IP header; of a fragment that is not the first, only data."""
    if offset:
        return functools.partial(_later_fragment, name=NEXT_HEADERS.get(protocol, f"protocol {protocol}"))
    r.whole = r.whole and not more
    return _UPPER.get(protocol)


def _later_fragment(r: Reader, name: str):
    if r.left:
        r.take_rest(r.end, r.begin("Payload"))
        last = r.layers[-1].fields[-1]
        r.replace_said(-1, f"a later part of {name}, without its header; {last.said}")


def gre(r: Reader):
    """RFC 2784, RFC 2890."""
    r.begin("GRE")
    flags = r.take(2, "flags and version", _gre_flags)
    kind = r.take(2, "protocol", ethertype)
    if flags & 0x4007:  # routing, or the version of PPTP
        return None
    if flags & 0x8000:
        r.take(2, "checksum", lambda d: f"0x{d.hex()}")
        r.take(2, "reserved")
    if flags & 0x2000:
        r.take(4, "key", lambda d: f"0x{d.hex()}")
    if flags & 0x1000:
        r.take(4, "sequence number")
    return ethernet if kind == 0x6558 else by_ethertype(kind)


def _gre_flags(data: bytes) -> str:
    flags = int.from_bytes(data, "big")
    names = [name for bit, name in ((0x8000, "checksum"), (0x4000, "routing"), (0x2000, "key"), (0x1000, "sequence")) if flags & bit]
    return ", ".join([*names, f"version {flags & 7}"])


def ah(r: Reader):
    """RFC 4302: its length is in units of 4 bytes, less 2."""
    r.begin("AH")
    following = r.take(1, "next header", NEXT_HEADERS)
    length = r.take(1, "header length", lambda d: f"{4 * (d[0] + 2)} bytes")
    if length < 1:
        r.note(f"its header length of {4 * (length + 2)} bytes is less than 12")
    r.take(2, "reserved")
    r.take(4, "SPI", lambda d: f"0x{d.hex()}")
    r.take(4, "sequence number")
    r.take(max(4 * (length + 2) - 12, 0), "integrity check")
    return _next(r, following)


def esp(r: Reader):
    r.begin("ESP")
    r.take(4, "SPI", lambda d: f"0x{d.hex()}")
    r.take(4, "sequence number")


_UPPER = {**transport.READERS, 4: ipv4, 41: ipv6, 47: gre, 50: esp, 51: ah}
arp_or_ip = {0x0800: ipv4, 0x86DD: ipv6, 0x0806: arp}
