"""Packets captured on a host, as a DataFrame and one by one."""

from __future__ import annotations

import errno
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from .. import packet
from ..errors import BpfError, LabError, NotSupportedError
from ..insn.run import compile_filter
from ..machines import AgentError
from . import given, pcap

if TYPE_CHECKING:
    from ..packet import Packet
    from .host import Host

MOST = 1_000_000  # packets
PIECE = 8 << 20  # bytes of an answer from another machine
_HEADER = np.dtype(  # struct tpacket3_hdr, include/uapi/linux/if_packet.h; behind it struct sockaddr_ll
    {
        "names": ["next", "sec", "nsec", "snaplen", "len", "status", "mac", "tci", "tpid", "ifindex", "pkttype"],
        "formats": ["u4", "u4", "u4", "u4", "u4", "u4", "u2", "u4", "u2", "i4", "u1"],
        "offsets": [0, 4, 8, 12, 16, 20, 24, 32, 36, 52, 58],
        "itemsize": 68,
    }
)
VLAN_VALID, TPID_VALID = 1 << 4, 1 << 6  # TP_STATUS_VLAN_VALID, TP_STATUS_VLAN_TPID_VALID
OUTGOING = 4  # PACKET_OUTGOING


class Captures:
    """`capture` of a `Host`."""

    def capture(self, dev=None, filter: str = "", *, most: int = MOST) -> Capture:
        """Capture packets here, until the `with` block ends.

        A capture stands behind XDP where packets come in, and behind tc where they go out: what those drop is not seen.

        Parameters
        ----------
        dev : str or Device, optional
            An interface of this host, by its name or by the neighbour it leads to; all of them when it is left out.
        filter : str
            As tcpdump takes it (pcap-filter(7)): "udp port 53".
        most : int
            Packets; what comes after them is counted as lost.

        Raises
        ------
        UnknownNameError
            The host has no such interface.
        ValueError
            tcpdump does not understand the filter.
        """
        self.net._check_open()
        if not isinstance(filter, str):
            raise TypeError(f"a filter is a text as tcpdump takes it ('udp port 53'), not {type(filter).__name__}")
        most = given.whole(most, "most, of the packets that a capture keeps,", 1 << 32)
        name = "" if dev is None else dev if dev == "lo" else self._device(dev).name
        rows = [list(row) for row in compile_filter(filter, self._lab, self, name or self.dev.name)] if filter else []
        return Capture(self, name, rows, most)


