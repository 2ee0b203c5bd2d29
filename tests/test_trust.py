"""Which notebooks JupyterLab trusts before they were run."""

import subprocess

import nbformat
import pytest
from nbformat.sign import NotebookNotary

from bpflab.trust import committed, sign_committed


@pytest.fixture
def tree(tmp_path, monkeypatch):
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    folder = tmp_path / "tree"
    (folder / "notebooks").mkdir(parents=True)
    return folder


def write(tree, name, text):
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)])
    book.cells[0].outputs = [nbformat.v4.new_output("display_data", {"text/html": "<style>p {}</style>"})]
    nbformat.write(book, tree / "notebooks" / name)


def commit(tree):
    who = ("-c", "user.name=reader", "-c", "user.email=reader@localhost")
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "chapters"]):
        subprocess.run(["git", "-C", tree, *command], check=True)


def trusted(tree, name):
    return NotebookNotary().check_signature(nbformat.read(tree / "notebooks" / name, as_version=4))


def test_what_was_committed_and_nothing_else(tree):
    write(tree, "01-kept.ipynb", "1")
    write(tree, "02-changed.ipynb", "2")
    commit(tree)
    write(tree, "02-changed.ipynb", "3")
    write(tree, "03-from-elsewhere.ipynb", "4")
    assert committed(tree) == {"notebooks/01-kept.ipynb"}
    sign_committed(tree)
    assert trusted(tree, "01-kept.ipynb")
    assert not trusted(tree, "02-changed.ipynb")
    assert not trusted(tree, "03-from-elsewhere.ipynb")


def test_what_was_only_added_is_not_committed(tree):
    write(tree, "01-kept.ipynb", "1")
    for command in ("init", "-q"), ("add", "-A"):
        subprocess.run(["git", "-C", tree, *command], check=True)
    assert committed(tree) == set()


def test_a_folder_that_is_no_checkout(tree):
    write(tree, "01-kept.ipynb", "1")
    assert committed(tree) == set()
    sign_committed(tree)
    assert not trusted(tree, "01-kept.ipynb")


def test_a_computer_without_git(tree, monkeypatch):
    write(tree, "01-kept.ipynb", "1")
    commit(tree)
    monkeypatch.setenv("PATH", "/nowhere")
    sign_committed(tree)
    assert not trusted(tree, "01-kept.ipynb")
