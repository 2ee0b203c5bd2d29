"""The labs that are open: which one is the newest, and how they end when nobody closes them."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import threading
import weakref
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lab import Lab
    from .machines import Connection

_open: weakref.WeakSet[Lab] = weakref.WeakSet()
# newest last; a context variable, so that a thread may have labs of its own
_newest: contextvars.ContextVar[list[weakref.ref[Lab]]] = contextvars.ContextVar("labs", default=[])  # noqa: B039


def remember(lab: Lab, connection: Connection) -> None:
    """Keep a lab in mind, not alive: one that nothing refers to any more is ended."""
    weakref.finalize(lab, _end_forgotten, connection).atexit = False
    _open.add(lab)
    _newest.get().append(weakref.ref(lab))


def newest() -> Lab | None:
    """The newest lab that is open, if any is."""
    labs = _newest.get()
    while labs:
        lab = labs[-1]()
        if lab is not None and lab.alive:
            return lab
        labs.pop()
    return None


@contextlib.contextmanager
def apart():
    """Open labs that are the newest for this thread only."""
    token = _newest.set([])
    try:
        yield
    finally:
        _newest.reset(token)


def _end_forgotten(connection: Connection) -> None:
    """End a lab that nothing refers to any more: the first cell was run again, and took its name for a new one."""
    # not here: the collector may have interrupted whoever holds the connection's locks
    with contextlib.suppress(RuntimeError):  # no threads at the interpreter's end; the pipe closes by itself then
        threading.Thread(target=connection.close, name="bpflab-end", daemon=True).start()


@atexit.register
def _close_all() -> None:
    for lab in list(_open):
        lab.close()
