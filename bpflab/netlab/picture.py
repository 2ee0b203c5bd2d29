"""A network as a picture: hosts with their addresses, and what is attached where."""

from __future__ import annotations

import functools
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import LabError
from . import attached

if TYPE_CHECKING:
    from . import Netlab

MOST = 40  # hosts; a picture of more says nothing
CHAR, LINE, PAD, INDENT, GAP_X, GAP_Y = 7.25, 17, 10, 8, 70, 22  # of the 12 px code font
WIDEST = 44  # characters of a line


class Line(NamedTuple):
    kind: str  # "title", "dev", "ip", "at", "sock"
    text: str


class Box(NamedTuple):
    name: str
    kind: str
    lines: list[Line]
    x: float
    y: float
    width: float
    height: float


@functools.cache
def style() -> str:
    return f"<style>{(Path(__file__).parent / 'static' / 'network.css').read_text()}</style>"


def page(net: Netlab) -> str:
    """The picture, or where there are too many hosts or the network is closed, the table of its addresses."""
    if net.closed or not net._lab.alive:
        return f"{table(net)}<p>This network is closed.</p>"
    if len(net._nodes) > MOST:
        return f"<p>{len(net._nodes)} hosts and switches; a picture shows {MOST} at most.</p>{table(net)}"
    try:
        found = attached.look(net)
    except LabError as error:
        return f"{table(net)}<p>{escape(str(error))}</p>"
    return f'{style()}<div class="bpflab-net">{svg(net, found)}{groups(found)}</div>'


def table(net: Netlab) -> str:
    head, *rows = net._rows()
    cells = lambda row, tag: "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)  # noqa: E731
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def groups(found: dict) -> str:
    parts = [
        f"<li>cgroup <b>{escape('of the lab' if group == '.' else group)}</b>: {', '.join(escape(_words(thing)) for thing in things)}</li>"
        for group, things in found["cgroups"]
    ]
    return f"<ul>{''.join(parts)}</ul>" if parts else ""


def _words(thing: dict) -> str:
    place = f"{thing['place']} {thing['mode']}".strip()
    return f"{place}: {thing['name'] or 'a program without a name'}"


def lines_of(net: Netlab, name: str, host: dict | None) -> list[Line]:
    """What stands in a host's box."""
    node = net[name]
    lines = [Line("title", name if node.kind in ("host", name) else f"{name} ({node.kind})")]
    if host is None:
        return [*lines, Line("sock", "its namespace is gone")]
    for one in host["interfaces"]:
        if one["name"] == "lo" and not one["attached"]:
            continue
        if node.kind == "switch" and not one["attached"] and one["up"]:
            continue
        state = "" if one["carrier"] and one["up"] else " (down)" if not one["up"] else " (no carrier)"
        mtu = f" mtu {one['mtu']:,}" if one["mtu"] != 1500 and one["name"] != "lo" else ""
        lines.append(Line("dev", f"{one['name']}{mtu}{state}"))
        if one["name"] != "lo":
            lines += [Line("ip", address) for address in one["addresses"]]
        lines += [Line("at", _words(thing)) for thing in one["attached"]]
    lines += [Line("at", _words(thing)) for thing in host["attached"]]
    many: dict[str, int] = {}
    for _, words in host["sockets"]:
        many[words] = many.get(words, 0) + 1
    return lines + [Line("sock", f"{count} × {words}" if count > 1 else words) for words, count in many.items()]


def _width(line: Line) -> float:
    return CHAR * min(WIDEST, len(line.text)) + (2 * INDENT if line.kind in ("ip", "at") else 0)


def layout(net: Netlab, found: dict) -> dict[str, Box]:
    """Columns by the distance from the first host, left to right."""
    beside: dict[str, list[str]] = {name: [] for name in net._nodes}
    for wire in net._drawing.wires:
        beside[wire.left].append(wire.right)
        beside[wire.right].append(wire.left)
    first = next(iter(net._nodes))
    column, queue = {first: 0}, [first]
    for name in queue:
        for other in beside[name]:
            if other not in column:
                column[other] = column[name] + 1
                queue.append(other)
    columns: list[list[str]] = [[] for _ in range(max(column.values()) + 1)]
    for name in queue:
        columns[column[name]].append(name)
    lines = {name: lines_of(net, name, found["hosts"][name]) for name in net._nodes}
    sizes = {name: (2 * PAD + max(map(_width, own)), 2 * PAD + LINE * len(own) - 4) for name, own in lines.items()}
    heights = [sum(sizes[name][1] for name in names) + GAP_Y * (len(names) - 1) for names in columns]
    boxes, x = {}, 0.0
    for names, height in zip(columns, heights, strict=True):
        width, y = max(sizes[name][0] for name in names), (max(heights) - height) / 2
        for name in names:
            boxes[name] = Box(name, net[name].kind, lines[name], x, y, width, sizes[name][1])
            y += sizes[name][1] + GAP_Y
        x += width + GAP_X
    return boxes


