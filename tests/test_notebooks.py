"""Every notebook runs from top to bottom and prints what is stored in it, and is built as the workbook promises."""

from __future__ import annotations

import os
import re
from pathlib import Path

import answers
import nbformat
import pytest
from nbrun import ROOT

from bpflab import exercise

CHAPTERS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BOTH = CHAPTERS + answers.NOTEBOOKS
SCREEN = 45  # lines of a code cell that are seen at once


def book_rows() -> dict[str, bool]:
    """Ids of the book's sections, in order, and whether they must have an exercise."""
    rows = Path(__file__).with_name("book_rows.txt").read_text().splitlines()
    return {row.removesuffix(" E"): row.endswith(" E") for row in rows}


def chapter_rows(path: Path) -> dict[str, bool]:
    chapter = str(int(path.name[:2]))
    return {row: marked for row, marked in book_rows().items() if row.split(".")[0] == chapter}


def tags(cell) -> list[str]:
    return cell.metadata.get("tags", [])


def sections(book) -> dict[str, list]:
    """Cells by the row of the book that they belong to."""
    found, current = {}, None
    for cell in book.cells:
        rows = [tag.removeprefix("book-") for tag in tags(cell) if tag.startswith("book-")]
        for row in rows:
            assert row not in found, f"two headings are tagged book-{row}"
            current = found.setdefault(row, [])
        if current is not None:
            current.append(cell)
    return found


def compared(cell) -> bool:
    return cell.cell_type == "code" and bool(cell.outputs) and "nbval-ignore-output" not in tags(cell)


@pytest.fixture(params=BOTH, ids=lambda path: path.stem)
def book(request):
    return nbformat.read(request.param, as_version=4)


@pytest.mark.parametrize("notebook", BOTH, ids=lambda path: path.stem)
def test_outputs_are_what_the_cells_print(notebook, nbval):
    wrong = {number: text for number, text in nbval[notebook].items() if text}
    assert not wrong, "\n\n".join(f"code cell {number}: {text}" for number, text in wrong.items())
    assert len(nbval[notebook]) == len(answers.code(nbformat.read(notebook, as_version=4)))


def test_every_cell_was_run(book):
    for cell in answers.code(book):
        assert cell.execution_count, f"never run:\n{cell.source}"
    numbers = [cell.execution_count for cell in answers.code(book)]
    assert numbers == list(range(1, len(numbers) + 1)), "not run from top to bottom in one go"


def test_stored_errors_are_meant(book):
    for cell in answers.code(book):
        names = [out.ename for out in cell.outputs if out.output_type == "error"]
        assert not names or "raises-exception" in tags(cell), (
            f"{names} stored, and not tagged raises-exception:\n{cell.source}"
        )


def test_code_cells_fit_a_screen(book):
    for cell in answers.code(book):
        lines = len(cell.source.splitlines())
        assert lines <= SCREEN, f"{lines} lines:\n{cell.source}"


def test_no_cell_is_left_out(book):
    for cell in book.cells:
        assert "nbval-skip" not in tags(cell) and "NBVAL_SKIP" not in cell.source


def test_compared_outputs_have_no_addresses(book):
    for cell in filter(compared, book.cells):
        for out in cell.outputs:
            text = str(out.get("text", "")) + str(out.get("data", {}).get("text/plain", ""))
            assert not re.search(r"object at 0x|0x7f[0-9a-f]{9,}|0xffff[0-9a-f]{12}", text), cell.source


def test_nothing_names_the_computer_it_was_written_on(book):
    text = nbformat.writes(book)
    for place in (str(ROOT), str(Path.home()) + "/", os.uname().nodename + "."):
        assert place not in text


def test_stored_outputs_need_no_widget(book):
    # the widget lived in the process that ran the cell: JupyterLab says "model not found" and hides the text beside it
    for cell in answers.code(book):
        assert not any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in cell.outputs), cell.source


def test_kernel_is_the_plain_one(book):
    assert book.metadata.kernelspec.name == "python3"


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_every_row_of_the_book_is_there(path):
    book = nbformat.read(path, as_version=4)
    wanted = chapter_rows(path)
    found = sections(book)
    assert list(found) == list(wanted), "headings tagged book-ID, in the book's order"
    for row, cells in found.items():
        assert cells[0].cell_type == "markdown" and cells[0].source.startswith("#"), f"book-{row} is no heading"
        assert any(map(compared, cells)), f"{row} has no output that nbval compares"


@pytest.mark.parametrize("path", [p for p in CHAPTERS if chapter_rows(p)], ids=lambda path: path.stem)
def test_rows_marked_have_an_exercise(path):
    there = exercise.progress()
    of_chapter = there[there["exercise"].str[:2] == path.name[:2]]
    marked = {row for row, has_exercise in chapter_rows(path).items() if has_exercise}
    assert marked <= set(of_chapter["section"])
    assert len(of_chapter) >= 4


def test_rows_are_those_of_the_book():
    text = ROOT.parent / "shared/BOOK.md"
    if text.exists():  # the plan of the project, which is not part of it
        rows = re.findall(r"^\| (\d[\d.]*)( E)?", text.read_text(), re.M)
        assert {row: bool(marked) for row, marked in rows} == book_rows()
