"""Basic blocks: stretches of instructions that are entered at the first and left at the last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .ebpf import CALL, JA, JMP, LD_IMM64, PSEUDO_CALL, PSEUDO_FUNC, Insn


class Edge(NamedTuple):
    """A way from one block to another; `kind` is "taken", "else" (a condition that does not hold) or "next"."""

    source: int
    target: int
    kind: str


@dataclass
class Block:
    """Instructions `start` to `end` - 1.

    Attributes
    ----------
    next : list of (int, str)
        Where it goes on: the first instruction of a block, and the kind of the way there.
    function : int
        First instruction of the function it belongs to.
    """

    start: int
    end: int
    next: list[tuple[int, str]] = field(default_factory=list)
    function: int = 0


def of_ebpf(insns: Sequence[Insn]) -> list[Block]:
    """The blocks of a program and of the functions in it, in order.

    Raises
    ------
    ValueError
        A jump leaves the program, or goes into the middle of a 64-bit load.
    """
    halves = {pc + 1 for pc, i in enumerate(insns) if i.code == LD_IMM64}
    starts, ways, functions = {0}, {}, {0}
    for pc, i in enumerate(insns):
        if pc in halves:
            continue
        if i.is_exit:
            ways[pc] = []
        elif i.is_jump:
            to = pc + 1 + i.distance
            ways[pc] = [(to, "next")] if i.op == JA else [(to, "taken"), (pc + 1, "else")]
        elif i.code == JMP | CALL and i.src == PSEUDO_CALL or i.code == LD_IMM64 and i.src == PSEUDO_FUNC:
            functions.add(pc + 1 + i.imm)
        for to, _ in ways.get(pc, ()):
            if not 0 <= to < len(insns) or to in halves:
                raise ValueError(f"instruction {pc} ({i.text()}) jumps to {to}, where no instruction begins; the program has {len(insns)}")
    starts |= functions | {to for way in ways.values() for to, _ in way} | {pc + 1 for pc in ways}
    return _cut(len(insns), starts, ways, functions)


def _cut(count: int, starts: set[int], ways: dict[int, list[tuple[int, str]]], functions: set[int]) -> list[Block]:
    cuts = sorted(at for at in starts if at < count)
    blocks, function = [], 0
    for start, end in zip(cuts, [*cuts[1:], count]):
        function = start if start in functions else function
        following = ways[end - 1] if end - 1 in ways else [(end, "next")] if end < count else []
        # a condition whose two ways lead to the same place
        blocks.append(Block(start, end, list(dict.fromkeys(following)), function))
    return blocks
