"""What is drawn while it comes: `live` follows a ring or perf buffer, or a map that a program counts in."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import buckets
from .bins import BUCKETS, Bins, Picture
from .errors import LabError

if TYPE_CHECKING:
    from .events import Events
    from .map import Map

# what programs call the time of an event, in nanoseconds
_TIMES = ("time_ns", "ts_ns", "timestamp_ns", "ktime_ns", "timestamp", "ts")
KEPT = 5_000_000  # rows of the frame
EVERY_S = 0.2  # from one look at a map to the next
ENDS_S = 30.0  # a batch of millions of events takes two to be counted
RATE_S = 2.0  # over which "now" is taken


class Following:
    """What the widget of `live` wants of what it follows."""

    value: str | None = None
    by: str | None = None
    step: float | None = None  # width of a bucket; None for powers of two
    lost: int | None = 0
    dropped = early = 0

    def __init__(self, width: float, window: float, seconds: float | None):
        self.bins, self.window = Bins(width), window
        self.count = 0
        self.started = time.monotonic()
        self.ended: float | None = None
        self.error: BaseException | None = None
        self._deadline = None if seconds is None else self.started + seconds
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._last = 0.0  # seconds until which events are known
        self._recent: list[tuple[float, int]] = []

    def _counted(self, now: float, count: int) -> None:
        self.count += count
        self._recent = [one for one in self._recent if one[0] > now - RATE_S] + [(now, count)]

    @property
    def source_closed(self) -> bool:
        raise NotImplementedError

    def end(self) -> None:
        """Ask it to stop, without waiting."""
        raise NotImplementedError

    def frame(self) -> pd.DataFrame:
        raise NotImplementedError

    @property
    def running(self) -> bool:
        return not self._over.is_set()

    def stop(self) -> None:
        """Ask it to stop and wait for it.

        Raises
        ------
        LabError
            The lab machine does not answer.
        """
        self.end()
        if not self._over.wait(ENDS_S):
            raise LabError(f"what is followed did not end within {ENDS_S:.0f} s: the lab machine does not answer; lab.close() ends it")

    def wait(self, timeout: float | None = None) -> bool:
        return self._over.wait(timeout)

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return (self.ended or time.monotonic()) - self.started

    @property
    def rate(self) -> float:
        """Events a second, of late; of the whole when it is over."""
        if self.ended:
            return self.count / max(self.seconds, 1e-9)
        now = time.monotonic()
        with self._lock:
            recent = sum(count for at, count in self._recent if at > now - RATE_S)
        return recent / max(min(RATE_S, now - self.started), 1e-9)

    def picture(self) -> Picture:
        with self._lock:
            gaps = self.bins.gaps
            end = max(self._last, self.seconds if self.running else gaps[-1].end if gaps else 0)
            start = max(0.0, end - self.window) if self.running else 0.0
            end = max(end, min(self.window, 2.0) if self.running else 0.0)
            return self.bins.picture(start, end)

    @property
    def ending(self) -> str:
        """Why it ended, for a reader; "" while it runs."""
        if self.running:
            return ""
        if isinstance(self.error, LabError):
            return f"ended: {self.error}"
        if self.error is not None:
            return f"failed: {type(self.error).__name__}: {self.error}"
        if self.source_closed:
            return "ended with its object"
        return "stopped" if self._deadline is None or self.ended < self._deadline else "complete"


class EventsFollower(Following):
    """Takes events out, counts them into bins, keeps the frame.

    Parameters
    ----------
    events : Events
    value, by : str or None
        Columns: a number to be drawn by powers of two; what tells groups apart.
    time : str or None
        Column with the time of an event in nanoseconds; None for when it arrives here.
    window : float
        Seconds that are shown while it runs.
    keep : int
        Rows of the frame that are kept, the newest.
    """

    def __init__(self, events: Events, value: str | None, by: str | None, time_column: str | None, window: float, keep: int, seconds: float | None):
        columns = events.columns
        for name in filter(None, (value, by, time_column)):
            if name not in columns:
                raise TypeError(f"an event has no column '{name}'; it has {', '.join(columns)}")
        if value and not pd.api.types.is_numeric_dtype(columns[value]):
            raise TypeError(f"column '{value}' holds no numbers; by='{value}' draws a line for each of its values")
        super().__init__(min(0.1, window / 300), window, seconds)
        self.events, self.value, self.by, self._keep = events, value, by, keep
        self.time_column = time_column or next((name for name in _TIMES if name in columns), None)
        self._frames: list[pd.DataFrame] = []
        self._lost_before = events.lost or 0
        self.lost: int | None = 0 if events.lost is not None else None
        self._zero: float | None = None  # what the events' clock said at the beginning, in seconds
        if self.time_column and not (events._perf and self.time_column == "time_ns"):  # perf has a clock of its own
            self._zero = events._lab.ask("machine.clock_ns") / 1e9
            self.started = time.monotonic()
        self.stream = events.stream(self._take, seconds)
        threading.Thread(target=self._watch, name="bpflab-live", daemon=True).start()

    # -- the stream's thread

    def _take(self, frame: pd.DataFrame) -> None:
        arrived = time.monotonic()
        seconds = self._seconds(frame, arrived)
        if self.by:
            codes, names = pd.factorize(frame[self.by], use_na_sentinel=False)
            labels = [str(name) for name in names]
        else:
            codes, labels = np.zeros(len(frame), np.int64), ["events"]
        values = frame[self.value].to_numpy() if self.value else None
        with self._lock:
            inside = seconds >= 0
            if not inside.all():
                self.early += int((~inside).sum())  # they were in the buffer before: in the frame, not in the picture
                seconds, codes = seconds[inside], codes[inside]
                values = values[inside] if values is not None else None
            self.bins.add(seconds, codes, labels, values)
            self._last = max(self._last, float(seconds.max(initial=0)))
            self._counted(arrived, len(frame))
            self._frames.append(frame)
            while self.count - self.dropped > self._keep and len(self._frames) > 1:
                self.dropped += len(self._frames.pop(0))
        # a buffer that had no room was full from its last event until it was read
        self._count_lost(float(seconds.max(initial=0)), arrived - self.started)

    def _seconds(self, frame: pd.DataFrame, arrived: float) -> np.ndarray:
        """When each event was, in seconds since the beginning."""
        now = arrived - self.started
        if not self.time_column:
            return np.full(len(frame), now)
        times = frame[self.time_column].to_numpy() / 1e9
        if self._zero is None or not -86400 < times.max() - self._zero < now + 1:  # a clock that is not CLOCK_MONOTONIC
            self._zero = float(times.max()) - now
        return times - self._zero

    def _count_lost(self, since: float, now: float) -> None:
        """Note a gap where the buffer has lost events since the last look."""
        if self.lost is None:
            return
        lost = (self.events.lost or 0) - self._lost_before
        if lost > self.lost:
            with self._lock:
                self.bins.gap(since, max(now, since), lost - self.lost)
                self.lost = lost

    # -- its end

    def _watch(self) -> None:
        self.stream.join()
        try:
            self.stream.stop()
            if not self.events.closed:
                self._count_lost(self._last, time.monotonic() - self.started)
        except BaseException as error:  # noqa: BLE001 - is shown, and raised by stop()
            self.error = error
        self.ended = time.monotonic()
        self._over.set()

    @property
    def source_closed(self) -> bool:
        return self.events.closed

    def end(self) -> None:
        self.stream.end()

    def frame(self) -> pd.DataFrame:
        with self._lock:
            if len(self._frames) > 1:
                self._frames = [pd.concat(self._frames, ignore_index=True)]
            return self._frames[0] if self._frames else pd.DataFrame(self.events.columns)


class SlotsFollower(Following):
    """Looks at a map of slots a few times a second: a program counts, and nothing can be lost.

    Parameters
    ----------
    source : Map
    first, step
        See `plots.histogram`.
    by : str or None
        What several histograms in it are told apart by, for the frame.
    """

    def __init__(self, source: Map, first: int | None, step: float | None, by: str | None, window: float, seconds: float | None):
        super().__init__(max(2.5 * EVERY_S, window / 300), window, seconds)  # wider than from look to look, or some would be empty
        self.source, self.value, self.step = source, source.name, step
        self._first, self._name = buckets.first_slot(source, first), by
        self._before = self._counts()
        for label, counts in self._before.items():
            self.bins.totals[self.bins._row(label)] += counts
        self.by = by or (None if set(self._before) <= {"events"} else "key")
        self._stop = threading.Event()
        threading.Thread(target=self._watch, name="bpflab-live", daemon=True).start()

    def _counts(self) -> dict[str, np.ndarray]:
        found = {}
        for key, slots in buckets.counts(self.source).items():
            if len(slots) > BUCKETS:
                raise TypeError(f"map '{self.source.name}' has {len(slots)} slots, more than {BUCKETS}: draw it with bl.histogram")
            numbers = np.zeros(BUCKETS)
            # slot 0 of plain logarithms holds 0 and 1, and the first power of two is bucket 1
            at = 0 if self.step is not None else 1 - self._first
            numbers[at : at + len(slots)] = np.asarray(slots, float)[: BUCKETS - at]
            found["events" if key is None else str(key)] = numbers
        return found

    def _watch(self) -> None:
        try:
            while not self._stop.wait(EVERY_S) and (self._deadline is None or time.monotonic() < self._deadline):
                self._look()
            self._look()
        except BaseException as error:  # noqa: BLE001 - is shown, and raised by stop()
            self.error = error
        self.ended = time.monotonic()
        self._over.set()

    def _look(self) -> None:
        now, counts = time.monotonic(), self._counts()
        with self._lock:
            for label, numbers in counts.items():
                new = numbers - self._before.get(label, 0)
                if (new < 0).any():  # somebody emptied the map
                    new = numbers
                self.bins.add_counts(self._last, label, new)
                self._counted(now, int(new.sum()))
            self._before, self._last = counts, now - self.started

    @property
    def source_closed(self) -> bool:
        return self.source._object is not None and self.source._object.closed

    def end(self) -> None:
        self._stop.set()

    def frame(self) -> pd.DataFrame:
        return buckets.of_map(self.source, self._first, self.step, self._name)[0]
