"""What `lab.profile` and `lab.offcpu` give: stacks with names, and what is not known of them."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from . import export
from .record import Recorded, ranges
from .symbols import Found
from .tree import KERNEL, PROCESS, UNKNOWN, build

if TYPE_CHECKING:
    from ..lab import Lab

# where threads begin, so that a stack which ends there is whole
BEGINNINGS = {
    "_start", "__libc_start_main", "__libc_start_call_main", "__libc_start_main_impl", "main", "start_thread", "clone", "clone3",
    "__clone", "__clone3", "_dl_start_user", "_dl_start", "_dl_start_final", "runtime.goexit", "runtime.goexit.abi0",
    "runtime.mstart", "runtime.mcall", "runtime.rt0_go", "runtime.rt0_go.abi0",
}  # fmt: skip


class Stacks:
    """Stacks of a while, with names; what flame graphs are drawn from.

    `len(stacks)` is the number of distinct ones; `print(stacks)` says what was seen, lost and not resolved.

    Attributes
    ----------
    what : str
        "on-CPU", "off-CPU", or "stacks" for those of `bpflab.stacks.fold`.
    unit : str
        What is counted: "samples" or "us" (microseconds of waits).
    seconds : float
        How long it really took.
    hz : int or None
        Samples a second and CPU.
    total : int
        Sum of all stacks, in `unit`.
    lost : int
        Samples or waits without a stack: there was no room for it in the kernel.
    idle : int
        Samples of CPUs that had nothing to do.
    cut : int
        Stacks of 127 frames, the most that is looked at: there may be more above.
    incomplete : int
        Samples or waits whose user stack ends before the beginning of its thread. User stacks are walked by frame
        pointers; code compiled without them (`-fomit-frame-pointer`, the default of -O2) loses its callers.
    interrupted : bool
        Stopped by Ctrl-C or the stop button; what had come until then is there.
    unresolved : pandas.DataFrame
        `file`, `why`, `frames`: how many frames of what was seen have no name.
    tree : bpflab.profiling.tree.Tree
        The calls, with the process as the root of each stack.
    """

    def __init__(self, lab: Lab, what: str, recorded: Recorded, found: Found, where: np.ndarray, **about):
        self.what, self.unit = what, "us" if what == "off-CPU" else "samples"
        self.where, self.ncpus = lab.where, lab.online
        self.seconds, self.lost, self.idle, self.cut = recorded.seconds, recorded.lost, recorded.idle, recorded.cut
        self.interrupted = recorded.interrupted
        self.hz, self.pid = about.get("hz"), about.get("pid")
        self.lost_mappings, self.mangled = about.get("lost_mappings", 0), about.get("mangled", False)
        head = recorded.head
        self._times = recorded.times.astype(np.int64)
        self._values = self._times if self.unit == "samples" else (recorded.ns.astype(np.int64) + 500) // 1000
        self._pids = head["pid"].astype(np.int64)
        self._count_unknown(found, where, head)
        self._plant(found, where, head, recorded.starts)
        self.total = int(self._values.sum())

    def _count_unknown(self, found: Found, where: np.ndarray, head: np.ndarray) -> None:
        length = head["user"].astype(np.int64) + head["kernel"]
        weight = np.bincount(where, np.repeat(self._times, length), minlength=len(found.name)).astype(np.int64)
        bad = found.why != ""
        self._frames = int(weight.sum())
        rows = pd.DataFrame({"file": found.file[bad], "why": found.why[bad], "frames": weight[bad]})
        self.unresolved = rows.groupby(["file", "why"], as_index=False).frames.sum().sort_values("frames", ascending=False, ignore_index=True)

    def _plant(self, found: Found, where: np.ndarray, head: np.ndarray, starts: np.ndarray) -> None:
        user, kernel = head["user"].astype(np.int64), head["kernel"].astype(np.int64)
        processes, process = np.unique(head["comm"], return_inverse=True)
        # each function once: by its name, and by whether it is the kernel's
        texts, named = pd.factorize(found.name)
        short, pairs = pd.factorize(texts * 8 + found.kind)
        first = np.empty(len(pairs), np.int64)
        first[short[::-1]] = np.arange(len(short))[::-1]
        names = named[pairs // 8].tolist() + [name.decode(errors="replace") for name in processes.tolist()]
        kinds = (pairs % 8).tolist() + [PROCESS] * len(processes)
        files = found.file[first].tolist() + [""] * len(processes)
        lengths = 1 + user + kernel
        place = ranges(np.zeros(len(head), np.int64), lengths) - 1  # -1: the process
        at, u, k = (np.repeat(column, lengths) for column in (starts, user, kernel))
        # the kernel gives the innermost first, of the process and then of itself; here the outermost comes first
        frame = at + np.where(place < u, u - 1 - place, 2 * u + k - 1 - place)
        sequence = np.empty(len(place), np.int64)
        is_frame = place >= 0
        sequence[is_frame] = short[where[frame[is_frame]]]
        sequence[~is_frame] = process + len(pairs)
        sequence, lengths = _without_repeats(sequence, lengths, np.array([kind == UNKNOWN for kind in kinds], bool))
        self.tree, self._ends = build(names, kinds, files, sequence, lengths, self._values)
        outermost = found.name[where[(starts + user - 1)[user > 0]]]
        self._user_times = int(self._times[user > 0].sum())
        whole = pd.Index(outermost).isin(BEGINNINGS)
        self.incomplete = int(self._times[user > 0][~whole].sum())

    # -- as data

    def to_frame(self) -> pd.DataFrame:
        """A row for each distinct stack, the largest first.

        Returns
        -------
        pandas.DataFrame
            `process`, `pid`, `samples` (or `us` and `waits`), `user`, `kernel`: functions with ";" between them, the
            outermost first.
        """
        columns = {"pid": self._pids, "end": self._ends, self.unit: self._values}
        if self.unit == "us":
            columns["waits"] = self._times
        rows = pd.DataFrame(columns).groupby(["pid", "end"], as_index=False).sum()
        rows = rows.sort_values([self.unit, "pid", "end"], ascending=[False, True, True], ignore_index=True)
        texts = [self._text(way) for way in self.tree.lists(rows.pop("end").to_numpy(np.int64))]
        rows.insert(0, "process", [text[0] for text in texts])
        return rows.assign(user=[text[1] for text in texts], kernel=[text[2] for text in texts])

    def _text(self, way: list[int]) -> tuple[str, str, str]:
        tree = self.tree
        process, *path = way
        parts = [[tree.names[n] for n in path if bool(tree.kinds[n] == KERNEL) is kernel] for kernel in (False, True)]
        return tree.names[process], *(";".join(part) for part in parts)

    def folded(self) -> dict[str, int]:
        """Stacks in the form of Brendan Gregg's tools: "process;outermost;...;innermost" and what it counts, the largest first."""
        return self.tree.folded()

    def top(self, n: int = 20) -> pd.DataFrame:
        """Functions by what was counted in themselves.

        Returns
        -------
        pandas.DataFrame
            `function`, `file`, `own` (in the function itself), `total` (with all that it called), `own_%`; `own` and
            `total` in `unit`. Recursion counts once.
        """
        tree = self.tree
        own = np.bincount(tree.name, tree.own, len(tree.names))
        inside = np.zeros(len(tree.names))
        first = self._outermost_of_name
        np.add.at(inside, tree.name[first], tree.total[first])
        rows = pd.DataFrame({"function": tree.names, "file": tree.files, "own": own.astype(np.int64), "total": inside.astype(np.int64)})
        rows = rows[tree.kinds != PROCESS].sort_values(["own", "total", "function"], ascending=[False, False, True], ignore_index=True)
        return rows.head(n).assign(**{"own_%": lambda f: (100 * f.own / max(self.total, 1)).round(1)})

    @functools.cached_property
    def _outermost_of_name(self) -> np.ndarray:
        """Nodes that have no ancestor of the same name."""
        tree, good = self.tree, np.ones(len(self.tree.name), bool)
        above = tree.parent.copy()
        while (above >= 0).any():
            some = above >= 0
            good[some] &= tree.name[above[some]] != tree.name[some]
            above[some] = tree.parent[above[some]]
        return good

    def flamegraph(self, before: Stacks | None = None):
        """See `bpflab.flamegraph`."""
        from ..widgets.flamegraph import flamegraph

        return flamegraph(self, before)

    def to_speedscope(self, path: str | Path | None = None) -> dict:
        """The stacks in the format of speedscope, which also Perfetto and Firefox's profiler open; written to `path` if given."""
        made = export.speedscope(self.tree, self.what, self.unit)
        if path is not None:
            Path(path).write_text(json.dumps(made, separators=(",", ":")))
        return made

    def __len__(self) -> int:
        return len(np.unique(self._ends))

    # -- in words

    @property
    def title(self) -> str:
        """ "on-CPU, 2.0 s"."""
        if self.what == "stacks":
            return f"{len(self):,} stacks"
        return f"{self.what}, {self.seconds:.1f} s" + (f", process {self.pid}" if self.pid else "")

    def notes(self) -> list[str]:
        """What is not known or not whole, a sentence each."""
        said = []
        if self.interrupted:
            said.append(f"stopped after {self.seconds:.1f} s")
        if self.lost:
            said.append(f"{_number(self.lost, 'sample' if self.unit == 'samples' else 'wait')} lost: no room for their stacks in the kernel")
        if self.lost_mappings:
            said.append(f"{_number(self.lost_mappings, 'report')} of new mappings lost: some processes may have no names")
        if len(self.unresolved):
            unknown = int(self.unresolved.frames.sum())
            said.append(f"{_percent(unknown, self._frames)} of frames have no symbol: {self._unknown_places()}")
        if self.incomplete:
            what = "samples in a process" if self.unit == "samples" else "waits of a process"
            share = _percent(self.incomplete, self._user_times)
            said.append(f"{share} of {what} have a stack that lost its outer end: code built without frame pointers (-fno-omit-frame-pointer)")
        if self.cut:
            said.append(f"{_number(self.cut, 'stack')} reached 127 frames, the most that is looked at")
        if self.mangled:
            said.append("C++ and Rust names are not demangled: the lab machine has no c++filt (apt install binutils)")
        return said

    def _unknown_places(self) -> str:
        rows = list(self.unresolved.itertuples())
        said = [f"{row.frames:,} in {row.file or 'no file'} ({row.why})" for row in rows[:3]]
        rest = sum(row.frames for row in rows[3:])
        return ", ".join(said) + (f", {rest:,} in {_number(len(rows) - 3, 'other place')}" if rest else "")

    def __repr__(self) -> str:
        whose = f" of process {self.pid}" if self.pid else ""
        if self.what == "stacks":
            seen = f"{self.total:,} samples"
        elif self.unit == "samples":
            idle = f" (and {self.idle:,} of idle CPUs)" if not self.pid else ""
            seen = f"on-CPU{whose}: {self.total:,} samples at {self.hz} Hz in {self.seconds:.1f} s on {self.ncpus} CPUs{idle}"
        else:
            seen = f"off-CPU{whose}: {self.total / 1e6:,.3f} s of waits in {self.seconds:.1f} s"
        if not len(self._values):
            seen += "; nothing was seen" + (": did the process run?" if self.pid else "")
        return "\n  ".join([f"{seen}; {_number(len(self), 'distinct stack')}", *self.notes()])


def _without_repeats(sequence: np.ndarray, lengths: np.ndarray, unknown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stacks in which a row of frames that are alike in having no name is one frame."""
    keep = np.ones(len(sequence), bool)
    keep[1:] = (sequence[1:] != sequence[:-1]) | ~unknown[sequence[1:]]
    stack = np.repeat(np.arange(len(lengths)), lengths)
    return sequence[keep], np.bincount(stack[keep], minlength=len(lengths))


def _number(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _percent(part: int, whole: int) -> str:
    share = 100 * part / max(whole, 1)
    return f"{share:.1f} %" if share >= 0.1 or not part else "under 0.1 %"

