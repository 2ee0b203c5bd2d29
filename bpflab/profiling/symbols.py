"""Addresses of processes -> names, all at once: mappings, then each file's symbols, then the names that were hit."""

from __future__ import annotations

import posixpath
import weakref
import zlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from .. import elf
from ..stacks import symbols as kernel_symbols
from .tree import KERNEL, SCRIPT, UNKNOWN, USER

if TYPE_CHECKING:
    from ..lab import Lab

GLOBAL, WEAK = 1, 2
NESTED = 8  # functions that begin inside another one and end before the address
UNKNOWN_NAME = "[unknown]"
NOWHERE = "no code there"


class Table:
    """Functions of one binary by address, of all its symbol tables.

    Attributes
    ----------
    key : list
        What the agent knows the file by.
    why : str
        Why some functions have no name ("stripped"), or "".
    starts, ends : ndarray of u64
        Sorted by start; each start once.
    table, name : ndarray
        In which symbol table, and where in its strings, the name is.
    """

    def __init__(self, about: dict):
        self.key, self.why, self.loads = about["key"], about["why"], about["loads"]
        parts = [self._functions(n, data, about, code) for n, (data, code) in enumerate(about["tables"])]
        if not parts:
            parts = [(np.empty(0, np.uint64),) * 3 + (np.empty(0, np.int64),) * 2]
        starts, sizes, names, table, rank = (np.concatenate(column) for column in zip(*parts))
        order = np.lexsort((-sizes.astype(np.int64), rank, starts))
        first = np.ones(len(order), bool)
        first[1:] = starts[order][1:] != starts[order][:-1]
        order = order[first]
        self.starts, self.name, self.table = starts[order], names[order], table[order]
        following = np.append(self.starts[1:], np.uint64(2**64 - 1))
        # written by hand in assembly, a function may have no size: it ends where the next one begins
        self.ends = np.where(sizes[order] == 0, following, self.starts + sizes[order])
        self.names = np.full(len(order), None, object)

    @staticmethod
    def _functions(number: int, data: bytes, about: dict, code: list[int]):
        data = zlib.decompress(data) if about["packed"] else data
        rows = elf.symbols(data, about["bits"], about["order"])
        kind, bind = rows["info"] & 15, rows["info"] >> 4
        label = (kind == elf.STT_NOTYPE) & (bind != 0) & (rows["size"] == 0)
        rows = rows[(elf.of_functions(rows) | label) & np.isin(rows["section"], code)]
        kind, bind = rows["info"] & 15, rows["info"] >> 4
        # of several names for one address: real functions before labels, then global, weak, local
        rank = np.select([bind == GLOBAL, bind == WEAK], [0, 1], 2) + 10 * (kind == elf.STT_NOTYPE)
        columns = rows["value"].astype(np.uint64), rows["size"].astype(np.uint64), rows["name"].astype(np.uint64)
        return *columns, np.full(len(rows), number), rank

    def addresses(self, offsets: np.ndarray) -> np.ndarray:
        """Addresses, as the symbols have them, of places in the file."""
        found = offsets.copy()
        for offset, address, size in self.loads:
            inside = (offsets >= offset) & (offsets < offset + size)
            found[inside] = offsets[inside] - np.uint64(offset) + np.uint64(address)
        return found

    def find(self, addresses: np.ndarray) -> np.ndarray:
        """Index of the function that each address is in; -1 for none."""
        if not len(self.starts):
            return np.full(len(addresses), -1)
        at = np.searchsorted(self.starts, addresses, side="right") - 1
        for _ in range(NESTED):
            beyond = (at >= 0) & (addresses >= self.ends[np.maximum(at, 0)])
            if not beyond.any():
                return at
            at[beyond] -= 1
        at[(at >= 0) & (addresses >= self.ends[np.maximum(at, 0)])] = -1
        return at


