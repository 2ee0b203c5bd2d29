"""Capture files of tcpdump and Wireshark (pcap-savefile(5))."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..errors import LabError

MICRO, NANO, PCAPNG = 0xA1B2C3D4, 0xA1B23C4D, 0x0A0D0D0A
ETHERNET = 1  # LINKTYPE_ETHERNET
LARGEST = 262144  # bytes of a packet, as tcpdump has it


class CaptureFileError(LabError, ValueError):
    """A file that holds no packets that can be sent, or is cut short.

    Attributes
    ----------
    packets : int
        How many are whole before the place.
    """

    def __init__(self, message: str, packets: int = 0):
        self.packets = packets
        super().__init__(message)


class Frames(NamedTuple):
    """Attributes: `data` (all frames, one behind the other), `lengths` (u32 each), `times` (seconds since the first, f64)."""

    data: bytes
    lengths: np.ndarray
    times: np.ndarray


def read(path: str | Path, most: int) -> Frames:
    """The first `most` packets of a file.

    Raises
    ------
    CaptureFileError
        It is no capture file, not of Ethernet, or cut short: the text says at which packet.
    FileNotFoundError
    """
    if not isinstance(path, (str, Path)):
        raise TypeError(f"a capture file is given by its path, not as {type(path).__name__}; capture.write(path) makes one")
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        said = f"{error.strerror.lower()}; give a pcap file on the notebook's computer, capture.write(path) makes one"
        raise type(error)(error.errno, f"the capture file cannot be read: {said}", str(path)) from None
    if len(data) < 4:
        raise CaptureFileError(f"{path} is no capture file: it has {len(data)} bytes; write one with tcpdump -w or capture.write()")
    for order in "<>":
        magic = struct.unpack_from(f"{order}I", data)[0]
        if magic in (MICRO, NANO):
            return _pcap(path, data, order, 1e-9 if magic == NANO else 1e-6, most)
    if magic == PCAPNG:
        raise CaptureFileError(f"{path} is of the format pcapng; write it as pcap: tcpdump -r {path} -w new.pcap")
    raise CaptureFileError(f"{path} is no capture file: it begins with {data[:4].hex(' ')}; write one with tcpdump -w or capture.write()")


def _pcap(path, data: bytes, order: str, unit: float, most: int) -> Frames:
    if len(data) < 24:
        raise CaptureFileError(f"{path} is cut short in the file's header: {len(data)} bytes of 24; capture it again")
    link = struct.unpack_from(f"{order}I", data, 20)[0] & 0xFFFF
    if link != ETHERNET:
        raise CaptureFileError(f"{path} holds packets of link type {link}, and only Ethernet (1) can be put on a wire here; capture on an Ethernet interface")
    head = struct.Struct(f"{order}4I")
    at, parts, lengths, times = 24, [], [], []
    while at < len(data) and len(lengths) < most:
        number = len(lengths) + 1
        if at + 16 > len(data):
            raise _cut(path, number, f"{len(data) - at} bytes of the 16 of its header are there")
        seconds, fraction, size, whole = head.unpack_from(data, at)
        if size > LARGEST:
            raise CaptureFileError(f"{path} is damaged at packet {number}: it claims {size:,} bytes; {number - 1} packets before it are whole", number - 1)
        if at + 16 + size > len(data):
            raise _cut(path, number, f"{len(data) - at - 16:,} of its {size:,} bytes are there")
        if size < whole:
            raise CaptureFileError(
                f"packet {number} of {path} was captured in part, {size:,} of {whole:,} bytes, and cannot be sent; capture whole packets: tcpdump -s 0",
                number - 1,
            )
        parts.append(data[at + 16 : at + 16 + size])
        lengths.append(size)
        times.append(seconds + fraction * unit)
        at += 16 + size
    stamps = np.array(times)
    return Frames(b"".join(parts), np.array(lengths, "u4"), stamps - stamps[:1] if len(stamps) else stamps)


def _cut(path, number: int, what: str) -> CaptureFileError:
    return CaptureFileError(
        f"{path} is cut short at packet {number}: {what}; {number - 1} packet{'s are' if number != 2 else ' is'} whole, "
        f"send those with most={number - 1}, or capture it again",
        number - 1,
    )


def write(path: str | Path, data: np.ndarray, starts: np.ndarray, lengths: np.ndarray, seconds: np.ndarray, nanoseconds: np.ndarray) -> None:
    """A pcap file with nanoseconds."""
    with open(path, "wb") as file:
        file.write(struct.pack("<IHHiIII", NANO, 2, 4, 0, 0, LARGEST, ETHERNET))
        for start, size, s, ns in zip(starts.tolist(), lengths.tolist(), seconds.tolist(), nanoseconds.tolist(), strict=True):
            file.write(struct.pack("<4I", s, ns, size, size) + data[start : start + size].tobytes())
