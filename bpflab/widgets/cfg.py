"""The control-flow graph of a program: `Program.cfg` and its widget."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import traitlets

from ..errors import LabError, UnknownNameError
from ..insn import blocks, image
from .cfg_layout import arrange

if TYPE_CHECKING:
    from ..program import Program

_STATIC = Path(__file__).parent / "static"
CHAR, LINE, PAD = 7.3, 16, 8  # of the 12 px code font
WIDEST = 62  # characters of a line in a block; the rest is in the tooltip
TALLEST = 24  # lines of a block
MOST = 400  # blocks; a drawing of more says nothing
_STYLE = (
    ".bc-block rect{fill:#f3f3f3;stroke:#bdbdbd}text{font:12px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1f1f1f}"
    ".bc-src{font-style:italic}.bc-insn,.bc-title{fill:#555}.bc-edge path{fill:none;stroke:#5c5c5c;stroke-width:1.3}"
    ".bc-taken path{stroke:#2e7d32}.bc-else path{stroke:#c62828}"
)


class ControlFlow(anywidget.AnyWidget):
    """A control-flow graph. Made by `Program.cfg`.

    Attributes
    ----------
    blocks : list of bpflab.insn.blocks.Block
    image : bpflab.insn.image.Image
        The instructions, with source lines.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "cfg.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "cfg.css"))
    _graph = traitlets.Dict().tag(sync=True)

    def __init__(self, name: str, made: image.Image, found: list[blocks.Block]):
        self.image, self.blocks, self._name = made, found, name
        self._texts = made.texts()
        numbers = {block.start: n for n, block in enumerate(found)}
        self._edges = [(n, numbers[to], kind) for n, block in enumerate(found) for to, kind in block.next]
        drawings = {}
        for mode in ("source", "instructions"):
            lines = [self._lines(block, mode == "source") for block in found]
            drawings[mode] = self._drawing(lines)
        has_source = any(made.lines)
        super().__init__(
            _graph={
                **{"title": name, "drawings": drawings, "mode": "source" if has_source else "instructions", "source": has_source},
                "blocks": [self._about(n, block) for n, block in enumerate(found)],
                "edges": [list(edge) for edge in self._edges],
            }
        )

    def _title(self, block: blocks.Block) -> str:
        name = dict(self.image.functions).get(block.start)
        return f"{name}:" if name else f"{block.start}:"

    def _lines(self, block: blocks.Block, source: bool) -> list[tuple[str, str]]:
        """What stands in a block: (kind, text)."""
        found: list[tuple[str, str]] = [("title", self._title(block))]
        before = None
        for pc in range(block.start, block.end):
            line = self.image.lines[pc]
            if line and line.text and (line.file, line.line) != before:
                before = (line.file, line.line)
                found.append(("src", f"{line.line:>3} {line.text}"))
            if self._texts[pc] and (not source or not line or pc == block.end - 1 and before is None):
                found.append(("insn", f"{pc:>4}: {self._texts[pc]}"))
        if len(found) > TALLEST:
            found = [*found[: TALLEST - 1], ("insn", f"... {len(found) - TALLEST + 1} more lines")]
        return found

    def _about(self, n: int, block: blocks.Block) -> dict:
        ways = ", ".join(f"{to} ({kind})" for to, kind in block.next) or "it ends here"
        places = {(line.file, line.line) for line in self.image.lines[block.start : block.end] if line}
        return {
            **{"start": block.start, "end": block.end, "label": f"block {self._title(block)} instructions {block.start} to {block.end - 1}; goes on at: {ways}"},
            "lines": sorted(f"{file}:{line}" for file, line in places),
            "rows": [[pc, self._texts[pc], _said(self.image.lines[pc])] for pc in range(block.start, block.end) if self._texts[pc]],
        }

    def _drawing(self, lines: list[list[tuple[str, str]]]) -> dict:
        sizes = [
            (2 * PAD + CHAR * max(min(WIDEST, len(text)) for _, text in block), 2 * PAD + LINE * len(block) - 3) for block in lines
        ]
        layout = arrange(sizes, [(a, b) for a, b, _ in self._edges])
        boxes = [[round(x, 1), round(y, 1), round(w, 1), h] for (x, y), (w, h) in zip(layout.places, sizes)]
        return {"lines": [[[kind, text] for kind, text in block] for block in lines], "boxes": boxes, "routes": layout.routes, "width": round(layout.width), "height": round(layout.height)}

    @property
    def svg(self) -> str:
        """The drawing as a picture that needs no script; it brings its own light ground, for pages of any colour."""
        drawing = self._graph["drawings"][self._graph["mode"]]
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-8 -8 {drawing["width"] + 16} {drawing["height"] + 16}" '
            f'width="{drawing["width"] + 16}" role="img" aria-label="control-flow graph of {html.escape(self._name)}"><style>{_STYLE}</style>',
            f'<rect x="-8" y="-8" width="{drawing["width"] + 16}" height="{drawing["height"] + 16}" fill="#fff"/>',
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" markerUnits="userSpaceOnUse" orient="auto">'
            '<path d="M0 0L8 4L0 8z" fill="#5c5c5c"/></marker></defs>',
        ]
        for (_, _, kind), route in zip(self._edges, drawing["routes"]):
            parts.append(f'<g class="bc-edge bc-{kind}"><path d="{route}" marker-end="url(#tip)"/></g>')
        for lines, (x, y, w, h) in zip(drawing["lines"], drawing["boxes"]):
            parts.append(f'<g class="bc-block"><rect x="{x}" y="{y}" width="{w}" height="{h}" rx="4"/>')
            for k, (kind, text) in enumerate(lines):
                parts.append(f'<text class="bc-{kind}" x="{x + PAD}" y="{y + PAD + 11 + k * LINE}" xml:space="preserve">{html.escape(_cut(text))}</text>')
            parts.append("</g>")
        return "".join([*parts, "</svg>"])

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if bundle is not None:
            bundle[0]["image/svg+xml"] = self.svg  # for readers of the saved notebook that run no widgets
        return bundle

    def __repr__(self) -> str:
        said = [f"control-flow graph of {self._name}: {len(self.blocks)} blocks, {len(self._edges)} edges"]
        for block in self.blocks:
            ways = ", ".join(f"{kind} -> {to}" if kind != "next" else f"-> {to}" for to, kind in block.next) or "end"
            said.append(f"{self._title(block)} instructions {block.start} to {block.end - 1}; {ways}")
            said += [f"    {text}" for kind, text in self._lines(block, bool(any(self.image.lines))) if kind != "title"]
        return "\n".join(said)


def control_flow(program: Program, function: str | None = None) -> ControlFlow:
    """See `Program.cfg`."""
    made = image.xlated(program)
    found = blocks.of_ebpf(made.insns)
    names = {name: start for start, name in made.functions}
    if function is not None:
        if function not in names:
            raise UnknownNameError("function", function, names, f"program '{program.name}'")
        found = [block for block in found if block.function == names[function]]
    if len(found) > MOST:
        many = f"; give one of its functions: {', '.join(names)}" if len(names) > 1 else "; read it with disassemble()"
        raise LabError(f"the graph of program '{program.name}' has {len(found)} blocks, and {MOST} can be drawn{many}")
    return ControlFlow(function or program.name, made, found)


def _said(line: image.Line | None) -> str:
    return f"{line.file}:{line.line}: {line.text}" if line else ""


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"
