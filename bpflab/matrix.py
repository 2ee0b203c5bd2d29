"""What works on which kernel: every chapter and every solution run on each machine, and a table made of the results."""

from __future__ import annotations

import copy
import datetime
import re
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path

import nbformat

from . import exercise, runner, type_table
from .comparison import at_hand
from .errors import LabError
from .lab import Lab
from .notebook_server import jupyter_environment

YES, NO, FAILS = "yes", "no", "fails"
TYPES = "docs/program-types.json"
_LONGEST = 300  # characters of a reason
_INTRO = """\
# What works on which kernel

`{command}` wrote this file on {date}, from what the notebooks did. Do not edit it; run the command again.

- **yes**: every cell ran, and printed what is stored in the notebook.
- **no**: the machine's kernel lacks something. The number leads to its own words, below. The rest of the chapter runs.
- **fails**: something else went wrong, and bpflab is to blame.
"""


@dataclass(frozen=True)
class Verdict:
    """What became of a section on a machine: YES, NO or FAILS, and why."""

    mark: str
    reason: str = ""


def judge(stored, ran, ended: str | None = None) -> dict[str, Verdict]:
    """Compare a notebook that was run with what is stored in it.

    Parameters
    ----------
    stored, ran : nbformat.NotebookNode
        The same cells; `ran` with the outputs of the run.
    ended : str, optional
        What ended the run early.

    Returns
    -------
    dict
        A `Verdict` for each section that has code, by its title.
    """
    cells: dict[str, list] = {}
    for section, expected, got in zip(runner.sections(stored), stored.cells, ran.cells):
        if expected.cell_type == "code" and expected.source.strip():
            cells.setdefault(section, []).append((expected, got))
    return {section: _judge(pairs, ended) for section, pairs in cells.items()}


def _judge(pairs: list, ended: str | None) -> Verdict:
    for number, (expected, got) in enumerate(pairs, 1):
        error = _error(got)
        if error and error.ename == runner.REFUSAL:
            good = sum(1 for _, one in pairs if one.execution_count and not _error(one))
            rest = f" ({good} of the section's {len(pairs)} cells ran.)" if len(pairs) > 1 else ""
            return Verdict(NO, _short(error.evalue) + rest)
        what = _wrong(expected, got, ended)
        if what:
            return Verdict(FAILS, f"cell {number} of the section: {_short(what)}")
    return Verdict(YES)


def _wrong(expected, got, ended: str | None) -> str | None:
    """What is wrong with a cell that was not refused."""
    tags = expected.metadata.get("tags", ())
    error, meant = _error(got), _error(expected)
    if not got.execution_count:
        return ended or "it did not run"
    if error and not (meant and "raises-exception" in tags and meant.ename == error.ename):
        return f"{error.ename}: {error.evalue}"
    if meant and meant.ename == runner.REFUSAL and not error:
        return None  # this machine can do what the one that the outputs are from could not
    if meant and not error:
        return f"no error, where the notebook has {meant.ename}"
    if "nbval-ignore-output" not in tags and _text(expected) != _text(got):
        return f"it printed {_text(got) or 'nothing'!r}, where the notebook has {_text(expected) or 'nothing'!r}"
    return None


def _error(cell):
    return next((output for output in cell.outputs if output.output_type == "error"), None)


def _text(cell) -> str:
    """What a cell printed and returned, as text."""
    parts = []
    for output in cell.outputs:
        if output.output_type == "error":
            parts.append(f"{output.ename}: {output.evalue}")
        else:
            parts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
    return "".join(parts).strip()


def _short(text: str) -> str:
    line = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", text).split())
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def solutions(tree: Path, chapters: list[str]):
    """A notebook with the exercises of some chapters, each answered by its solution.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    chapters : list of str
        "03", ...

    Returns
    -------
    nbformat.NotebookNode
        A section for each exercise; stored is that its check says "solved".
    """
    v4, cells = nbformat.v4, []
    for name in exercise.names():
        if name[:2] not in chapters:
            continue
        solution = next((tree / "tests/exercises" / name).glob("solution.*"))
        answer = solution.read_text().rstrip("\n")
        answer = f"%%bpf answer --source\n{answer}" if solution.suffix == ".c" else answer
        given = nbformat.read(tree / "exercises" / f"{name}.ipynb", as_version=4)
        code = [cell for cell in given.cells if cell.cell_type == "code"]
        cells.append(v4.new_markdown_cell(f"# {name}"))
        for cell in code[:-1]:
            source = answer if "answer" in cell.metadata.get("tags", ()) else cell.source
            cells.append(v4.new_code_cell(source, metadata={"tags": ["nbval-ignore-output"]}))
        solved = v4.new_output("execute_result", {"text/plain": f"{name}: solved"})
        cells.append(v4.new_code_cell(code[-1].source, outputs=[solved]))
    return v4.new_notebook(cells=cells)


