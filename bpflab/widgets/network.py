"""A network that is drawn anew as things attach: `Netlab.show`."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anywidget
import traitlets

from ..errors import LabError
from ..netlab import attached, picture
from .feed import CellWatch

if TYPE_CHECKING:
    from ..netlab import Netlab

_STATIC = Path(__file__).parent / "static"
EVERY_S = 0.5
SILENCE_S = 12.0  # without a word of a view, and no cell running, nobody looks; network.js speaks every 4 s


class NetworkView(anywidget.AnyWidget):
    """A network and what is attached where. Made by `Netlab.show`.

    Attributes
    ----------
    net : Netlab
    live : bool
        Whether it looks at the kernel again and again while a view is open.
    """

    _esm = _STATIC / "network.js"
    _css = Path(picture.__file__).parent / "static" / "network.css"
    _svg = traitlets.Unicode().tag(sync=True)
    _note = traitlets.Unicode().tag(sync=True)

    def __init__(self, net: Netlab, live: bool):
        self.net, self.live = net, live
        self._heard, self._lock, self._thread = time.monotonic(), threading.Lock(), None
        self._cells = CellWatch()
        super().__init__()
        self.refresh()
        self.on_msg(self._hear)

    def refresh(self) -> None:
        """Look at the kernel and draw it."""
        try:
            found = attached.look(self.net)
        except LabError as error:
            self._note = str(error)
            return
        if len(self.net._nodes) > picture.MOST:
            svg = picture.page(self.net)
        else:
            svg = picture.svg(self.net, found) + picture.groups(found)
        note = f"looked at every {EVERY_S:g} s" if self.live else ""
        if (svg, note) != (self._svg, self._note):
            with self.hold_sync():
                self._svg, self._note = svg, note

    def _hear(self, _widget, content, _buffers) -> None:
        self._heard = time.monotonic()
        if not self.live or content.get("do") != "here":
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bpflab network", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self.live or self.net.closed or not self.net._lab.alive or time.monotonic() - self._heard > SILENCE_S and not self._cells.running:
                    self._thread = None
                    break
            self.refresh()
            time.sleep(EVERY_S)
        if self.net.closed or not self.net._lab.alive:
            self._note = "the network is closed"

    def close(self) -> None:
        self.live = False
        self._cells.close()
        super().close()

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if bundle is not None:
            bundle[0]["text/html"] = f'{picture.style()}<div class="bpflab-net">{self._svg}</div>'  # for a saved notebook
        return bundle

    def __repr__(self) -> str:
        return repr(self.net)

