"""eBPF instructions: bytes -> Insn -> text, and back.

The encoding is that of RFC 9669 (Documentation/bpf/standardization/instruction-set.rst); the text is written as the kernel
writes it (kernel/bpf/disasm.c), so that it reads like a verifier log.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

from .helper_names import HELPERS

# instruction classes
LD, LDX, ST, STX, ALU, JMP, JMP32, ALU64 = range(8)
# modes of loads and stores
IMM, ABS, IND, MEM, MEMSX, ATOMIC = 0x00, 0x20, 0x40, 0x60, 0x80, 0xC0
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR, MOV, ARSH, END = range(0x00, 0xE0, 0x10)
JA, JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, CALL, EXIT, JLT, JLE, JSLT, JSLE, JCOND = range(0x00, 0xF0, 0x10)
FETCH, XCHG, CMPXCHG, LOAD_ACQ, STORE_REL = 0x01, 0xE1, 0xF1, 0x100, 0x110
# what src says of a 64-bit immediate, include/uapi/linux/bpf.h
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_BTF_ID, PSEUDO_FUNC, PSEUDO_MAP_IDX, PSEUDO_MAP_IDX_VALUE = range(1, 7)
PSEUDO_CALL, PSEUDO_KFUNC_CALL = 1, 2
LD_IMM64 = 0x18

_ALU_SIGNS = {
    **{ADD: "+=", SUB: "-=", MUL: "*=", DIV: "/=", OR: "|=", AND: "&=", LSH: "<<=", RSH: ">>=", MOD: "%="},
    **{XOR: "^=", MOV: "=", ARSH: "s>>="},
}
_ALU_OFFSETS = {(MOV, 8): (0, 8, 16, 32)}  # with sign extension; others are the kernel's own
_JUMP_SIGNS = {
    **{JEQ: "==", JGT: ">", JGE: ">=", JSET: "&", JNE: "!=", JSGT: "s>", JSGE: "s>=", JLT: "<", JLE: "<="},
    **{JSLT: "s<", JSLE: "s<="},
}
_ATOMICS = {ADD: ("+=", "add"), OR: ("|=", "or"), AND: ("&=", "and"), XOR: ("^=", "xor")}

_UNKNOWN = "unknown instruction"


class Insn(NamedTuple):
    """One eBPF instruction (``struct bpf_insn``); a 64-bit immediate load is two of them, the second with code 0.

    Attributes
    ----------
    code, dst, src, off, imm : int
        `off` and `imm` are signed, of 16 and 32 bits.
    """

    code: int
    dst: int = 0
    src: int = 0
    off: int = 0
    imm: int = 0

    @property
    def cls(self) -> int:
        """The instruction class, the low three bits."""
        return self.code & 7

    @property
    def op(self) -> int:
        """The operation of an arithmetic instruction or a jump, the high four bits."""
        return self.code & 0xF0

    @property
    def size(self) -> int:
        """Bytes that a load or store moves."""
        return SIZES[self.code & 0x18]

    @property
    def is_jump(self) -> bool:
        """Whether it may go elsewhere than to the next instruction; calls come back, so they are none."""
        return self.cls in (JMP, JMP32) and self.op not in (CALL, EXIT)

    @property
    def is_exit(self) -> bool:
        return self.code == JMP | EXIT

    @property
    def is_conditional(self) -> bool:
        return self.is_jump and self.op != JA

    @property
    def distance(self) -> int:
        """How far a jump, or a call of the program's own function, goes from the instruction after it."""
        return self.imm if self.code in (JMP32 | JA, JMP | CALL) else self.off

    def text(self) -> str:
        """As a verifier log has it, without the two values of a 64-bit immediate; see `disassemble`."""
        return _text(self)


def is_known(insn: Insn) -> bool:
    """Whether there is such an instruction; of a 64-bit load, whether it is the first half."""
    return not _text(insn).startswith(_UNKNOWN)


def decode(data: bytes) -> list[Insn]:
    """Instructions from bytes, in this computer's byte order.

    Raises
    ------
    ValueError
        The length is no multiple of 8.
    """
    if len(data) % 8:
        raise ValueError(f"{len(data)} bytes are no eBPF instructions, which have 8 each; give whole ones")
    return [Insn(code, regs & 15, regs >> 4, off, imm) for code, regs, off, imm in struct.iter_unpack("=BBhi", data)]


def encode(insns: Sequence[Insn]) -> bytes:
    """The bytes that `decode` reads."""
    return b"".join(struct.pack("=BBhi", i.code, i.dst | i.src << 4, i.off, i.imm) for i in insns)


def imm64(insns: Sequence[Insn], pc: int) -> int:
    """The unsigned value of the 64-bit immediate load at `pc`."""
    high = insns[pc + 1].imm if pc + 1 < len(insns) else 0
    return (high & 0xFFFFFFFF) << 32 | insns[pc].imm & 0xFFFFFFFF


def disassemble(insns: Sequence[Insn], names: dict[int, str] | None = None) -> list[str]:
    """One text for each instruction; the second half of a 64-bit immediate load has an empty one.

    Parameters
    ----------
    names : dict, optional
        By index of an instruction: what its immediate stands for ("map counts", "sub").
    """
    names, texts, skip = names or {}, [], False
    for pc, insn in enumerate(insns):
        if skip:
            texts.append("")
            skip = False
        elif insn.code == LD_IMM64:
            texts.append(f"r{insn.dst} = {names.get(pc) or _imm64_text(insns, pc)}")
            skip = True
        elif pc in names and insn.code == JMP | CALL:
            texts.append(f"call {names[pc]}")
        else:
            texts.append(_text(insn))
    return texts


