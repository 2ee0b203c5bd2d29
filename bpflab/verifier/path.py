"""The way the verifier took to the instruction that it rejected, and where the values on it came from.

Only what the log shows is used: where two instructions that stand one below the other cannot follow each other (lines
are missing, or were shuffled), the path begins after the gap, and what came before it is not known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .log import Log, Step

_JUMP = re.compile(r"(?:goto|call) pc([+-]\d+)")
_SET = re.compile(r"[rw](\d+) (=|\S+=) (.*)")
_COPY = re.compile(r"(?:\([su]\d+\))?[rw](\d+)$")
_LOAD = re.compile(r"\*\([us]\d+ \*\)\(r(\d+) ?([+-]\d+)\)")
_STORE = re.compile(r"(?:lock )?\*\([us]\d+ \*\)\(r(\d+) ?([+-]\d+)\) (\S*=) (?:r(\d+)|(-?\w+))")
_CONDITION = re.compile(r"if [rw](\d+) (\S+) (?:[rw](\d+)|(\S+)) goto")


@dataclass(frozen=True)
class Origin:
    """Where a value came from.

    Attributes
    ----------
    kind : str
        "call", "load", "constant", "entry" (an argument of the program or function), "clobbered" (by a call), "unset"
        (nothing wrote it), "lost" (the log does not show it), "computed".
    index : int
        Of the step in the path; -1 where there is none.
    chain : tuple of int
        The steps that moved or changed the value since, latest first.
    register : int
        The register that held it there.
    """

    kind: str
    index: int
    chain: tuple[int, ...] = ()
    register: int = -1


@dataclass
class Path:
    """Steps that follow each other, the last of them the rejected one.

    Attributes
    ----------
    steps : list of Step
    whole : bool
        It begins where the program, or a function that is verified by itself, begins.
    """

    steps: list[Step]
    whole: bool
    entry: dict[int, dict[str, str]] = field(default_factory=dict)
    parent: list[int] = field(default_factory=list)  # of each step: the call that its function came from, -1 for none

    @property
    def last(self) -> int:
        return len(self.steps) - 1

    def before(self, index: int):
        """Indexes of the steps of the same function before a step, latest first."""
        frame = self.parent[index]
        for j in range(index - 1, -1, -1):
            if self.parent[j] == frame:
                yield j
            elif j == frame:
                return

    def value(self, index: int, name: str) -> str | None:
        """What the verifier knew of a register or stack slot before a step ("R1", "fp-8"), None if the log does not say."""
        if name in self.entry.get(index, ()):
            return self.entry[index][name]
        number = int(name[1:]) if name[0] == "R" else -1
        for j in range(index - 1, -1, -1):
            step = self.steps[j]
            if self.parent[j] != self.parent[index]:
                if j == self.parent[index]:  # arguments are printed with the call
                    return step.state.get(name) if 1 <= number <= 5 or number == 10 else None
                if step.code == 0x95 and name in step.state:
                    return step.state[name]
                continue
            if name in step.state:
                return step.state[name]
            if step.code == 0x85 and 0 <= number <= 5:
                return None
            written = _SET.match(step.asm)
            if written and int(written[1]) == number:
                return None
            if name in self.entry.get(j, ()):
                return self.entry[j][name]
        return None

    def origin(self, index: int, register: int) -> Origin:
        """Where the value came from that a register holds before a step."""
        chain: list[int] = []
        slot: int | None = None
        while True:
            for j in self.before(index):
                step = self.steps[j]
                asm = step.asm
                if slot is not None:
                    store = _STORE.match(asm)
                    if store and store[1] == "10" and int(store[2]) == slot:
                        if store[4] is None or store[3] != "=":
                            return Origin("constant", j, tuple(chain))
                        chain.append(j)
                        register, slot, index = int(store[4]), None, j
                        break
                    continue
                if step.code == 0x85:
                    if register == 0:
                        return Origin("call", j, tuple(chain), 0)
                    if register <= 5:
                        return Origin("clobbered", j, tuple(chain), register)
                    continue
                written = _SET.match(asm)
                if not written or int(written[1]) != register:
                    continue
                if written[2] != "=":
                    chain.append(j)
                    continue
                copy, load = _COPY.match(written[3]), _LOAD.match(written[3])
                if copy:
                    chain.append(j)
                    if int(copy[1]) == register:
                        continue
                    register, index = int(copy[1]), j
                    break
                if load and load[1] == "10":
                    chain.append(j)
                    slot, index = int(load[2]), j
                    break
                if load:
                    return Origin("load", j, tuple(chain), register)
                if re.match(r"-?(0x[0-9a-f]+|\d+)( ll)?$", written[3]):
                    return Origin("constant", j, tuple(chain), register)
                return Origin("computed", j, tuple(chain), register)
            else:
                call = self.parent[index]
                if call >= 0:
                    if slot is None and 1 <= register <= 5:
                        chain.append(call)
                        index = call
                        continue
                    return Origin("unset", -1, tuple(chain), register)
                if not self.whole:
                    return Origin("lost", -1, tuple(chain), register)
                known = self.entry.get(0, {})
                kind = "entry" if slot is None and f"R{register}" in known else "unset"
                return Origin(kind, 0 if kind == "entry" else -1, tuple(chain), register)

    def condition(self, index: int) -> tuple[int, str, int | None, str | None] | None:
        """Of a conditional jump: register, operator, and the other register or the number."""
        found = _CONDITION.match(self.steps[index].asm)
        if not found:
            return None
        return int(found[1]), found[2], int(found[3]) if found[3] else None, found[4]


def stored(asm: str) -> tuple[int, int, int | None] | None:
    """Of a store: base register, offset, and the register whose value goes there."""
    found = _STORE.match(asm)
    return (int(found[1]), int(found[2]), int(found[4]) if found[4] else None) if found else None


def loaded(asm: str) -> tuple[int, int] | None:
    """Of a load: base register and offset."""
    written = _SET.match(asm)
    found = _LOAD.match(written[3]) if written else None
    return (int(found[1]), int(found[2])) if found else None


def operation(asm: str) -> tuple[int, str, str] | None:
    """Of arithmetic or a move: register, operator, operand as written."""
    found = _SET.match(asm)
    return (int(found[1]), found[2], found[3]) if found else None


def called(asm: str) -> str | None:
    """Name of the helper or kfunc of a call."""
    found = re.match(r"call (\w+)#", asm)
    return found[1] if found else None


def _after_calls(log: Log) -> set[int]:
    return {step.insn + 1 for step in log.steps if step.code == 0x85}


def follows(one: Step, two: Step, returns: set[int]) -> bool:
    """Whether an instruction can come after another."""
    following = one.insn + (2 if one.code == 0x18 else 1)
    if one.code & 7 not in (5, 6):
        return two.insn == following
    if one.code == 0x95:
        return two.insn in returns or two.insn + 1 in returns
    jump = _JUMP.search(one.asm)
    target = one.insn + 1 + int(jump[1]) if jump else None
    if one.code == 0x85:
        return two.insn in (following, target) or (jump is None and bool(one._more))
    if one.jumped_to is not None:
        return two.insn == one.jumped_to
    if one.code in (0x05, 0x06):
        return two.insn == target
    return two.insn in (following, target)


def build(log: Log) -> Path:
    """The path to the last instruction of a log."""
    chosen: list[int] = []
    i = len(log.steps) - 1
    returns = _after_calls(log)
    whole = False
    while i >= 0:
        chosen.append(i)
        if i in log.forks:
            source = log.forks[i]
            i = next((j for j in range(i - 1, -1, -1) if log.steps[j].insn == source), -1)
            continue
        if i in log.starts and i in log.entry:
            whole = True
            break
        if i == 0 or not _linked(log, i, returns):
            break
        i -= 1
    chosen.reverse()
    steps = [log.steps[i] for i in chosen]
    path = Path(steps, whole, {new: log.entry[old] for new, old in enumerate(chosen) if old in log.entry})
    _frames(path)
    return path


def _linked(log: Log, i: int, returns: set[int]) -> bool:
    return follows(log.steps[i - 1], log.steps[i], returns)


def _frames(path: Path) -> None:
    calls: list[int] = []
    for i, step in enumerate(path.steps):
        path.parent.append(calls[-1] if calls else -1)
        step.frame = len(calls)
        if i == path.last:
            break
        following = path.steps[i + 1].insn
        if step.code == 0x85 and following != step.insn + 1:
            calls.append(i)
        elif step.code == 0x95 and calls:
            calls.pop()
