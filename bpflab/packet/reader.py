"""Goes through the bytes of a packet and writes down which field each belongs to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

MAX_LAYERS = 24  # of a packet; more of them are made to waste the time of whoever looks
_PREVIEW = 40  # characters of a payload that are shown


class Field(NamedTuple):
    """A field of a header.

    Attributes
    ----------
    offset, size : int
        Its bytes in the packet.
    layer, name : str
        "IPv4", "TTL".
    said : str
        Its value in words.
    value : int or None
        Its value in network byte order; None of fields of more than 16 bytes.
    """

    offset: int
    size: int
    layer: str
    name: str
    said: str
    value: int | None = None

    @property
    def title(self) -> str:
        return f"{self.layer} {self.name}"


@dataclass
class Layer:
    """A header, or what follows the last one.

    Attributes
    ----------
    name : str
        "Ethernet"; "inner IPv4" for the second of a packet; "quoted TCP" inside an ICMP error; "Payload"; "Padding".
    fields : list of Field
    notes : list of str
        What is wrong with it: lengths that do not fit, a header that is cut short.
    """

    name: str
    fields: list[Field] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Cut(Exception):
    """The packet ends in the middle of a header."""


class Reader:
    """A position in a packet, the layers so far, and where the headers say that it ends."""

    def __init__(self, packet: bytes):
        self.packet, self.at = packet, 0
        self.layers: list[Layer] = []
        self.quoting = False  # inside an ICMP error, where packets may be cut
        self.whole = True  # the innermost IP packet is here from its first byte to its last
        self.pseudo: bytes | None = None  # the addresses, as checksums of UDP and TCP take them in
        self._ends = [(len(packet), "")]

    # -- bounds

    @property
    def end(self) -> int:
        return self._ends[-1][0]

    @property
    def left(self) -> int:
        return self.end - self.at

    def ends_at(self, end: int, why: str) -> None:
        """Take for the end what a header says; what is behind it is padding."""
        if self.at <= end < self.end:
            self._ends.append((end, why))

    # -- layers and fields

    def begin(self, name: str) -> Layer:
        """A new layer; the second of the same kind is the inner one."""
        name = f"quoted {name}" if self.quoting else name
        known, wanted, n = {layer.name for layer in self.layers}, name, 1
        while wanted in known:
            n += 1
            wanted = f"inner {name}" if n == 2 else f"inner {name} {n}"
        self.layers.append(Layer(wanted))
        return self.layers[-1]

    def note(self, text: str) -> None:
        if not self.quoting:
            self.layers[-1].notes.append(text)

    def take(self, size: int, name: str, say: Callable[[bytes], str] | Mapping[int, str] | None = None) -> int:
        """A field of the layer; its value in network byte order.

        Raises
        ------
        Cut
            The packet, or what a header says is its end, comes before the field's.
        """
        layer = self.layers[-1]
        data = self.packet[self.at : min(self.at + size, self.end)]
        if len(data) < size:
            if data:
                layer.fields.append(Field(self.at, len(data), layer.name, name, f"cut short: {len(data)} of {size} bytes"))
                self.at += len(data)
            why = self._ends[-1][1]
            self.note(f"cut short: {len(data)} of the {size} bytes of the {name} are there" + (f" ({why})" if why else ""))
            raise Cut
        value = int.from_bytes(data, "big")
        said = say(data) if callable(say) else say.get(value, "") if say else ""
        if not said:
            said = str(value) if size <= 4 else data.hex()
        if size:
            layer.fields.append(Field(self.at, size, layer.name, name, said, value if size <= 16 else None))
        self.at += size
        return value

    def peek(self, offset: int = 0) -> int | None:
        """The byte there; None behind the end."""
        return self.packet[self.at + offset] if self.at + offset < self.end else None

    def options(self, stop: int, names: Mapping[int, str], say: Mapping[int, Callable[[bytes], str]]) -> set[int]:
        """Options of kind, length, data, up to `stop`; those of kind 0 (the end) and 1 have no length (RFC 791, RFC 9293).

        Returns
        -------
        set of int
            Their kinds.
        """
        found = set()
        until = min(stop, self.end)
        while self.at < until:
            kind, length = self.packet[self.at], self.peek(1) if self.at + 1 < until else None
            found.add(kind)
            if kind == 1:
                self.take(1, "option NOP", lambda _: "no operation")
            elif kind == 0:
                self.take(until - self.at, "end of options", lambda d: f"{len(d)} bytes")
            elif length is None or length < 2 or self.at + length > until:
                self.take(until - self.at, f"option {names.get(kind, kind)}", lambda d: f"broken: {d[:8].hex()}")
                if stop <= self.end:
                    self.note(f"option {names.get(kind, kind)} has no length that fits")
            else:
                tell = say.get(kind)
                title = f"option {names.get(kind, kind)}"
                self.take(length, title, lambda d, tell=tell: (tell and len(d) > 2 and tell(d[2:])) or d[2:].hex() or "yes")
        if stop > self.end:
            self.take(stop - self.at, "options")
        return found

    def replace_said(self, index: int, said: str) -> None:
        fields = self.layers[-1].fields
        fields[index] = fields[index]._replace(said=said)

    def finish(self) -> None:
        """What no header took."""
        for depth, (end, _) in enumerate(reversed(self._ends)):
            if end > self.at:
                layer = self.begin("Padding" if depth else "Payload")
                self.take_rest(end, layer)

    def take_rest(self, end: int, layer: Layer) -> None:
        data = self.packet[self.at : end]
        name = "data" if layer.name.endswith("Payload") else "bytes"
        layer.fields.append(Field(self.at, len(data), layer.name, name, preview(data)))
        self.at = end


def preview(data: bytes) -> str:
    """The beginning of a payload: as text where it is text."""
    size = f"{len(data):,} byte{'s' if len(data) != 1 else ''}"
    head = data[:_PREVIEW]
    if not any(data):
        return f"{size}, all zero" if len(data) > 1 else "1 byte, zero"
    if all(32 <= b < 127 or b in b"\r\n\t" for b in head):
        text = head.decode("ascii").replace("\r", "\\r").replace("\n", "\\n").replace("\t", "\\t")
        return f"{size}: “{text}{'…' if len(data) > _PREVIEW else ''}”"
    return f"{size}: {data[:16].hex(' ')}{' …' if len(data) > 16 else ''}"


def ones_sum(*parts: bytes) -> int:
    """The 16-bit one's complement sum of RFC 1071, not complemented; each part but the last has an even length."""
    data = b"".join(parts)
    data += b"\0" * (len(data) % 2)
    total = int(np.frombuffer(data, ">u2").sum(dtype=np.uint64))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def say_checksum(stored: int, covered: int, pseudo: int | None = None) -> str:
    """Whether a checksum is right.

    Parameters
    ----------
    covered : int
        `ones_sum` of all that it covers, itself included.
    pseudo : int, optional
        `ones_sum` of the pseudo header: a packet that a device is to complete has it for its checksum (CHECKSUM_PARTIAL).
    """
    if covered == 0xFFFF:
        return f"0x{stored:04x}, right"
    if pseudo is not None and stored == pseudo:
        return f"0x{stored:04x}, left to the device"
    rest = ones_sum(covered.to_bytes(2, "big"), (~stored & 0xFFFF).to_bytes(2, "big"))
    return f"0x{stored:04x}, wrong: should be 0x{~rest & 0xFFFF:04x}"