class PerfMap:
    """What an interpreter says of the code that it wrote: lines of address, size and name, in hex (/tmp/perf-PID.map)."""

    def __init__(self, text: bytes):
        rows = []
        for line in text.splitlines():
            part = line.split(None, 2)
            if len(part) == 3:
                try:
                    rows.append((int(part[0], 16), int(part[1], 16), part[2].decode(errors="replace")))
                except ValueError:
                    continue  # half a line: it is being written
        rows.sort(key=lambda row: row[0])
        self.starts = np.array([row[0] for row in rows], np.uint64)
        self.ends = self.starts + np.array([row[1] for row in rows], np.uint64)
        self.names = np.array([row[2] for row in rows], object)

    def find(self, addresses: np.ndarray) -> np.ndarray:
        if not len(self.starts):
            return np.full(len(addresses), -1)
        at = np.searchsorted(self.starts, addresses, side="right") - 1
        at[(at >= 0) & (addresses >= self.ends[np.maximum(at, 0)])] = -1
        return at


class Found(NamedTuple):
    """What addresses were resolved to.

    Attributes
    ----------
    name : ndarray of str
    kind : ndarray of u8
        USER, KERNEL, SCRIPT, or UNKNOWN for a process's.
    file : ndarray of str
        The whole path, "" where there is none.
    why : ndarray of str
        Why it has no name; "" where it has one.
    """

    name: np.ndarray
    kind: np.ndarray
    file: np.ndarray
    why: np.ndarray


_tables: weakref.WeakKeyDictionary[Lab, dict[tuple, Table]] = weakref.WeakKeyDictionary()


