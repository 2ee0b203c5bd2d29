"""Names of everything that can be traced, read once for each lab, and what is behind a name."""

from __future__ import annotations

import errno
import functools
import itertools
import re
import weakref
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .. import elf, kinds, process
from ..btf import Btf, Type
from ..errors import BpfError, LabError, NotSupportedError, UnknownNameError
from ..machines import AgentError
from ..refusal import not_permitted
from .formats import Format, parse

if TYPE_CHECKING:
    from ..lab import Lab

KINDS = ("tracepoint", "USDT", "perf event", "user function", "kernel function")
# where a compiler's own parts of a function, and the padding before one, look like functions
_NO_FUNCTION = re.compile(r"^(__pfx_|__cfi_|\.)|\.cold(\.\d+)?$|^__(traceiter|probestub)_")
_known: weakref.WeakKeyDictionary[Lab, Catalog] = weakref.WeakKeyDictionary()


class Place(NamedTuple):
    """One thing to trace.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    name : str
    where : str
        The category of a tracepoint, the module of a kernel function ("vmlinux" for the kernel's own), the path of a binary,
        "software" or "hardware".
    """

    kind: str
    name: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}:{self.name}" if self.kind == "tracepoint" else self.name


class Group:
    """Places of one kind whose names stand in one text, a line for each: "name", "name<TAB>where" or "name<TAB><TAB>signature"."""

    def __init__(self, kind: str, where: str, lines: list[str]):
        self.kind, self.where = kind, where
        self.lines = lines
        self.text = "\n".join(lines)

    def __len__(self) -> int:
        return len(self.lines)

    @functools.cached_property
    def searched(self) -> bytes:
        return self.text.lower().encode("ascii", "replace")

    @functools.cached_property
    def starts(self) -> np.ndarray:
        """Where each line begins in `searched`."""
        ends = np.flatnonzero(np.frombuffer(self.searched, "u1") == 10) + 1
        return np.concatenate([[0], ends]) if self.lines else ends

    def place(self, number: int) -> Place:
        name, where, _ = (self.lines[number] + "\t\t").split("\t", 2)
        return Place(self.kind, name, where or self.where)

    @functools.cached_property
    def names(self) -> set[str]:
        return {line.partition("\t")[0] for line in self.lines}


def catalog(lab: Lab) -> Catalog:
    """The catalog of a lab, made on first use."""
    if lab not in _known:
        _known[lab] = Catalog(lab)
    return _known[lab]


