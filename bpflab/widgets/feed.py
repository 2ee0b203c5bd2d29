"""What keeps an explorer live: one thread that answers its views.

A view asks for a page, draws it, and asks for the next: a view that is hidden, closed or cut off asks no more, and then nothing
is read. A thread, because an asyncio task stands still while a cell runs. All that touches a map happens in it, so that
requests, which may come in on another thread (ipykernel handles widget messages on a subshell), need no further lock.
"""

import contextvars
import queue
import threading
import time

from ..errors import LabError
from .changes import Refused
from .mapview import MapView

EVERY_S = 1.0  # what is a second apart can be read
SHARE = 6  # a refresh that takes t is repeated after 6 t: reading takes a seventh of the time at most
IDLE_S = 30.0  # a thread without work ends after this


class CellWatch:
    """Whether a cell is running, and whether messages come in meanwhile.

    Where the frontend uses no subshells (anything but JupyterLab 4.4 and later), a running cell keeps messages out, and a
    view cannot ask. It is then served without asking until the cell ends.
    """

    def __init__(self):
        self.running = self.heard = False
        try:
            from IPython import get_ipython

            self.shell = get_ipython()
        except ImportError:
            self.shell = None
        if self.shell is not None:
            self.shell.events.register("pre_run_cell", self._start)
            self.shell.events.register("post_run_cell", self._end)

    def _start(self, info):
        self.running, self.heard = True, False

    def _end(self, result):
        self.running = False

    @property
    def deaf(self):
        """Whether a view may be there that cannot ask."""
        return self.running and not self.heard

    def close(self):
        if self.shell is not None:
            self.shell.events.unregister("pre_run_cell", self._start)
            self.shell.events.unregister("post_run_cell", self._end)
            self.shell = None


class Feed:
    """Answers requests about maps.

    Parameters
    ----------
    send : callable
        ``send(dict)`` to the views; called on the feed's thread.
    views : dict of str to MapView
        The maps there are, by token; those that a reader opens are added.
    """

    def __init__(self, send, views):
        self._send, self.views = send, views
        self._requests = queue.SimpleQueue()
        self._wants = {}
        self._lock = threading.Lock()
        self._thread = None
        self._closed = False
        self._cells = CellWatch()

    def hear(self, request):
        """Take a request (dict with ``do``); returns at once."""
        self._cells.heard = True
        with self._lock:
            if self._closed:
                return
            # ipykernel sends a frontend's next message to the subshell of the message that our last answer belonged to, and finds
            # that in a context variable; without it the answer belongs to the running cell, and what follows waits for its end
            self._requests.put((request, contextvars.copy_context()))
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="bpflab map explorer", daemon=True)
                self._thread.start()

    @property
    def thread(self):
        """The thread while there is one."""
        return self._thread

    def close(self):
        """End the thread, after what it is doing now."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            self._requests.put(None)
        self._cells.close()

    def _run(self):
        while True:
            try:
                item = self._requests.get(timeout=self._patience())
            except queue.Empty:
                if not self._wants and self._rest():
                    return
                item = ()
            while item:
                self._take(*item)
                item = self._requests.get_nowait() if not self._requests.empty() else ()
            if item is None:
                self._thread = None
                return
            self._answer()

    def _rest(self):
        """Let the thread end, unless a request came in; it is started again by the next one."""
        with self._lock:
            if not self._requests.empty():
                return False
            for view in self.views.values():
                view.forget()
            self._thread = None
            return True

    def _patience(self):
        """Seconds until a want is due."""
        dues = [self._due(want) for want, _ in self._wants.values()]
        return max(0.0, min(dues) - time.monotonic()) if dues else IDLE_S

    def _due(self, want):
        view = self.views.get(want["map"])
        if view is None or not want["fresh"] or view.stale:
            return 0.0
        return view.read_at + self.every(view)

    @staticmethod
    def every(view):
        """Seconds from one refresh of a map to the next."""
        return max(EVERY_S, SHARE * view.cost)

    def _take(self, request, context):
        if request["do"] == "want":
            self._wants[request["view"]] = request, context
        elif request["do"] == "rest":
            self._wants.pop(request["view"], None)
        else:
            context.run(self._send, self._act(request))

    def _answer(self):
        now = time.monotonic()
        for name, (want, context) in list(self._wants.items()):
            if self._due(want) > now:
                continue
            if not (want["fresh"] and self._cells.deaf):
                self._wants.pop(name, None)
            context.run(self._send, {**self._page(want, now), "view": name, "seq": want["seq"]})

    def _page(self, want, now):
        view = self.views.get(want["map"])
        if view is None:
            return {"say": "ended", "message": "this map is not open any more; run the cell again"}
        try:
            if view.stale or (want["fresh"] and now >= view.read_at + self.every(view)):
                view.refresh()
            return {"say": "page", "every": self._said(view), **view.page(**{k: want[k] for k in PAGE if k in want})}
        except LabError as error:
            self._wants = {name: asked for name, asked in self._wants.items() if asked[0]["map"] != want["map"]}
            return {"say": "ended", "message": str(error)}
        except Exception as error:  # a view that dies without a word would look alive
            return {
                "say": "ended",
                "message": f"the explorer failed: {type(error).__name__}: {error}; run the cell again",
            }

    def _said(self, view):
        """Seconds between refreshes, for a reader."""
        every = self.every(view)
        return f"{every:.0f}" if every >= 2 else f"{every:.1f}".removesuffix(".0")

    def _act(self, request):
        answer = {"say": "done", "id": request["id"], "ok": True, "message": ""}
        try:
            view = self.views.get(request["map"])
            if view is None:
                raise Refused("this map is not open any more; run the cell again")
            answer.update(self._do(view, request))
        except Refused as error:
            answer.update(ok=False, message=str(error), field=error.field)
        except Exception as error:
            answer.update(ok=False, message=f"{type(error).__name__}: {error}", field=None)
        return answer

    def _open(self, inner):
        if str(inner.id) in self.views:
            inner.close()
        else:
            self.views[str(inner.id)] = MapView(inner)
        return {"map": str(inner.id), "name": inner.name}

    def _do(self, view, request):
        raw = bytes.fromhex(request.get("key") or "")
        changes = view.changes
        match request["do"]:
            case "read":
                return {"text": changes.full(raw, request["column"])}
            case "open":
                return self._open(changes.inner(raw))
            case "test":
                return {"message": changes.test(request["fields"])}
        view.stale = True
        match request["do"]:
            case "insert":
                return {"message": changes.insert(request["fields"])}
            case "edit":
                return {"message": changes.edit(raw, request["column"], request["text"])}
            case "delete":
                return {"message": changes.delete(raw)}
            case "pop":
                return {"message": changes.pop()}
            case "pin":
                return {"message": changes.pin(request["path"])}
            case "unpin":
                return {"message": changes.unpin(request["path"])}
        raise Refused(f"an explorer cannot {request['do']}")


PAGE = ("query", "sort", "desc", "offset", "limit", "rate")
