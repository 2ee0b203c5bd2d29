"""Packets: taken apart into fields, shown, compared, many at once as a table.

    p = bl.packet.dissect("ffffffffffff 020000000001 0800 45...")
    p["IPv4 TTL"].value
    bl.packet.to_frame(packets)
"""

from .diff import Diff, Row, compare
from .dissect import Packet, dissect, fields
from .given import packet_bytes
from .reader import Field, Layer
from .table import to_frame

__all__ = ["Diff", "Field", "Layer", "Packet", "Row", "compare", "dissect", "fields", "packet_bytes", "to_frame"]
