"""Packets and their differences as HTML: layers to unfold, hex with the differing bytes lit, light and dark, nothing fetched."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path

import numpy as np

from .diff import Diff, Row
from .dissect import Packet
from .reader import Layer
from .text import WIDTH, said_of, size_of, summary

_HEAD_ROWS = 8  # rows of hex shown from the beginning, whether something differs in them or not
_MOST_ROWS = 40


@cache
def style() -> str:
    return f"<style>{Path(__file__).with_name('static').joinpath('packet.css').read_text()}</style>"


def frame(*parts: str) -> str:
    return f'{style()}<div class="bpflab-packet">{"".join(parts)}</div>'


def of_packet(packet: Packet) -> str:
    """A packet: its layers, unfolded, and its hex."""
    title = f'<p class="pk-head"><b>{size_of(packet).capitalize()}</b></p>'
    layers = "".join(_layer(layer, [_plain(field) for field in layer.fields], opened=True) for layer in packet.layers)
    nothing = np.zeros(len(packet), bool)
    return frame(title, notes(packet), f'<div class="pk-both"><div>{layers}</div><div>{hex_rows(packet, nothing, "")}</div></div>')


def notes(packet: Packet) -> str:
    return "".join(f'<p class="pk-note">{escape(note)}</p>' for note in packet.notes)


def of_diff(diff: Diff, before: str = "before", after: str = "after") -> str:
    """Two packets: fields side by side, and the hex of both; of packets that do not differ, once."""
    layers = _layers(diff, before, after)
    if not diff:
        shown = hex_rows(diff.before, diff.marked_before, "")
    else:
        shown = hex_rows(diff.before, diff.marked_before, before) + hex_rows(diff.after, diff.marked_after, after)
    return f'<div class="pk-both"><div>{layers}</div><div>{shown}</div></div>'


def _layers(diff: Diff, before: str, after: str) -> str:
    groups: list[tuple[str, list[Row]]] = []
    for row in diff.rows():
        if not groups or groups[-1][0] != row.layer:
            groups.append((row.layer, []))
        groups[-1][1].append(row)
    known = {(side, layer.name): layer for side, packet in enumerate((diff.before, diff.after)) for layer in packet.layers}
    parts = []
    for name, rows in groups:
        differs = any(row.state != "same" for row in rows)
        head = f"<tr><th></th><th></th><th>{escape(before)}</th><th>{escape(after)}</th></tr>" if differs else ""
        cells = [_row(diff, row) if differs else _plain(row.after) for row in rows]
        states = {row.state for row in rows}
        kind = states.pop() if len(states) == 1 else "changed"
        parts.append(_layer(known[kind != "gone", name], [head, *cells], opened=differs, kind=kind))
    return "".join(parts)


def _layer(layer: Layer, rows: list[str], opened: bool, kind: str = "same") -> str:
    note = " ⚠" if layer.notes else ""
    word = {"same": "", "changed": "changed", "new": "new", "gone": "gone"}[kind]
    badge = f' <span class="pk-badge">{word}</span>' if word else ""
    return (
        f'<details class="pk-layer pk-{kind}"{" open" if opened else ""}><summary><b>{escape(layer.name)}</b>{note}{badge} '
        f'<span class="pk-soft">{escape(summary(layer))}</span></summary><table><tbody>{"".join(rows)}</tbody></table></details>'
    )


def _plain(field) -> str:
    return f'<tr><td>{field.offset}</td><td>{escape(field.name)}</td><td colspan="2">{escape(field.said)}</td></tr>'


def _row(diff: Diff, row: Row) -> str:
    place = (row.after or row.before).offset
    if row.state == "same":
        return f'<tr><td>{place}</td><td>{escape(row.name)}</td><td colspan="2">{escape(row.after.said)}</td></tr>'
    old, new = said_of(diff, row)
    cells = f'<td class="pk-old">{escape(old)}</td><td class="pk-lit">{escape(new)}</td>'
    return f'<tr class="pk-{row.state}"><td>{place}</td><td>{escape(row.name)}</td>{cells}</tr>'


def hex_rows(packet: Packet, marked: np.ndarray, title: str) -> str:
    """Hex and text, 16 bytes a row: the first rows, and those with marked bytes; what is left out is counted."""
    total = -(-len(packet) // WIDTH)
    hot = np.unique(np.flatnonzero(marked) // WIDTH)
    wanted = sorted({*range(min(total, _HEAD_ROWS)), *hot[:_MOST_ROWS].tolist()})
    owner = np.full(len(packet), -1)
    for number, field in enumerate(packet.fields):
        owner[field.offset : field.offset + field.size] = number
    lines, at = [], 0
    for row in wanted:
        lines.append(_gap(row * WIDTH - at))
        lines.append(_hex_row(packet, marked, owner, row * WIDTH))
        at = (row + 1) * WIDTH
    lines.append(_gap(len(packet) - at))
    head = f"<h5>{escape(title)} <span>{len(packet):,} bytes</span></h5>" if title else ""
    return f'<div class="pk-hex">{head}<pre>{"".join(lines) or "no bytes"}</pre></div>'


def _gap(size: int) -> str:
    return f'<span class="pk-soft">      … {size:,} bytes more\n</span>' if size > 0 else ""


def _hex_row(packet: Packet, marked: np.ndarray, owner: np.ndarray, start: int) -> str:
    """The bytes of a row; those of a field that share their state are one element, whose title is the field."""
    stop = min(start + WIDTH, len(packet))
    parts, at = [], start
    while at < stop:
        end = at + 1
        while end < stop and owner[end] == owner[at] and marked[end] == marked[at]:
            end += 1
        field = packet.fields[owner[at]]
        title = escape(f"{field.offset}: {field.title} = {field.said}", quote=True)
        parts.append(f'<i title="{title}"{" class=pk-lit" if marked[at] else ""}>{packet.data[at:end].hex(" ")}</i>')
        at = end
    text = "".join(chr(b) if 32 <= b < 127 else "·" for b in packet.data[start:stop])
    pad = "   " * (start + WIDTH - stop)
    return f'<span class="pk-soft">{start:04x}  </span>{" ".join(parts)}{pad}  <span class="pk-soft">{escape(text)}</span>\n'
