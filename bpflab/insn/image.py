"""The instructions of one program with their functions and source lines, at each stage that it went through."""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

from ..btf import Btf
from ..errors import NotSupportedError, UnknownNameError
from . import ebpf
from .ebpf import CALL, JMP, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, Insn

if TYPE_CHECKING:
    from ..program import Program


class Line(NamedTuple):
    """A place in the source, with its text (struct bpf_line_info of include/uapi/linux/bpf.h)."""

    file: str
    line: int
    column: int
    text: str


@dataclass
class Image:
    """Instructions of a program.

    Attributes
    ----------
    insns : list of Insn
    lines : list of Line or None
        For each instruction the source line that it came from.
    functions : list of (int, str)
        Where each function begins, and its name.
    names : dict
        By index of an instruction: what its immediate stands for ("map counts").
    """

    insns: list[Insn]
    lines: list[Line | None] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)
    names: dict[int, str] = field(default_factory=dict)

    def texts(self) -> list[str]:
        """The instructions written out; see `ebpf.disassemble`."""
        return ebpf.disassemble(self.insns, self.names)


def _line(btf: Btf, file: int, text: int, place: int) -> Line:
    return Line(btf.string(file).removeprefix("./"), place >> 10, place & 0x3FF, btf.string(text).strip())


def _spread(found: list[tuple[int, Line]], insns: list[Insn]) -> list[Line | None]:
    """One line for each instruction.

    A record holds until the next one. But clang writes none for what it made on its own account, or one with line 0: that goes with
    what stands before it where it follows from there, and else with no line.
    """
    targets = {pc + 1 + i.distance for pc, i in enumerate(insns) if i.is_jump}
    known, lines = dict(found), []
    line, own, apart = None, True, False
    for pc, insn in enumerate(insns):
        if pc in known:
            own = bool(known[pc].line)
            line = known[pc] if own else line
        if not own and pc in targets or apart and pc not in known:
            line = None
        lines.append(line)
        apart = insn.is_exit or insn.is_jump and not insn.is_conditional
    return lines


# -- as clang wrote it


