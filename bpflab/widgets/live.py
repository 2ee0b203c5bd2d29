"""Events drawn while they come: `live` and its widget."""

from __future__ import annotations

import contextlib
import contextvars
import html
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anywidget
import pandas as pd
import traitlets

from ..errors import LabError
from ..follow import KEPT, EventsFollower, Following, SlotsFollower
from . import live_picture
from .feed import CellWatch
from .stored import pictures

if TYPE_CHECKING:
    from ..events import Events
    from ..map import Map

_STATIC = Path(__file__).parent / "static"
EVERY_S = 0.1  # from one picture to the next
VIEWS = ("rate", "histogram", "heat map")


class Live(anywidget.AnyWidget):
    """Events of a buffer, drawn as they come. Made by `live`.

    A view asks for a picture, draws it, and asks for the next: one that is hidden asks no more, a slow one gets fewer.

    Attributes
    ----------
    running : bool
    lost : int or None
        Events that the buffer had no room for; None where nothing counts them.
    dropped : int
        Rows that are not in `frame` any more since there were more than `keep`.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "live-pictures.js", "live.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "live.css"))
    _about = traitlets.Dict().tag(sync=True)
    _last = traitlets.Dict(None, allow_none=True).tag(sync=True)  # the picture at the end, for a view that comes later
    _rate = traitlets.Bytes(b"").tag(sync=True)
    _heat = traitlets.Bytes(b"").tag(sync=True)
    _totals = traitlets.Bytes(b"").tag(sync=True)
    _missing = traitlets.Bytes(b"").tag(sync=True)
    view = traitlets.Enum(VIEWS, "rate").tag(sync=True)

    def __init__(self, follower: Following, view: str, unit: str, title: str):
        self._follower = follower
        self._wants: dict[str, tuple[float, contextvars.Context]] = {}
        self._lock = threading.Lock()
        self._cells = CellWatch()
        self._drawn = threading.Event()  # the last picture is in the model, and in the outputs
        self._outputs: list[str] = []  # display ids: where a notebook stores it
        about = {"title": title, "unit": unit, "value": follower.value, "by": follower.by, "step": follower.step, "views": VIEWS if follower.value else VIEWS[:1]}
        super().__init__(_about=about, _last=None, view=view)
        self.on_msg(lambda _, content, buffers: self._hear(content))
        threading.Thread(target=self._feed, name="bpflab-live-views", daemon=True).start()

    # -- for the reader

    @property
    def frame(self) -> pd.DataFrame:
        """The events until now, as `Events.read` gives them; of a map its buckets."""
        return self._follower.frame()

    @property
    def gaps(self) -> pd.DataFrame:
        """Where events are missing: `start_s`, `end_s` (seconds of the picture's axis) and `lost`."""
        return pd.DataFrame(self._follower.bins.gaps, columns=["start", "end", "lost"]).rename(columns={"start": "start_s", "end": "end_s"})

    @property
    def lost(self) -> int | None:
        return self._follower.lost

    @property
    def dropped(self) -> int:
        return self._follower.dropped

    @property
    def running(self) -> bool:
        return self._follower.running

    def stop(self) -> None:
        """Stop taking events; what has come is in `frame`. Raises what the stream failed with."""
        self._end()
        if self._follower.error is not None and not self._follower.source_closed:
            raise self._follower.error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it has ended: after its seconds, or by the button. An interrupt of the cell stops it too.

        Returns
        -------
        bool
            Whether it has ended within `timeout` seconds.
        """
        try:
            return self._follower.wait(timeout) and self._drawn.wait(timeout)
        except KeyboardInterrupt:
            with contextlib.suppress(LabError):  # a machine that does not answer is no answer to an interrupt
                self._end()
            raise

    def _end(self) -> None:
        self._follower.stop()
        self._drawn.wait(10)

    def close(self) -> None:
        self._end()
        super().close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._end()

    def __repr__(self) -> str:
        lost = "" if self.lost is None else f", {self.lost:,} lost"
        state = "running" if self.running else self._follower.ending
        return f"live: {self._follower.count:,} events in {self._follower.seconds:.1f} s{lost}, {state}"

    # -- for the views

    def _hear(self, request: dict) -> None:
        self._cells.heard = True
        if request["do"] == "stop":
            self._follower.end()
        elif request["do"] == "rest":
            with self._lock:
                self._wants.pop(request["view"], None)
        else:
            # see feed.py: an answer in the context of what asked keeps what the view sends next out of a running cell's way
            with self._lock:
                self._wants[request["view"]] = (time.monotonic() + EVERY_S, contextvars.copy_context())

    def _feed(self) -> None:
        """A thread: answers the views until the stream has ended."""
        try:
            self._serve()
            self._finish()
        finally:
            self._drawn.set()

    def _serve(self) -> None:
        while not self._follower.wait(EVERY_S / 2):
            now = time.monotonic()
            with self._lock:
                due = {view: context for view, (at, context) in self._wants.items() if at <= now}
                if not self._cells.deaf:
                    for view in due:
                        del self._wants[view]
            if due:
                meta, buffers = self._picture()
                for view, context in due.items():
                    context.run(self.send, {**meta, "view": view}, buffers)

    def _finish(self) -> None:
        meta, buffers = self._picture()
        with self._lock:
            context = next((context for _, context in self._wants.values()), contextvars.copy_context())
            self._wants.clear()
        context.run(self._keep_last, meta, buffers)
        context.run(self._store)
        self._cells.close()

    # -- for a notebook that is read later

    def _ipython_display_(self) -> None:
        """Show the widget, and below it a place for a picture of its end, which live.css hides while the widget is there.

        Two outputs, since writing an output again makes its views anew: the widget would jump, and forget where it was.
        """
        from IPython.display import publish_display_data

        bundle = self._repr_mimebundle_()
        if bundle is None:
            print(repr(self))
            return
        data, metadata = bundle
        publish_display_data({**data, "text/plain": f"live: {self._about['title']}"}, metadata)
        with self._lock:
            self._outputs.append(uuid.uuid4().hex)
            publish_display_data(self._stored(), transient={"display_id": self._outputs[-1]})

    def _stored(self) -> dict[str, str]:
        image = ""
        if not self.running:
            png = pictures(self._svg()).get("image/png", "")
            image = f'<img alt="{html.escape(repr(self))}" src="data:image/png;base64,{png}">' if png else ""
        # HTML that JupyterLab shows also of a notebook that it does not trust
        return {"text/html": f'<div class="bpflab-live-end">{image}</div>', "text/plain": repr(self)}

    def _store(self) -> None:
        if not self._outputs:
            return
        from IPython.display import publish_display_data

        stored = self._stored()
        with self._lock:
            for name in self._outputs:
                publish_display_data(stored, transient={"display_id": name}, update=True)

    def _svg(self) -> str:
        return live_picture.svg(self._follower.picture(), self._about, self.view, repr(self).removeprefix("live: "))

    def _keep_last(self, meta: dict, buffers: list[bytes]) -> None:
        with self.hold_sync():
            self._rate, self._heat, self._totals, self._missing = buffers
            self._last = meta

    def _picture(self) -> tuple[dict[str, Any], list[bytes]]:
        follower = self._follower
        found = follower.picture()
        meta = {
            "start": found.start,
            "width": found.width,
            "bins": found.rate.shape[1],
            "groups": found.groups,
            "gaps": [list(gap) for gap in found.gaps],
            "count": follower.count,
            "seconds": follower.seconds,
            "per_second": follower.rate,
            "lost": follower.lost,
            "dropped": follower.dropped,
            "early": follower.early,
            "running": follower.running,
            "ending": follower.ending,
        }
        return meta, [found.rate.tobytes(), found.heat.tobytes(), found.totals.tobytes(), found.missing.tobytes()]


def live(
    events: Events | Map,
    value: str | None = None,
    *,
    by: str | None = None,
    unit: str = "",
    view: str | None = None,
    seconds: float | None = None,
    window: float = 30.0,
    time: str | None = None,
    keep: int = KEPT,
    title: str = "",
    step: float | None = None,
    first: int | None = None,
) -> Live:
    """Draw events while they come, or a histogram that a program counts in the kernel. The next cells run meanwhile; the workload belongs there.

    Parameters
    ----------
    events : Events or Map
        Of `obj.events()`. Nobody else may read them meanwhile: each event is seen once. Or a map of slots, as `bl.histogram` takes
        it: then nothing can be lost, and `.frame` has its buckets.
    value : str, optional
        A column of numbers: a histogram by powers of two, and a heat map of it over time, are drawn as well.
    by : str, optional
        A column: events are told apart by it ("comm"), the most frequent ones by colour.
    unit : str
        Of the value: "ns", "us", "bytes". Needed where there is a value.
    view : {"rate", "histogram", "heat map"}, optional
        What is drawn first; the reader may change it. The histogram where there is a value, else the rate.
    seconds : float, optional
        End by itself after this long.
    window : float
        Seconds that are shown while it runs. At the end all of it is.
    time : str, optional
        The column with the time of an event in nanoseconds (bpf_ktime_get_ns). If it is not given, one that is called so
        ("time_ns"), or else when events arrive here.
    keep : int
        Rows of the frame; older ones are dropped, and counted in `.dropped`.
    title : str
    step, first
        Of a map: the width of a slot where the program divides; which slot the values 0 and 1 have (see `bl.histogram`).

    Returns
    -------
    Live
        A widget. `.frame` has the events, `.lost` and `.gaps` what is missing, `.stop()` ends it. Also a context manager.

    Raises
    ------
    TypeError
        An event has no such column, or the value is no number.
    ValueError
        There is a value without a unit.
    """
    if window <= 0 or (seconds is not None and seconds <= 0):
        raise ValueError("window and seconds are more than 0")
    if hasattr(events, "max_entries"):
        if not unit:
            raise ValueError(f"say the unit of what map '{events.name}' counts: unit='ns', 'us', 'bytes'; a picture without one says nothing")
        follower: Following = SlotsFollower(events, first, step, by, window, seconds)
        return Live(follower, view or "histogram", unit, title or events.name)
    if value and not unit:
        raise ValueError(f"say the unit of '{value}': unit='ns', 'us', 'bytes'; a picture without one says nothing")
    if view is not None and (view not in VIEWS or (view != "rate" and not value)):
        raise ValueError(f"view is one of {', '.join(VIEWS)}, and all but the rate need value=, a column of numbers")
    follower = EventsFollower(events, value, by, time, window, keep, seconds)
    title = title or (f"{value} of {events._map.name}" if value else f"events of {events._map.name}")
    return Live(follower, view or ("histogram" if value else "rate"), unit, title)
