"""A verifier log taken apart: instructions, what is known after each, source lines, and what the kernel says at the end.

Formats from kernel/bpf/verifier.c and kernel/bpf/log.c of 5.4 to 7.3. A log may be cut anywhere (the kernel's buffer
was full), decorated by libbpf, or no verifier log at all: what is not understood is left out, and nothing is made up.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LIMIT = 400_000  # characters, from the end: a path of some 5,000 instructions, and quick to read

_STEP = re.compile(r"(\d+): (?:\(([0-9a-f]{2})\) (.*)|(<invalid [\w-]+ [\w-]+>.*))")
_STATE = re.compile(r"(?:\d+:)?\s*((?:frame\d+: )?(?:R\d+|fp-\d+|refs?|cb|async_cb)(?:_[a-zA-Z]+)?=?.*)")
_SOURCE = re.compile(r"; ?(.*?)(?: @ ([^@\n]+):(\d+))?$")
_FORK = re.compile(r"from (\d+) to (\d+)(?: \([\w ]+\))?:(.*)")
_NUMBERED_SOURCE = re.compile(r"(\d+): (?!R\d|frame\d|fp-|refs)(\S.*)")
_BEHIND_JUMP = re.compile(r" (\d+): (?=frame\d|R\d|fp-|refs)")
_REGISTER = re.compile(r"(R\d+|fp-\d+)(?:_[a-zA-Z]+)?=([^\s(]*(?:\((?:[^()]|\([^()]*\))*\))?)")
_TABLE = re.compile(r"\s+(\d+): [.0-9]{8,} \(([0-9a-f]{2})\) (.*)")
_LIBBPF = re.compile(r"-- BEGIN PROG LOAD LOG --\n(.*?)(?:(?:libbpf: )?-- END PROG LOAD LOG --|\Z)", re.S)
# what stands between instructions or after the verdict and is none
_NOISE = re.compile(
    r"$|processed \d+ insns|verification time|stack depth|max_states|mark_precise|last_idx|regs=|parent |propagat|arg#\d+ (?!reference)\S+ type|"
    r"func#\d+ @|Live regs before|reg type unsupported|func '\w+' arg\d+ (?:has btf_id|type)|caller:|callee:|returning from callee|to caller at|"
    r"(?:cur|old) state:|BPF program .* loaded|func#\d+ |Func#\d+ |libbpf: |-- |subprog#|insn \d+ cannot|"
    r"(?:from )?\d+: safe|from \d+ to \d+.*: safe|The sequence .*truncated|\(truncated"
)
_UNBROKEN = re.compile(r"(?<=\S)processed \d+ insns \(limit .*")  # some verdicts lack the end of their line


@dataclass(frozen=True)
class Place:
    """A line of the source.

    Attributes
    ----------
    file : str
        Empty when the log does not say.
    line : int or None
    text : str
        Without the blanks around it.
    """

    file: str
    line: int | None
    text: str


class Step:
    """An instruction that the verifier walked over.

    Attributes
    ----------
    insn : int
        Its number in the program.
    code : int
        Its operation, the first byte.
    place : Place or None
    resumed : bool
        The verifier had gone another way first and came back to here.
    """

    __slots__ = ("insn", "code", "_raw", "_parts", "_more", "place", "resumed", "_state", "frame", "known")

    def __init__(self, insn: int, code: int, raw: str, place: Place | None):
        self.insn, self.code, self._raw, self.place = insn, code, raw, place
        self._parts: tuple[str, str, int | None] | None = None
        self._more: list[str] = []
        self.resumed = False
        self._state: dict[str, str] | None = None
        self.frame = 0
        self.known = False  # the place stands in the log right here, or in the program's own line numbers

    @property
    def asm(self) -> str:
        """The instruction, as the kernel writes it."""
        return self._split()[0]

    @property
    def jumped_to(self) -> int | None:
        """For a jump whose state is printed behind it: where the path goes on."""
        return self._split()[2]

    @property
    def state(self) -> dict[str, str]:
        """What changed, or all that is known, after it: {"R0": "scalar()", "fp-8": "mmmmmmmm"}."""
        if self._state is None:
            self._state = {}
            for text in [self._split()[1], *self._more]:
                self._state.update(registers(text))
        return self._state

    def _split(self) -> tuple[str, str, int | None]:
        if self._parts is None:
            raw = self._raw
            at = raw.find(";")  # no instruction has one, but numbers in a state do: var_off=(0x0; 0xff)
            behind = _BEHIND_JUMP.search(raw) if "goto" in raw else None
            if behind and not 0 <= at < behind.start():
                self._parts = raw[: behind.start()], raw[behind.end() :], int(behind[1])
            elif at >= 0:
                self._parts = raw[:at].rstrip(), raw[at + 1 :], None
            else:
                self._parts = raw.rstrip(), "", None
        return self._parts

    def add(self, text: str) -> None:
        self._more.append(text)
        self._state = None


def registers(text: str) -> dict[str, str]:
    """Registers and stack slots of a line of state."""
    return {name: value for name, value in _REGISTER.findall(text)}


@dataclass
class Log:
    """A log, parsed.

    Attributes
    ----------
    text : str
        As given.
    steps : list of Step
        In the order of the log.
    said : list of str
        What the kernel says after the last step, without statistics: the verdict is among it.
    before : list of str
        What it says before the first step and between steps.
    forks : dict
        Index of a step -> instruction it was forked from ("from 5 to 8:").
    entry : dict
        Index of a step -> what is known before it, where the log says so there.
    starts : set
        Indexes of steps with which the program, or a function that is verified by itself, begins.
    table : dict
        Instruction -> text, where the log has the whole program.
    quoted : dict
        Instruction -> source line, where the log quotes lines without instructions.
    """

    text: str
    steps: list[Step] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    forks: dict[int, int] = field(default_factory=dict)
    entry: dict[int, dict[str, str]] = field(default_factory=dict)
    starts: set[int] = field(default_factory=set)
    table: dict[int, str] = field(default_factory=dict)
    quoted: dict[int, Place] = field(default_factory=dict)
    cut: bool = False


def parse(text: str) -> Log:
    """Take a log apart.

    Parameters
    ----------
    text : str
        Any text.
    """
    log = Log(text)
    body = text
    if "BEGIN PROG LOAD LOG" in text:
        found = _LIBBPF.search(text)
        body = found[1] if found else text
    if len(body) > LIMIT:
        body = body[body.find("\n", len(body) - LIMIT) + 1 :]
        log.cut = True
    place: Place | None = None
    fresh = False  # a source line was just quoted
    resumed = False
    last: Step | None = None
    between: list[str] = []
    for line in body.split("\n"):
        first = line[:1]
        if first.isdigit():
            step = _STEP.match(line)
            if step:
                raw = step[3] if step[3] is not None else step[4]
                if resumed and not fresh:
                    place = None  # the kernel does not repeat a line that it quoted on the way it gave up
                last = Step(int(step[1]), int(step[2], 16) if step[2] else 0x85, raw, place)
                last.known, last.resumed = fresh, resumed
                resumed = (last.code & 7) > 4 and last.jumped_to is not None
                fresh = False
                log.steps.append(last)
                if between:
                    log.before += between
                    between = []
                continue
            state = _STATE.fullmatch(line)
            if state:
                if last is not None:
                    last.add(state[1])
                else:
                    log.entry.setdefault(len(log.steps), {}).update(registers(state[1]))
                    if line.startswith("0: R1="):
                        log.starts.add(0)
                continue
            numbered = _NUMBERED_SOURCE.fullmatch(line)
            if numbered:
                log.quoted[int(numbered[1])] = _place(numbered[2])
                continue
        elif first == ";":
            quote = _SOURCE.match(line)
            if quote:
                words = quote[1].strip()
                number = int(quote[3]) if quote[3] else None
                # line 0 is code of the compiler's own; it belongs to the line before or after
                place = Place(quote[2] or "", number, words) if words and number != 0 else None
                fresh = place is not None
                continue
        elif first in " \t":
            state = _STATE.match(line.strip())
            if state and last is not None:
                last.add(state[1])
                continue
            row = _TABLE.match(line)
            if row:
                log.table[int(row[1])] = row[3]
                continue
        elif first == "f":
            fork = _FORK.match(line)
            if fork:
                if not fork[3].endswith("safe"):
                    log.forks[len(log.steps)] = int(fork[1])
                    log.entry[len(log.steps)] = registers(fork[3])
                    place, fresh, last = None, False, None
                continue
        elif line.startswith("Validating "):  # a function that is not static, by itself
            log.starts.add(len(log.steps))
            place, fresh, last, resumed = None, False, None, False
            continue
        if not _NOISE.match(line):
            between.append(_UNBROKEN.sub("", line).rstrip())
    log.said = between
    return log


def _place(text: str) -> Place:
    where = re.fullmatch(r"(.*?)(?: @ ([^@\n]+):(\d+))?", text)
    return Place(where[2] or "", int(where[3]) if where[3] else None, where[1].strip())
