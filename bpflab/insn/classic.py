"""Classic BPF: filters of tcpdump and SO_ATTACH_FILTER. Parse, check, disassemble.

The machine is that of net/core/filter.c and Documentation/networking/filter.rst: an accumulator A, an index register X, sixteen
32-bit words M[], and jumps that only go forward. `check` refuses what the kernel's bpf_check_classic refuses.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from .ebpf import ADD, AND, DIV, JA, JEQ, JGE, JGT, JSET, LSH, MOD, MUL, NEG, OR, RSH, SUB, XOR

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
WORD, HALF, BYTE = 0x00, 0x08, 0x10
TXA = 0x80
MAX_INSNS = 4096  # BPF_MAXINSNS
NET_OFF, LL_OFF, AD_OFF = 0xFFF00000, 0xFFE00000, 0xFFFFF000  # SKF_NET_OFF, SKF_LL_OFF, SKF_AD_OFF as unsigned k

# what the kernel reads instead of the packet: SKF_AD_* of include/uapi/linux/filter.h, by offset above SKF_AD_OFF
ANCILLARY = dict(
    zip(
        range(0, 64, 4),
        "protocol pkttype ifindex nlattr nlattr_nest mark queue hatype rxhash cpu xor_x vlan_tci vlan_present pay_offset "
        "random vlan_tpid".split(),
    )
)
_ALU_NAMES = {ADD: "add", SUB: "sub", MUL: "mul", DIV: "div", OR: "or", AND: "and", LSH: "lsh", RSH: "rsh", MOD: "mod", XOR: "xor"}
_JUMP_NAMES = {JEQ: "jeq", JGT: "jgt", JGE: "jge", JSET: "jset"}
# chk_code_allowed in net/core/filter.c
_ALLOWED = {
    *(ALU | op | source for op in _ALU_NAMES for source in (0, 8)),
    *(JMP | op | source for op in _JUMP_NAMES for source in (0, 8)),
    *(LD | mode | size for mode in (ABS, IND) for size in (WORD, HALF, BYTE)),
    *(ALU | NEG, LD | LEN, LD | IMM, LD | MEM, LDX | LEN, LDX | MSH | BYTE, LDX | IMM, LDX | MEM, ST, STX),
    *(MISC, MISC | TXA, RET, RET | 0x10, JMP | JA),
}


class ClassicInsn(NamedTuple):
    """One classic instruction (``struct sock_filter``): code of 16 bits, jt and jf of 8, k of 32, all unsigned."""

    code: int
    jt: int = 0
    jf: int = 0
    k: int = 0

    @property
    def cls(self) -> int:
        return self.code & 7

    @property
    def op(self) -> int:
        return self.code & 0xF0

    @property
    def mode(self) -> int:
        return self.code & 0xE0

    @property
    def size(self) -> int:
        """Bytes that a load from the packet takes."""
        return {WORD: 4, HALF: 2, BYTE: 1}.get(self.code & 0x18, 4)

    @property
    def ancillary(self) -> str | None:
        """The name of what a load at a negative offset takes instead of packet bytes."""
        if self.cls == LD and self.mode == ABS and self.k >= AD_OFF:
            return ANCILLARY.get(self.k - AD_OFF)
        return None

    def text(self) -> str:
        """As `tcpdump -d` and the kernel's bpf_asm write it, without the targets of a jump."""
        return _text(self)


def filter_of(rows: Iterable) -> list[ClassicInsn]:
    """A filter from (code, jt, jf, k) rows.

    Raises
    ------
    TypeError, ValueError
        A row is no four numbers, or a number does not fit.
    """
    made = []
    for pc, row in enumerate(rows):
        try:
            code, jt, jf, k = (int(value) if isinstance(value, str) else operator.index(value) for value in row)
        except (TypeError, ValueError):
            raise TypeError(f"instruction {pc} is {row!r}; give four numbers: (code, jt, jf, k)") from None
        for name, value, top in (("code", code, 0xFFFF), ("jt", jt, 255), ("jf", jf, 255)):
            if not 0 <= value <= top:
                raise ValueError(f"{name} of instruction {pc} is {value}; it has to be 0 to {top}")
        if not -0x80000000 <= k <= 0xFFFFFFFF:
            raise ValueError(f"k of instruction {pc} is {k}, which is more than 32 bits")
        made.append(ClassicInsn(code, jt, jf, k & 0xFFFFFFFF))
    return made


_DD = re.compile(r"\{\s*(0x[0-9a-f]+|\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*,\s*(0x[0-9a-f]+|-?\d+)\s*\}", re.I)


def looks_like_dump(text: str) -> bool:
    """Whether a text is what `tcpdump -dd` or `-ddd` prints, and not a filter expression."""
    return bool(_DD.search(text)) or bool(re.fullmatch(r"[\d\s,]+", text.strip()) and len(text.split()) > 1)


