"""`bl.flamegraph`: stacks as boxes that are as wide as their time, to zoom into and search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import anywidget
import numpy as np
import pandas as pd
import traitlets

from ..profiling import Stacks, export
from ..profiling.tree import Tree, aligned, of_folded, of_frame
from .stored import pictures

_STATIC = Path(__file__).parent / "static"
_PICTURE = 1.0  # pixels: what is narrower is left out of the picture in a saved notebook


class FlameGraph(anywidget.AnyWidget):
    """A flame graph. Made by `bpflab.flamegraph`.

    A box is a function; below it (above, as an icicle) is who called it, its width is its share. Click or Enter zooms
    in, Escape out; arrow keys walk; the search takes a regular expression and says what share of all it matches.

    Attributes
    ----------
    tree : bpflab.profiling.tree.Tree
    change : ndarray of float or None
        For two profiles: of each node, how much its share grew (up to 1) or shrank (down to -1).
    svg : str
        The picture; `to_svg(path)` writes it.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "flamegraph-tree.js", "flamegraph.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "flamegraph.css"))
    _about = traitlets.Dict().tag(sync=True)
    _nodes = traitlets.Bytes().tag(sync=True)

    def __init__(self, tree: Tree, title: str, unit: str, notes: list[str], before: Tree | None = None):
        self.tree, self._title, self._unit, self._notes = tree, title, unit, notes
        self.change = None if before is None else _change(tree, before)
        columns = [tree.parent.astype("<i4"), tree.name.astype("<i4"), tree.own.astype("<f8")]
        if before is not None:
            columns += [before.own.astype("<f8"), self.change.astype("<f4")]
        super().__init__(
            _about={
                **{"title": title, "unit": unit, "notes": notes, "nodes": len(tree.name), "difference": before is not None},
                # as text: ipywidgets would look into each element of a list
                **{"names": json.dumps(tree.names), "kinds": json.dumps(tree.kinds.tolist()), "files": json.dumps(tree.files)},
            },
            _nodes=b"".join(column.tobytes() for column in columns),
        )
        self.on_msg(self._asked)

    def _asked(self, _widget, content, _buffers) -> None:
        """The buttons of the page: files are made here, so that they are the same as those of `to_svg` and `to_speedscope`."""
        name = "flamegraph"
        if content == "svg":
            self.send({"name": f"{name}.svg", "type": "image/svg+xml", "text": self.svg})
        elif content == "speedscope":
            self.send({"name": f"{name}.speedscope.json", "type": "application/json", "text": json.dumps(self.to_speedscope())})

    @property
    def svg(self) -> str:
        return export.svg(self.tree, self._title, self._unit, self.change)

    def to_svg(self, path: str | Path) -> None:
        """Write the picture to a file; it needs no script."""
        Path(path).write_text(self.svg)

    def to_speedscope(self, path: str | Path | None = None) -> dict:
        """The stacks in the format of speedscope; written to `path` if given."""
        made = export.speedscope(self.tree, self._title, self._unit)
        if path is not None:
            Path(path).write_text(json.dumps(made, separators=(",", ":")))
        return made

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if bundle is not None:  # for readers of the saved notebook that run no widgets
            bundle[0].update(pictures(export.svg(self.tree, self._title, self._unit, self.change, _PICTURE)))
        return bundle

    def __repr__(self) -> str:
        changed = " and how they changed" if self.change is not None else ""
        return "\n  ".join([f"flame graph of {self._title}: {len(self.tree.name):,} boxes, {self.tree.whole:,} {self._unit}{changed}", *self._notes])


def flamegraph(stacks: Stacks | pd.DataFrame | Mapping[str, int], before: Stacks | pd.DataFrame | Mapping[str, int] | None = None) -> FlameGraph:
    """Draw stacks as a flame graph.

    Parameters
    ----------
    stacks : Stacks or pandas.DataFrame or mapping
        What `lab.profile` or `lab.offcpu` gave; or those rows of its `to_frame()` that you want to see; or folded stacks
        by their text, "outermost;...;innermost", and a number each, as `bpflab.stacks.folded` gives them.
    before : the same, optional
        An earlier profile to compare with: red boxes have a larger share of all than before, blue ones a smaller one.
        Shares, so that profiles of different lengths compare.

    Returns
    -------
    FlameGraph
        A widget; `.svg` as a picture, `.to_speedscope()` for other tools.

    Raises
    ------
    ValueError
        There is no stack to draw, or the two count different things.
    """
    tree, title, unit, notes = _given(stacks, "stacks")
    if before is None:
        return FlameGraph(tree, title, unit, notes)
    old, _, old_unit, old_notes = _given(before, "before")
    if unit != old_unit:
        raise ValueError(f"stacks counts {unit} and before {old_unit}; compare two profiles of the same kind")
    both, past = aligned(tree, old)
    return FlameGraph(both, f"{title}, against before", unit, [*notes, *(f"before: {note}" for note in old_notes)], past)


def _given(stacks, what: str) -> tuple[Tree, str, str, list[str]]:
    if isinstance(stacks, Stacks):
        found = stacks.tree, stacks.title, stacks.unit, stacks.notes()
    elif isinstance(stacks, Mapping):
        found = of_folded(stacks), f"{len(stacks):,} stacks", "counts", []
    elif isinstance(stacks, pd.DataFrame) and {"process", "user", "kernel"} <= set(stacks) and {"samples", "us"} & set(stacks):
        unit = "samples" if "samples" in stacks else "us"
        found = of_frame(stacks, unit), f"{len(stacks):,} stacks", unit, []
    else:
        raise TypeError(f"{what} is a {type(stacks).__name__}; give what lab.profile() returned, rows of its to_frame(), or a dict of folded stacks")
    if not found[0].whole:
        raise ValueError(f"{what} has no stack to draw: {found[1]} saw nothing; profile while the program runs")
    return found


def _change(tree: Tree, before: Tree) -> np.ndarray:
    """Of each node the change of its share, the largest change of all being 1."""
    change = tree.total / max(tree.whole, 1) - before.total / max(before.whole, 1)
    return change / max(float(np.abs(change).max()), 1e-12)
