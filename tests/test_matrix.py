"""bpflab.matrix: what it calls a section that works, one that is refused, and one that fails; from real runs."""

from __future__ import annotations

import copy
import os
import re

import nbformat
import pytest
from cli_support import TREE, complaint, lab

from bpflab import exercise, matrix, runner
from bpflab.notebook_server import jupyter_environment

V4 = nbformat.v4
REFUSED = 'bl.Lab("local", needs="xdp offload", quiet=True)'


def markdown(text, *tags):
    return V4.new_markdown_cell(text, metadata={"tags": list(tags)})


def code(source, printed=None, *tags, error=None):
    outputs = [V4.new_output("stream", name="stdout", text=printed)] if printed else []
    if error:
        outputs.append(V4.new_output("error", ename=error, evalue="", traceback=[]))
    return V4.new_code_cell(source, outputs=outputs, metadata={"tags": list(tags)})


CELLS = [
    markdown("# 77 Small"),
    code("import bpflab as bl"),
    markdown("## 77.1 Right", "book-77.1"),
    code("print(6 * 7)", "42\n"),
    markdown("### a heading inside"),
    code("print(id(object()))", "another number\n", "nbval-ignore-output"),
    code("{}['a']", None, "raises-exception", "nbval-ignore-output", error="KeyError"),
    markdown("## 77.2 Refused", "book-77.2"),
    code("print('before')", "before\n"),
    code(f"obj = {REFUSED}"),
    code("obj.programs"),
    markdown("## 77.3 Another result", "book-77.3"),
    code("print(6 * 7)", "43\n"),
    markdown("## 77.4 An error that nobody meant", "book-77.4"),
    code("obj.maps"),
    markdown("## 77.5 No error, and one was meant", "book-77.5"),
    code("{'a': 1}['a']", None, "raises-exception", "nbval-ignore-output", error="KeyError"),
    markdown("## 77.6 Prose only", "book-77.6"),
    markdown("## 77.8 Refused elsewhere", "book-77.8"),
    code("print('here')", "here\n", "raises-exception", error="NotSupportedError"),
    markdown("## 77.7 Right again", "book-77.7"),
    code("print('after')", "after\n"),
]
MARKS = {
    "77 Small": "yes",
    "77.1 Right": "yes",
    "77.2 Refused": "no",
    "77.3 Another result": "fails",
    "77.4 An error that nobody meant": "fails",
    "77.5 No error, and one was meant": "fails",
    "77.8 Refused elsewhere": "yes",
    "77.7 Right again": "yes",
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A workbook of one chapter, and the environment as it was afterwards."""
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_PREFER_ENV_PATH", "IPYTHONDIR"):
        monkeypatch.setenv(name, os.environ.get(name, ""))
    for name in ("notebooks", "docs"):
        (tmp_path / name).mkdir()
    metadata = {"kernelspec": {"name": "python3", "display_name": "x"}}
    nbformat.write(V4.new_notebook(cells=copy.deepcopy(CELLS), metadata=metadata), tmp_path / "notebooks/77-small.ipynb")
    return tmp_path


def test_the_table_is_what_the_notebook_did(tree, capsys):
    assert matrix.write(tree, None, [], "local") == 1
    text = (tree / "docs/works-on.md").read_text()
    rows = dict(re.findall(r"^\| (77[^|]*) \| (\w+)[^|]*\|$", text, re.M))
    assert rows == MARKS
    reasons = dict(re.findall(r"^(\d+)\. (.*)$", text, re.M))
    where = dict(re.findall(r"^\| (77\S*)[^|]*\| \w+ \((\d+)\) \|$", text, re.M))
    refused = reasons[where["77.2"]]
    assert refused.startswith("xdp offload not supported on local, Linux") and "1 of the section's 3 cells ran" in refused
    assert "'42', where the notebook has '43'" in reasons[where["77.3"]]
    assert "NameError" in reasons[where["77.4"]]
    assert "no error, where the notebook has KeyError" in reasons[where["77.5"]]
    assert "`./lab matrix --machines local` wrote this file on 20" in text
    assert "4 yes, 1 no, 3 fails" in capsys.readouterr().out


def test_a_notebook_whose_kernel_dies_fails_from_there_on(tree):
    path = tree / "notebooks/77-small.ipynb"
    cells = [*copy.deepcopy(CELLS[:4]), markdown("## 77.9 The end", "book-77.9"), code("import os\nos.kill(os.getpid(), 9)")]
    nbformat.write(V4.new_notebook(cells=cells), path)
    jupyter_environment(tree)
    verdicts = matrix.on_machine(tree, [path], "local")["77 Small"]
    assert verdicts["77.1 Right"].mark == "yes"
    assert verdicts["77.9 The end"].mark == "fails" and "kernel ended" in verdicts["77.9 The end"].reason


def test_a_run_goes_on_after_a_refusal_and_stops_at_an_error(tree):
    path = tree / "notebooks/77-small.ipynb"
    jupyter_environment(tree)
    book = nbformat.read(path, 4)
    book.cells = book.cells[:13]
    failure, refused = runner.execute(book, path, {})
    assert failure is None and list(refused) == ["77.2 Refused"]
    book = nbformat.read(path, 4)
    failure, _ = runner.execute(book, path, {})
    assert "in the section '77.4 An error that nobody meant'" in failure


def test_solutions_are_judged_by_their_checks_and_stay_nobodys_progress(tree, tmp_path):
    jupyter_environment(tree)
    before = exercise.progress().solved.tolist()
    found = matrix.on_machine(TREE, [runner.find(TREE, "00")], "local")
    assert "Exercises" not in found
    answered = matrix.solutions(TREE, ["03"])
    assert [s for s in dict.fromkeys(runner.sections(answered)) if s] == [n for n in exercise.names() if n[:2] == "03"]
    wrong = next((TREE / "tests/exercises/03-queue").glob("wrong-*.c")).read_text()
    for cell in answered.cells:
        if cell.source.startswith("%%bpf answer --source") and "recorder" in cell.source:
            cell.source = f"%%bpf answer --source\n{wrong}"
    ran = copy.deepcopy(answered)
    runner.execute(ran, TREE / "exercises/exercises.ipynb", {"BPFLAB_MACHINE": "local", "XDG_STATE_HOME": str(tmp_path)}, forgiving=True)
    marks = {section: verdict.mark for section, verdict in matrix.judge(answered, ran).items()}
    assert marks.pop("03-queue") == "fails"
    assert set(marks.values()) == {"yes"}
    assert exercise.progress().solved.tolist() == before


def test_what_is_committed_is_of_every_chapter_and_exercise():
    text = (TREE / "docs/works-on.md").read_text()
    for path in sorted((TREE / "notebooks").glob("[0-9]*.ipynb")):
        book = nbformat.read(path, as_version=4)
        for section, cell in zip(runner.sections(book), book.cells):
            assert cell.cell_type != "code" or f"| {section.replace('|', chr(92) + '|')} |" in text, "run ./lab matrix"
    for name in exercise.names():
        assert f"| {name} |" in text, "run ./lab matrix"


def test_a_part_is_not_written_over_the_whole():
    done = lab("matrix", "00")
    assert done.returncode == 2 and "--output FILE" in complaint(done)


def test_a_machine_that_is_not_to_be_had(tmp_path):
    done = lab("matrix", "00", "--machines", "wm:6.1", "--output", tmp_path / "out.md")
    assert done.returncode == 1 and "no lab machine named 'wm:6.1'" in complaint(done)
    assert not (tmp_path / "out.md").exists()


def test_the_command(tmp_path):
    done = lab("matrix", "00", "--machines", "local", "--output", tmp_path / "out.md", timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("lab on local: Linux ")
    assert "| How it works | yes |" in (tmp_path / "out.md").read_text()
