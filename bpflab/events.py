"""Events: what a program sends through a ring buffer or a perf buffer, as DataFrames."""

from __future__ import annotations

import contextlib
import errno
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .btf import Type, ctype
from .errors import BpfError, MachineLost, ObjectError
from .machines import AgentError, planes, uninterrupted

if TYPE_CHECKING:
    from .map import Map

HEADER = 8  # struct bpf_ringbuf_hdr
BATCH_S = 0.03  # for which events gather in a buffer that has room enough: many small batches cost more than the events in them
PERF_RECORD_LOST, PERF_RECORD_SAMPLE = 2, 9


def open_events(source: Map, type: str | Type | None = None, *, lost: str = "lost", pages: int = 64) -> Events:
    """See `Map.events`."""
    if source.type not in ("ringbuf", "perf_event_array"):
        raise TypeError(f"map '{source.name}' is a {source.type}; only a ringbuf or a perf_event_array has events")
    found = Events(source, _event_type(source, type), lost, pages)
    source._rings = [*(ring for ring in source._rings if not ring.closed), found]
    return found


def _event_type(source: Map, type: str | Type | None) -> Type:
    if isinstance(type, Type):
        return type
    obj = source._object
    if type is not None:
        with contextlib.suppress(ValueError):  # a number: "u64"
            return ctype(type)
        if obj is None or obj.btf is None:
            raise ObjectError(f"map '{source.name}' has no BTF to find '{type}' in; give a bpflab.btf.Type")
        return obj.btf.find(type.removeprefix("struct "), "struct")
    declared = source.definition and source.definition.value
    if declared is not None and (source.type == "ringbuf" or declared.resolved.kind == "struct"):
        return declared
    raise ObjectError(
        f"nothing says what the events of map '{source.name}' are; write __type(value, struct event) into its definition, "
        "or give type='struct event'"
    )