def _imm64_text(insns: Sequence[Insn], pc: int) -> str:
    kind, low = insns[pc].src, insns[pc].imm
    second = insns[pc + 1].imm if pc + 1 < len(insns) else 0
    if kind == PSEUDO_MAP_FD:
        return f"map[fd:{low}]"
    if kind == PSEUDO_MAP_VALUE:
        return f"map[fd:{low}][0]+{second}"
    if kind == PSEUDO_FUNC:
        return f"subprog[{low:+d}]"
    return f"0x{imm64(insns, pc):x}"


def _text(i: Insn) -> str:
    if i.cls in (ALU, ALU64):
        return _alu(i)
    if i.cls in (JMP, JMP32):
        return _jump(i)
    if i.cls == STX:
        return _stx(i)
    size = f"u{8 * i.size}"
    mode = i.code & 0xE0
    if i.cls == ST and mode == MEM:
        return f"*({size} *)(r{i.dst} {i.off:+d}) = {i.imm}"
    if i.cls == LDX and mode == MEM:
        return f"r{i.dst} = *({size} *)(r{i.src} {i.off:+d})"
    if i.cls == LDX and mode == MEMSX:
        return f"r{i.dst} = *(s{8 * i.size} *)(r{i.src} {i.off:+d})"
    if i.cls == LD and mode == ABS:
        return f"r0 = *({size} *)skb[{i.imm}]"
    if i.cls == LD and mode == IND:
        return f"r0 = *({size} *)skb[r{i.src} + {i.imm}]"
    if i.code == LD_IMM64:
        return f"r{i.dst} = 0x{i.imm & 0xFFFFFFFF:x}"
    return _unknown(i)


def _unknown(i: Insn) -> str:
    return f"{_UNKNOWN} {i.code:02x}"


def _alu(i: Insn) -> str:
    w = "w" if i.cls == ALU else "r"
    if i.op == END and i.imm not in (16, 32, 64):
        return _unknown(i)
    if i.op == END:
        if i.cls == ALU64:
            return f"r{i.dst} = bswap{i.imm} r{i.dst}"
        return f"r{i.dst} = {'be' if i.code & 8 else 'le'}{i.imm} r{i.dst}"
    if i.op == NEG:
        return f"{w}{i.dst} = -{w}{i.dst}"
    if i.op not in _ALU_SIGNS or i.off not in _ALU_OFFSETS.get((i.op, i.code & 8), (0, 1) if i.op in (DIV, MOD) else (0,)):
        return _unknown(i)
    sign = _ALU_SIGNS[i.op]
    if i.off and i.op in (DIV, MOD):
        sign = "s" + sign
    if not i.code & 8:
        return f"{w}{i.dst} {sign} {i.imm}"
    if i.off and i.op == MOV:
        return f"{w}{i.dst} {sign} (s{i.off}){w}{i.src}"
    return f"{w}{i.dst} {sign} {w}{i.src}"


def _jump(i: Insn) -> str:
    if i.code == JMP | CALL:
        if i.src == PSEUDO_CALL:
            return f"call pc{i.imm:+d}"
        if i.src == PSEUDO_KFUNC_CALL:
            return f"call kernel-function#{i.imm}"
        return f"call {HELPERS[i.imm] if 0 < i.imm < len(HELPERS) else 'unknown'}#{i.imm}"
    if i.code == JMP | EXIT:
        return "exit"
    if i.code == JMP | JA:
        return f"goto pc{i.off:+d}"
    if i.code == JMP32 | JA:
        return f"gotol pc{i.imm:+d}"
    if i.code == JMP | JCOND:
        return f"may_goto pc{i.off:+d}"
    if i.op not in _JUMP_SIGNS:
        return _unknown(i)
    w = "w" if i.cls == JMP32 else "r"
    other = f"{w}{i.src}" if i.code & 8 else f"0x{i.imm & 0xFFFFFFFF:x}"
    return f"if {w}{i.dst} {_JUMP_SIGNS[i.op]} {other} goto pc{i.off:+d}"


def _stx(i: Insn) -> str:
    place = f"(u{8 * i.size} *)(r{i.dst} {i.off:+d})"
    if i.code & 0xE0 == MEM:
        return f"*{place} = r{i.src}"
    if i.code & 0xE0 != ATOMIC:
        return _unknown(i)
    wide = "64" if i.size == 8 else ""
    if i.imm in _ATOMICS:
        return f"lock *{place} {_ATOMICS[i.imm][0]} r{i.src}"
    if i.imm & ~FETCH in _ATOMICS:
        return f"r{i.src} = atomic{wide}_fetch_{_ATOMICS[i.imm & ~FETCH][1]}({place}, r{i.src})"
    return {
        XCHG: f"r{i.src} = atomic{wide}_xchg({place}, r{i.src})",
        CMPXCHG: f"r0 = atomic{wide}_cmpxchg({place}, r0, r{i.src})",
        LOAD_ACQ: f"r{i.dst} = load_acquire((u{8 * i.size} *)(r{i.src} {i.off:+d}))",
        STORE_REL: f"store_release({place}, r{i.src})",
    }.get(i.imm) or _unknown(i)
