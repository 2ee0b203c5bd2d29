"""The pipeline view: `pipeline` and its widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import traitlets

from ..errors import UnknownNameError
from ..insn.stages import Row, Ways, collect

_STATIC = Path(__file__).parent / "static"


class Pipeline(anywidget.AnyWidget):
    """A program at each stage from C to the hook. Made by `pipeline`.

    Attributes
    ----------
    ways : bpflab.insn.stages.Ways
        Source, and by program: bytecode, verifier, xlated, JIT, hook, maps; each row with its source lines.
    line : int
        The source line that is lit; 0 for none. Set it to light another.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "pipeline.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "pipeline.css"))
    _ways = traitlets.Dict().tag(sync=True)
    line = traitlets.Int(0).tag(sync=True)

    def __init__(self, ways: Ways):
        self.ways = ways
        programs = [
            {"name": name, "stages": [{"title": stage.title, "note": stage.note, "rows": _packed(stage.rows)} for stage in stages]}
            for name, stages in ways.programs.items()
        ]
        super().__init__(_ways={"name": ways.name, "refused": ways.refused, "source": _packed(ways.source), "programs": programs})

    def of_line(self, line: int, program: str | None = None) -> dict[str, list[str]]:
        """What a source line became.

        Parameters
        ----------
        line : int
        program : str, optional
            The first one, when it is not named.

        Returns
        -------
        dict
            Texts by stage ("bytecode", "verifier", "xlated", "JIT", "hook", "maps").

        Raises
        ------
        UnknownNameError
            No program has that name.
        """
        name = program or next(iter(self.ways.programs))
        if name not in self.ways.programs:
            raise UnknownNameError("program", name, self.ways.programs, f"the pipeline of '{self.ways.name}'")
        return {stage.title: [row.text for row in stage.rows if line in row.lines] for stage in self.ways.programs[name]}

    def __repr__(self) -> str:
        said = [f"pipeline of '{self.ways.name}': {len(self.ways.source)} source lines"]
        for name, stages in self.ways.programs.items():
            said.append(f"  {name}: " + "; ".join(f"{stage.title}: {stage.note or f'{len(stage.rows)} rows'}" for stage in stages))
        if self.ways.refused:
            said.append(self.ways.refused)
        return "\n".join(said)


def _packed(rows: list[Row]) -> list[list]:
    return [[row.place, row.text, row.lines, row.kind] for row in rows]


def pipeline(source: Any) -> Pipeline:
    """Follow a program from its C text to the machine code that runs: click a line, and what it became lights up.

    Source, bytecode (clang), the verifier's log, xlated (what the verifier made of it), the JIT's machine code where the kernel gives
    it, hook and maps stand side by side. The source lines are those of BTF's line information.

    Parameters
    ----------
    source : str or pathlib.Path or Object or Program
        C text or a file, which is loaded on the newest lab and unloaded again; or what is loaded already, of which the verifier's log is
        not there any more. A text that the verifier refuses is shown as far as it came.

    Returns
    -------
    Pipeline

    Raises
    ------
    CompileError
        clang refused the text.
    NotSupportedError
        BCC made the object.
    """
    return Pipeline(collect(source))
