"""Pictures of widgets, for whoever reads a saved notebook and runs nothing: GitHub, nbconvert, JupyterLab before it trusts."""

from __future__ import annotations

import base64
import contextlib


def pictures(svg: str) -> dict[str, str]:
    """A picture by MIME type, as a notebook stores it.

    As SVG, whose letters are letters; and as PNG, the one form that JupyterLab shows of a notebook that it does not trust
    (its renderers of SVG and of widgets are marked as unsafe).
    """
    found = {"image/svg+xml": svg}
    with contextlib.suppress(ImportError):  # as in charts.py: without it there is no PNG
        import vl_convert

        found["image/png"] = base64.b64encode(vl_convert.svg_to_png(svg)).decode()
    return found
