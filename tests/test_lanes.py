"""The rules of tests/lanes.py, tried on small test files."""

from __future__ import annotations

import lanes
import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
import pytest, lanes

def pytest_configure(config):
    config.pluginmanager.register(lanes.Lanes(), "lanes")
    config.addinivalue_line("markers", "needs(*features)")
    config.addinivalue_line("markers", "here")

@pytest.fixture(scope="session", params=lanes.machines())
def machine(request):
    return request.param
"""
HEAD = """
import pytest
from bpflab.errors import NotSupportedError

def lacks(feature, machine):
    raise NotSupportedError(feature, f"{machine}, Linux 1.2")
"""


@pytest.fixture
def run(pytester, monkeypatch):
    monkeypatch.setattr(lanes, "MACHINES", {"local": False, "vm": True})
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text, machines):
        monkeypatch.setenv("BPFLAB_TEST_MACHINES", machines)
        pytester.makeconftest(CONFTEST)
        pytester.makepyfile(HEAD + text)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider")

    return run


SOMEWHERE = """
def test_it(machine):
    if machine == "local":
        lacks("kprobe", machine)
"""


def test_skipped_here_and_passed_there_is_fine(run):
    result = run(SOMEWHERE, "local,vm")
    assert result.ret == 0
    result.assert_outcomes(passed=1, skipped=1)
    result.stdout.fnmatch_lines(["local * 1 skipped", "vm * 1 passed"])


def test_skipped_on_every_machine_fails_the_run(run):
    result = run(SOMEWHERE, "local")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED *::test_it: skipped on every machine"])


def test_parameters_are_told_from_machines(run):
    result = run(
        """
@pytest.mark.parametrize("n", [1, 2])
def test_it(machine, n):
    if n == 2:
        lacks("kprobe", machine)
""",
        "local,vm",
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED *::test_it[[]2]: skipped on every machine"])
    result.stdout.no_fnmatch_line("FAILED *::test_it[[]1]*")


@pytest.mark.parametrize(
    "skip",
    [
        "def test_it():\n    pytest.skip('no wish')",
        "@pytest.mark.skip(reason='no wish')\ndef test_it():\n    pass",
        "@pytest.mark.skipif(True, reason='no wish')\ndef test_it():\n    pass",
        "import unittest\ndef test_it():\n    raise unittest.SkipTest('no wish')",
        "@pytest.fixture\ndef f():\n    pytest.skip('no wish')\ndef test_it(f):\n    pass",
        "pytest.importorskip('no_such_module')\ndef test_it():\n    pass",
        "pytest.skip('no wish', allow_module_level=True)",
        "@pytest.mark.parametrize('n', [])\ndef test_it(n):\n    pass",
    ],
)
def test_other_skips_fail(run, skip):
    result = run(skip, "local")
    assert result.ret != 0
    assert result.parseoutcomes().get("skipped", 0) == 0


NEEDS = """
@pytest.mark.needs("kprobe")
def test_it(machine):
    lacks({feature!r}, {machine})
"""


def test_a_right_refusal_passes_and_is_told(run):
    result = run(NEEDS.format(feature="kprobe links", machine="machine"), "local")
    assert result.ret == 0
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["local * 1 refused", "refused as they should be*no machine of this run: kprobe"])


def test_a_machine_that_promises_may_not_refuse(run):
    result = run(NEEDS.format(feature="kprobe", machine="machine"), "vm")
    assert result.ret == 1
    result.assert_outcomes(failed=1)


@pytest.mark.parametrize("feature, where", [("fentry", "machine"), ("kprobe", "'elsewhere'")])
def test_a_refusal_that_names_something_else_fails(run, feature, where):
    result = run(NEEDS.format(feature=feature, machine=where), "local")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*the refusal is not as it should be*"])


def test_what_was_refused_here_and_delivered_there_is_not_listed(run):
    text = """
@pytest.mark.needs("kprobe")
def test_it(machine):
    if machine == "local":
        lacks("kprobe", machine)
"""
    result = run(text, "local,vm")
    assert result.ret == 0
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("refused as they should be*")


def test_an_unknown_refusal_in_a_fixture_is_a_skip(run):
    text = """
@pytest.fixture
def f(machine):
    lacks("network", machine)

def test_it(f):
    pass
"""
    result = run(text, "local")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED *::test_it: skipped on every machine"])


WHERE = """
def test_any(machine):
    pass

@pytest.mark.needs("kprobe")
def test_needs(machine):
    pass

@pytest.mark.here
def test_here(machine):
    pass
"""


@pytest.mark.parametrize(
    "named, local, vm",
    [("", "3 passed", "1 passed"), ("vm:6.12", None, "2 passed"), ("local,vm:6.12", "3 passed", "2 passed")],
)
def test_where_a_test_runs(run, named, local, vm):
    """With no machine named, the virtual one is for what a kernel may lack."""
    result = run(WHERE, named)
    assert result.ret == 0
    for machine, outcome in (("local", local), ("vm:6.12", vm)):
        if outcome:
            result.stdout.fnmatch_lines([f"{machine} * {outcome}"])
        else:
            result.stdout.no_fnmatch_line(f"{machine} *passed")


def test_no_virtual_machine_promises_hardware(run):
    text = """
@pytest.mark.needs("hardware perf events")
def test_it(machine):
    lacks("hardware perf events", machine)
"""
    result = run(text, "vm")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["vm * 1 refused"])


def test_no_such_machine(run):
    assert run(WHERE, "moon").ret == pytest.ExitCode.USAGE_ERROR
