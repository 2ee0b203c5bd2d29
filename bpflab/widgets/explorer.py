"""The map explorer: `explore` and its widget."""

from pathlib import Path

import anywidget
import traitlets

from ..errors import LabError
from ..map import Map
from ..object import Object
from .feed import Feed
from .mapview import MapView

_STATIC = Path(__file__).parent / "static"
# one ES module, put together here: a widget's module is loaded from memory and cannot import its neighbours
_PARTS = ("explorer-grid.js", "explorer-graph.js", "explorer-form.js", "explorer.js")


class Explorer(anywidget.AnyWidget):
    """A live table of a map's entries. Made by `explore`."""

    _esm = "\n".join((_STATIC / part).read_text() for part in _PARTS)
    _css = (_STATIC / "explorer.css").read_text()
    _first = traitlets.Dict().tag(
        sync=True
    )  # the first page: drawn before the first answer, and where no kernel answers
    _overview = traitlets.Dict(None, allow_none=True).tag(sync=True)

    def __init__(self, maps, overview=None):
        self._feed = None
        views = {view.token: view for view in map(MapView, maps)}
        first = next(iter(views.values()))
        first.refresh()
        self._subject = first
        super().__init__(_first={**first.page(), "every": "1"}, _overview=overview)
        self._feed = Feed(self.send, views)
        self.on_msg(lambda _, content, buffers: self._feed.hear(content))

    def close(self):
        """Take the widget off the page and end its refreshing."""
        if self._feed is not None:
            self._feed.close()
        super().close()

    def __repr__(self):
        return _text(self._first)


def _text(page, rows=10):
    """The first rows as text, for a frontend without widgets."""
    head = page["head"]
    lines = [f"{head['type']} map '{head['name']}', {head['types']}, {head['said']}".replace(", ,", ",")]
    columns = [column for column in page["columns"] if column["part"] != "rate"]
    cells = [[column["label"] for column in columns], *(row["cells"][: len(columns)] for row in page["rows"][:rows])]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if columns else []
    for row in cells if columns else []:
        aligned = (
            text.rjust(width) if column["kind"] in ("number", "pointer") else text.ljust(width)
            for text, width, column in zip(row, widths, columns, strict=True)
        )
        lines.append("  ".join(aligned).rstrip())
    if page["total"] > rows:
        lines.append(f"... {page['total'] - rows:,} more")
    if not columns:
        lines.append(head["note"])
    return "\n".join(lines)


def explore(what):
    """Look at a map, live, and change it.

    The table is typed by the map's BTF and refreshed about once a second, less often where reading takes long. Search, sort and
    page; double-click a value (or press Enter on it) to change it. What changed since the last refresh is lit.

    Parameters
    ----------
    what : Map or Object
        Of an object all maps are shown, with arrows from its programs to the maps they use (``map_ids`` of
        ``struct bpf_prog_info``).

    Returns
    -------
    Explorer
        A widget; `close` ends it. It also ends with the map.

    Notes
    -----
    A member of a struct, or the value on one CPU, is changed by reading the whole value, changing that part and writing it
    back: what a program writes to the other parts in between is lost. Queues and stacks cannot be listed without taking
    elements out, so only their next element is shown.

    Raises
    ------
    LabError
        The map is closed, or the object has no maps.
    """
    if isinstance(what, Map):
        return Explorer([what])
    if not isinstance(what, Object):
        raise TypeError(f"explore takes a map or an object, not {type(what).__name__}; give obj.maps['name'] or obj")
    maps = list(what.maps.values())
    if not maps:
        raise LabError(f"object '{what.name}' has no maps to explore; declare one in SEC(\".maps\")")
    tokens = {m.id: str(m.id) for m in maps}
    programs = []
    for program in what.programs.values():
        used = [tokens[id] for id in program.info["map_ids"] if id in tokens]
        programs.append({"name": program.name, "type": program.type, "maps": used})
    shown = [{"token": tokens[m.id], "name": m.name, "type": m.type, "size": _size(m)} for m in maps]
    return Explorer(maps, {"programs": programs, "maps": shown})


def _size(m):
    return f"{m.max_entries // 1024:,} KiB" if m.type in ("ringbuf", "user_ringbuf") else f"{m.max_entries:,} max"
