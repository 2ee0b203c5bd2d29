"""Classic BPF written out, as `tcpdump -d` prints it, back to instructions."""

from __future__ import annotations

import re

from . import classic
from .classic import (
    ABS,
    ALU,
    BYTE,
    HALF,
    IMM,
    IND,
    JMP,
    LD,
    LDX,
    LEN,
    MEM,
    MISC,
    MSH,
    RET,
    ST,
    STX,
    TXA,
    WORD,
    ClassicInsn,
)
from .ebpf import JA, NEG

_LINE = re.compile(
    r"^\s*(?:\((?P<number>\d+)\)|(?P<plain>\d+):)?\s*(?P<name>[a-z]+)\s*(?P<operand>.*?)"
    r"(?:\s+jt\s+(?P<jt>\d+)\s+jf\s+(?P<jf>\d+))?\s*(?:;.*)?$"
)
_NUMBER = r"(-?(?:0x[0-9a-fA-F]+|\d+))"
_LOADS = {"": WORD, "h": HALF, "b": BYTE}
_OPS = {name: code for table in (classic._ALU_NAMES, classic._JUMP_NAMES) for code, name in table.items()}
_BARE = {"tax": MISC, "txa": MISC | TXA, "neg": ALU | NEG}


def is_text(text: str) -> bool:
    """Whether a text is instructions, one to a line, and not a filter expression: there is a `ret` among them."""
    return bool(re.search(r"^\s*(?:\(\d+\)|\d+:)?\s*ret\s+(?:#|a\b)", text, re.M))


def assemble(text: str) -> list[ClassicInsn]:
    """Instructions from lines such as ``(001) jeq #0x800 jt 2 jf 5``.

    Numbers of lines may be left out; what stands behind a semicolon is a comment. Targets of jumps are numbers of lines, from 0 on.

    Raises
    ------
    ValueError
        A line is no instruction, bears the number of another one, or jumps backwards or too far. The text says which line.
    """
    lines = [line for line in text.splitlines() if line.split(";")[0].strip()]
    return [_insn(line, pc) for pc, line in enumerate(lines)]


def _insn(line: str, pc: int) -> ClassicInsn:
    match = _LINE.match(line)
    if not match:
        raise ValueError(f"'{line.strip()}' is no instruction of classic BPF; write one as tcpdump -d does: (000) ldh [12]")
    number = match["number"] or match["plain"]
    if number and int(number) != pc:
        raise ValueError(f"'{line.strip()}' is instruction {pc} and is called {int(number)}; number the lines anew, and the jumps with them")
    name, operand = match["name"], match["operand"].strip()
    if name == "ja" or name in classic._JUMP_NAMES.values():
        return _jump(line, pc, name, operand, match)
    found = None if match["jt"] else _plain(name, operand)
    if found is None:
        raise ValueError(f"'{line.strip()}' (instruction {pc}) is no instruction of classic BPF; see what tcpdump -d prints")
    code, k = found
    if not -0x80000000 <= k <= 0xFFFFFFFF:
        raise ValueError(f"'{line.strip()}' (instruction {pc}) has a number of more than 32 bits")
    return ClassicInsn(code, 0, 0, k & 0xFFFFFFFF)


def _jump(line: str, pc: int, name: str, operand: str, match: re.Match) -> ClassicInsn:
    where = f"'{line.strip()}' (instruction {pc})"
    if name == "ja":
        if match["jt"] or not operand.isdigit() or int(operand) <= pc:
            raise ValueError(f"{where} needs the number of a later line: ja 5")
        return ClassicInsn(JMP | JA, 0, 0, int(operand) - pc - 1)
    value = re.fullmatch(f"#{_NUMBER}|x", operand)
    if not value or not match["jt"]:
        raise ValueError(f"{where} needs what A is compared with, and two lines to go on at: {name} #0x800 jt 2 jf 5")
    far = [int(match[side]) - pc - 1 for side in ("jt", "jf")]
    for target in far:
        if not 0 <= target <= 255:
            raise ValueError(f"{where} jumps to {target + pc + 1}; a jump goes forward, by 256 lines at most")
    k = int(value[1], 0) & 0xFFFFFFFF if value[1] else 0
    return ClassicInsn(JMP | _OPS[name] | (0 if value[1] else 8), *far, k)


def _plain(name: str, operand: str) -> tuple[int, int] | None:
    """Code and k of what does not jump; None when there is no such instruction."""
    if name in _BARE:
        return None if operand else (_BARE[name], 0)
    if name == "ret":
        return (RET | 0x10, 0) if operand == "a" else _number(RET, "#", operand)
    if name in ("st", "stx"):
        return _number(ST if name == "st" else STX, "M[", operand, "]")
    if name in classic._ALU_NAMES.values():
        return (ALU | _OPS[name] | 8, 0) if operand == "x" else _number(ALU | _OPS[name], "#", operand)
    load = re.fullmatch(r"(ldx|ld)(h|b|)", name)
    return _load(LDX if load[1] == "ldx" else LD, load[2], operand) if load else None


def _load(cls: int, width: str, operand: str) -> tuple[int, int] | None:
    size = _LOADS[width]
    if cls == LDX and width == "b":
        return _number(LDX | MSH | BYTE, "4*([", operand, "]&0xf)")
    if cls == LD:
        beside = {name: at for at, name in classic.ANCILLARY.items()}.get(operand.removeprefix("#"))
        if beside is not None:
            return LD | ABS | size, classic.AD_OFF + beside
        found = _number(LD | ABS | size, "[", operand, "]") or _number(LD | IND | size, "[x+", operand, "]")
        if found or width:
            return found
    elif width:
        return None
    if operand == "#pktlen":
        return cls | LEN, 0
    return _number(cls | IMM, "#", operand) or _number(cls | MEM, "M[", operand, "]")


def _number(code: int, before: str, operand: str, after: str = "") -> tuple[int, int] | None:
    match = re.fullmatch(re.escape(before) + _NUMBER + re.escape(after), re.sub(r"\s", "", operand))
    return (code, int(match[1], 0)) if match else None
