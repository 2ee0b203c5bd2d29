"""The exercises, the answers kept for them, and a notebook that tries all of these.

`tests/exercises/NN-name/` has `solution.*` and `wrong-*.*`. The first line of a wrong answer is a comment
that gives the whole hint it must draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbrun import ROOT

NOTEBOOKS = sorted((ROOT / "exercises").glob("*.ipynb"))


@dataclass(frozen=True)
class Answer:
    """An answer in a file."""

    path: Path

    @property
    def exercise(self) -> str:
        return self.path.parent.name

    @property
    def is_solution(self) -> bool:
        return self.path.name.startswith("solution.")

    @property
    def hint(self) -> str:
        """The hint that it must draw."""
        first = self.path.read_text().partition("\n")[0]
        mark = {".c": "// hint: ", ".py": "# hint: "}[self.path.suffix]
        assert first.startswith(mark), f"{self.path}: the first line is not {mark}..."
        return first.removeprefix(mark)

    @property
    def cell(self) -> str:
        """The answer as a reader would write it into the notebook."""
        text = self.path.read_text().rstrip("\n")
        return f"%%bpf answer --source\n{text}" if self.path.suffix == ".c" else text

    def __str__(self) -> str:
        return f"{self.exercise}/{self.path.name}"


def answers() -> list[Answer]:
    return [Answer(path) for path in sorted((ROOT / "tests/exercises").glob("*/*.*"))]


def notebook(name: str):
    return nbformat.read(ROOT / "exercises" / f"{name}.ipynb", as_version=4)


def code(book):
    return [cell for cell in book.cells if cell.cell_type == "code"]


def is_answer(cell) -> bool:
    return "answer" in cell.metadata.get("tags", [])


def trial(answers: list[Answer], path: Path) -> dict[Answer, int]:
    """Write a notebook that gives every answer to its exercise, with the outputs that the checks must have.

    For a solution all cells of the exercise's notebook are there, only the one tagged `answer` is replaced, and
    the check must say "solved". For a wrong answer the check's hint is printed.

    Returns
    -------
    dict
        Number of the code cell with the verdict, by answer.
    """
    cells, verdicts = [], {}

    def add(source, outputs=(), tags=()):
        cells.append(
            nbformat.v4.new_code_cell(
                source, outputs=list(outputs), execution_count=len(cells) + 1, metadata={"tags": list(tags)}
            )
        )

    for answer in answers:
        given = code(notebook(answer.exercise))
        if answer.is_solution:
            for cell in given[:-1]:
                add(answer.cell if is_answer(cell) else cell.source, (), cell.metadata.get("tags", []))
            solved = nbformat.v4.new_output(
                "execute_result", {"text/plain": f"{answer.exercise}: solved"}, execution_count=1
            )
            add(given[-1].source, [solved])
        else:
            add("import bpflab as bl")
            add(answer.cell)
            shown = nbformat.v4.new_output("stream", name="stdout", text=answer.hint + "\n")
            add(f"print(bl.check('{answer.exercise}', answer).hint)", [shown])
        verdicts[answer] = len(cells) - 1
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return verdicts
