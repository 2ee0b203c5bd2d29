"""Which source line each instruction of a program came from: .BTF.ext of its object.

The log quotes source lines too, but kernels before 6.7 leave out the number, and none repeats a line that it quoted on
a way it gave up. libbpf puts the functions that a program calls behind it, in the order of the calls
(bpf_object__reloc_code in libbpf.c); so does this.
"""

from __future__ import annotations

import bisect
import io
import struct

from .log import Place


class Lines:
    """Instruction number -> source line.

    Parameters
    ----------
    starts : list of (int, Place)
        Instructions with which a line begins, in order.
    codes : bytes
        The operation of each instruction.
    """

    def __init__(self, starts: list[tuple[int, Place]], codes: bytes):
        self._at = [insn for insn, _ in starts]
        self._places = [place for _, place in starts]
        self.codes = codes

    def place(self, insn: int) -> Place | None:
        """The line of an instruction; None for the compiler's own code and outside of the program."""
        i = bisect.bisect_right(self._at, insn) - 1
        if i < 0 or not 0 <= insn < len(self.codes):
            return None
        place = self._places[i]
        return place if place.line else None

    def __iter__(self):
        return iter(zip(self._at, self._places))


def of_program(data: bytes, program: str) -> Lines | None:
    """The lines of a program of an object file.

    Parameters
    ----------
    data : bytes
        ELF.
    program : str

    Returns
    -------
    Lines or None
        None when the object has no line information or no such program.
    """
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        elf = ELFFile(io.BytesIO(data))
        return _read(elf, program)
    except (ELFError, struct.error, IndexError, ValueError, KeyError, AttributeError):
        return None


def _read(elf, program: str) -> Lines | None:
    symtab, btf, ext = (elf.get_section_by_name(name) for name in (".symtab", ".BTF", ".BTF.ext"))
    if not symtab or not btf or not ext:
        return None
    functions: dict[tuple[int, int], int] = {}  # section, first instruction -> number of instructions
    start = None
    for symbol in symtab.iter_symbols():
        if symbol["st_info"]["type"] == "STT_FUNC":
            key = (symbol["st_shndx"], symbol["st_value"] // 8)
            functions[key] = symbol["st_size"] // 8
            if symbol.name == program:
                start = key
    if start is None:
        return None
    text = next((i for i, s in enumerate(elf.iter_sections()) if s.name == ".text"), -1)
    layout: list[tuple[tuple[int, int], int]] = []  # function -> where it begins in the loaded program
    codes = bytearray()

    def place(key: tuple[int, int]) -> None:
        layout.append((key, len(codes)))
        section = elf.get_section(key[0])
        code, moved = section.data(), _relocations(elf, symtab, section)
        codes.extend(code[key[1] * 8 : (key[1] + functions[key]) * 8 : 8])
        for i in range(key[1], key[1] + functions[key]):
            operation, registers, _, number = struct.unpack_from("<BBhi", code, i * 8)
            to, value = moved.get(i, (None, 0))
            if operation == 0x85 and registers >> 4 == 1:  # a call of a function of the program's own
                target = (text, value // 8 + number + 1 if to is not None else i + number + 1)
            elif operation == 0x18 and to == text:  # its address, for a callback
                target = (text, (value + number) // 8)
            else:
                continue
            if target in functions and all(target != seen for seen, _ in layout):
                place(target)

    place(start)
    return Lines(_starts(elf, btf.data(), ext.data(), layout, functions), bytes(codes))


def _relocations(elf, symtab, section) -> dict[int, tuple[int, int]]:
    """Instruction of a section -> section and value of the symbol that it refers to."""
    found = elf.get_section_by_name(".rel" + section.name)
    if found is None:
        return {}
    symbols = ((r["r_offset"] // 8, symtab.get_symbol(r["r_info_sym"])) for r in found.iter_relocations())
    return {insn: (symbol["st_shndx"], symbol["st_value"]) for insn, symbol in symbols}


def _starts(elf, btf: bytes, ext: bytes, layout, functions) -> list[tuple[int, Place]]:
    header, strings_at = struct.unpack_from("<I", btf, 4)[0], struct.unpack_from("<I", btf, 16)[0]
    strings = btf[header + strings_at :]

    def string(offset: int) -> str:
        return strings[offset : strings.index(b"\0", offset)].decode(errors="replace")

    header, lines_at, lines_size = *struct.unpack_from("<I", ext, 4), *struct.unpack_from("<II", ext, 16)
    at, end = header + lines_at, header + lines_at + lines_size
    size = struct.unpack_from("<I", ext, at)[0]
    at += 4
    rows: dict[str, list[tuple[int, Place]]] = {}
    while at < end:
        name, count = struct.unpack_from("<II", ext, at)
        at += 8
        for i in range(count):
            insn, file, line, column = struct.unpack_from("<IIII", ext, at + i * size)
            place = Place(string(file).removeprefix("./"), column >> 10 or None, string(line).strip())
            rows.setdefault(string(name), []).append((insn // 8, place))
        at += count * size
    found = []
    for key, begin in layout:
        for insn, place in rows.get(elf.get_section(key[0]).name, ()):
            if key[1] <= insn < key[1] + functions[key]:
                found.append((begin + insn - key[1], place))
    return found
