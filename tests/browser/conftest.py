"""Fixtures for widgets in a real JupyterLab with Chromium; see lab_page.py for what they hand out.

A test asks for `open_notebook` and gives it cells::

    def test_it(open_notebook):
        notebook = open_notebook("import bpflab as bl", "bl.explore(m)")
        notebook.page.get_by_role("grid").wait_for()
        assert notebook.execute("m[1]") == "7"
"""

import itertools
import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from lab_page import LIGHT, Jupyter, Notebook  # noqa: E402

PATIENCE_MS = 30_000  # for something to appear; what is there is found at once
ARGUMENTS = ["--disable-gpu", "--disable-background-networking"]


def chromium_path():
    """The system's Chromium; None lets Playwright look for one of its own."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    server = Jupyter(tmp_path_factory.mktemp("jupyter"))
    yield server
    server.close()


@pytest.fixture(scope="module")  # Playwright's event loop would stand in the way of other tests' asyncio
def chromium():
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses root
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS, *sandbox])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def _count():
    return itertools.count(1)


@pytest.fixture(scope="module")
def open_notebook(jupyter, chromium, _count):
    """``open_notebook(*cells, theme=LIGHT, width=1280, height=900)`` gives a `Notebook`; it is closed after the module."""
    opened = []

    def open_one(*cells, theme=LIGHT, width=1280, height=900):
        context = chromium.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        context.set_default_timeout(PATIENCE_MS)
        opened.append((None, context))
        notebook = Notebook(jupyter, context, f"test-{next(_count)}.ipynb", cells, theme)
        opened[-1] = (notebook, context)
        return notebook

    yield open_one
    for notebook, context in opened:
        if notebook is not None:
            notebook.close()
        context.close()
