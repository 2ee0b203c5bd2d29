"""Fixtures for pytest. In conftest.py: ``pytest_plugins = ["bpflab.testing.plugin"]``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..lab import Lab


def pytest_addoption(parser) -> None:
    group = parser.getgroup("bpflab")
    group.addoption("--bpf-machine", default=None, metavar="NAME", help="lab machine of the fixture bpf_lab: local, vm:6.12, vagrant, ssh:user@host")


@pytest.fixture(scope="session")
def bpf_lab(request):
    """A lab for all tests of the run, on the machine of ``--bpf-machine``."""
    with Lab(request.config.getoption("--bpf-machine"), quiet=True) as lab:
        yield lab


@pytest.fixture
def bpf_load(request, bpf_lab):
    """A function that loads a file or C text, as `Lab.load` does; unloaded when the test is over, so every test has empty maps.

    A file is looked for beside the test's own first.
    """
    loaded = []

    def load(source, **variables):
        if not (isinstance(source, str) and "\n" in source) and not isinstance(source, bytes):
            beside = request.path.parent / Path(source)
            source = beside if beside.exists() else source
        loaded.append(bpf_lab.load(source, **variables))
        return loaded[-1]

    yield load
    for obj in loaded:
        obj.close()
