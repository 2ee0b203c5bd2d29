"""How to reach an agent: the connection that every machine shares, and one module for each kind of machine."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import Future

import execnet
import numpy as np

from ..errors import BpfError, LabError, MachineLost, NotSupportedError, UnknownNameError
from . import gateway
from . import needs as needs_
from .shared import Buffers
from .way import Way

SMALL = 1 << 16  # bytes below which a mapping costs more than sending (bpflab/agent/bulk.py has the same)
KNOWN = ("local", "vm", "vm:6.1", "vm:6.12", "vm:7", "vagrant", "ssh:user@host")
CANDIDATES = ("local", "vm", "vagrant")  # where to look, in this order, when no machine is named
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
    way : Way

    Attributes
    ----------
    machine : str
        Name for messages ("local").
    about : dict
        What the agent said of its machine (`bpflab.agent.ownership.begin`).
    """

    def __init__(self, way: Way):
        self.way = way
        self.machine = way.machine
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future] = {}
        self._lock = threading.Lock()
        self._lost: str | None = None
        self._closed = False
        self._owner = os.getpid()
        self._buffers = Buffers()
        try:
            self._group, self._channel, self._pipe = gateway.open_agent(way.command, way.far)
            self.about = self._hello()
        except gateway.NotStarted as error:
            way.close()
            raise way.not_started(error) from None
        except OSError as error:
            way.close()
            raise MachineLost(f"the agent on {self.machine} did not start: {error}; run ./lab doctor") from None
        except BaseException:
            way.close()
            raise
        self._ended = threading.Event()
        self._channel.setcallback(self._arrived, endmarker=_END)
        if way.far:
            threading.Thread(target=self._beat, name="bpflab-beat", daemon=True).start()

    def _hello(self) -> dict:
        try:
            _, good, about = self._channel.receive()
        except EOFError:
            raise gateway.NotStarted(*self._pipe.end()) from None
        if not good:
            raise LabError(f"the agent on {self.machine} did not start: {about['message']}")
        return about

    def _beat(self) -> None:
        """Tell an agent on another machine now and then that the notebook is still there."""
        while not self._ended.wait(gateway.SILENCE / 4):
            try:
                self._channel.send((0, "cancel", (0,)))
            except OSError:
                return

    def _arrived(self, message):
        if message is _END:
            self._ended.set()
            why = self._lost or self._why_lost()
            with self._lock:
                self._lost = self._lost or why
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

    def _why_lost(self) -> str:
        try:
            return self.way.lost(self._pipe.end()[1] if self.way.far else "")
        finally:
            self.way.close()

    def _gone(self) -> MachineLost:
        return MachineLost(
            f"the lab on {self.machine} is over: {self._lost}; whatever it had loaded is gone from the kernel. "
            "Start a new one: lab = bl.Lab()"
        )

    @property
    def alive(self) -> bool:
        return self._lost is None and os.getpid() == self._owner

    def ask(self, name: str, *arguments):
        """Call a function of the agent and wait for its answer.

        Raises
        ------
        AgentError
            The agent's own error, for the caller to put into words.
        MachineLost
            The agent is gone.
        LabError
            This is a forked copy of the process that started the agent.
        """
        return self._ask(name, arguments)

    def _ask(self, name: str, arguments: tuple, memory: memoryview | None = None):
        if os.getpid() != self._owner:
            raise LabError(
                f"the lab on {self.machine} belongs to the process that this one was forked from; "
                "open one here: lab = bl.Lab(), or use threads"
            )
        future: Future = Future()
        future.memory = memory  # kept until the answer, even when nobody waits any more: the agent writes into it
        number = next(self._numbers)
        with self._lock:
            if self._lost:
                raise self._gone()
            self._waiting[number] = future
        try:
            self._send((number, name, arguments))
            return future.result()
        except KeyboardInterrupt:
            with contextlib.suppress(OSError):
                self._send((0, "cancel", (number,)))
            raise

    def _send(self, message: tuple) -> None:
        number = message[0]
        try:
            # half a message, and the agent would understand nothing that follows; a short one goes in one piece anyway
            with contextlib.nullcontext() if _is_short(message[2]) else uninterrupted():
                try:
                    self._channel.send(message)
                except execnet.DumpError:
                    self._channel.send(_plain(message))
        except OSError:
            self._lost = self._lost or self._why_lost()
            raise self._gone() from None
        except execnet.DumpError as error:
            self._waiting.pop(number, None)
            raise TypeError(f"not for the lab machine: {error}; give numbers, text or bytes") from None

    def bulk(self, size: int, name: str, *arguments):
        """Call a function that fills memory.

        `name` is asked with the arguments and, in the place of `...`, the path of the memory.

        Returns
        -------
        answer, memoryview or None
            None when the data came with the answer.
        """
        path = memory = None
        if size > SMALL and self.machine == "local":
            path, memory = self._buffers.take(size)
        return self._ask(name, tuple(path if a is ... else a for a in arguments), memory), memory

    def close(self) -> None:
        """End the agent and wait until it has undone everything; one that died leaves a process to be awaited."""
        with self._lock:
            if os.getpid() != self._owner or self._closed:  # a forked child must not end its parent's lab
                return
            self._closed = True
            self._lost = self._lost or "it was closed"
        with contextlib.suppress(OSError):
            self._channel.close()
        self._group.terminate(timeout=5)
        self._pipe.end()
        self._buffers.close()
        self.way.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


