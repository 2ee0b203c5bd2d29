"""Traffic control on an interface as a picture: boxes from left to right, a dashed arrow from a filter to the class it chooses."""

from __future__ import annotations

from html import escape
from typing import NamedTuple

from . import picture
from .tctree import Node, TcTree

MOST = 60  # boxes; a picture of more says nothing
CHAR, LINE, PAD, GAP_X, GAP_Y = 7.25, 17, 9, 34, 12  # of the 12 px code font
WIDEST = 34  # characters of a line


class Box(NamedTuple):
    node: Node
    x: float
    y: float
    width: float
    height: float

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def page(tree: TcTree) -> str:
    """The picture, or where the tree is too large, the tree written out."""
    count = sum(1 for _ in tree)
    if count > MOST:
        return f"<p>{count} boxes; a picture shows {MOST} at most.</p><pre>{escape(str(tree))}</pre>"
    return f'{picture.style()}<div class="bpflab-net">{svg(tree)}</div>'


def _sizes(node: Node) -> tuple[float, float]:
    longest = max(min(WIDEST, len(line)) for line in node.lines)
    return 2 * PAD + CHAR * longest, 2 * PAD + LINE * len(node.lines) - 4


def _span_below(node: Node) -> float:
    return sum(map(_span, node.children)) + GAP_Y * max(0, len(node.children) - 1)


def _span(node: Node) -> float:
    """The height that a node and all that hangs from it need."""
    return max(_sizes(node)[1], _span_below(node))


def layout(tree: TcTree) -> list[Box]:
    """A column for each depth; a box stands at the middle of those that hang from it. No two overlap."""
    columns: dict[int, float] = {}
    for depth, _, node in tree._rows():
        columns[depth] = max(columns.get(depth, 0), _sizes(node)[0])
    lefts = [sum(list(columns.values())[:depth]) + GAP_X * depth for depth in columns]
    boxes: list[Box] = []

    def place(node: Node, depth: int, top: float) -> None:
        height = _sizes(node)[1]
        boxes.append(Box(node, lefts[depth], top + (_span(node) - height) / 2, columns[depth], height))
        top += (_span(node) - _span_below(node)) / 2
        for child in node.children:
            place(child, depth + 1, top)
            top += _span(child) + GAP_Y

    place(tree.root, 0, 0.0)
    return boxes


def svg(tree: TcTree) -> str:
    boxes = layout(tree)
    of = {id(box.node): box for box in boxes}
    width, height = max(box.x + box.width for box in boxes), max(box.y + box.height for box in boxes)
    label = escape(f"traffic control on {tree.root.name} of {tree.host}: {', '.join(node.title for node in tree)}")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-4 -4 {width + 28:.0f} {height + 8:.0f}" width="{width + 28:.0f}" '
        f'height="{height + 8:.0f}" role="img" aria-label="{label}">'
    ]
    for box in boxes:
        parts += [_edge(box, of[id(child)]) for child in box.node.children]
    for box in boxes:
        chosen = next(
            (other for other in boxes if other.node.kind == "class" and other.node.handle == box.node.to), None
        )
        if box.node.to and chosen:
            parts.append(_arrow(box, chosen))
    parts += [_box(box) for box in boxes]
    return "".join([*parts, "</svg>"])


def _edge(a: Box, b: Box) -> str:
    x, half = a.x + a.width, GAP_X / 2
    return f'<path class="bn-wire" d="M{x:.1f} {a.middle:.1f}H{x + half:.1f}V{b.middle:.1f}H{b.x:.1f}"/>'


def _arrow(a: Box, b: Box) -> str:
    """From a filter to its class: into the class's left side, or where that is not further right, around into its right side."""
    x1, y1, y2 = a.x + a.width, a.middle, b.y + 12  # beside the edge that ends there
    if b.x > a.x:
        x2, tip, bend1, bend2 = b.x - 1, -6, x1 + GAP_X, b.x - GAP_X
    else:
        x2, tip = b.x + b.width + 1, 6
        bend1 = bend2 = max(x1, x2) + 22
    title = escape(f"{a.node.title} chooses {b.node.title}")
    head = f"M{x2 + tip:.1f} {y2 - 4:.1f}L{x2:.1f} {y2:.1f}L{x2 + tip:.1f} {y2 + 4:.1f}"
    curve = f"M{x1:.1f} {y1:.1f}C{bend1:.1f} {y1:.1f} {bend2:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
    return f'<path class="bn-wire bn-choice" d="{curve}"><title>{title}</title></path><path class="bn-wire bn-tip" d="{head}"/>'


def _box(box: Box) -> str:
    kind = "program" if box.node.id else box.node.kind
    parts = [
        f'<g class="bn-tc bn-{kind}" data-tc="{escape(box.node.title)}"><rect x="{box.x:.1f}" y="{box.y:.1f}" '
        f'width="{box.width:.1f}" height="{box.height:.1f}" rx="6"/>'
    ]
    for number, line in enumerate(box.node.lines):
        cut = line if len(line) <= WIDEST else line[: WIDEST - 1] + "…"
        title = f"<title>{escape(line)}</title>" if cut != line else ""
        y = box.y + PAD + 11 + number * LINE
        parts.append(
            f'<text class="{"bn-title" if number == 0 else "bn-ip"}" x="{box.x + PAD:.1f}" y="{y:.1f}">{escape(cut)}{title}</text>'
        )
    return "".join([*parts, "</g>"])
