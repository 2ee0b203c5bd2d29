"""Packets and their differences as plain text."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .diff import Diff, Row
from .dissect import Packet
from .reader import Field, Layer

WIDTH = 16  # bytes in a row of hex


def summary(layer: Layer) -> str:
    """A layer in a few words: who speaks to whom, about what."""
    said = {field.name: field.said for field in layer.fields}
    words = []
    for first, second in (("source", "destination"), ("source port", "destination port"), ("sender IP", "target IP")):
        if first in said and second in said:
            words.append(f"{said[first]} → {said[second]}")
    for name in ("EtherType", "protocol", "next header", "tag", "operation", "flags", "type", "network identifier", "data", "bytes"):
        if name in said and not (name == "type" and "cut short" in said[name]):
            words.append(said[name])
    return ", ".join(words)


def of_packet(packet: Packet) -> str:
    """Every field of it with its place."""
    width = max((len(f.name) for f in packet.fields), default=0)
    lines = [size_of(packet)]
    for layer in packet.layers:
        lines.append(layer.name)
        lines += [f"  {f.offset:>5}  {f.name:<{width}}  {f.said}" for f in layer.fields]
    return "\n".join([*lines, *(f"note: {note}" for note in packet.notes)])


def size_of(packet: Packet) -> str:
    return f"packet of {len(packet):,} byte{'s' if len(packet) != 1 else ''}"


def size_words(diff: Diff) -> str:
    """How much differs."""
    n = diff.changed
    if not n:
        return "the packet is unchanged"
    grown = f", {abs(diff.grown):,} {'put in' if diff.grown > 0 else 'taken out'} at byte {diff.at:,}" if diff.grown else ""
    return f"{n:,} byte{'s differ' if n != 1 else ' differs'}{grown}"


def said_of(diff: Diff, row: Row) -> tuple[str, str]:
    """The two values of a row; as bytes where the words do not tell them apart."""
    if row.state == "changed" and row.before.said == row.after.said:
        return hex_of(diff.before, row.before), hex_of(diff.after, row.after)
    return row.before.said if row.before else "", row.after.said if row.after else ""


def hex_of(packet: Packet, field: Field) -> str:
    data = packet.data[field.offset : field.offset + field.size]
    return data[:WIDTH].hex(" ") + (" …" if len(data) > WIDTH else "")


def of_diff(diff: Diff, before: str = "before", after: str = "after") -> str:
    """The fields that differ, then the bytes."""
    rows = [row for row in diff.rows() if row.state != "same"]
    width = max((len(row.name) for row in rows), default=0)
    lines, layer = [], None
    for row in rows:
        if row.layer != layer:
            layer = row.layer
            lines.append(layer)
        old, new = said_of(diff, row)
        words = {"changed": f"{before} {old}; {after} {new}", "new": f"only {after}: {new}", "gone": f"only {before}: {old}"}[row.state]
        lines.append(f"  {(row.after or row.before).offset:>5}  {row.name:<{width}}  {words}")
    label = max(len(before), len(after))
    for packet, marked, name in ((diff.before, diff.marked_before, before), (diff.after, diff.marked_after, after)):
        lines += _hex_rows(packet.data, marked, f"{name:<{label}}")
    return "\n".join(lines)


def _hex_rows(data: bytes, marked: np.ndarray, label: str, limit: int = 8) -> Iterator[str]:
    """The rows of hex that have marked bytes, each with a line of marks under it."""
    starts = np.unique(np.flatnonzero(marked) // WIDTH * WIDTH)
    for start in starts[:limit].tolist():
        yield f"{label}  {start:04x}  {data[start : start + WIDTH].hex(' ')}"
        marks = " ".join("^^" if m else "  " for m in marked[start : start + WIDTH])
        yield f"{'':{len(label)}}        {marks}".rstrip()
    if len(starts) > limit:
        yield f"{label}  … and {len(starts) - limit:,} rows of {WIDTH} bytes more"