class Resolver:
    """Names for the addresses of one profile.

    Parameters
    ----------
    watch : int
        The agent's, see `bpflab.agent.mappings`.

    Attributes
    ----------
    mangled : bool
        Names of C++ or Rust stayed as they are: the machine has neither c++filt nor llvm-cxxfilt.
    """

    def __init__(self, lab: Lab, watch: int):
        self._lab, self._watch = lab, watch
        self._tables = _tables.setdefault(lab, {})
        self._asked: dict[tuple, tuple | str] = {}
        self.mangled = False
        self._fresh = False
        self._read: set[tuple] = set()

    def resolve(self, frames: np.ndarray, kernel: np.ndarray, pids: np.ndarray, times: np.ndarray) -> tuple[Found, np.ndarray]:
        """Names of all frames.

        Parameters
        ----------
        frames : ndarray of u64
            Addresses; of a caller the one that it is returned to, less 1, so that it lies in the call.
        kernel : ndarray of bool
            Whether it is the kernel's.
        pids, times : ndarray
            For the others whose, and when the process had it so (ns).

        Returns
        -------
        Found, ndarray of int
            Each address once, and for each frame its place in there.
        """
        where = np.empty(len(frames), np.int64)
        blocks, count = [], 0
        for found, at, inverse in self._blocks(frames, kernel, pids, times):
            blocks.append(found)
            where[at] = inverse + count
            count += len(found.name)
        return Found(*(np.concatenate(column) for column in zip(*blocks))) if blocks else _blank(0), where

    def _blocks(self, frames, kernel, pids, times):
        at = np.flatnonzero(kernel)
        if len(at):
            inverse, addresses = pd.factorize(frames[at])
            yield self._kernel(addresses), at, inverse
        wanted = np.flatnonzero(~kernel)
        of_pid, hits, later = pids[wanted], {}, []
        spaces = self._lab.ask("mappings.spaces", self._watch, np.unique(of_pid).tolist())
        for pid, lives in spaces.items():
            at = wanted[of_pid == pid]
            since = np.array([since for since, _ in lives[1:]], np.uint64)
            life = np.searchsorted(since, times[at], side="right")
            for n in np.unique(life).tolist():
                here = at[life == n]
                inverse, addresses = pd.factorize(frames[here])
                found = _blank(len(addresses))
                found.name[:], found.kind[:], found.why[:] = UNKNOWN_NAME, UNKNOWN, NOWHERE
                if lives:
                    self._in_space(pid, lives[n][1], addresses, found, hits)
                else:
                    found.why[:] = "the process was over before its mappings were read"
                later.append((found, here, inverse))
        self._name(hits)
        yield from later

    def _kernel(self, addresses: np.ndarray) -> Found:
        symbols = kernel_symbols(self._lab)
        # modules and BPF programs come and go, and lie behind the kernel's own text
        if bool((addresses >= symbols.end_of_text).any()) and not self._fresh:
            symbols, self._fresh = kernel_symbols(self._lab, again=True), True
        at = symbols.at(addresses)
        result = _blank(len(addresses))
        result.name[:] = symbols.names[at]
        result.name[at < 0], result.why[at < 0] = "[unknown kernel code]", "not in /proc/kallsyms"
        result.kind[:], result.file[:] = KERNEL, "the kernel"
        return result

    def _in_space(self, pid: int, rows: list, addresses: np.ndarray, result: Found, hits: dict) -> None:
        row_of = np.full(len(addresses), -1)
        for n, (start, end, _, _) in enumerate(rows):  # what was mapped later lies above
            row_of[(addresses >= start) & (addresses < end)] = n
        for n in np.unique(row_of[row_of >= 0]).tolist():
            start, end, offset, path = rows[n]
            here = np.flatnonzero(row_of == n)
            result.file[here] = path or "anonymous memory"
            if not path.startswith("/") or path.startswith(("/memfd:", "/dev/zero")):
                if path == "[vdso]":
                    offset = 0
                else:
                    self._in_perf_map(pid, here, addresses[here], path, result)
                    continue
            short = f"[{posixpath.basename(path.removesuffix(' (deleted)')).strip('[]')}]"
            result.name[here] = short
            table = self._table(pid, start, end, path)
            if isinstance(table, str):
                result.why[here] = table
                continue
            places = table.addresses(addresses[here] - np.uint64(start) + np.uint64(offset))
            at = table.find(places)
            result.why[here] = table.why or "no symbol there"
            good = at >= 0
            result.kind[here[good]], result.why[here[good]] = USER, ""
            hits.setdefault(id(table), (table, []))[1].append((result, here[good], at[good]))

    def _in_perf_map(self, pid: int, here: np.ndarray, addresses: np.ndarray, path: str, result: Found) -> None:
        """Code without a file: what an interpreter or a JIT compiler wrote, or a page of the kernel's ("[uprobes]")."""
        if path.startswith("[") and not path.startswith(("[anon", "[heap", "[stack")):
            result.name[here], result.kind[here], result.why[here] = path, USER, ""
            return
        if (pid, "map") not in self._asked:
            self._asked[pid, "map"] = PerfMap(self._lab.ask("mappings.perf_map", self._watch, pid))
        table = self._asked[pid, "map"]
        at = table.find(addresses)
        good = at >= 0
        result.name[here[good]] = table.names[at[good]]
        result.kind[here[good]], result.why[here[good]] = SCRIPT, ""
        result.file[here] = "code made while running"
        result.why[here[~good]] = "not in its /tmp/perf-PID.map" if len(table.starts) else "no /tmp/perf-PID.map"
        result.name[here[~good]] = "[made while running]"

    def _table(self, pid: int, start: int, end: int, path: str) -> Table | str:
        asked = (pid, start, path)
        if asked not in self._asked:
            # a stripped one is read anew by each profile: its debug file may have come meanwhile
            known = [list(key) for key, table in self._tables.items() if not table.why or key in self._read]
            far = self._lab.machine != "local"
            reply = self._lab.ask("mappings.symbols", self._watch, pid, start, end, path, known, far)
            if "missing" in reply:
                self._asked[asked] = reply["missing"]
            else:
                key = tuple(reply["key"])
                if "tables" in reply:
                    self._tables[key] = Table(reply)
                    self._read.add(key)
                self._asked[asked] = key
        found = self._asked[asked]
        return found if isinstance(found, str) else self._tables[found]

    def _name(self, hits: dict) -> None:
        """Fetch the names that are not known yet, all in one question, and fill them in."""
        wanted, places = [], []
        for table, uses in hits.values():
            at = np.unique(np.concatenate([indices for _, _, indices in uses]))
            at = at[np.equal(table.names[at], None)]
            for number in np.unique(table.table[at]).tolist():
                some = at[table.table[at] == number]
                wanted.append([table.key, number, table.name[some].tolist()])
                places.append((table, some))
        if wanted:
            lists, plain = self._lab.ask("mappings.names", self._watch, wanted)
            self.mangled = not plain
            for (table, some), names in zip(places, lists):
                table.names[some] = names
        for table, uses in hits.values():
            for result, here, at in uses:
                result.name[here] = table.names[at]


def _blank(count: int) -> Found:
    text = [np.full(count, "", object) for _ in range(3)]
    return Found(text[0], np.zeros(count, np.uint8), text[1], text[2])
