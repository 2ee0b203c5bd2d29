"""A packet taken apart into layers and fields."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from ..errors import UnknownNameError
from .given import packet_bytes
from .link import ethernet
from .network import by_version
from .reader import MAX_LAYERS, Cut, Field, Layer, Reader

LINKS = {"ethernet": ethernet, "ip": by_version}


class Packet:
    """A packet and its fields. Made by `dissect`.

    Attributes
    ----------
    data : bytes
    link : str
        "ethernet" or "ip": what it begins with.
    layers : list of Layer
        In order. Their fields cover every byte once: what no header takes is "Payload", and what is behind the end that a header tells
        is "Padding".
    notes : list of str
        What is wrong with the packet, each with its layer: "TCP: cut short: ...".
    """

    def __init__(self, data: bytes, link: str, layers: list[Layer]):
        self.data, self.link, self.layers = data, link, layers
        self.notes = [f"{layer.name}: {note}" for layer in layers for note in layer.notes]

    @cached_property
    def fields(self) -> list[Field]:
        """All of them, in the order of their bytes."""
        return [field for layer in self.layers for field in layer.fields]

    @cached_property
    def _by_title(self) -> dict[str, Field]:
        return {field.title: field for field in reversed(self.fields)}

    def __getitem__(self, title: str) -> Field:
        """A field: packet["IPv4 TTL"].value.

        Raises
        ------
        UnknownNameError
            The packet has no such field.
        """
        try:
            return self._by_title[title]
        except KeyError:
            raise UnknownNameError("field", title, self._by_title, "the packet") from None

    def __contains__(self, title: str) -> bool:
        return title in self._by_title or any(layer.name == title for layer in self.layers)

    def __len__(self) -> int:
        return len(self.data)

    def __bytes__(self) -> bytes:
        return self.data

    def __eq__(self, other: object) -> bool:
        return (self.data, self.link) == (other.data, other.link) if isinstance(other, Packet) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.data, self.link))

    def __repr__(self) -> str:
        from .text import of_packet

        return of_packet(self)

    def _repr_html_(self) -> str:
        from .html import of_packet

        return of_packet(self)


def dissect(packet: Any, link: str = "ethernet") -> Packet:
    """Take a packet apart: Ethernet, VLAN tags, ARP, IPv4 with options, IPv6 with extension headers, fragments, ICMP with the packet it
    quotes, TCP with options, UDP, IGMP, SCTP; and what GRE, IP in IP, AH and VXLAN carry.

    Any bytes can be taken apart. Where a header is cut short or says a length that does not fit, `notes` tells.

    Parameters
    ----------
    packet : bytes or str or scapy packet
        See `packet_bytes`.
    link : {"ethernet", "ip"}
        What it begins with.

    Returns
    -------
    Packet

    Raises
    ------
    TypeError, ValueError
        It is no packet, or text that is not hex.
    """
    if link not in LINKS:
        raise ValueError(f"a packet does not begin with '{link}'; give link='ethernet' or link='ip'")
    data = packet_bytes(packet)
    reader = Reader(data)
    read = LINKS[link]
    try:
        while read is not None:
            if len(reader.layers) >= MAX_LAYERS:
                reader.layers[-1].notes.append(f"the packet has more than {MAX_LAYERS} headers; the rest of them is not taken apart")
                break
            read = read(reader)
    except Cut:
        pass
    reader.finish()
    return Packet(data, link, reader.layers)


def fields(packet: bytes, link_header: bool = True) -> list[Field]:
    """The fields of a packet, in order; they cover every byte once.

    Parameters
    ----------
    link_header : bool
        Whether it begins with an Ethernet header, not with an IP header.
    """
    return dissect(packet, "ethernet" if link_header else "ip").fields
