"""Run the programs of stacks.bpf.c for a while and bring their stacks home as arrays."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import LabError
from ..machines import AgentError, planes, uninterrupted
from ..process import gone, number_of

if TYPE_CHECKING:
    from ..lab import Lab

SOURCE = Path(__file__).with_name("stacks.bpf.c")
# struct stack of SOURCE without its frames
HEAD = np.dtype([("hash", "u8"), ("first_ns", "u8"), ("pid", "u4"), ("user", "u4"), ("kernel", "u4"), ("kthread", "u4"), ("comm", "S16")])
RING_HEAD = 8  # struct bpf_ringbuf_hdr
SLICE = 0.2  # seconds between looks at the ring, and at the most until an interrupt is seen


@dataclass
class Recorded:
    """Stacks as the kernel gave them.

    Attributes
    ----------
    head : ndarray of HEAD
        One for each distinct stack; `user` and `kernel` are numbers of frames.
    frames : ndarray of u64
        Of all stacks, one behind the other: of the process, then of the kernel, the innermost first.
    times, ns : ndarray of u64
        How often each stack was seen, and the nanoseconds of its waits.
    seconds : float
    lost, idle, cut : int
        Samples that found no room; of idle CPUs; stacks that may be deeper than was looked.
    interrupted : bool
    """

    head: np.ndarray
    frames: np.ndarray
    times: np.ndarray
    ns: np.ndarray
    seconds: float
    lost: int
    idle: int
    cut: int
    interrupted: bool

    @property
    def lengths(self) -> np.ndarray:
        return self.head["user"].astype(np.int64) + self.head["kernel"]

    @property
    def starts(self) -> np.ndarray:
        return np.cumsum(self.lengths) - self.lengths

    def places(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each frame its place in its stack, 0 for the first; and how many of that stack's are the process's."""
        return ranges(np.zeros(len(self.head), np.int64), self.lengths), np.repeat(self.head["user"].astype(np.int64), self.lengths)

    def without(self, drop: np.ndarray) -> Recorded:
        """The same without some frames."""
        place, within = self.places()
        stack = np.repeat(np.arange(len(self.head)), self.lengths)
        head = self.head.copy()
        for part, mine in (("user", place < within), ("kernel", place >= within)):
            head[part] -= np.bincount(stack[drop & mine], minlength=len(head)).astype(np.uint32)
        return dataclasses.replace(self, head=head, frames=self.frames[~drop])


