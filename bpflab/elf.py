"""A program or library on the lab machine: its functions, its USDT probes, where its instructions begin."""

from __future__ import annotations

import functools
import struct
import weakref
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import process
from .errors import LabError, ObjectError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab

_WANTED = [".symtab", ".strtab", ".dynsym", ".dynstr", ".note.stapsdt", ".eh_frame_hdr"]
# Elf64_Sym and Elf32_Sym (elf.h)
SYMBOL = {
    64: [("name", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2"), ("value", "u8"), ("size", "u8")],
    32: [("name", "u4"), ("value", "u4"), ("size", "u4"), ("info", "u1"), ("other", "u1"), ("section", "u2")],
}
STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC = 0, 2, 10
_open: weakref.WeakKeyDictionary[Lab, dict[tuple[str, str], Binary]] = weakref.WeakKeyDictionary()


class Function(NamedTuple):
    """A function of a binary: where its code lies in the file, and how many bytes it has (0 if it is not known)."""

    name: str
    offset: int
    size: int


class Usdt(NamedTuple):
    """A USDT probe, as SystemTap's sys/sdt.h notes it: one of the places where it fires."""

    provider: str
    name: str
    offset: int
    arguments: tuple[str, ...]  # "-4@%eax": signed, 4 bytes, in eax


def symbols(table: bytes, bits: int = 64, order: str = "<") -> np.ndarray:
    """Rows of a symbol table: `name` (a place in its strings), `info`, `other`, `section`, `value` (an address), `size`."""
    layout = np.dtype(SYMBOL[bits]).newbyteorder(order)
    return np.frombuffer(table, layout, len(table) // layout.itemsize)


def of_functions(rows: np.ndarray) -> np.ndarray:
    """Which rows are functions that are in the file itself, as bool."""
    kind = rows["info"] & 0xF
    return ((kind == STT_FUNC) | (kind == STT_GNU_IFUNC)) & (rows["section"] != 0)


def binary(lab: Lab, path: str) -> Binary:
    """What there is to know of a file on the lab machine; kept until the file changes.

    Raises
    ------
    ObjectError
        It is no ELF file of 64 bits.
    BpfError
        It cannot be read.
    """
    known = _open.setdefault(lab, {})
    # by its path too: what it is called goes into answers, and another name of the same file may be gone by then
    identity = path, lab.call(f"{path} cannot be read", "binaries.identity", path)
    if identity not in known:
        known[identity] = Binary(lab, path)
    return known[identity]


class Binary:
    """An ELF file.

    Attributes
    ----------
    path : str
    sections : dict
        Name -> (address, offset, size).
    """

    def __init__(self, lab: Lab, path: str):
        try:
            about = lab.ask("binaries.describe", path, _WANTED)
        except AgentError as error:
            if error.payload["type"] == "NoElf":
                raise ObjectError(f"{path} is no 64-bit ELF file; give a program, or the interpreter of a script") from None
            raise error.blame(f"{path} cannot be read") from None
        # weak: what is kept of a file must not keep its lab open
        self._lab, self.path = weakref.ref(lab), path
        self.machine: int = about["machine"]
        self.sections: dict[str, tuple[int, int, int]] = about["sections"]
        self._loads = about["loads"]
        self._data: dict[str, bytes] = about["data"]

    # -- what it was made of

    @property
    def stripped(self) -> bool:
        """Whether its table of symbols is gone; what it shares with other files (.dynsym) may be left."""
        return ".symtab" not in self._data

    @property
    def go(self) -> bool:
        """Whether the Go compiler made it."""
        return bool({".go.buildinfo", ".note.go.buildid", ".gopclntab"} & set(self.sections))

    @property
    def has_dwarf(self) -> bool:
        return ".debug_info" in self.sections

    # -- functions

    @functools.cached_property
    def _table(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """Names, offsets in the file and sizes of all functions, by offset."""
        parts = [self._symbols(*pair) for pair in ((".symtab", ".strtab"), (".dynsym", ".dynstr"))]
        names = [name for found, _, _ in parts for name in found]
        address = np.concatenate([part[1] for part in parts])
        size = np.concatenate([part[2] for part in parts])
        offset = self.offsets(address)
        order = np.argsort(offset, kind="stable")
        kept, seen = [], set()
        for i in order.tolist():
            key = (names[i], int(offset[i]))
            if key[1] >= 0 and key not in seen:
                seen.add(key)
                kept.append(i)
        return [names[i] for i in kept], offset[kept], size[kept]

    def _symbols(self, table: str, strings: str) -> tuple[list[str], np.ndarray, np.ndarray]:
        if table not in self._data or strings not in self._data:
            return [], np.zeros(0, "u8"), np.zeros(0, "u8")
        rows = symbols(self._data[table])
        rows = rows[of_functions(rows) & (rows["value"] != 0)]
        text = self._data[strings]
        names = [text[at : text.find(b"\0", at)].decode(errors="replace") for at in rows["name"].tolist()]
        return names, rows["value"].astype("u8"), rows["size"].astype("u8")

    def offsets(self, addresses: np.ndarray) -> np.ndarray:
        """Offsets in the file of virtual addresses; -1 where the file has no byte."""
        addresses = np.asarray(addresses, "u8")
        found = np.full(len(addresses), -1, "i8")
        for offset, address, size, _ in self._loads:
            inside = (addresses >= address) & (addresses < address + size)
            found[inside] = (addresses[inside] - np.uint64(address) + np.uint64(offset)).astype("i8")
        return found

    @property
    def names(self) -> list[str]:
        """All functions, by their place in the file."""
        return self._table[0]

    @functools.cached_property
    def functions(self) -> list[Function]:
        names, offsets, sizes = self._table
        return [Function(*one) for one in zip(names, offsets.tolist(), sizes.tolist())]

    def function(self, name: str) -> Function | None:
        """A function by its name; without a version where the file gives it one ("memcpy@@GLIBC_2.14")."""
        return next((f for f in self.functions if f.name == name or f.name.partition("@")[0] == name), None)

    @functools.cached_property
    def _starts(self) -> np.ndarray:
        """Offsets at which functions begin: by the symbols, and by the table for unwinding, which strip leaves."""
        return np.unique(np.concatenate([self._table[1], self._unwind()]))

    def _unwind(self) -> np.ndarray:
        """.eh_frame_hdr: version, three encodings, a pointer, a count, then pairs (start, entry) by start (LSB 4.1, 10.6.2)."""
        raw = self._data.get(".eh_frame_hdr", b"")
        # a pointer of 4 bytes, a count of 4 bytes, a table of i32 that count from this section's address
        if len(raw) < 12 or raw[:4] != b"\x01\x1b\x03\x3b":
            return np.zeros(0, "i8")
        count = struct.unpack_from("I", raw, 8)[0]
        table = np.frombuffer(raw, "i4", min(count, (len(raw) - 12) // 8) * 2, 12)[::2]
        found = self.offsets((table.astype("i8") + self.sections[".eh_frame_hdr"][0]).astype("u8"))
        return found[found >= 0]

    def around(self, offset: int) -> Function | None:
        """The function that an offset of the file lies in; without symbols it has no name."""
        at = int(np.searchsorted(self._starts, offset, side="right")) - 1
        if at < 0 or not self._in_code(offset):
            return None
        start = int(self._starts[at])
        names, offsets, sizes = self._table
        first = int(np.searchsorted(offsets, start))
        if first < len(offsets) and int(offsets[first]) == start:
            size = int(sizes[first])
            if size and offset >= start + size:
                return None
            return Function(names[first], start, size)
        return Function("", start, 0)

    def holds(self, offset: int) -> bool:
        """Whether anything of the file at this offset is mapped when it runs."""
        return any(start <= offset < start + size for start, _, size, _ in self._loads)

    def _in_code(self, offset: int) -> bool:
        return any(start <= offset < start + size for start, _, size, flags in self._loads if flags & 1)

    def code(self, offset: int, size: int) -> bytes:
        """Bytes of the file."""
        return self._lab().call(f"{self.path} cannot be read", "binaries.read", self.path, [(offset, size)])[0]

    # -- USDT

    @functools.cached_property
    def usdt(self) -> list[Usdt]:
        """Its USDT probes: an entry for each place where one fires.

        A note has three addresses (the probe, the link-time address of .stapsdt.base, the semaphore), then three texts.
        """
        data = self._data.get(".note.stapsdt", b"")
        base = self.sections.get(".stapsdt.base", (0,))[0]
        found, at = [], 0
        while at + 12 <= len(data):
            name_size, size, kind = struct.unpack_from("III", data, at)
            start = at + 12 + (name_size + 3 & ~3)
            at = start + (size + 3 & ~3)
            if kind != 3 or size < 24:
                continue
            address, noted_base, _ = struct.unpack_from("3Q", data, start)
            texts = data[start + 24 : start + size].split(b"\0")
            if base and noted_base:  # prelink moves code without rewriting the notes
                address += base - noted_base
            provider, name, arguments = (texts + [b"", b"", b""])[:3]
            found.append((provider.decode(), name.decode(), address, tuple(arguments.decode().split())))
        offsets = self.offsets(np.array([one[2] for one in found], "u8")).tolist()
        return [Usdt(p, n, offset, a) for (p, n, _, a), offset in zip(found, offsets)]

    # -- DWARF

    def inlined_into(self, name: str) -> list[str] | None:
        """Functions that the compiler copied a function's code into; None where the DWARF does not tell of it."""
        if not self.has_dwarf or self.sections[".debug_info"][2] > DWARF_LIMIT:
            return None
        from . import dwarf

        size = max(offset + size for _, offset, size in self.sections.values())
        return dwarf.inlined_into(self.code(0, size + (64 << 10)), name)

    def __repr__(self) -> str:
        made = ", by Go" if self.go else ""
        state = ", stripped" if self.stripped else ""
        return f"<binary {self.path}{made}{state}: {len(self.names):,} functions, {len(self.usdt)} places of USDT probes>"


DWARF_LIMIT = 8 << 20  # bytes of .debug_info that are looked through for one name


def of(lab: Lab, name: str, pid: int | None = None) -> Binary:
    """A binary by its path or name, as a process sees it where one is given.

    Raises
    ------
    LabError
        There is none, or the process has ended.
    """
    return binary(lab, path_of(lab, name, pid))


def path_of(lab: Lab, name: str, pid: int | None = None) -> str:
    """The path of a binary for the agent; through /proc/PID/root where the process sees other files than we do."""
    if pid is None:
        return lab.find_binary(name)
    try:
        found = lab.ask("binaries.of_process", pid, name)
    except AgentError as error:
        if error.payload["errno"] == 3:  # ESRCH
            raise process.gone(lab, pid) from None
        raise error.blame(f"the files of process {pid} cannot be looked at") from None
    if found is None and "/" not in name:
        raise LabError(f"process {pid} has mapped no file '{name}'; lab.sh('cat /proc/{pid}/maps') shows what it has")
    if found is None:
        raise LabError(f"process {pid} sees no file {name}; give a path as that process sees it")
    return found
