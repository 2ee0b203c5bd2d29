"""The browser of everything that can be traced: `browse` and its widget."""

from __future__ import annotations

import html
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import traitlets

from ..errors import LabError
from ..process import number_of
from ..traceable import Place, catalog, near
from ..traceable.recipes import Recipe, recipe
from ..traceable.search import found

if TYPE_CHECKING:
    from ..lab import Lab
    from ..process import Process
    from ..traceable.catalog import Catalog, Group

STORED = 8  # hits that a saved notebook shows
_STATIC = Path(__file__).parent / "static"


class Browser(anywidget.AnyWidget):
    """A list of places to trace, with a search field. Made by `browse`.

    The names are in the page, so that searching them asks no kernel; what is behind a name is asked for.

    Attributes
    ----------
    text : str
        What is in the search field. Set it to search.
    selected : bpflab.traceable.Place or None
        What is shown at the right.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "names.js", "browser.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "browser.css"))
    _groups = traitlets.List().tag(sync=True)
    _about = traitlets.Dict().tag(sync=True)
    text = traitlets.Unicode("").tag(sync=True)

    def __init__(self, listed: Catalog, groups: list[Group], text: str = ""):
        self._catalog, self._places = listed, groups
        self.selected: Place | None = None
        self._lacks: dict[str, str | None] = {}
        shown = [{"kind": g.kind, "where": g.where, "count": len(g), "text": g.text.encode()} for g in groups]
        kernel = any(group.kind == "kernel function" for group in groups)
        note = f"kernel functions are from {listed.source}" if kernel else ""
        super().__init__(_groups=shown, _about={"where": listed.lab.where, "note": note}, text=text)
        self.on_msg(lambda _, content, buffers: self.send(self._answer(content)))

    @property
    def recipe(self) -> Recipe | None:
        """The two cells of what is selected."""
        return recipe(self._catalog, self.selected) if self.selected else None

    def _answer(self, request: dict) -> dict:
        answer = {"say": request["do"], "seq": request["seq"]}
        try:
            if request["do"] == "near":
                return answer | {"names": near(request["text"], self._places, 5)}
            self.selected = self._places[request["group"]].place(request["line"])
            return answer | self._shown(self.selected)
        except LabError as error:
            return answer | {"error": str(error)}
        except Exception as error:  # a view that gets no answer would wait for ever
            return answer | {"error": f"{type(error).__name__}: {error}"}

    def _shown(self, place: Place) -> dict[str, Any]:
        fields, printed = [], ""
        if place.kind == "tracepoint":
            layout = self._catalog.formats([place])[0]
            fields = [[one.type, one.name, one.offset, one.size] for one in layout.fields]
            printed = layout.printed
        program, read = recipe(self._catalog, place)
        return {
            "signature": "" if fields else self._catalog.signatures([place])[0],
            "fields": fields,
            "printed": printed,
            "program": program,
            "read": read,
            "lacks": self._missing(place.kind),
        }

    def _missing(self, kind: str) -> str:
        """Why this machine cannot attach to places of a kind; tried once."""
        feature = {"kernel function": "kprobe", "user function": "uprobe", "USDT": "usdt", "tracepoint": "tracepoint"}.get(kind)
        if not feature:
            return ""
        if feature not in self._lacks:
            self._lacks[feature] = self._catalog.lab.missing(feature)
        why = self._lacks[feature]
        return f"{self._catalog.lab.where} cannot attach there: {why}. Run the cells on bl.Lab(needs=['{feature}'])" if why else ""

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if bundle is not None:  # for readers of the saved notebook that run no widgets
            bundle[0]["text/html"] = self._table()
        return bundle

    def _table(self) -> str:
        """The best hits as plain HTML, which is shown also where a notebook is not trusted."""
        hits = found(self._places, self.text)
        rows = [[place.kind, str(place), place.where] for place in hits[:STORED]]
        head, *body = ("".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) for tag, row in [("th", ["kind", "name", "where"]), *(("td", row) for row in rows)])
        more = f"<p>and {len(hits) - STORED:,} more</p>" if len(hits) > STORED else ""
        searched = f"<p>search: <code>{html.escape(self.text)}</code></p>" if self.text else ""
        return f"{searched}<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in body)}</tbody></table>{more}"

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(group):,} {group.kind}s" for group in self._places if len(group))
        return f"what can be traced on {self._about['where']}: {counts}; lab.events('text') searches it"


def browse(lab: Lab, text: str = "", *, binary: str | None = None, pid: int | Process | None = None) -> Browser:
    """Look for something to trace: type a part of its name, see what it hands to a program, and take a cell that traces it.

    Parameters
    ----------
    lab : Lab
    text : str
        What to search for at first.
    binary : str, optional
        Path or name of a program or library: its functions and USDT probes instead of the kernel's.
    pid : int or Process, optional
        Those of everything that this process has mapped.

    Returns
    -------
    Browser
        A widget. `.selected` is the place that is shown, `.recipe` its cells as text.

    Raises
    ------
    LabError
        There is no such binary or process.
    """
    listed = catalog(lab)
    return Browser(listed, listed.groups(binary, number_of(pid)), text)