class Ring:
    """Records of different lengths out of a ring buffer."""

    def __init__(self, lab: Lab, ring):
        self._lab = lab
        opened = lab.call(f"the buffer of map '{ring.name}' does not open", "rings.open_ring", ring.fd)
        self._number, self._size = opened["ring"], opened["size"]
        self.heads: list[np.ndarray] = []
        self.frames: list[np.ndarray] = []

    def drain(self, seconds: float) -> bool:
        """Take what is there, waiting for the first of it; whether there was anything."""
        with uninterrupted():
            found, memory = self._lab.bulk(self._size, "rings.drain", self._number, ..., seconds, None)
            for reply in found or ():
                data = reply.get("data")
                self._take(reply, memory[: reply["bytes"]] if data is None else data)
        return bool(found)

    def _take(self, reply: dict, data) -> None:
        if reply["places"] is None:
            stride = (reply["length"] + RING_HEAD + 7) // 8 * 8
            count = reply["bytes"] // stride
            if isinstance(data, list):
                data, stride, skip = planes.whole(data, count), reply["length"], 0
            else:
                skip = RING_HEAD
            offsets = np.arange(count, dtype=np.int64) * stride + skip
        else:
            offsets = np.frombuffer(reply["places"], np.uint32).reshape(-1, 2)[:, 0].astype(np.int64)
        raw = np.frombuffer(bytes(data), np.uint8)
        words = raw[: len(raw) // 8 * 8].view(np.uint64)
        heads = raw[offsets[:, None] + np.arange(HEAD.itemsize)].copy().view(HEAD).reshape(-1)
        letters = np.ascontiguousarray(heads["comm"]).view("u1").reshape(-1, 16)
        # behind the first 0 there may be the end of an earlier name
        heads["comm"] = (letters * np.logical_and.accumulate(letters != 0, axis=1)).astype("u1").view("S16").reshape(-1)
        heads["user"] //= 8
        heads["kernel"] //= 8
        length = heads["user"].astype(np.int64) + heads["kernel"]
        self.frames.append(words[ranges((offsets + HEAD.itemsize) // 8, length)])
        self.heads.append(heads)

    def close(self) -> None:
        if self._lab.alive:
            self._lab.ask("rings.close_ring", self._number)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """start, start + 1, ... of each range, one range behind the other."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def process(lab: Lab, pid) -> int:
    """The number of a process that is there (0 for None, which is all of them).

    Raises
    ------
    LabError
        There is none of that number.
    """
    number = number_of(pid)
    if number is None:
        return 0
    what = lab.ask("processes.alive", number)
    if what == "gone":
        raise gone(lab, number)
    if what != "process":
        raise LabError(f"{number} is a thread of process {what}; give {what}, whose threads are all seen")
    return number


def run(lab: Lab, program: str, seconds: float, pid: int, attach, **settings) -> tuple[Recorded, int]:
    """Record for `seconds`; also the agent's number of the mappings, to be closed by the caller."""
    watch = lab.call("executable mappings cannot be followed", "mappings.watch", list(range(lab.online)), pid)
    try:
        with lab.load(SOURCE, name="stacks", programs=[program], only=pid, **settings) as obj:
            ring = Ring(lab, obj.maps["found"])
            try:
                start = time.monotonic()
                interrupted = False
                with attach(obj.programs[program]):
                    # Ctrl-C, the stop button: what was seen until then is the result, as with perf record
                    try:
                        while (left := start + seconds - time.monotonic()) > 0:
                            time.sleep(min(left, SLICE))
                            ring.drain(0)
                            if pid and lab.ask("processes.alive", pid) == "gone":
                                break
                    except KeyboardInterrupt:
                        interrupted = True
                    end_ns = lab.ask("processes.now")
                took = time.monotonic() - start
                while ring.drain(0):
                    pass
            finally:
                ring.close()
            return _together(obj, ring, took, end_ns, interrupted), watch
    except BaseException:
        with contextlib.suppress(AgentError, LabError):
            lab.ask("mappings.close", watch)
        raise


def _together(obj, ring: Ring, took: float, end_ns: int, interrupted: bool) -> Recorded:
    head = np.concatenate([*ring.heads, np.empty(0, HEAD)])
    frames = np.concatenate([*ring.frames, np.empty(0, np.uint64)])
    names, sums = obj.maps["sums"].to_numpy()
    names, times, ns = np.asarray(names, np.uint64), sums["times"].copy(), sums["ns"].copy()
    order = np.argsort(names)
    names, times, ns = names[order], times[order], ns[order]
    _, away = obj.maps["away"].to_numpy()
    if len(away) and len(names):  # waits that are not over: their time until now counts
        at = np.minimum(np.searchsorted(names, away["hash"]), len(names) - 1)
        waited = np.maximum(end_ns - away["at_ns"].astype(np.int64), 0).astype(np.uint64)
        good = (names[at] == away["hash"]) & (waited >= obj.globals["least_ns"])
        np.add.at(times, at[good], np.uint64(1))
        np.add.at(ns, at[good], waited[good])
    # two CPUs may have sent the same new stack
    _, first = np.unique(head["hash"], return_index=True)
    length = head["user"].astype(np.int64) + head["kernel"]
    starts = np.cumsum(length) - length
    at = np.minimum(np.searchsorted(names, head["hash"][first]), max(len(names) - 1, 0))
    seen = (names[at] == head["hash"][first]) & (times[at] > 0) if len(names) else np.zeros(len(first), bool)
    keep, at = first[seen], at[seen]
    return Recorded(
        head=head[keep],
        frames=frames[ranges(starts[keep], length[keep])],
        times=times[at],
        ns=ns[at],
        seconds=took,
        lost=obj.globals["lost"],
        idle=obj.globals["idle"],
        cut=obj.globals["cut"],
        interrupted=interrupted,
    )