def parse(text: str) -> list[ClassicInsn]:
    """A filter from what `tcpdump -dd` (C) or `-ddd` (numbers) prints.

    Raises
    ------
    ValueError
        The text is neither, or is cut short.
    """
    rows = _DD.findall(text)
    if rows:
        return filter_of([int(value, 0) for value in row] for row in rows)
    lines = [line.split() for line in text.replace(",", "\n").splitlines() if line.strip()]
    if not lines or len(lines[0]) != 1 or not all(word.lstrip("-").isdigit() for line in lines for word in line):
        raise ValueError("this is no output of tcpdump -dd or -ddd; give that, a filter expression, or (code, jt, jf, k) rows")
    count = int(lines[0][0])
    if count != len(lines) - 1:
        raise ValueError(f"the filter says {count} instructions and has {len(lines) - 1}; give all that tcpdump -ddd printed")
    return filter_of(lines[1:])


def check(insns: Sequence[ClassicInsn]) -> None:
    """Refuse what the kernel refuses: bpf_check_classic and check_load_and_stores of net/core/filter.c.

    Raises
    ------
    ValueError
        The text says which instruction, and why.
    """
    count = len(insns)
    if not 0 < count <= MAX_INSNS:
        what = "make it shorter" if count else "end it with a ret, such as (6, 0, 0, 65535)"
        raise ValueError(f"a filter has 1 to {MAX_INSNS} instructions, and this one has {count}; {what}")
    for pc, i in enumerate(insns):
        reason = _wrong(i, pc, count)
        if reason:
            raise ValueError(f"instruction {pc} ({i.text()}) {reason}; the kernel refuses the filter too (EINVAL)")
    if insns[-1].cls != RET:
        raise ValueError(f"the last instruction ({insns[-1].text()}) is no ret; end the filter with one, the kernel wants it too")
    _check_memory(insns)


def _wrong(i: ClassicInsn, pc: int, count: int) -> str:
    if i.code not in _ALLOWED:
        return f"has code 0x{i.code:x}, which no classic BPF instruction has"
    if i.code in (ALU | DIV, ALU | MOD) and not i.k:
        return "divides by the constant 0"
    if i.code in (ALU | LSH, ALU | RSH) and i.k >= 32:
        return f"shifts 32 bits by {i.k}"
    if i.code in (LD | MEM, LDX | MEM, ST, STX) and i.k >= 16:
        return f"names M[{i.k}], and there are M[0] to M[15]"
    if i.cls == LD and i.mode == ABS and i.k >= AD_OFF and not i.ancillary:
        return f"loads from offset {i.k - (1 << 32)}, where the kernel keeps nothing"
    for name, far in (("", i.k),) if i.code == JMP | JA else (("if true ", i.jt), ("if false ", i.jf)) if i.cls == JMP else ():
        if pc + 1 + far >= count:
            return f"jumps {name}to {pc + 1 + far}, out of the filter, whose last instruction is {count - 1}"
    return ""


def _check_memory(insns: Sequence[ClassicInsn]) -> None:
    written, on_arrival = 0, [0xFFFF] * len(insns)
    for pc, i in enumerate(insns):
        written &= on_arrival[pc]
        if i.code in (ST, STX):
            written |= 1 << i.k
        elif i.code in (LD | MEM, LDX | MEM) and not written >> i.k & 1:
            raise ValueError(
                f"instruction {pc} ({i.text()}) reads M[{i.k}], which not every way there has written; "
                "the kernel refuses the filter too (EINVAL)"
            )
        elif i.cls == JMP:
            for far in (i.k,) if i.code == JMP | JA else (i.jt, i.jf):
                on_arrival[pc + 1 + far] &= written
            written = 0xFFFF


def disassemble(insns: Sequence[ClassicInsn]) -> list[str]:
    """One text for each instruction, as `tcpdump -d` prints it."""
    texts = []
    for pc, i in enumerate(insns):
        if i.code == JMP | JA:
            texts.append(f"{i.text()} {pc + 1 + i.k}")
        elif i.cls == JMP:
            texts.append(f"{i.text():<20} jt {pc + 1 + i.jt}  jf {pc + 1 + i.jf}")
        else:
            texts.append(i.text())
    return texts


def _text(i: ClassicInsn) -> str:
    size = {4: "", 2: "h", 1: "b"}[i.size]
    if i.code not in _ALLOWED:
        return f"unknown instruction 0x{i.code:x}"
    if i.ancillary:
        return f"ld{size} #{i.ancillary}"
    other = "x" if i.code & 8 else f"#0x{i.k:x}"
    if i.cls in (LD, LDX):
        place = {IMM: f"#0x{i.k:x}", MEM: f"M[{i.k}]", LEN: "#pktlen", ABS: f"[{_signed(i.k)}]"}
        place |= {IND: f"[x + {_signed(i.k)}]", MSH: f"4*([{_signed(i.k)}]&0xf)"}
        packet = size if i.mode in (ABS, IND) else "b" if i.mode == MSH else ""
        return f"ld{'x' if i.cls == LDX else ''}{packet} {place[i.mode]}"
    if i.cls in (ST, STX):
        return f"st{'x' if i.cls == STX else ''} M[{i.k}]"
    if i.cls == ALU:
        return "neg" if i.op == NEG else f"{_ALU_NAMES[i.op]} {other}"
    if i.cls == JMP:
        return "ja" if i.op == JA else f"{_JUMP_NAMES[i.op]} {other}"
    if i.cls == RET:
        return "ret a" if i.code & 0x10 else f"ret #{i.k}"
    return "txa" if i.code & TXA else "tax"


def _signed(k: int) -> int:
    return k - (1 << 32) if k >= LL_OFF else k
