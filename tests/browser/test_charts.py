"""A plot in a real JupyterLab: drawn by its own Vega, in both themes, with nothing fetched from elsewhere."""

from __future__ import annotations

import pytest
from lab_page import DARK, LIGHT

CELL = "import bpflab as bl\nbl.histogram([1, 2, 3, 1024], unit='ns', title='time of a call')"


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_a_histogram_is_drawn(open_notebook, theme):
    notebook = open_notebook(CELL, theme=theme)
    plot = notebook.page.locator(".jp-RenderedVegaLite")
    plot.locator("svg, canvas").first.wait_for()
    assert plot.locator("svg, canvas").first.bounding_box()["width"] > 380
    assert notebook.outside == []
    assert notebook.errors == []