class Events:
    """The reading end of a ring buffer or perf buffer.

    Reading takes events out: each is seen once, by whoever reads first.

    Attributes
    ----------
    type : bpflab.btf.Type
        Of one event.
    lost : int or None
        Events that did not fit, since it was opened. A perf buffer counts them itself. A ring buffer does not: then
        this is the program's own global counter of that name (`__u64 lost;`), or None if it has none.
    discarded : int
        Records of a ring buffer that the program gave back with bpf_ringbuf_discard.
    wrong_size : int
        Events that are shorter than their type, and so left out.
    """

    def __init__(self, source: Map, type: Type, lost: str, pages: int):
        self._map, self._lab, self.type = source, source._lab, type
        self._perf = source.type == "perf_event_array"
        if self._perf:
            name, arguments = "rings.open_perf", (source.fd, pages, list(range(min(self._lab.online, source.max_entries))))
        else:
            name, arguments = "rings.open_ring", (source.fd,)
        opened = self._lab.call(f"the buffer of map '{source.name}' does not open", name, *arguments)
        self._ring, self._size = opened["ring"], opened["size"]
        self._counter = lost
        self._lost_before = 0 if self._perf else self._own_counter() or 0
        self._perf_lost = 0
        self.discarded = 0
        self.wrong_size = 0
        self._kept: list[tuple[np.ndarray, Any]] = []
        self._lock = threading.Lock()
        self.closed = False

    def _own_counter(self) -> int | None:
        obj = self._map._object
        if obj is None or obj.closed or not self._lab.alive or self._counter not in obj.globals:
            return None
        return obj.globals[self._counter]

    @property
    def lost(self) -> int | None:
        if self._perf:
            if not self.closed and self._lab.alive:
                counted = self._lab.ask("rings.lost", self._ring)
                self._perf_lost = self._perf_lost if counted is None else counted
            return self._perf_lost
        now = self._own_counter()
        return None if now is None else now - self._lost_before

    # -- reading

    def read(self, seconds: float | None = None, count: int | None = None) -> pd.DataFrame:
        """Take events out.

        Parameters
        ----------
        seconds : float, optional
            Collect for this long. With neither, take what is there now.
        count : int, optional
            Stop as soon as there are this many; the rest waits for the next read. Without `seconds`, give up
            10 s after the last event.

        Returns
        -------
        pandas.DataFrame
            A row for each event, a column for each member; of a perf buffer also `cpu` and `time_ns`.

        Raises
        ------
        MachineLost
            The lab machine is gone. Events that had come until then are kept, and the next call returns them.
        """
        with self._lock:
            arrays, self._kept = self._kept, []
        if arrays and not self._lab.alive:
            return self._frame(self._split(arrays, count))
        try:
            self._collect(arrays, seconds, count)
        except BaseException as error:  # an interrupt, say: what came until then waits for the next read
            with self._lock:
                self._kept = [*arrays, *self._kept]
            have = sum(len(a) for a, _ in arrays)
            if isinstance(error, MachineLost) and have:
                raise MachineLost(f"{error}. The {have} events until then are kept: read() again") from None
            raise
        return self._frame(self._split(arrays, count))

    def _collect(self, arrays: list, seconds: float | None, count: int | None) -> None:
        have = sum(len(a) for a, _ in arrays)
        patience = 10.0 if seconds is None else seconds
        # with neither, once only: where reading itself causes events (a system call traced), there is no end to them
        once = seconds is None and count is None
        deadline = time.monotonic() + (0 if once else patience)
        most = None
        while count is None or have < count:
            left = max(0.0, deadline - time.monotonic())
            with uninterrupted():  # in slices; an answer that nobody takes would be events that nobody sees
                got, rest = self._drain(min(left, 0.2), most, 0 if seconds is None else min(left, BATCH_S))
                arrays += got
            have += sum(len(a) for a, _ in got)
            if got and seconds is None and not once:
                deadline = time.monotonic() + patience
            if left <= 0 and rest:
                most = rest  # what was there in time, and nothing that came while it was on its way
            elif left <= 0 and (not got or seconds is not None or once):
                break

    def _split(self, arrays, count: int | None):
        if count is None or sum(len(a) for a, _ in arrays) <= count:
            return arrays
        out, room = [], count
        for i, (array, extra) in enumerate(arrays):
            if len(array) > room:
                out.append((array[:room], extra and {k: v[:room] for k, v in extra.items()}))
                rest = (array[room:], extra and {k: v[room:] for k, v in extra.items()})
                with self._lock:
                    self._kept = [rest, *arrays[i + 1 :], *self._kept]
                return out
            out.append((array, extra))
            room -= len(array)
        return out

    def _drain(self, seconds: float, most: int | None = None, settle: float = 0) -> tuple[list[tuple[np.ndarray, dict | None]], int]:
        """One round trip: the records that have come, at most so many bytes, as typed arrays (views of the shared memory).

        Waits at most `seconds` for the first, then `settle` for more unless they fill the buffer.

        Also the bytes that are still to be read: of `most`, or else of what was there.
        """
        if self.closed:
            raise BpfError(f"the events of map '{self._map.name}' are closed; open them again with its object's events()", errno.EBADF)
        try:
            found, memory = self._lab.bulk(self._size, "rings.drain", self._ring, ..., seconds, most, settle)
        except AgentError as error:
            raise error.blame(f"events of map '{self._map.name}' cannot be read") from None
        parts, rest = [], 0
        for reply in found or ():
            data = reply.get("data")
            buffer = data if data is not None else memory[: reply["bytes"]]
            parts += self._perf_records(reply["cpu"], buffer) if self._perf else self._ring_records(reply, buffer)
            if not self._perf:
                rest = max(0, reply["left"] if most is None else most - reply["bytes"])
        return parts, rest

    def _ring_records(self, reply: dict, buffer) -> list[tuple[np.ndarray, None]]:
        self.discarded += reply["discarded"]
        size = self.type.size
        length = reply["length"]
        if reply["places"] is None:
            stride = (length + HEADER + 7) // 8 * 8
            count = reply["bytes"] // stride
            if length < size:
                self.wrong_size += count
                return []
            if isinstance(buffer, list):
                return [(self.type.array(planes.whole(buffer, count), count, length), None)]
            return [(self.type.array(memoryview(buffer)[HEADER:], count, stride), None)]
        places = np.frombuffer(reply["places"], np.uint32).reshape(-1, 2)
        good = places[:, 1] >= size
        self.wrong_size += int((~good).sum())
        starts = places[good, 0]
        if not len(starts):
            return []
        raw = np.frombuffer(buffer, np.uint8)
        packed = raw[starts[:, None] + np.arange(size, dtype=np.uint32)]
        return [(self.type.array(packed.tobytes(), len(starts)), None)]

    def _perf_records(self, cpu: int, buffer) -> list[tuple[np.ndarray, dict]]:
        """struct perf_event_header {u32 type; u16 misc; u16 size}, then u64 time, u32 raw size, raw data."""
        raw = memoryview(buffer)
        size = self.type.size
        starts, position = [], 0
        while position < len(raw):
            kind = int.from_bytes(raw[position : position + 4], "little")
            length = int.from_bytes(raw[position + 6 : position + 8], "little")
            if kind == PERF_RECORD_SAMPLE:
                starts.append(position)
            elif kind == PERF_RECORD_LOST:  # header, u64 id, u64 lost
                # where the kernel keeps no count of its own (before 6.0) this is all there is; `lost` prefers that one
                self._perf_lost += int.from_bytes(raw[position + 16 : position + 24], "little")
            position += length
        at = np.array(starts, np.int64)
        if not len(at):
            return []
        bytes_ = np.frombuffer(raw, np.uint8)
        sizes = _gather(bytes_, at + 16, np.uint32)
        good = sizes >= size
        self.wrong_size += int((~good).sum())
        at = at[good]
        events = self.type.array(bytes_[at[:, None] + 20 + np.arange(size)].tobytes(), len(at))
        extra = {"cpu": np.full(len(at), cpu), "time_ns": _gather(bytes_, at + 8, np.uint64)}
        return [(events, extra)]

    def _frame(self, arrays) -> pd.DataFrame:
        if not arrays:
            empty = self.type.array(b"", 0)
            frame = pd.DataFrame(self._columns(empty))
            return frame.assign(cpu=[], time_ns=[]) if self._perf else frame
        whole = arrays[0][0] if len(arrays) == 1 else np.concatenate([a for a, _ in arrays])
        columns = self._columns(whole)
        if not self._perf:
            return pd.DataFrame(columns, copy=False)
        for name in ("cpu", "time_ns"):
            columns[name] = np.concatenate([extra[name] for _, extra in arrays])
        # each CPU has a buffer of its own; the kernel's clock puts them in one order
        return pd.DataFrame(columns).sort_values("time_ns", kind="stable", ignore_index=True)

    def _columns(self, array: np.ndarray) -> dict[str, Any]:
        name = "" if self.type.resolved.kind in ("struct", "union") else "value"
        return dict(self.type.columns(array, name))

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a frame of events, empty."""
        return dict(self._frame([]).items())

    def stream(self, callback: Callable[[pd.DataFrame], Any], seconds: float | None = None) -> Stream:
        """Call a function with every batch of events, in a thread, until it is stopped.

        Parameters
        ----------
        callback : callable
            Takes a DataFrame as `read` gives it.
        seconds : float, optional
            End by itself after this long.

        Returns
        -------
        Stream
            With `stop()`; also a context manager. An exception of the callback ends it and is raised by `stop()`.
        """
        return Stream(self, callback, seconds)

    def close(self) -> None:
        """Let go of the buffer's memory."""
        if not self.closed:
            self.closed = True
            if self._lab.alive:
                self._lab.ask("rings.close_ring", self._ring)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        lost = "not counted" if self.lost is None else self.lost
        return f"<events of {self._map.type} '{self._map.name}', each a {repr(self.type)[1:-1].split(',')[0]}; lost: {lost}>"


class Stream:
    """A thread that hands events to a callback."""

    def __init__(self, events: Events, callback, seconds: float | None):
        self._events, self._callback = events, callback
        self._stop = threading.Event()
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="bpflab-stream", daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._over():
                parts, _ = self._events._drain(0.1, settle=BATCH_S)
                if parts:
                    self._callback(self._events._frame(parts))
        except BaseException as error:  # noqa: BLE001 - belongs to whoever stops the stream
            if not self._events.closed:
                self._error = error

    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() >= self._deadline
        return late or self._stop.is_set() or self._events.closed

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def end(self) -> None:
        """Ask it to stop, without waiting."""
        self._stop.set()

    def join(self) -> None:
        """Wait for its end, by itself or by `end`."""
        self._thread.join()

    def stop(self) -> None:
        self.end()
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def _gather(raw: np.ndarray, at: np.ndarray, kind) -> np.ndarray:
    width = np.dtype(kind).itemsize
    return raw[at[:, None] + np.arange(width)].copy().view(kind)[:, 0]
