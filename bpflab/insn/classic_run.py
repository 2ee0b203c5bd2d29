"""The classic BPF machine, run instruction by instruction (bpf_convert_filter in net/core/filter.c says what each means)."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence

from .classic import ALU, IMM, IND, JMP, LD, LDX, LEN, LL_OFF, MEM, MISC, NET_OFF, RET, ST, STX, TXA, ClassicInsn
from .ebpf import ADD, AND, DIV, JA, JEQ, JGE, JGT, JSET, LSH, MOD, MUL, NEG, OR, RSH, SUB, XOR
from .trace import Trace

U32 = 0xFFFFFFFF
LINK_HEADER = 14  # where SKF_NET_OFF points in an Ethernet frame

_ALU = {
    **{ADD: operator.add, SUB: operator.sub, MUL: operator.mul, OR: operator.or_, AND: operator.and_, XOR: operator.xor},
    **{DIV: operator.floordiv, MOD: operator.mod},
    # the converted program shifts 32-bit registers, which eBPF masks to 5 bits
    **{LSH: lambda a, b: a << (b & 31), RSH: lambda a, b: a >> (b & 31)},
}
_SIGN = {ADD: "+", SUB: "-", MUL: "*", OR: "|", AND: "&", XOR: "^", DIV: "/", MOD: "%", LSH: "<<", RSH: ">>"}
_TEST = {JEQ: operator.eq, JGT: operator.gt, JGE: operator.ge, JSET: lambda a, b: bool(a & b)}
_ASKED = {JEQ: "==", JGT: ">", JGE: ">=", JSET: "has bits of"}


def run(insns: Sequence[ClassicInsn], packet: bytes, known: Mapping[str, int] | None = None) -> Trace:
    """Run a checked filter on a packet.

    Parameters
    ----------
    packet : bytes
        From the first byte that the filter sees, for tcpdump's filters the Ethernet header.
    known : mapping, optional
        Values of what is no packet byte (`classic.ANCILLARY`). What is missing counts as 0.

    Returns
    -------
    Trace
        The verdict is the number of bytes to let through; 0 drops the packet. A load beyond the packet's end and a division by
        a register that is 0 end the filter with 0.
    """
    return _Machine(insns, packet, known or {}).run()


class _Machine:
    def __init__(self, insns, packet, known):
        self.insns, self.packet, self.known = insns, packet, known
        self.a = self.x = 0
        self.memory = [0] * 16
        self.trace = Trace()
        self.reads: list[tuple[str, int, int]] = []

    def run(self) -> Trace:
        pc: int | None = 0
        while pc is not None:
            i = self.insns[pc]
            self.reads = []
            before, memory = (self.a, self.x), list(self.memory)
            note, following = self._do(i, pc)
            changed = {name: new for name, old, new in zip("AX", before, (self.a, self.x)) if old != new or _writes(i) == name}
            changed |= {f"M{n}": v for n, v in enumerate(self.memory) if v != memory[n] or i.cls in (ST, STX) and n == i.k}
            self.trace.add(pc, changed, self.reads, [], note, following)
            pc = following
        return self.trace

    def _end(self, verdict: int, note: str):
        self.trace.verdict = verdict
        return note, None

    def _do(self, i: ClassicInsn, pc: int):
        if i.cls in (LD, LDX):
            return self._load(i, pc)
        if i.cls in (ST, STX):
            self.memory[i.k] = self.a if i.cls == ST else self.x
            return f"M[{i.k}] = {'A' if i.cls == ST else 'X'} = {_n(self.memory[i.k])}", pc + 1
        if i.cls == ALU:
            return self._alu(i, pc)
        if i.cls == JMP:
            return self._jump(i, pc)
        if i.cls == RET:
            verdict = self.a if i.code & 0x10 else i.k
            what = "drop the packet" if not verdict else f"let {verdict} bytes through"
            return self._end(verdict, f"returns {'A = ' if i.code & 0x10 else ''}{verdict}: {what}")
        if i.code & TXA:
            self.a = self.x
            return f"A = X = {_n(self.a)}", pc + 1
        self.x = self.a
        return f"X = A = {_n(self.x)}", pc + 1

    def _load(self, i: ClassicInsn, pc: int):
        to = "A" if i.cls == LD else "X"
        if i.ancillary:
            return self._extension(i, pc)
        if i.mode == IMM:
            value, what = i.k, "the constant"
        elif i.mode == MEM:
            value, what = self.memory[i.k], f"M[{i.k}]"
        elif i.mode == LEN:
            value, what = len(self.packet) & U32, "the packet's length"
        else:
            size = i.size if i.cls == LD else 1
            offset = i.k if i.mode != IND else (self.x + i.k) & U32
            value = self._bytes(offset, size)
            if value is None:
                return self._end(0, f"{_plural(size)} at offset {_place(offset)} are not in the packet: ends with 0, drop it")
            what = f"{_plural(size)} at offset {_place(offset)}"
            if i.cls == LDX:
                value, what = (value & 15) * 4, f"4 * (low half of the byte at offset {_place(offset)})"
        if i.cls == LD:
            self.a = value
        else:
            self.x = value
        return f"{to} = {what} = {_n(value)}", pc + 1

    def _extension(self, i: ClassicInsn, pc: int):
        if i.ancillary == "xor_x":
            self.a ^= self.x
            return f"A = A ^ X = {_n(self.a)}", pc + 1
        self.a = self.known.get(i.ancillary, 0) & U32
        return f"A = {i.ancillary}, which the kernel knows beside the packet = {_n(self.a)}", pc + 1

    def _bytes(self, offset: int, size: int) -> int | None:
        if offset >= NET_OFF:
            offset = offset - NET_OFF + LINK_HEADER
        elif offset >= LL_OFF:
            offset -= LL_OFF
        if offset >= 0x80000000 or offset + size > len(self.packet):
            return None
        self.reads = [("packet", offset, size)]
        return int.from_bytes(self.packet[offset : offset + size], "big")

    def _alu(self, i: ClassicInsn, pc: int):
        if i.op == NEG:
            self.a = -self.a & U32
            return f"A = -A = {_n(self.a)}", pc + 1
        by, name = (self.x, "X") if i.code & 8 else (i.k, _n(i.k))
        if not by and i.op in (DIV, MOD):
            return self._end(0, "X is 0, and nothing divides by 0: ends with 0, drop the packet")
        before = self.a
        self.a = _ALU[i.op](self.a, by) & U32
        return f"A = {_n(before)} {_SIGN[i.op]} {name if name != 'X' else _n(by)} = {_n(self.a)}", pc + 1

    def _jump(self, i: ClassicInsn, pc: int):
        if i.op == JA:
            return f"goes on at {pc + 1 + i.k}", pc + 1 + i.k
        by = self.x if i.code & 8 else i.k
        true = _TEST[i.op](self.a, by)
        to = pc + 1 + (i.jt if true else i.jf)
        return f"{_n(self.a)} {_ASKED[i.op]} {_n(by)} is {str(true).lower()}: goes on at {to}", to


def _writes(i: ClassicInsn) -> str:
    if i.cls == MISC:
        return "A" if i.code & TXA else "X"
    return {LD: "A", LDX: "X"}.get(i.cls, "A" if i.cls not in (ST, STX, JMP, RET) else "")


def _plural(size: int) -> str:
    return "the byte" if size == 1 else f"the {size} bytes"


def _place(offset: int) -> str:
    if offset >= NET_OFF:
        return f"net+{offset - NET_OFF}"
    if offset >= LL_OFF:
        return f"link+{offset - LL_OFF}"
    return str(offset)


def _n(value: int) -> str:
    return str(value) if value < 10 else f"{value} (0x{value:x})"
