"""Altair charts that JupyterLab draws with no network.

Altair 6 writes Vega-Lite 6; as JupyterLab 4 draws Vega-Lite up to 5 by itself, Altair shows a chart as HTML that fetches
its scripts from a CDN. A classroom has none. The charts of this workbook are the same in both versions, so they go out
as Vega-Lite 5, which JupyterLab also draws in its own light or dark theme. A picture goes with it for what draws nothing
by itself: nbconvert's HTML, and sites that show a notebook without running it.
"""

from __future__ import annotations

import contextlib

MIME = "application/vnd.vegalite.v5+json"  # the newest one of JupyterLab's @jupyterlab/vega5-extension
SCHEMA = "https://vega.github.io/schema/vega-lite/v5.json"


def mimebundle(chart, include=None, exclude=None) -> dict:
    """What a notebook gets of an Altair chart.

    Returns
    -------
    dict
        The chart's specification by its MIME type, an SVG picture, and a line for places that show text only.
    """
    # without a background of its own a chart is a grey box in the dark theme
    drawn = chart.to_dict()
    specification = {"background": "transparent"} | drawn | {"$schema": SCHEMA}
    shown = {MIME: specification, "text/plain": "<a chart; JupyterLab draws it>"}
    with contextlib.suppress(ImportError):  # Altair's own renderer of pictures; without it there is none
        import vl_convert

        shown["image/svg+xml"] = vl_convert.vegalite_to_svg({"background": "white"} | drawn)
    return shown


def register(shell) -> None:
    """Make an IPython shell show charts this way. Altair itself is not imported until a notebook does so."""
    formatter = shell.display_formatter.mimebundle_formatter
    formatter.for_type_by_name("altair.vegalite.v6.api", "TopLevelMixin", mimebundle)