class Code:
    """The code sections of an object file.

    Attributes
    ----------
    sections : dict
        name -> instructions.
    functions : dict
        name -> (section, first instruction, count).
    """

    def __init__(self, data: bytes):
        elf = ELFFile(io.BytesIO(data))
        self._elf = elf
        by_index = {i: s for i, s in enumerate(elf.iter_sections())}
        code = {i: s for i, s in by_index.items() if s["sh_flags"] & 4 and s["sh_size"]}  # SHF_EXECINSTR
        self.sections = {s.name: ebpf.decode(s.data()) for s in code.values()}
        symbols = elf.get_section_by_name(".symtab")
        self._symbols = list(symbols.iter_symbols()) if symbols else []
        self.functions: dict[str, tuple[str, int, int]] = {}
        for symbol in self._symbols:
            if symbol["st_info"]["type"] == "STT_FUNC" and symbol["st_shndx"] in code:
                place = code[symbol["st_shndx"]].name, symbol["st_value"] // 8, symbol["st_size"] // 8
                self.functions[symbol.name] = place
        self._relocations = {
            by_index[s["sh_info"]].name: {r["r_offset"] // 8: self._symbols[r["r_info_sym"]] for r in s.iter_relocations()}
            for s in by_index.values()
            if isinstance(s, RelocationSection) and s["sh_info"] in code
        }
        self._by_index = by_index
        self._lines = self._read_lines()

    def _read_lines(self) -> dict[str, list[tuple[int, Line]]]:
        """.BTF.ext: Documentation/bpf/btf.rst, section 4.2."""
        section, btf = self._elf.get_section_by_name(".BTF.ext"), self._elf.get_section_by_name(".BTF")
        if section is None or btf is None:
            return {}
        btf, data = Btf(btf.data()), section.data()
        head, _, _, start, size = struct.unpack_from("=IIIII", data, 4)
        at, end = head + start, head + start + size
        record = struct.unpack_from("=I", data, at)[0]
        at += 4
        found: dict[str, list[tuple[int, Line]]] = {}
        while at < end:
            name, count = struct.unpack_from("=II", data, at)
            at += 8
            lines = found.setdefault(btf.string(name), [])
            for _ in range(count):
                offset, *place = struct.unpack_from("=IIII", data, at)
                lines.append((offset // 8, _line(btf, *place)))
                at += record
        return found

    def image(self, function: str) -> Image:
        """One function as clang wrote it: maps by name, nothing relocated."""
        section, start, count = self._place(function)
        lines = _spread(self._lines.get(section, []), self.sections[section])[start : start + count]
        insns = self.sections[section][start : start + count]
        names = {}
        for at, symbol in self._relocations.get(section, {}).items():
            if start <= at < start + count:
                names[at - start] = self._name(insns[at - start], symbol)
        return Image(insns, lines, [(0, function)], names)

    def _place(self, function: str) -> tuple[str, int, int]:
        try:
            return self.functions[function]
        except KeyError:
            raise UnknownNameError("function", function, self.functions, "the object file") from None

    def _name(self, insn: Insn, symbol) -> str:
        if insn.code == JMP | CALL:
            return self._target(symbol, insn.imm) or symbol.name
        name = symbol.name or self._by_index[symbol["st_shndx"]].name
        where = self._by_index[symbol["st_shndx"]].name if isinstance(symbol["st_shndx"], int) else ""
        return f"map {name}" if where == ".maps" else name

    def _target(self, symbol, imm: int) -> str | None:
        """The function that a call goes to: named itself, or an offset into a section."""
        if symbol["st_info"]["type"] == "STT_FUNC":
            return symbol.name
        section = self._by_index[symbol["st_shndx"]].name if isinstance(symbol["st_shndx"], int) else ""
        at = symbol["st_value"] // 8 + imm + 1
        return next((n for n, (s, start, _) in self.functions.items() if s == section and start == at), None)

    def whole(self, entry: str) -> Image:
        """A program and behind it the functions that it calls, each once, in the order in which libbpf puts them there."""
        made, waiting, seen = Image([]), [entry], {entry}
        while waiting:
            name = waiting.pop()
            part, start = self.image(name), len(made.insns)
            made.functions.append((start, name))
            made.insns += part.insns
            made.lines += part.lines
            made.names |= {start + at: text for at, text in part.names.items()}
            found = []
            for at, insn in enumerate(part.insns):
                if insn.code != JMP | CALL or insn.src != PSEUDO_CALL:
                    continue
                called = self.called(name, at)
                if called:
                    made.names[start + at] = called
                    if called not in seen:
                        seen.add(called)
                        found.append(called)
            waiting += reversed(found)
        return made

    def called(self, function: str, at: int) -> str | None:
        """The function of the object that the instruction `at` of a function calls."""
        section, start, _ = self._place(function)
        insn = self.sections[section][start + at]
        symbol = self._relocations.get(section, {}).get(start + at)
        if symbol is not None:
            return self._target(symbol, insn.imm)
        target = start + at + 1 + insn.imm
        return next((n for n, (s, first, _) in self.functions.items() if s == section and first == target), None)


# -- as libbpf gave it to the kernel


def given(program: Program, code: Code | None) -> Image:
    """What the verifier was given: relocated, with the functions that it calls behind it.

    Raises
    ------
    NotSupportedError
        The program was not loaded by libbpf from an object file.
    """
    lab, owner = program._lab, program._object
    if code is None:
        raise NotSupportedError("the instructions before the verifier", lab.where, "BCC loaded this program", remedy="load C text with lab.load")
    data = lab.call(f"instructions of program '{program.name}' are not there", "insns.given", program._handle, program.name)
    image = Image(ebpf.decode(data))
    maps = {m._fd: m.name for m in getattr(owner, "_all_maps", ())}
    for pc, insn in enumerate(image.insns):
        if insn.code == LD_IMM64 and insn.src in (1, 2) and insn.imm in maps:
            offset = f" + {image.insns[pc + 1].imm}" if insn.src == 2 else ""
            image.names[pc] = f"map {maps[insn.imm]}{offset}"
    image.lines = [None] * len(image.insns)
    _follow(image, code, program.name)
    return image


def _follow(image: Image, code: Code, entry: str) -> None:
    """Find the object's functions in the image, from call to call, and give it their names and lines."""
    placed, waiting = {0: entry}, [(0, entry)]
    while waiting:
        start, name = waiting.pop()
        section, _, count = code._place(name)
        lines = code.image(name).lines
        image.lines[start : start + count] = lines
        for at in range(count):
            insn = image.insns[start + at]
            call = insn.code == JMP | CALL and insn.src == PSEUDO_CALL
            if not call and not (insn.code == LD_IMM64 and insn.src == PSEUDO_FUNC):
                continue
            target, called = start + at + 1 + insn.imm, code.called(name, at) if call else None
            if called:
                image.names[start + at] = called
                if target not in placed:
                    placed[target] = called
                    waiting.append((target, called))
    image.functions = sorted(placed.items())


# -- as the kernel keeps it


def xlated(program: Program) -> Image:
    """What the verifier made of it: `xlated_prog_insns` of ``struct bpf_prog_info``."""
    lab = program._lab
    dump = lab.call(f"instructions of program '{program.name}' cannot be read", "insns.dump", program.fd)
    return xlated_of(program, dump)


def xlated_of(program: Program, dump: dict) -> Image:
    """As `xlated`, from what the agent's insns.dump gave."""
    # of a call the JIT keeps the number of the function in imm, and the distance in off (jit_subprogs in kernel/bpf/verifier.c)
    insns = [i._replace(imm=i.off, off=0) if i.code == JMP | CALL and i.src == PSEUDO_CALL and i.off else i for i in ebpf.decode(dump["xlated"])]
    image = Image(insns, [None] * len(insns), [(0, program.name)])
    if dump["btf"]:
        btf = Btf(dump["btf"])
        image.functions = [(at, btf.type(kind).name) for at, kind in _records("=II", dump, "func_info")] or image.functions
        lines = [(at, _line(btf, *place)) for at, *place in _records("=IIII", dump, "line_info")]
        image.lines = _spread(lines, insns)
    starts = dict(image.functions)
    maps = {m.id: m.name for m in getattr(program._object, "_all_maps", ())}
    helpers = _Helpers(program._lab)
    for pc, insn in enumerate(insns):
        if insn.code == LD_IMM64 and insn.src in (1, 2):
            offset = f" + {insns[pc + 1].imm}" if insn.src == 2 else ""
            image.names[pc] = f"map {maps.get(insn.imm, f'id {insn.imm}')}{offset}"
        elif insn.code == JMP | CALL:
            name = starts.get(pc + 1 + insn.imm) if insn.src == PSEUDO_CALL else helpers.name(insn.imm)
            if name:
                image.names[pc] = name
    return image


def _records(layout: str, dump: dict, name: str):
    size = dump[f"{name}_size"]
    for at in range(0, len(dump[name]), size or 1):
        yield struct.unpack_from(layout, dump[name], at)


class _Helpers:
    """Names of the kernel functions that a verified program calls: distances from __bpf_call_base."""

    def __init__(self, lab):
        self._lab = lab
        self._base: int | None = None

    def name(self, distance: int) -> str | None:
        from .. import stacks

        try:
            symbols = stacks.symbols(self._lab)
        except NotSupportedError:
            return None
        if self._base is None:
            found = [int(a) for a, n in zip(symbols.starts, symbols.names) if n == "__bpf_call_base"]
            self._base = found[0] if found else 0
        if not self._base:
            return None
        name, offset = symbols.find([(self._base + distance) & 0xFFFFFFFFFFFFFFFF])[0]
        return name if name and not offset else None
