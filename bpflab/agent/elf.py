"""ELF files: their headers and sections, symbol tables as bytes, names by their place, separate debug files.

The notebook sorts and searches (NumPy), so tables travel as they are; of the names, which are most of a table, only
those that were found.
"""

import contextlib
import lzma
import mmap
import os
import re
import shutil
import struct
import subprocess
import zlib

from . import ownership

SHT_SYMTAB, SHT_NOTE, SHT_DYNSYM = 2, 7, 11
PT_LOAD, PF_X, SHF_EXECINSTR = 1, 1, 4
GNU_BUILD_ID = 3  # NT_GNU_BUILD_ID
DEBUG = "/usr/lib/debug"
LONGEST_NAME = 1 << 16  # bytes; names of C++ templates are long, but a name without an end is none
MOST_UNPACKED = 256 << 20  # bytes of a .gnu_debugdata: it may come from anywhere


class BadElf(Exception):
    """Not an ELF file, cut short, or spoilt."""


@contextlib.contextmanager
def _spoilt():
    """Numbers in a file may be anything: what they lead to is the file's fault."""
    try:
        yield
    except (struct.error, OverflowError, ValueError, IndexError, MemoryError, lzma.LZMAError):
        raise BadElf("a spoilt ELF file") from None


class Elf:
    """Headers of one file, read from its bytes (a mapping, or what was unpacked)."""

    def __init__(self, data):
        if data[:4] != b"\x7fELF" or len(data) < 64:
            raise BadElf("no ELF file")
        self.data = data
        self.bits, order = (64 if data[4] == 2 else 32), "<" if data[5] == 1 else ">"
        self.order = order
        with _spoilt():
            if self.bits == 64:
                self.kind, self.machine, phoff, shoff = struct.unpack_from(order + "HH12xQQ", data, 16)
                phsize, phnum, shsize, shnum, shstr = struct.unpack_from(order + "5H", data, 54)
                self._section, self._segment = order + "IIQQQQIIQQ", order + "IIQQQQQQ"
            else:
                self.kind, self.machine, phoff, shoff = struct.unpack_from(order + "HH8xII", data, 16)
                phsize, phnum, shsize, shnum, shstr = struct.unpack_from(order + "5H", data, 42)
                self._section, self._segment = order + "10I", order + "8I"
            self.segments = [self._load(phoff + i * phsize) for i in range(phnum)]
            rows = [struct.unpack_from(self._section, data, shoff + i * shsize) for i in range(shnum if shoff else 0)]
        names = self._part(rows[shstr]) if shstr < len(rows) else b""
        self.sections = [(_text(names, row[0]), row) for row in rows]

    def _load(self, at):
        row = struct.unpack_from(self._segment, self.data, at)
        kind, flags, offset, address, size = (*row[:4], row[5]) if self.bits == 64 else (row[0], row[6], row[1], row[2], row[4])
        return kind, flags, offset, address, size

    def _part(self, row):
        return b"" if row[1] == 8 else self.data[row[4] : row[4] + row[5]]  # SHT_NOBITS has a size and no bytes

    def part(self, name):
        """Bytes of a section; empty without it."""
        return next((self._part(row) for found, row in self.sections if found == name), b"")

    @property
    def loads(self):
        """What is mapped of it: [offset in the file, address, size, flags], as far as these are within the file."""
        found = [(*place, flags) for kind, flags, *place in self.segments if kind == PT_LOAD]
        return [[offset, address, size, flags] for offset, address, size, flags in found if offset + size <= len(self.data)]

    @property
    def build_id(self):
        """In hex; "" without one."""
        for _, row in self.sections:
            if row[1] == SHT_NOTE and (found := self._note(self._part(row))):
                return found
        for kind, _, offset, _, size in self.segments:
            if kind == 4 and (found := self._note(self.data[offset : offset + size])):  # PT_NOTE
                return found
        return ""

    def _note(self, data):
        at = 0
        while at + 12 <= len(data):
            names, size, kind = struct.unpack_from(self.order + "III", data, at)
            start = at + 12 + (names + 3 & ~3)
            if kind == GNU_BUILD_ID and data[at + 12 : at + 16] == b"GNU\0":
                return data[start : start + size].hex()
            at = start + (size + 3 & ~3)
        return ""

    def table(self, kind):
        """(bytes of a symbol table, where its names begin, their size) or None."""
        for _, row in self.sections:
            if row[1] == kind and row[6] < len(self.sections):
                strings = self.sections[row[6]][1]
                data = self._part(row)
                if data:
                    return bytes(data), strings[4], strings[5]
        return None

    @property
    def code(self):
        """Numbers of the sections that hold instructions."""
        return [n for n, (_, row) in enumerate(self.sections) if row[2] & SHF_EXECINSTR]


def _text(data, at):
    end = data.find(b"\0", at, at + LONGEST_NAME)
    return bytes(data[at : max(end, at)]).decode(errors="replace")


def mapped(fd):
    """An `Elf` of an open file."""
    try:
        return Elf(mmap.mmap(fd, 0, prot=mmap.PROT_READ))
    except (OSError, ValueError) as error:  # empty, or nothing that can be mapped
        raise BadElf(str(error)) from None