@contextlib.contextmanager
def uninterrupted():
    """Let a Ctrl-C wait for the end of what is done; the second one does not wait."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield  # Python's handlers run in the main thread only
        return
    came = []

    def handle(*arguments):
        came.append(arguments)
        if len(came) > 1:
            before(*arguments)

    signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if len(came) == 1:
        before(*came[0])


def _is_short(arguments: tuple) -> bool:
    """Whether a message is surely below the buffer of a pipe's file (8 KiB), which keeps what an interrupt held up."""
    size = 0
    for one in arguments:
        if isinstance(one, (bytes, str)):
            size += len(one)
        elif isinstance(one, (list, tuple, dict)):
            return False
    return size < 1024


def _plain(value):
    """The number, text or bytes that a value stands for, where execnet carries only Python's own types."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    if isinstance(value, dict):
        return {_plain(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    for kind in (bool, int, float, str, bytes):
        if isinstance(value, kind):
            return kind(value)
    return value


def way_to(name: str, say: Callable[[str], None] = lambda _: None) -> Way:
    """The way to a machine by its name; `say` is told what is going on while it takes long.

    Raises
    ------
    UnknownNameError
        There is no such kind of machine.
    LabError
        There is no way to it from here; the text says what to do.
    """
    from . import local, ssh, vagrant, vm

    kind, _, rest = name.partition(":")
    if name == "local":
        return local.way()
    if kind == "ssh" and rest:
        return ssh.way(rest)
    if kind == "vm":
        return vm.way(name, say)
    if name == "vagrant":
        return vagrant.way(say)
    raise UnknownNameError("lab machine", name, KNOWN)


def connect(name: str | None, needs=(), say: Callable[[str], None] = lambda _: None) -> tuple[Connection, str]:
    """Connect to a machine by name; None takes the first that answers every need.

    Parameters
    ----------
    name : str or None
    needs : str or sequence of str
        Features, as `Lab.features` names them.
    say : callable
        Is told what is going on while it takes long.

    Returns
    -------
    Connection, str
        And a few words on why this one.

    Raises
    ------
    NotSupportedError
        The machine, or with none named every machine, lacks something.
    """
    from . import vagrant

    needs = needs_.listed(needs)
    wanted = name or os.environ.get("BPFLAB_MACHINE")
    if wanted:
        return _reach(wanted, needs, say), "asked for" if name else "BPFLAB_MACHINE names it"
    passed_over: list[str] = []
    own = f"its kernel has {', '.join(needs)}" if needs else "its kernel loads BPF programs"
    candidates = CANDIDATES if vagrant.is_candidate() else CANDIDATES[:-1]
    for candidate in candidates[:-1]:
        try:
            return _reach(candidate, needs, say), ", and ".join([own, *passed_over])
        except NotSupportedError as error:
            passed_over.append(f"{candidate} lacks {error.feature}")
    return _reach(candidates[-1], needs, say), ", and ".join([own, *passed_over])


def _reach(name: str, needs: list[str], say: Callable[[str], None]) -> Connection:
    connection = _checked(Connection(way_to(name, say)))
    try:
        lacks = needs_.lacking(connection, needs)
        if lacks:
            kernel = connection.about["kernel"].split("-")[0]
            raise NotSupportedError(", ".join(lacks), f"{name}, Linux {kernel}", "; ".join(lacks.values()))
    except BaseException:
        connection.close()
        raise
    return connection


def _checked(connection: Connection) -> Connection:
    """A connection to an agent that may use BPF.

    Raises
    ------
    BpfError
        Its kernel refused the smallest program.
    """
    number = connection.about["load_errno"]
    if number:
        connection.close()
        whose = "this computer's kernel" if connection.machine == "local" else f"the kernel of {connection.machine}"
        raise BpfError(
            f"{whose} refused the smallest program there is; try another machine: bl.Lab('vm'), or run ./lab doctor",
            number,
        )
    return connection