class Catalog:
    """All names of a lab machine's kernel; those of binaries when they are asked for.

    Attributes
    ----------
    source : str
        Where the list of the kernel's functions comes from, and why not from a better place.
    """

    def __init__(self, lab: Lab):
        self._lab = weakref.ref(lab)
        self._formats: dict[Place, Format] = {}
        self._binaries: dict[elf.Binary, list[Group]] = {}
        self._written: dict[str, dict[str, str]] = {}

    @property
    def lab(self) -> Lab:
        return self._lab()

    # -- the lists

    @functools.cached_property
    def tracepoints(self) -> Group:
        """Raises `NotSupportedError` where the machine has no tracefs, `BpfError` where the agent may not see it."""
        what = "the tracepoints cannot be listed"
        try:
            found = self.lab.ask("listing.tracepoints")
        except AgentError as error:
            raise not_permitted(self.lab, error.payload["errno"], what) or error.blame(what) from None
        if found is None:
            raise not_permitted(self.lab, errno.ENOENT, what) or NotSupportedError("tracepoints", self.lab.where, "it has no tracefs")
        pairs = sorted(line.split(":", 1) for line in found.decode().split())
        return Group("tracepoint", "", [f"{name}\t{category}" for category, name in pairs])

    @functools.cached_property
    def _listed(self) -> dict:
        return self.lab.call("the kernel's functions cannot be listed", "listing.functions")

    @functools.cached_property
    def symbols(self) -> frozenset[str]:
        """Every name in /proc/kallsyms that is code."""
        return frozenset(line.partition(" ")[0] for line in self._listed["symbols"].decode(errors="replace").split("\n"))

    @functools.cached_property
    def functions(self) -> Group:
        raw = self._listed["traceable"] or self._listed["symbols"]
        lines = dict.fromkeys(raw.decode(errors="replace").split("\n"))
        kept = sorted(line.replace(" ", "\t", 1) for line in lines if line and not _NO_FUNCTION.search(line.partition(" ")[0]))
        return Group("kernel function", "vmlinux", kept)

    @property
    def source(self) -> str:
        if self._listed["traceable"]:
            return "available_filter_functions: what ftrace can trace"
        return f"kallsyms, with signatures from BTF: available_filter_functions says '{self._listed['why']}', so some may refuse"

    @functools.cached_property
    def perf_events(self) -> Group:
        names = [f"{name}\t{'hardware' if kind == 0 else 'software'}" for name, (kind, _) in kinds.PERF_EVENTS.items()]
        return Group("perf event", "", names)

    def of_binary(self, path: str) -> list[Group]:
        """USDT probes and functions of a file."""
        binary = elf.binary(self.lab, path)
        if binary not in self._binaries:
            usdt = sorted({f"{one.provider}:{one.name}" for one in binary.usdt})
            written = self._demangled(path, binary.names)
            functions = [f"{name}\t\t{written[name]}" if name in written else name for name in sorted(set(binary.names))]
            self._binaries[binary] = [Group("USDT", path, usdt), Group("user function", path, functions)]
        return self._binaries[binary]

    def symbols_of(self, path: str, written: str) -> list[str]:
        """Symbols of the functions that C++ or Rust calls so, with or without parameters."""
        self.of_binary(path)
        plain = written.partition("(")[0].strip()
        return [symbol for symbol, text in self._written[path].items() if text == written or text.partition("(")[0] == plain]

    def _demangled(self, path: str, names: list[str]) -> dict[str, str]:
        """What C++ and Rust call the functions whose symbols the compiler made up; {} where the machine has no c++filt."""
        mangled = sorted({name for name in names if name.startswith(("_Z", "_R"))})
        shown = (self.lab.ask("elf.demangled", mangled) if mangled else None) or {}
        self._written[path] = {name: text for name, text in shown.items() if text != name}
        return self._written[path]

    def groups(self, binary: str | None = None, pid: int | None = None) -> list[Group]:
        """What there is: of the kernel, or of a binary, or of all that a process has mapped.

        Raises
        ------
        BpfError
            The process has ended.
        LabError
            There is no such binary.
        """
        if binary is not None:
            return self.of_binary(elf.path_of(self.lab, binary, pid))
        if pid is not None:
            return self._of_process(pid)
        found = [self.perf_events, self.functions]
        try:
            return [self.tracepoints, *found]
        except BpfError:  # the rest is still worth listing; asking for tracepoints alone says what is missing
            return found

    def _of_process(self, pid: int) -> list[Group]:
        try:
            paths = self.lab.ask("binaries.mapped", pid)
        except AgentError as error:
            if error.payload["errno"] == 3:
                raise process.gone(self.lab, pid) from None
            raise error.blame(f"the files of process {pid} cannot be looked at") from None
        found = []
        for path in paths:
            try:
                found += self.of_binary(path)
            except LabError:  # something mapped that is no ELF file
                continue
        if not found:
            raise LabError(f"process {pid} has mapped no program: it is a thread of the kernel, or has just ended")
        return sorted(found, key=lambda group: KINDS.index(group.kind))

    # -- behind a name

    @functools.cached_property
    def _types(self) -> dict[str, Type]:
        """Types of the kernel's functions and its modules'."""
        found: dict[str, Type] = {}
        try:
            names = self.lab.ask("listing.btf_names")
            base = Btf(self.lab.ask("listing.btf", names[0])) if names else None
        except AgentError:
            return found
        for name in names:
            btf = base if name == "vmlinux" else Btf(self.lab.ask("listing.btf", name), base)
            for one in btf.types("func"):
                found.setdefault(one.name, one)
        return found

    @functools.cached_property
    def typed(self) -> Group:
        """Functions that BTF has a type of: where fentry can be attached."""
        return Group("kernel function", "vmlinux", sorted(self._types))

    def function_type(self, name: str) -> Type | None:
        """The BTF type of a kernel function; of one that the compiler cut or cloned, that of the whole."""
        return self._types.get(name) or self._types.get(name.partition(".")[0])

    def formats(self, places: list[Place]) -> list[Format]:
        """The formats of tracepoints, read from tracefs where they are not known yet."""
        new = [place for place in places if place not in self._formats]
        if new:
            texts = self.lab.call("the formats cannot be read", "listing.formats", [(p.where, p.name) for p in new])
            self._formats.update(zip(new, map(parse, texts)))
        return [self._formats[place] for place in places]

    def signatures(self, places: list[Place]) -> list[str]:
        """One line for each place: what it hands to a program; "" where nothing says it."""
        formats = iter(self.formats([place for place in places if place.kind == "tracepoint"]))
        return [next(formats).line if place.kind == "tracepoint" else self._signature(place) for place in places]

    def _signature(self, place: Place) -> str:
        if place.kind == "kernel function":
            found = self.function_type(place.name)
            return found.c.rstrip(";") if found else ""
        if place.kind == "USDT":
            return self.arguments(place)
        return self._written.get(place.where, {}).get(place.name, "")

    def arguments(self, place: Place) -> str:
        """Of a USDT probe: "4-byte signed, 8-byte unsigned"."""
        first = next(one for one in elf.binary(self.lab, place.where).usdt if f"{one.provider}:{one.name}" == place.name)
        sizes = [argument.partition("@")[0] for argument in first.arguments]
        said = [f"{size.lstrip('-')}-byte {'signed' if size.startswith('-') else 'unsigned'}" for size in sizes if size.strip("-").isdigit()]
        return ", ".join(said) if len(said) == len(sizes) else f"{len(sizes)} arguments"

    def find(self, kind: str, name: str, where: str = "") -> Place:
        """A place by its exact name.

        Raises
        ------
        UnknownNameError
            There is none; the message has the near ones.
        """
        from .near import near

        group = {"tracepoint": "tracepoints", "kernel function": "functions", "perf event": "perf_events"}.get(kind)
        groups = [getattr(self, group)] if group else [g for g in self.of_binary(where) if g.kind == kind]
        for number, line in itertools.chain.from_iterable(enumerate(g.lines) for g in groups):
            if line == name or (line.startswith(name + "\t") and where in ("", groups[0].where, line.split("\t")[1])):
                return groups[0].place(number)
        raise UnknownNameError(kind, name, near(name, groups), where or self.lab.where)