class Symbols:
    """All that names functions of one binary: its own tables and those of its debug file.

    Attributes
    ----------
    why : str
        "stripped" where no table was found that has all functions, "" otherwise.
    """

    def __init__(self, main, path, roots):
        self.main, self.tables, self.taken = main, [], []
        with _spoilt():
            self._take_all(main, path, roots)
        whole = {name for name in self.taken if name != "dynsym"}
        self.why = "" if whole else "stripped"

    def _take_all(self, main, path, roots):
        if not self._take(main, SHT_SYMTAB, "symtab"):
            debug = _debug_file(main, path, roots)
            if debug:
                self._take(debug[0], SHT_SYMTAB, debug[1])
            self._take(main, SHT_DYNSYM, "dynsym")
            if go := _go_functions(main):
                self.tables.append((main, *go))
                self.taken.append("gopclntab")
            if packed := main.part(".gnu_debugdata"):  # a small .symtab, as Fedora's binaries have it
                with contextlib.suppress(lzma.LZMAError, BadElf):
                    unpacked = lzma.LZMADecompressor().decompress(bytes(packed), MOST_UNPACKED)
                    self._take(Elf(unpacked), SHT_SYMTAB, "gnu_debugdata")

    def _take(self, elf, kind, name):
        table = elf.table(kind)
        if table:
            self.tables.append((elf, *table))
            self.taken.append(name)
        return table

    def describe(self, far):
        return {
            "bits": self.main.bits,
            "order": self.main.order,
            "loads": [place for *place, flags in self.main.loads if flags & PF_X],
            "why": self.why,
            "taken": self.taken,
            "packed": far,
            "tables": [[zlib.compress(data, 1) if far else data, elf.code] for elf, data, _, _ in self.tables],
        }

    def names(self, table, places):
        elf, _, start, size = self.tables[table]
        found = (_text(elf.data, start + at) if 0 <= at < size else "" for at in places)
        return [name.partition("@")[0] or name for name in found]  # less a version: clock_nanosleep@GLIBC_2.2.5


GO_1_18, GO_1_20 = 0xFFFFFFF0, 0xFFFFFFF1  # the first word of the table, by the version that brought it


def _go_functions(elf):
    """As `Elf.table`, of what a Go binary keeps even when it is stripped, for its own stack traces (.gopclntab).

    The layout is that of src/runtime/symtab.go, struct pcHeader and functab.
    """
    at, size = next(((row[4], row[5]) for name, row in elf.sections if name in (".gopclntab", ".data.rel.ro.gopclntab")), (0, 0))
    text = next(((n, row[3]) for n, (name, row) in enumerate(elf.sections) if name == ".text"), None)
    if size < 72 or elf.bits != 64 or text is None:
        return None
    order, data = elf.order, elf.data
    section, address = text
    try:
        if struct.unpack_from(order + "I", data, at)[0] not in (GO_1_18, GO_1_20):
            return None
        count, _, start, names, _, _, _, functions = struct.unpack_from(order + "8Q", data, at + 8)
        table = at + functions
        if 8 * count > size:
            return None
        entries = struct.unpack_from(f"{order}{2 * count + 1}I", data, table)
        pairs = zip(entries[0::2], entries[1::2], entries[2::2])
        rows = [
            # struct Elf64_Sym: name, info (a global function), other, section, value, size
            struct.pack(order + "IBBHQQ", *struct.unpack_from(order + "I", data, table + info + 4), 0x12, 0, section, (start or address) + pc, end - pc)
            for pc, info, end in pairs
        ]
    except struct.error:
        return None
    return b"".join(rows), at + names, size - names


def _debug_file(main, path, roots):
    """(Elf, where) of a separate debug file: by build id, else by .gnu_debuglink (its CRC must be right)."""
    build_id = main.build_id
    if build_id:
        for root in roots:
            if found := _open(f"{root}{DEBUG}/.build-id/{build_id[:2]}/{build_id[2:]}.debug"):
                return found
    link = bytes(main.part(".gnu_debuglink"))
    name = link[: link.find(b"\0")].decode(errors="replace")
    if not name or "/" in name:
        return None
    crc = int.from_bytes(link[-4:], "little" if main.order == "<" else "big")
    folder = os.path.dirname(path)
    for root in roots:
        for place in (f"{folder}/{name}", f"{folder}/.debug/{name}", f"{DEBUG}{folder}/{name}"):
            found = _open(root + place)
            if found and (zlib.crc32(found[0].data) == crc or build_id and found[0].build_id == build_id):
                return found
    return None


def _open(path):
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return mapped(fd), path
    except BadElf:
        return None
    finally:
        os.close(fd)


MANGLED = re.compile(r"(_Z|_R|__Z|___Z)[\w.$@]+", re.ASCII)


def demangled(names):
    """C++ and Rust names as their authors wrote them, by binutils' c++filt (or LLVM's): one process for all of them.

    Returns
    -------
    dict or None
        By the mangled name; None when neither tool is there.
    """
    wanted = sorted({name for name in names if MANGLED.fullmatch(name)})
    if not wanted:
        return {}
    # -i: no hashes of Rust's crates and functions
    tools = (["c++filt", "-i"], ["llvm-cxxfilt"], ["llvm-cxxfilt-14"])
    command = next((tool for tool in tools if shutil.which(tool[0])), None)
    if command is None:
        return None
    # what the linker or the compiler added behind a dot (".cold", ".llvm.123") is no part of the mangled name
    stems = [name.partition(".")[0] if name.startswith("_R") else name for name in wanted]
    text = {"input": "\n".join(stems) + "\n", "encoding": "utf-8", "errors": "replace"}
    done = subprocess.run(command, stdout=subprocess.PIPE, env=ownership.environment(), **text)
    lines = done.stdout.split("\n")[: len(wanted)]
    return dict(zip(wanted, lines)) if len(lines) == len(wanted) else None
