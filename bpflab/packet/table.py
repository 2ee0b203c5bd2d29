"""Many packets as a DataFrame. NumPy looks at one header of all of them at a time; no packet passes through Python by itself."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from .given import packet_bytes
from .names import ETHERTYPES, EXTENSIONS, PROTOCOLS, VLAN_TYPES

_MAX_TAGS, _MAX_EXTENSIONS = 8, 8  # how many of them are looked through
_CHUNK = 200_000  # packets at a time: what is worked out between takes some 100 bytes for each
_CUT, _FRAGMENT = 1, 2
_NOTES = np.array(["", "cut short", "fragment", "fragment, cut short"], dtype=object)
_ARP_OPERATION = {1: "ARP request", 2: "ARP reply"}


class _Columns:
    """The headers of many packets, read at places that differ from packet to packet."""

    def __init__(self, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray):
        # eight bytes more, so that a read at the end of the last packet stays inside
        self.data, self.starts, self.lengths = data, starts, lengths
        self.ends = lengths.copy()  # where the headers say that a packet ends
        self.last = len(data) - 1

    def read(self, at: np.ndarray, size: int, rows: np.ndarray) -> np.ndarray:
        """A number of `size` bytes in network order, 0 where the packet of a row does not reach."""
        there = at + size <= self.ends[rows]
        found = np.zeros(len(at), np.uint64 if size > 4 else np.int64)
        places = np.where(there, self.starts[rows] + at, 0)
        for i in range(size):
            found = found << 8 | self.data[np.minimum(places + i, self.last)].astype(found.dtype)
        return np.where(there, found, 0)

    def reach(self, at: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return at <= self.ends[rows]

    def bytes(self, at: np.ndarray, size: int, rows: np.ndarray) -> np.ndarray:
        """`size` bytes of each as a row of a matrix; they are all there."""
        return self.data[(self.starts[rows] + at)[:, None] + np.arange(size)]


def to_frame(packets: Any, starts=None, lengths=None, *, link: str = "ethernet") -> pd.DataFrame:
    """The main fields of many packets.

    Parameters
    ----------
    packets : sequence of packets, or bytes-like
        Packets as `packet_bytes` takes them; or, with `starts` and `lengths`, one buffer that holds all of them (the content of a
        capture file), which is then not copied.
    starts, lengths : array of int, optional
        Where each packet begins in the buffer, and its bytes there.
    link : {"ethernet", "ip"}
        What the packets begin with.

    Returns
    -------
    DataFrame
        A row for each packet. `length` (bytes); `protocol` ("TCP", "ARP request", "0x88cc"); `source`, `destination` (IP addresses, or of
        what is not IP the MAC addresses); `source_port`, `destination_port` (Int32, NA where there are none); `vlan` (Int16, the id of the
        outermost tag); `note` ("cut short", "fragment"). What a tunnel carries is not looked at: its protocol is "GRE".

    Raises
    ------
    TypeError
        Something in the sequence is no packet.
    ValueError
        A packet would reach out of the buffer.
    """
    if link not in ("ethernet", "ip"):
        raise ValueError(f"packets do not begin with '{link}'; give link='ethernet' or link='ip'")
    if (starts is None) != (lengths is None):
        raise TypeError("starts and lengths belong together; give both, or a sequence of packets")
    data, starts, lengths = _joined(packets) if starts is None else _buffer(packets, starts, lengths)
    parts = [_part(_Columns(data, starts[i : i + _CHUNK], lengths[i : i + _CHUNK]), link) for i in range(0, max(len(starts), 1), _CHUNK)]
    return pd.concat(parts, ignore_index=True) if len(parts) > 1 else parts[0]


def _joined(packets: Iterable) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(packets, (bytes, bytearray, memoryview, str)) or not isinstance(packets, Iterable):
        raise TypeError(f"to_frame takes a sequence of packets, not one {type(packets).__name__}; for one: bl.packet.dissect(packet)")
    each = [p if isinstance(p, bytes) else packet_bytes(p) for p in packets]
    lengths = np.fromiter(map(len, each), np.int64, len(each))
    return _array(b"".join(each)), np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64) if each else lengths, lengths


def _buffer(data, starts, lengths) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    starts, lengths = (np.asarray(x, np.int64) for x in (starts, lengths))
    size = memoryview(data).nbytes
    if starts.shape != lengths.shape or starts.ndim != 1:
        raise ValueError(f"starts and lengths are to be of the same length, not {starts.shape} and {lengths.shape}")
    wrong = np.flatnonzero((starts < 0) | (lengths < 0) | (starts + lengths > size))
    if len(wrong):
        i = int(wrong[0])
        raise ValueError(f"packet {i} would be bytes {starts[i]:,} to {starts[i] + lengths[i]:,} of a buffer that has {size:,}; is the file cut short?")
    return _array(data), starts, lengths


def _array(data) -> np.ndarray:
    found = np.frombuffer(data, np.uint8)
    return found if len(found) else np.zeros(1, np.uint8)


def _part(c: _Columns, link: str) -> pd.DataFrame:
    n = len(c.starts)
    rows = np.arange(n)
    note = np.zeros(n, np.int64)
    vlan = np.full(n, -1, np.int64)
    at = np.zeros(n, np.int64)
    if link == "ethernet":
        kind, at = _link(c, rows, note, vlan)
    else:
        version = c.read(at, 1, rows) >> 4
        kind = np.select([version == 4, version == 6], [0x0800, 0x86DD], -1)
    protocol = np.full(n, -1, np.int64)  # of IP
    upper = np.full(n, -1, np.int64)  # where the transport header begins
    addresses = [np.full(n, "", object), np.full(n, "", object)]
    if link == "ethernet":
        macs = np.flatnonzero((kind != 0x0800) & (kind != 0x86DD) & (kind != 0x0806) & (c.lengths >= 12))
        for place, target in ((6, 0), (0, 1)):
            addresses[target][macs] = _texts(c.bytes(np.full(len(macs), place), 6, macs), lambda b: b.hex(":"))
    _ipv4(c, np.flatnonzero(kind == 0x0800), at, protocol, upper, addresses, note)
    _ipv6(c, np.flatnonzero(kind == 0x86DD), at, protocol, upper, addresses, note)
    names = _names(kind, protocol)
    _arp(c, np.flatnonzero(kind == 0x0806), at, names, addresses, note)
    ports = _ports(c, protocol, upper, note)
    return pd.DataFrame(
        {
            "length": c.lengths,
            "protocol": pd.array(names, dtype="str"),
            "source": pd.array(addresses[0], dtype="str"),
            "destination": pd.array(addresses[1], dtype="str"),
            "source_port": _nullable(ports[0], "Int32"),
            "destination_port": _nullable(ports[1], "Int32"),
            "vlan": _nullable(vlan, "Int16"),
            "note": pd.array(_NOTES[note], dtype="str"),
        }
    )


def _nullable(values: np.ndarray, dtype: str):
    return pd.arrays.IntegerArray(np.maximum(values, 0).astype(dtype.lower()), values < 0)


def _link(c: _Columns, rows, note, vlan) -> tuple[np.ndarray, np.ndarray]:
    """EtherType and the place behind it; -1 where the packet ends before, -2 where it is a length."""
    at = np.full(len(rows), 14)
    kind = np.where(c.reach(at, rows), c.read(at - 2, 2, rows), -1)
    for depth in range(_MAX_TAGS):
        tagged = np.flatnonzero(np.isin(kind, VLAN_TYPES))
        if not len(tagged):
            break
        if depth == 0:
            whole = tagged[c.reach(at[tagged] + 2, tagged)]
            vlan[whole] = c.read(at[whole], 2, whole) & 0xFFF
        at[tagged] += 4
        kind[tagged] = np.where(c.reach(at[tagged], tagged), c.read(at[tagged] - 2, 2, tagged), -1)
    kind[(kind >= 0) & (kind < 0x600) & (at == 14)] = -2
    note[kind == -1] |= _CUT
    return kind, at


def _ipv4(c: _Columns, rows, at, protocol, upper, addresses, note) -> None:
    start = at[rows]
    whole = c.reach(start + 20, rows)
    note[rows[~whole]] |= _CUT
    some = rows[c.reach(start + 10, rows)]
    protocol[some] = c.read(at[some] + 9, 1, some)
    rows, start = rows[whole], start[whole]
    for place, target in ((12, 0), (16, 1)):
        addresses[target][rows] = _texts(c.bytes(start + place, 4, rows), _ip)
    header = (c.read(start, 1, rows) & 15) * 4
    total = c.read(start + 2, 2, rows)
    fragment = c.read(start + 6, 2, rows)
    note[rows[(start + total > c.ends[rows]) | (start + header > c.ends[rows])]] |= _CUT
    note[rows[fragment & 0x3FFF != 0]] |= _FRAGMENT
    c.ends[rows] = np.where(total >= np.maximum(header, 20), np.minimum(c.ends[rows], start + total), c.ends[rows])
    first = (fragment & 0x1FFF == 0) & (start + header <= c.ends[rows])
    upper[rows[first]] = (start + np.maximum(header, 20))[first]


def _ipv6(c: _Columns, rows, at, protocol, upper, addresses, note) -> None:
    start = at[rows]
    whole = c.reach(start + 40, rows)
    note[rows[~whole]] |= _CUT
    some = rows[c.reach(start + 7, rows)]
    protocol[some] = c.read(at[some] + 6, 1, some)
    rows, start = rows[whole], start[whole]
    for place, target in ((8, 0), (24, 1)):
        addresses[target][rows] = _texts(c.bytes(start + place, 16, rows), _ip)
    end = start + 40 + c.read(start + 4, 2, rows)
    note[rows[end > c.ends[rows]]] |= _CUT
    c.ends[rows] = np.where(end > start + 40, np.minimum(c.ends[rows], end), c.ends[rows])
    upper[rows] = start + 40
    for _ in range(_MAX_EXTENSIONS):
        rows = rows[np.isin(protocol[rows], tuple(EXTENSIONS))]
        if not len(rows):
            break
        here, kind = upper[rows], protocol[rows]
        whole = c.reach(here + 8, rows)
        note[rows[~whole]] |= _CUT
        upper[rows[~whole]] = -1
        rows, here, kind = rows[whole], here[whole], kind[whole]
        length = c.read(here + 1, 1, rows)
        place = np.where(kind == 44, c.read(here + 2, 2, rows), 0)
        note[rows[(place & 0xFFF9) != 0]] |= _FRAGMENT
        protocol[rows] = c.read(here, 1, rows)
        upper[rows] = here + np.where(kind == 44, 8, 8 * (length + 1))
        upper[rows[place >> 3 != 0]] = -1
        out = ~c.reach(upper[rows], rows)
        note[rows[out]] |= _CUT
        upper[rows[out]] = -1
        rows = rows[upper[rows] >= 0]


def _arp(c: _Columns, rows, at, names, addresses, note) -> None:
    start = at[rows]
    whole = c.reach(start + 28, rows)
    note[rows[~whole]] |= _CUT
    names[rows] = "ARP"
    rows, start = rows[whole], start[whole]
    for number, name in _ARP_OPERATION.items():
        names[rows[c.read(start + 6, 2, rows) == number]] = name
    rows, start = (x[c.read(start + 4, 2, rows) == 0x0604] for x in (rows, start))  # Ethernet and IPv4 addresses
    for place, target in ((14, 0), (24, 1)):
        addresses[target][rows] = _texts(c.bytes(start + place, 4, rows), _ip)


def _ports(c: _Columns, protocol, upper, note) -> tuple[np.ndarray, np.ndarray]:
    found = np.full(len(protocol), -1, np.int64), np.full(len(protocol), -1, np.int64)
    rows = np.flatnonzero(np.isin(protocol, (6, 17, 132)) & (upper >= 0))
    least = np.select([protocol[rows] == 6, protocol[rows] == 17], [20, 8], 12)
    note[rows[~c.reach(upper[rows] + least, rows)]] |= _CUT
    for column, place in zip(found, (0, 2)):
        there = rows[c.reach(upper[rows] + place + 2, rows)]
        column[there] = c.read(upper[there] + place, 2, there)
    return found


def _names(kind: np.ndarray, protocol: np.ndarray) -> np.ndarray:
    names = np.full(len(kind), "", object)
    for value in np.unique(kind):
        names[kind == value] = {-1: "", -2: "802.3"}.get(value) if value < 0 else ETHERTYPES.get(int(value), f"0x{value:04x}")
    for value in np.unique(protocol[protocol >= 0]):
        names[protocol == value] = PROTOCOLS.get(int(value), f"IP protocol {value}")
    return names


def _ip(data: bytes) -> str:
    return str(ipaddress.ip_address(data))


def _texts(rows: np.ndarray, say) -> np.ndarray:
    """Each row of bytes in words; every different one is said once."""
    if not len(rows):
        return np.empty(0, object)
    whole = np.ascontiguousarray(rows).view(f"V{rows.shape[1]}").ravel()
    kinds, index = np.unique(whole, return_inverse=True)
    return np.array([say(kind.tobytes()) for kind in kinds], object)[index]
