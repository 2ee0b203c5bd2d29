"""What a reader sees of Python's own exceptions."""

from __future__ import annotations

import re

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

from bpflab import tracebacks


@pytest.fixture
def run():
    shell = InteractiveShell.instance()
    shell.colors = "nocolor"
    tracebacks.register(shell)

    def run(cell):
        with capture_output() as captured:
            result = shell.run_cell(cell)
        return result, re.sub(r"\x1b\[[0-9;]*m", "", captured.stdout + captured.stderr)

    yield run
    InteractiveShell.clear_instance()


def test_misuse_ends_in_the_cell(run):
    result, printed = run("from bpflab.btf import ctype\nsmall = ctype('u8')\nsmall.encode(300, 'the answer')")
    assert isinstance(result.error_in_exec, OverflowError)
    assert "3 small.encode(300, 'the answer')" in printed
    assert printed.rstrip().endswith(str(result.error_in_exec))
    assert ".py" not in printed


def test_a_function_of_the_cell_is_shown(run):
    _, printed = run("from bpflab.btf import ctype\ndef f(n):\n    return ctype('u8').encode(n, 'n')\nf('x')")
    assert "f('x')" in printed and "ctype('u8').encode(n, 'n')" in printed and ".py" not in printed


def test_errors_of_others_are_whole(run):
    result, printed = run("import json\njson.loads(5)")
    assert isinstance(result.error_in_exec, TypeError) and "json/__init__.py" in printed


def test_errors_of_the_cell_itself(run):
    result, printed = run("{}['key']")
    assert isinstance(result.error_in_exec, KeyError) and "{}['key']" in printed


def test_errors_with_a_message_of_their_own_show_just_that(run):
    result, printed = run("from bpflab.errors import UnknownNameError\nraise UnknownNameError('map', 'x', ['y'])")
    assert isinstance(result.error_in_exec, KeyError)
    assert printed == "UnknownNameError: no map named 'x'; there are: y\n"