class Capture:
    """Packets that came by: a context manager that captures while it is entered.

    `len`, `capture[i]` (a packet taken apart), `to_frame()`, `packets` (bytes of each).

    Attributes
    ----------
    lost : int
        Packets that came while there was no room for them.
    """

    def __init__(self, host: Host, device: str, rows: list, most: int):
        self.host, self.device, self._rows, self._most = host, device, rows, most
        self._lab = host._lab
        self._number: int | None = None
        self._data: np.ndarray | None = None
        self.lost = 0

    def __enter__(self) -> Capture:
        if self._number is not None or self._data is not None:
            raise LabError(f"this capture on '{self.host.name}' has begun already; make another with .capture()")
        try:
            self._number = self._lab.ask("capture.start", self.host.netns, self.device, self._rows, self._most)
        except AgentError as error:
            if error.payload["errno"] == errno.EAFNOSUPPORT:
                raise NotSupportedError("packet sockets", self._lab.where, str(error), errno.EAFNOSUPPORT) from None
            raise BpfError(f"no capture on host '{self.host.name}': {error}; is the network open?", error.payload["errno"]) from None
        self.host.net._owned.append(self.stop)
        return self

    def __exit__(self, *_):
        self.stop()

    def wait(self, count: int = 1, timeout: float = 5) -> int:
        """Wait for packets; how many there are when there are `count`, or the time is over."""
        if self._number is None:
            return len(self)
        return self._lab.ask("capture.wait", self._number, count, timeout)

    def stop(self) -> None:
        """End the capture, and fetch what it has. A second time does nothing."""
        if self._number is None:
            return
        number, self._number = self._number, None
        if not self._lab.alive:
            self._set(np.zeros(0, np.uint8), [], 0.0)
            return
        about = self._lab.ask("capture.stop", number)
        self.lost, size = about["lost"], about["bytes"]
        reply, memory = self._lab.bulk(size, "capture.take", number, ..., 0, size if self._lab.machine == "local" else min(size, PIECE))
        if reply is None:
            data = np.frombuffer(memory, np.uint8)[:size]
        else:
            pieces = [reply]
            for start in range(PIECE, size if self._lab.machine != "local" else 0, PIECE):
                pieces.append(self._lab.ask("capture.take", number, None, start, min(PIECE, size - start)))
            data = np.frombuffer(b"".join(pieces), np.uint8)
        self._lab.ask("capture.close", number)
        self._set(data, about["parts"], about["start"])

    def _set(self, data: np.ndarray, parts: list, start: float) -> None:
        self._data, self._start = data, start
        places = _places(data, parts)
        heads = places[: self._most]
        self.lost += len(places) - len(heads)
        self._heads = _headers(data, heads)
        self._starts = heads + self._heads["mac"]
        self._lengths = self._heads["snaplen"].astype(np.int64)

    @cached_property
    def _whole(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bytes, and of each packet its place and length in them; VLAN tags, which the kernel tells apart from the packet, are in it again."""
        if self._data is None:
            self.stop()
        if self._data is None:
            raise LabError(f"this capture on '{self.host.name}' has not begun; use it in a with statement")
        tagged = np.flatnonzero(self._heads["status"] & VLAN_VALID)
        if not len(tagged):
            return self._data, self._starts, self._lengths
        starts, lengths = self._starts.copy(), self._lengths.copy()
        extra, at = [self._data], len(self._data)
        for i in tagged:
            one = self._heads[i]
            tpid = int(one["tpid"]) if one["status"] & TPID_VALID else 0x8100
            old = self._data[starts[i] : starts[i] + lengths[i]]
            tag = np.frombuffer(tpid.to_bytes(2, "big") + int(one["tci"] & 0xFFFF).to_bytes(2, "big"), np.uint8)
            extra += [old[:12], tag, old[12:]]
            starts[i], lengths[i] = at, lengths[i] + 4
            at += int(lengths[i])
        return np.concatenate(extra), starts, lengths

    def __len__(self) -> int:
        return len(self._whole[1])

    def data(self, number: int) -> bytes:
        """The bytes of a packet."""
        data, starts, lengths = self._whole
        if not hasattr(number, "__index__"):
            raise TypeError(f"the {len(starts)} packets have numbers, from 0 on, not a {type(number).__name__}; .packets has them all, .to_frame() their fields")
        if not -len(starts) <= number < len(starts):
            raise IndexError(f"there is no packet {number}; {len(starts)} were captured on '{self.host.name}'")
        return data[starts[number] : starts[number] + lengths[number]].tobytes()

    def __getitem__(self, number: int) -> Packet:
        """A packet, taken apart into its layers; see `bpflab.packet.dissect`."""
        return packet.dissect(self.data(number))

    @property
    def packets(self) -> list[bytes]:
        return [self.data(i) for i in range(len(self))]

    def to_frame(self) -> pd.DataFrame:
        """A row for each packet.

        Returns
        -------
        DataFrame
            `time` (seconds since the capture began), `interface`, `direction` ("in", "out"), the columns of
            `bpflab.packet.to_frame` (`length`, `protocol`, `source`, `destination`, `source_port`, `destination_port`, `vlan`, `note`) and
            `summary` (TCP flags, kind of ICMP message).
        """
        data, starts, lengths = self._whole
        frame = packet.to_frame(data, starts, lengths)
        heads = self._heads
        names = {dev.ifindex: dev.name for dev in self.host.devs.values()} | {1: "lo"}
        time = heads["sec"].astype("f8") - np.floor(self._start) + heads["nsec"] / 1e9 - self._start % 1
        direction = np.where(heads["pkttype"] == OUTGOING, "out", "in")
        interface = pd.Series(heads["ifindex"]).map(lambda n: names.get(n, f"if{n}")).astype("str")
        for place, (name, column) in enumerate((("time", time), ("interface", interface), ("direction", pd.array(direction, dtype="str")))):
            frame.insert(place, name, column)
        frame["summary"] = pd.array(_summaries(data, starts, lengths, frame), dtype="str")
        return frame

    def write(self, path: str | Path) -> None:
        """Write a capture file, for Wireshark or `Host.replay`."""
        data, starts, lengths = self._whole
        seconds, nanoseconds = self._heads["sec"], self._heads["nsec"]
        pcap.write(path, data, starts, lengths, seconds, nanoseconds)

    def __repr__(self) -> str:
        where = f"'{self.host.name}'" + (f" {self.device}" if self.device else "")
        if self._number is not None:
            return f"<capture on {where}, running>"
        if self._data is None:
            return f"<capture on {where}, not begun>"
        lost = f"; {self.lost:,} more were lost" if self.lost else ""
        return f"<capture on {where}: {len(self):,} packet{'s' * (len(self) != 1)}{lost}>"

    def _repr_html_(self) -> str | None:
        if self._number is not None or self._data is None:
            return None
        lost = f"<p>{self.lost:,} more packets were lost.</p>" if self.lost else ""
        frame = self.to_frame()
        # what is empty or the same everywhere only takes room
        same = [name for name in ("interface", "source_port", "destination_port", "vlan") if frame[name].nunique(dropna=False) < 2]
        empty = [name for name in ("note", "summary") if not frame[name].any()]
        return lost + frame.drop(columns=[*same, *empty])._repr_html_()


def _places(data: np.ndarray, parts: list) -> np.ndarray:
    """Where each packet's header is. They are chained; where equal packets follow each other, a whole run is found at once."""
    found, at = [], 0
    for count, size in parts:
        found += _chain(data[at : at + size], count, at)
        at += size
    return np.concatenate(found) if found else np.zeros(0, np.int64)


def _chain(block: np.ndarray, count: int, base: int) -> list[np.ndarray]:
    words = block[: len(block) // 4 * 4].view("u4") if len(block) else block
    found, at, left = [], 0, count
    while left:
        step = int(words[at // 4])
        if left == 1 or not step:
            found.append(np.array([base + at]))
            break
        same = words[at // 4 :: step // 4][: left] == step
        run = int(same.argmin()) if not same.all() else len(same)
        found.append(base + at + step * np.arange(run))
        at, left = at + step * run, left - run
    return found


def _headers(data: np.ndarray, places: np.ndarray) -> np.ndarray:
    rows = np.empty((len(places), _HEADER.itemsize), np.uint8)
    for i in range(_HEADER.itemsize):  # a column at a time: a matrix of places would take eight times the room
        rows[:, i] = data[places + i]
    return rows.view(_HEADER).ravel()


_ICMP4 = {0: "echo reply", 3: "unreachable", 5: "redirect", 8: "echo request", 11: "time exceeded"}
_ICMP6 = {1: "unreachable", 2: "too big", 3: "time exceeded", 128: "echo request", 129: "echo reply", 133: "router solicitation"}
_ICMP6 |= {134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement", 143: "multicast report"}
_FLAGS = ("FIN", "SYN", "RST", "PSH", "ACK", "URG")


def _summaries(data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
    """What the transport header says in a word or two."""
    said = np.full(len(starts), "", object)
    padded = np.concatenate([data, np.zeros(128, np.uint8)])
    link = np.where(frame["vlan"].notna(), 18, 14)
    version = padded[starts + link] >> 4
    upper = link + np.where(version == 4, (padded[starts + link] & 15) * 4, 40)
    said_length = padded[starts + link + 2].astype(np.int64) << 8 | padded[starts + link + 3]  # IPv4's: behind it is padding
    ends = np.where(version == 4, np.minimum(link + said_length, lengths), lengths)
    plain = (frame["note"] == "").to_numpy()
    next6 = padded[starts + link + 6]
    for name, kinds, six in (("ICMP", _ICMP4, None), ("ICMPv6", _ICMP6, 58), ("TCP", None, 6)):
        there = plain & (upper + (1 if kinds else 14) <= ends) & ((version == 4) | (next6 == (six or 255)))
        rows = np.flatnonzero((frame["protocol"] == name).to_numpy() & there)
        values = padded[starts[rows] + upper[rows] + (0 if kinds else 13)]
        for value in np.unique(values):
            words = kinds.get(int(value), f"type {value}") if kinds else " ".join(flag for i, flag in enumerate(_FLAGS) if value >> i & 1)
            said[rows[values == value]] = words
    return said
