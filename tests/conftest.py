"""Fixtures for all tests: labs on each machine of the run, and a kernel that is left as it was found."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import uuid

import answers
import kernelstate
import lanes
import nbrun
import pytest
import waiting

from bpflab.machines import keeper, vm

os.environ[kernelstate.RUN] = uuid.uuid4().hex  # every process of this run inherits it
# what nohup or a script's & starts is born deaf to Ctrl-C, and so would be all that the tests interrupt
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_configure(config):
    config.pluginmanager.register(lanes.Lanes(), "lanes")
    config.addinivalue_line("markers", "needs(*features): what a kernel may lack; see tests/lanes.py")
    config.addinivalue_line("markers", "here: looks at this computer itself; see tests/lanes.py")


@pytest.fixture(scope="session", autouse=True)
def own_state(tmp_path_factory):
    """What a reader has solved is none of the tests' business."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def own_machines():
    """Virtual machines of this run's own, beside those that are in use on this computer."""
    folder = tempfile.mkdtemp(prefix="bpflab-")  # a socket's path may not be long
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        patch.setenv(keeper.KEEP, "0")
        yield
    shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def kernel_unchanged():
    """After a module the kernel holds what it held before."""
    before = kernelstate.take()
    yield
    left = kernelstate.left(before)
    assert not left, "left in the kernel:\n" + "\n".join(left)


@pytest.fixture(scope="session", params=lanes.machines())
def machine(request, own_machines):
    """Name of a lab machine; a test that asks for it runs on each."""
    kind, _, _ = request.param.partition(":")
    if kind != "vm":
        yield request.param
        return
    held = vm.ready(vm.version_of(request.param), print)  # up until the last of its tests is over
    yield request.param
    held.close("down")
    waiting.until(lambda: not os.path.exists(held.address["folder"]), "the end of the virtual machine")


@pytest.fixture(scope="module")
def lab(machine):
    """A lab that the tests of a module share. Close the objects you load."""
    import bpflab as bl

    with bl.Lab(machine, quiet=True) as lab:
        yield lab


@pytest.fixture
def fresh_lab(machine):
    """A lab of the test's own, to be killed, filled or closed."""
    import bpflab as bl

    with bl.Lab(machine, quiet=True) as lab:
        yield lab


@pytest.fixture(scope="session")
def nbval(request, machine, tmp_path_factory):
    """What nbval says of each notebook and of each answer to an exercise that the selected tests ask for.

    One run for all of them. `nbval[notebook]` has a text for each code cell, empty when the cell is right;
    `nbval[answer]` the text for its check.
    """
    asked = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    asked = [params for params in asked if params.get("machine") == machine]
    paths = list(dict.fromkeys(params["notebook"] for params in asked if "notebook" in params))
    tried = [params["answer"] for params in asked if "answer" in params]
    folder = tmp_path_factory.mktemp("nbval")
    verdicts = answers.trial(tried, folder / "trial.ipynb")
    found = nbrun.strictly([*paths, folder / "trial.ipynb"], folder / "report.xml", machine)
    trial = found.pop(folder / "trial.ipynb")
    return found | {answer: trial.get(number, "the cell did not run") for answer, number in verdicts.items()}
