"""How to reach an agent: the connection that every machine shares, and one module for each kind of machine."""

from __future__ import annotations

import itertools
import os
import threading
from concurrent.futures import Future

from ..errors import BpfError, LabError, MachineLost, UnknownNameError
from . import gateway
from .shared import Buffers

SMALL = 1 << 16  # bytes below which a mapping costs more than sending (bpflab/agent/bulk.py has the same)
_END = object()


class AgentError(Exception):
    """An error of the agent on its way to whoever asked; `payload` has type, errno, message and more."""

    def __init__(self, payload: dict):
        self.payload = payload
        super().__init__(payload["message"])

    def blame(self, what: str) -> BpfError:
        """This error as one that says what could not be done."""
        number = self.payload["errno"]
        plain = number and str(self) == os.strerror(number)  # BpfError says that by itself
        return BpfError(what if plain else f"{what} ({self})", number)


class Connection:
    """A running agent.

    Parameters
    ----------
    machine : str
        Name for messages ("local").
    spec : str
        execnet's.

    Attributes
    ----------
    about : dict
        What the agent said of its machine (`bpflab.agent.ownership.begin`).
    """

    def __init__(self, machine: str, spec: str):
        self.machine = machine
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future] = {}
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._owner = os.getpid()
        self._buffers = Buffers()
        try:
            self._group, self._channel = gateway.open_agent(spec)
            self.about = self._hello()
        except (EOFError, OSError) as error:
            raise MachineLost(f"the agent on {machine} did not start: {error}; run ./lab doctor") from None
        self._channel.setcallback(self._arrived, endmarker=_END)

    def _hello(self) -> dict:
        _, good, about = self._channel.receive()
        if not good:
            raise LabError(f"the agent on {self.machine} did not start: {about['message']}")
        return about

    def _arrived(self, message):
        if message is _END:
            with self._lock:
                self._lost = self._lost or "the agent ended"
                waiting, self._waiting = self._waiting, {}
            for future in waiting.values():
                future.set_exception(self._gone())
            return
        number, good, value = message
        with self._lock:
            future = self._waiting.pop(number, None)
        if future is None:
            return  # the caller was interrupted and went away
        if good:
            future.set_result(value)
        else:
            future.set_exception(AgentError(value))

    def _gone(self) -> MachineLost:
        return MachineLost(
            f"the lab on {self.machine} is over: {self._lost}; whatever it had loaded is gone from the kernel. "
            "Start a new one: lab = bl.Lab()"
        )

    @property
    def alive(self) -> bool:
        return self._lost is None

    def send(self, name: str, *arguments) -> Future:
        """Ask without waiting.

        Returns
        -------
        concurrent.futures.Future
            With the answer, or `AgentError`, or `MachineLost`.
        """
        future: Future = Future()
        number = next(self._numbers)
        future.number = number
        with self._lock:
            if self._lost:
                raise self._gone()
            self._waiting[number] = future
        try:
            self._channel.send((number, name, arguments))
        except OSError:
            self._lost = self._lost or "the connection broke"
            raise self._gone() from None
        return future

    def ask(self, name: str, *arguments):
        """Call a function of the agent and wait for its answer.

        Raises
        ------
        AgentError
            The agent's own error, for the caller to put into words.
        MachineLost
            The agent is gone.
        """
        future = self.send(name, *arguments)
        try:
            return future.result()
        except KeyboardInterrupt:
            self._channel.send((0, "cancel", (future.number,)))
            raise

    def bulk(self, size: int, name: str, *arguments):
        """Call a function that fills memory.

        `name` is asked with the arguments and, in the place of `...`, the path of the memory.

        Returns
        -------
        answer, memoryview or None
            None when the data came with the answer.
        """
        if size <= SMALL or self.machine != "local":
            return self.ask(name, *(None if a is ... else a for a in arguments)), None
        path, memory = self._buffers.take(size)
        return self.ask(name, *(path if a is ... else a for a in arguments)), memory

    def close(self) -> None:
        """End the agent and wait until it has undone everything."""
        if os.getpid() != self._owner or self._lost:  # a forked child must not end its parent's lab
            return
        with self._lock:
            self._lost = "it was closed"
        try:
            self._channel.close()
        except OSError:
            pass
        self._group.terminate(timeout=5)
        self._buffers.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def connect(name: str | None) -> tuple[Connection, str]:
    """Connect to a machine by name; None takes the first that works.

    Returns
    -------
    Connection, str
        And a few words on why this one.
    """
    from . import local

    wanted = name or os.environ.get("BPFLAB_MACHINE")
    if wanted in (None, "local"):
        why = "asked for" if name else "BPFLAB_MACHINE names it" if wanted else "its kernel loads BPF programs"
        connection = Connection("local", local.spec())
        number = connection.about["load_errno"]
        if number:
            connection.close()
            raise BpfError(
                "this computer's kernel refused the smallest program there is; "
                "try another machine: bl.Lab('vm'), or run ./lab doctor",
                number,
            )
        return connection, why
    raise UnknownNameError("lab machine", wanted, ["local"])
