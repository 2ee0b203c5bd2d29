"""What keeps an explorer live: one thread that answers its views.

A view asks for a page, draws it, and asks for the next: a view that is hidden, closed or cut off asks no more, and then nothing
is read. A thread, because an asyncio task stands still while a cell runs. All that touches a map happens in it, so that
requests, which may come in on another thread (ipykernel handles widget messages on a subshell), need no further lock.
"""

import queue
import threading
import time

from ..errors import LabError
from .mapview import MapView, Refused

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
            self._requests.put(request)
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
                request = self._requests.get(timeout=self._patience())
            except queue.Empty:
                request = {}
                if not self._wants:
                    with self._lock:
                        if self._requests.empty():
                            self._thread = None
                            return
            while request is not None and request != {}:
                self._take(request)
                try:
                    request = self._requests.get_nowait()
                except queue.Empty:
                    request = {}
            if request is None:
                self._thread = None
                return
            self._answer()

    def _patience(self):
        """Seconds until a want is due."""
        dues = [self._due(want) for want in self._wants.values()]
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

    def _take(self, request):
        if request["do"] == "want":
            self._wants[request["view"]] = request
        elif request["do"] == "rest":
            self._wants.pop(request["view"], None)
        else:
            self._act(request)

    def _answer(self):
        now = time.monotonic()
        for name, want in list(self._wants.items()):
            if self._due(want) > now:
                continue
            if not (want["fresh"] and self._cells.deaf):
                del self._wants[name]
            self._send({**self._page(want, now), "view": name, "seq": want["seq"]})

    def _page(self, want, now):
        view = self.views.get(want["map"])
        if view is None:
            return {"say": "ended", "message": "this map is not open any more; run the cell again"}
        try:
            if view.stale or (want["fresh"] and now >= view.read_at + self.every(view)):
                view.refresh()
            # what one must wait for is the reading, not the drawing of the same again
            return {"say": "page", "every": self._said(view), **view.page(**{k: want[k] for k in PAGE if k in want})}
        except LabError as error:
            self._wants = {n: w for n, w in self._wants.items() if w["map"] != want["map"]}
            return {"say": "ended", "message": str(error)}
        except Exception as error:  # a view that dies without a word would look alive
            return {"say": "ended", "message": f"the explorer failed: {type(error).__name__}: {error}; run the cell again"}

    def _said(self, view):
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
        self._send(answer)

    def _do(self, view, request):
        raw = bytes.fromhex(request.get("key") or "")
        match request["do"]:
            case "insert":
                return {"message": view.insert(request["fields"])}
            case "edit":
                return {"message": view.edit(raw, request["column"], request["text"])}
            case "read":
                return {"text": view.full(raw, request["column"])}
            case "delete":
                return {"message": view.delete(raw)}
            case "pop":
                return {"message": view.pop()}
            case "test":
                return {"message": view.test(request["fields"])}
            case "pin":
                return {"message": view.pin(request["path"])}
            case "unpin":
                return {"message": view.unpin(request["path"])}
            case "open":
                inner = MapView(view.inner(raw))
                inner = self.views.setdefault(inner.token, inner)
                inner.stale = True
                return {"map": inner.token, "name": inner.map.name}
        raise Refused(f"an explorer cannot {request['do']}")


PAGE = ("query", "sort", "desc", "offset", "limit", "rate")
