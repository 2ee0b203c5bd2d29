"""What an interpreter writes down of a run: one `Step` for each instruction."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

# Of a longer run the verdict is still worked out; the steps beyond are not kept.
MAX_STEPS = 5_000
# A program that the verifier accepted ends before (BPF_COMPLEXITY_LIMIT_INSNS in include/linux/bpf.h), loops aside.
MAX_RUN = 1_000_000


class Step(NamedTuple):
    """One executed instruction.

    Attributes
    ----------
    pc : int
        Index of the instruction.
    changed : dict
        Registers that it wrote, with their values afterwards.
    reads : list of (str, int, int)
        Memory it read: region, offset, bytes.
    writes : list of (str, int, bytes)
        Memory it wrote: region, offset, what stands there afterwards.
    note : str
        What it did, in words.
    next : int or None
        Index of the instruction that comes next; None at the end.
    """

    pc: int
    changed: dict[str, int]
    reads: list[tuple[str, int, int]]
    writes: list[tuple[str, int, bytes]]
    note: str
    next: int | None


@dataclass
class Trace:
    """A run of a program.

    Attributes
    ----------
    steps : list of Step
        At most `MAX_STEPS`.
    verdict : int or None
        What the program returned, unsigned 32 bits (64 where the type's return value has them); None when it did not end.
    count : int
        Instructions executed.
    stopped : str
        Why the run ended before the program did; empty when it came to its end.
    """

    steps: list[Step] = field(default_factory=list)
    verdict: int | None = None
    count: int = 0
    stopped: str = ""

    def add(self, *parts) -> None:
        self.count += 1
        if len(self.steps) < MAX_STEPS:
            self.steps.append(Step(*parts))
