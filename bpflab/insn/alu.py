"""Arithmetic, comparisons and byte swaps of eBPF, exactly (RFC 9669, sections 4.1 and 4.2; ___bpf_prog_run in kernel/bpf/core.c).

Registers hold unsigned 64-bit numbers. Operations of 32 bits take the low halves and clear the high half of their result.
"""

from __future__ import annotations

import operator

from .ebpf import (
    ADD,
    ALU,
    AND,
    DIV,
    END,
    FETCH,
    JEQ,
    JGE,
    JGT,
    JLE,
    JLT,
    JMP32,
    JNE,
    JSET,
    JSGE,
    JSGT,
    JSLE,
    JSLT,
    LSH,
    MOD,
    MOV,
    MUL,
    NEG,
    OR,
    RSH,
    SUB,
    XOR,
    Insn,
)

U64 = 0xFFFFFFFFFFFFFFFF


def signed(value: int, bits: int = 64) -> int:
    """The low bits of a number read as two's complement."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


_PLAIN = {ADD: operator.add, SUB: operator.sub, MUL: operator.mul, OR: operator.or_, AND: operator.and_, XOR: operator.xor}
_COMPARE = {
    **{JEQ: operator.eq, JNE: operator.ne, JGT: operator.gt, JSGT: operator.gt, JGE: operator.ge, JSGE: operator.ge},
    **{JLT: operator.lt, JSLT: operator.lt, JLE: operator.le, JSLE: operator.le, JSET: lambda a, b: bool(a & b)},
}


def alu(i: Insn, dst: int, src: int) -> int:
    """The new value of the destination; `src` is the other operand, an immediate sign-extended to 64 bits."""
    if i.op == END:
        return swap(i, dst)
    bits = 32 if i.cls == ALU else 64
    mask = (1 << bits) - 1
    a, b = dst & mask, src & mask
    if i.op in _PLAIN:
        result = _PLAIN[i.op](a, b)
    elif i.op == MOV:
        result = signed(b, i.off) if i.off and i.code & 8 else b
    elif i.op == NEG:
        result = -a
    elif i.op in (DIV, MOD):
        result = (_divide if i.op == DIV else _modulo)(a, b, bits, i.off)
    else:
        by = b & bits - 1
        result = a << by if i.op == LSH else a >> by if i.op == RSH else signed(a, bits) >> by
    return result & mask


def _divide(a: int, b: int, bits: int, is_signed: int) -> int:
    if not b:
        return 0
    if not is_signed:
        return a // b
    a, b = signed(a, bits), signed(b, bits)
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def _modulo(a: int, b: int, bits: int, is_signed: int) -> int:
    if not b:
        return a
    if not is_signed:
        return a % b
    a, b = signed(a, bits), signed(b, bits)
    rest = abs(a) % abs(b)
    return -rest if a < 0 else rest


def swap(i: Insn, value: int) -> int:
    """le, be and bswap: of a little-endian machine, as all are that the lab runs on."""
    data = (value & (1 << i.imm) - 1).to_bytes(i.imm // 8, "little")
    keeps = i.cls == ALU and not i.code & 8
    return int.from_bytes(data, "little" if keeps else "big")


def holds(i: Insn, dst: int, src: int) -> bool:
    """Whether a conditional jump is taken; `src` as for `alu`."""
    bits = 32 if i.cls == JMP32 else 64
    mask = (1 << bits) - 1
    a, b = dst & mask, src & mask
    if i.op in (JSGT, JSGE, JSLT, JSLE):
        a, b = signed(a, bits), signed(b, bits)
    return _COMPARE[i.op](a, b)


def atomic(imm: int, old: int, src: int, size: int) -> int:
    """What an atomic operation leaves in memory (RFC 9669, section 5.3)."""
    mask = (1 << 8 * size) - 1
    if imm & ~FETCH in _PLAIN:
        return _PLAIN[imm & ~FETCH](old, src) & mask
    return src & mask  # xchg; cmpxchg where the comparison holds
