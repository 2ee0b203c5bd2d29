"""What traffic control has on an interface, as a tree: qdiscs, classes, filters, BPF programs. `Host.tc` is the way in.

Everything is read from the machine at the moment it is asked: `tc qdisc`, `tc class` and `tc filter show` on the host (tc-htb(8) and
tc-bpf(8) have the terms), tcx programs by BPF_PROG_QUERY, which tc 6.1 does not know.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd

from . import attached

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .host import Device, Host

# a line of `tc qdisc show` or `tc class show`, and the count below it
_ENTRY = re.compile(
    r"^(qdisc|class) (\S+) (\S+) (?:dev \S+ )?(?:root|parent (\S+))?(.*)\n(?:\s+Sent \d+ bytes (\d+) pkt)?", re.M
)
# what says nothing to a reader, by the kind it stands with
_QUIET = {
    "": r"refcnt \d+|leaf \S+",
    "ingress": r"-+",
    "htb": r"(?:r2q|direct_packets_stat|direct_qlen|burst|cburst|prio|default) \S+",
    "pfifo_fast": r"bands .*",
}
_DIRECTIONS = {
    "ingress": "ffff:fff2",
    "egress": "ffff:fff3",
}  # TC_H_MIN_INGRESS and _EGRESS, include/uapi/linux/pkt_sched.h
_BRANCHES = ("├─ ", "└─ ", "│  ", "   ")


@dataclass(frozen=True)
class Node:
    """A thing in the tree.

    Attributes
    ----------
    kind : {"interface", "tcx", "qdisc", "direction", "class", "filter", "program"}
    name : str
        Of an interface or program; the kind of qdisc, class or filter ("htb", "clsact", "u32", "bpf"); "ingress", "egress".
    handle : str
        "1:" of a qdisc, "1:10" of a class, "0x1" of a filter.
    words : tuple of str
        What else is to be said of it, a line each.
    to : str
        The class that a filter puts packets into: "1:10".
    packets : int or None
        That went through a qdisc or class; None where the kernel does not count.
    id : int
        Of a BPF program, else 0.
    children : list of Node
        In the order in which packets meet them, where there is one.
    """

    kind: str
    name: str
    handle: str = ""
    words: tuple[str, ...] = ()
    to: str = ""
    packets: int | None = None
    id: int = 0
    children: list[Node] = field(default_factory=list)

    @property
    def title(self) -> str:
        what = "" if self.kind in ("interface", "direction") else self.kind
        return " ".join(part for part in (what, self.name, self.handle if self.kind != "filter" else "") if part)

    @property
    def lines(self) -> list[str]:
        """All that is said of it, the title first."""
        lines = [self.title, *self.words]
        if self.id:
            lines.append(f"id {self.id}")
        if self.to:
            lines.append(f"to class {self.to}")
        if self.packets:
            lines.append(f"{self.packets:,} packet{'s' * (self.packets != 1)}")
        return lines


class Row(NamedTuple):
    depth: int
    parent: str
    node: Node


class TcTree:
    """Traffic control on one interface as it was when `Host.tc` was called. In a notebook it is a picture; `print` writes it out.

    Attributes
    ----------
    host : str
    root : Node
        The interface.
    """

    def __init__(self, host: str, root: Node):
        self.host, self.root = host, root

    def __iter__(self) -> Iterator[Node]:
        """Every node, each before what hangs from it."""
        return (row.node for row in self._rows())

    def _rows(self) -> Iterator[Row]:
        stack = [Row(0, "", self.root)]
        while stack:
            row = stack.pop()
            yield row
            stack += [Row(row.depth + 1, row.node.title, child) for child in reversed(row.node.children)]

    def to_frame(self) -> pd.DataFrame:
        """A row for each node.

        Returns
        -------
        DataFrame
            `depth` (0 is the interface), `kind`, `name`, `handle`, `parent` (title of the node it hangs from), `to`, `packets` (Int64, NA
            where the kernel does not count), `id`.
        """
        rows = [
            (r.depth, r.node.kind, r.node.name, r.node.handle, r.parent, r.node.to, r.node.packets, r.node.id)
            for r in self._rows()
        ]
        frame = pd.DataFrame(rows, columns=["depth", "kind", "name", "handle", "parent", "to", "packets", "id"])
        return frame.astype({"packets": "Int64"})

    def __str__(self) -> str:
        return "\n".join(_written(self.root, "", ""))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from . import tcpicture

        return tcpicture.page(self)


def _written(node: Node, first: str, rest: str) -> Iterator[str]:
    yield first + ", ".join(node.lines)
    for child in node.children:
        last = child is node.children[-1]
        yield from _written(child, rest + _BRANCHES[last], rest + _BRANCHES[2 + last])


def read(host: Host, device: Device) -> TcTree:
    """Ask the machine.

    Raises
    ------
    CommandError
        There is no tc on the machine, or the interface is gone.
    """
    dev = shlex.quote(device.name)
    entries = _ENTRY.findall(host.sh(f"tc -s qdisc show dev {dev}; tc -s class show dev {dev}").stdout)
    qdiscs = {}  # by handle and parent: those that the kernel made itself are all called 0:
    for what, kind, handle, parent, words, packets in entries:
        if what == "qdisc":
            qdiscs[handle, parent] = Node(
                "qdisc", kind, handle, _words(kind, handle, words), packets=_count(kind, packets)
            )
    nodes = {handle: node for (handle, _), node in qdiscs.items() if handle != "0:"}
    root = Node("interface", device.name, words=(f"of {host.name}",))
    root.children.extend(_tcx(host, device))
    filters = _filters(
        host, dev, [handle for handle, node in nodes.items() if node.name not in ("clsact", "ingress")], qdiscs
    )
    for handle, node in nodes.items():
        node.children.extend(filters.get(handle, ()))
    for what, kind, handle, _, words, packets in entries:
        if what == "class":
            nodes[handle] = Node("class", kind, handle, _words(kind, handle, words), packets=_count(kind, packets))
    for what, _, handle, parent, _, _ in entries:
        if what == "class":
            above = nodes.get(parent) or nodes.get(handle.partition(":")[0] + ":") or qdiscs.get(("0:", ""))
            (above or root).children.append(nodes[handle])
    for (_, parent), node in qdiscs.items():
        (nodes.get(parent) or root).children.append(node)
        if node.name in ("clsact", "ingress"):
            node.children.extend(
                Node("direction", where, children=filters[where]) for where in _DIRECTIONS if filters.get(where)
            )
    root.children.sort(
        key=lambda node: (node.kind != "tcx", node.kind == "qdisc" and node.name in ("clsact", "ingress"))
    )
    return TcTree(host.name, root)


def _tcx(host: Host, device: Device) -> list[Node]:
    """The tcx programs, by direction, in the order in which they run."""
    about = attached.look(host.net)["hosts"][host.name]  # None when the namespace has just gone
    interfaces = about["interfaces"] if about else ()
    places: dict[str, Node] = {}
    for thing in next((one["attached"] for one in interfaces if one["name"] == device.name), ()):
        kind, _, direction = thing["place"].partition(" ")
        if kind == "tcx":
            place = places.setdefault(direction, Node("tcx", direction))
            place.children.append(Node("program", thing["name"], id=thing["id"]))
    return list(places.values())


def _count(kind: str, packets: str) -> int | None:
    # a clsact holds no packets, and a noqueue does not look at them
    return int(packets) if packets and kind not in ("clsact", "ingress", "noqueue") else None


def _words(kind: str, handle: str, words: str) -> tuple[str, ...]:
    default = re.search(r"default 0x([1-9a-f][0-9a-f]*)", words) if kind == "htb" else None
    for quiet in (_QUIET[""], _QUIET.get(kind, "")):
        words = re.sub(rf"(?<!\S)(?:{quiet})(?!\S)", "", words) if quiet else words
    said = " ".join(words.split())
    return tuple(filter(None, (said, f"else to class {handle}{default[1]}" if default else "")))


def _filters(host: Host, dev: str, handles: list[str], qdiscs: dict) -> dict[str, list[Node]]:
    """The filters by what they hang from: a qdisc's handle, "ingress", "egress"."""
    places = {handle: f"parent {handle}" for handle in handles}
    for (_, _), node in qdiscs.items():
        places |= {
            "clsact": {where: f"parent {handle}" for where, handle in _DIRECTIONS.items()},
            "ingress": {"ingress": "parent ffff:"},
        }.get(node.name, {})
    if not places:
        return {}
    script = "; ".join(f"tc -j filter show dev {dev} {place}" for place in places.values())
    answers = host.sh(script).stdout.splitlines()
    return {
        place: [_filter(one) for one in json.loads(text, object_pairs_hook=_pairs) if _counts(one)]
        for place, text in zip(places, answers, strict=True)
    }


def _pairs(pairs: list[tuple]) -> dict:
    """A JSON object; tc writes u32's "match" once for each."""
    matches = [value for key, value in pairs if key == "match"]
    return {**dict(pairs), **({"match": matches} if matches else {})}


def _counts(entry: dict) -> bool:
    """tc also lists the head of each priority and u32's hash tables."""
    return "options" in entry and "ht_divisor" not in entry["options"]


def _filter(entry: dict) -> Node:
    options = entry["options"]
    words = [f"pref {entry['pref']}, {'all protocols' if entry['protocol'] == 'all' else entry['protocol']}"]
    words += [f"{one['value']:0>{len(one['mask'])}}/{one['mask']} at {one['off']}" for one in options.get("match", ())]
    program = options.get("prog")
    children = []
    if options.get("direct-action"):
        words.append("direct action")
    if program:
        children = [Node("program", program.get("name", "without a name"), id=program["id"])]
    elif "bytecode" in options:
        words.append(f"classic, {options['bytecode']['length']} instructions")
    handle = str(options.get("handle", options.get("fh", "")))
    return Node(
        "filter", entry["kind"], handle, tuple(words), to=options.get("flowid", "").lstrip("*"), children=children
    )