def svg(net: Netlab, found: dict) -> str:
    boxes = layout(net, found)
    width, height = max(b.x + b.width for b in boxes.values()), max(b.y + b.height for b in boxes.values())
    things = sum(len(one["attached"]) for host in found["hosts"].values() if host for one in host["interfaces"])
    label = f"network of {', '.join(boxes)}; {things} things attached"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width + 8:.0f} {height + 8:.0f}" width="{width + 8:.0f}" '
        f'height="{height + 8:.0f}" role="img" aria-label="{escape(label)}">'
    ]
    for wire in net._drawing.wires:
        parts.append(_wire(boxes, wire.left, wire.right, found))
    for box in boxes.values():
        parts.append(f'<g class="bn-{box.kind}" data-host="{escape(box.name)}"><rect x="{box.x:.1f}" y="{box.y:.1f}" width="{box.width:.1f}" height="{box.height:.1f}" rx="6"/>')
        for number, line in enumerate(box.lines):
            y = box.y + PAD + 11 + number * LINE
            indent = PAD + (INDENT if line.kind in ("ip", "at") else 0)
            if line.kind == "at":
                parts.append(f'<rect class="bn-mark" x="{box.x + PAD:.1f}" y="{y - 12:.1f}" width="{box.width - 2 * PAD:.1f}" height="{LINE - 1}" rx="3"/>')
            cut = line.text if len(line.text) <= WIDEST else line.text[: WIDEST - 1] + "…"
            title = f"<title>{escape(line.text)}</title>" if cut != line.text else ""
            parts.append(f'<text class="bn-{line.kind}" x="{box.x + indent:.1f}" y="{y:.1f}">{escape(cut)}{title}</text>')
        parts.append("</g>")
    return "".join([*parts, "</svg>"])


def _port(box: Box, other: str) -> float:
    """Where a wire meets a box: at its interface's line, or in the middle where that is not written."""
    for number, line in enumerate(box.lines):
        if line.kind == "dev" and line.text.split(" ")[0] == f"veth-{other}":
            return box.y + PAD + 7 + number * LINE
    return box.y + box.height / 2


def _wire(boxes: dict[str, Box], left: str, right: str, found: dict) -> str:
    a, b = boxes[left], boxes[right]
    if a.x > b.x:
        a, b = b, a
    y1, y2 = _port(a, b.name), _port(b, a.name)
    state = _state(found, a.name, b.name)
    kind = {"cut": "bn-cut", "whole": "bn-whole"}.get(state, "bn-hurt")
    x1 = a.x + a.width
    if a.x == b.x:  # of one column: around on the right
        x2 = b.x + b.width
        path = f"M{x1:.1f} {y1:.1f}C{x1 + 45:.1f} {y1:.1f} {x2 + 45:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    else:
        middle = (x1 + b.x) / 2
        path = f"M{x1:.1f} {y1:.1f}C{middle:.1f} {y1:.1f} {middle:.1f} {y2:.1f} {b.x:.1f} {y2:.1f}"
    return f'<path class="bn-wire {kind}" d="{path}"><title>{escape(f"{left} to {right}: {state}")}</title></path>'


def _state(found: dict, *ends: str) -> str:
    """How a wire is, by its two interfaces."""
    said = "whole"
    for host, other in (ends, ends[::-1]):
        about = found["hosts"][host]
        one = next((one for one in about["interfaces"] if one["name"] == f"veth-{other}"), None) if about else None
        if one is None or not one["up"] or not one["carrier"]:
            return "cut"
        for thing in one["attached"]:
            if thing["place"] == "qdisc" and thing["name"] == "netem" or (thing["place"], thing["name"]) == ("tcx egress", "lose"):
                said = "slow or lossy"
    return said