def on_machine(tree: Path, paths: list[Path], machine: str) -> dict[str, dict[str, Verdict]]:
    """Run chapters, and the solutions of their exercises, on one machine.

    Returns
    -------
    dict
        Verdicts by section, by the title of the chapter; the exercises come last, as "Exercises".
    """
    notebooks = [(path, nbformat.read(path, as_version=4)) for path in paths]
    answered = solutions(tree, [path.name[:2] for path in paths])
    if answered.cells:
        notebooks.append((tree / "exercises/exercises.ipynb", answered))
    found = {}
    with tempfile.TemporaryDirectory(prefix="bpflab-") as state:  # what a reader has solved stays as it is
        for path, stored in notebooks:
            ran = copy.deepcopy(stored)
            for cell in ran.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            variables = {"BPFLAB_MACHINE": machine, "XDG_STATE_HOME": state}
            ended, _ = runner.execute(ran, path, variables, forgiving=True)
            title = "Exercises" if stored is answered else runner.sections(stored)[0]
            found[title] = judge(stored, ran, ended and ended.rpartition("\n\n")[2])
    return found


def write(tree: Path, output: Path | None, chapters: list[str], machines: str | None) -> int:
    """Run everything everywhere and write the table.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    output : pathlib.Path, optional
        docs/works-on.md if not given.
    chapters : list of str
        As `runner.find` takes them; all if empty.
    machines : str, optional
        Names with commas between; all at hand if not given.

    Returns
    -------
    int
        1 when something failed, else 0.

    Raises
    ------
    LabError
        A machine that was named cannot be had, or there is none.
    """
    paths = [runner.find(tree, chapter) for chapter in chapters] or sorted((tree / "notebooks").glob("[0-9]*.ipynb"))
    names = _machines(machines)
    if not chapters and not output:
        type_table.write(tree / TYPES, names)
    output = _writable(output or tree / "docs/works-on.md")
    jupyter_environment(tree)
    kernels, results = {}, {}
    for name in names:
        with Lab(name) as lab:  # held, so that a virtual machine serves all notebooks
            kernels[name] = lab.kernel
            results[name] = on_machine(tree, paths, name)
    options = [*chapters, *(["--machines", machines] if machines else [])]
    command = shlex.join(["./lab", "matrix", *options])
    output.write_text(table(results, kernels, command, datetime.date.today()), encoding="utf-8")
    marks = [verdict.mark for by in results.values() for sections in by.values() for verdict in sections.values()]
    print(f"written: {output} ({', '.join(f'{marks.count(mark)} {mark}' for mark in (YES, NO, FAILS))})")
    return int(FAILS in marks)


def write_types(tree: Path, output: Path | None, machines: str | None) -> int:
    """Try every program type everywhere and write down what came of it; as `write`, docs/program-types.json if not given."""
    type_table.write(_writable(output or tree / TYPES), _machines(machines))
    return 0


def _machines(machines: str | None) -> list[str]:
    names = machines.split(",") if machines else at_hand()
    if not names:
        raise LabError("there is no machine at hand; name one: ./lab matrix --machines vagrant")
    return names


def _writable(output: Path) -> Path:
    if not output.absolute().parent.is_dir():
        raise LabError(f"cannot write {output}: there is no folder {output.absolute().parent}; make it first")
    return output


def table(results: dict[str, dict[str, dict[str, Verdict]]], kernels: dict[str, str], command: str, date) -> str:
    """The results as Markdown.

    Parameters
    ----------
    results : dict
        By machine what `on_machine` returns.
    kernels : dict
        Version of each machine's kernel.
    command : str
        What was typed for this.
    date : datetime.date
    """
    reasons: list[str] = []
    lines = [_INTRO.format(command=command, date=date)]
    for chapter, sections in next(iter(results.values())).items():
        lines += [f"## {chapter}", ""]
        lines.append(_line(["section", *(f"{name}, Linux {kernel}" for name, kernel in kernels.items())]))
        lines.append(_line(["---", *[":---:"] * len(kernels)]))
        for section in sections:
            verdicts = [by[chapter][section] for by in results.values()]
            lines.append(_line([section, *(_mark(verdict, reasons) for verdict in verdicts)]))
        lines.append("")
    if reasons:
        lines += ["## Why not", "", *(f"{number}. {reason}" for number, reason in enumerate(reasons, 1)), ""]
    return "\n".join(lines)


def _mark(verdict: Verdict, reasons: list[str]) -> str:
    if not verdict.reason:
        return verdict.mark
    if verdict.reason not in reasons:
        reasons.append(verdict.reason)
    return f"{verdict.mark} ({reasons.index(verdict.reason) + 1})"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
