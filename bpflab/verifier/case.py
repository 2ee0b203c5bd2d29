"""A rejection under examination: log, path, source; and what a rule finds out about it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from . import states
from .lines import Lines
from .log import Log, Place
from .path import Origin, Path, called, stored
from .source import Edit, Source


@dataclass
class Finding:
    """What a rule says of a rejection.

    Attributes
    ----------
    kind : str
        "pointer-unchecked", "packet-bounds", ...
    summary : str
        One line.
    reason : str
        Why that is a rule, and what the verifier knew.
    failing : str
        Beside the failing line.
    cause : Place or None
        The line where the cause lies, when the log shows it.
    note : str
        Beside the line of the cause.
    advice : str
        What to try.
    edits : list of Edit
        The same as a change to this very code; empty when none can be told.
    place : Place or None
        The failing line, when it is not that of the last instruction.
    """

    kind: str
    summary: str
    reason: str = ""
    failing: str = ""
    cause: Place | None = None
    note: str = ""
    advice: str = ""
    edits: list[Edit] = field(default_factory=list)
    place: Place | None = None


class Case:
    """A log and what is known around it.

    Attributes
    ----------
    log : Log
    path : Path
    source : Source or None
    program : str
    """

    def __init__(self, log: Log, path: Path, source: Source | None, program: str, lines: Lines | None):
        self.log, self.path, self.source, self.program, self._lines = log, path, source, program, lines

    @property
    def asm(self) -> str:
        """The rejected instruction."""
        return self.path.steps[-1].asm if self.path.steps else ""

    @property
    def last(self) -> int:
        return self.path.last

    def place(self, index: int) -> Place | None:
        """The source line of a step; the nearest before it, where the compiler put code of its own."""
        for i in range(index, max(index - 4, -1), -1):
            if self.path.steps[i].place is not None:
                return self.path.steps[i].place
        return None

    def place_of(self, insn: int) -> Place | None:
        """The source line of an instruction by number, on the path or not."""
        if self._lines is not None and self._lines.place(insn):
            return self.numbered(self._lines.place(insn))
        if insn in self.log.quoted:
            return self.numbered(self.log.quoted[insn])
        return next((step.place for step in reversed(self.path.steps) if step.insn == insn and step.place), None)

    def place_of_code(self, code: int) -> Place | None:
        """The source line of the first instruction with an operation."""
        insn = self._lines.codes.find(code) if self._lines is not None else -1
        return self.place_of(insn) if insn >= 0 else None

    def numbered(self, place: Place | None) -> Place | None:
        """A place with the number of its line, when the source has that text once."""
        if place is None or place.line or self.source is None:
            return place
        found = self.source.where(place.text)
        return replace(place, line=found[0], file=self.source.name) if len(found) == 1 else place

    def value(self, register: int, index: int | None = None) -> str | None:
        """What was known of a register before a step; before the rejected one by default."""
        return self.path.value(self.last if index is None else index, f"R{register}") if self.path.steps else None

    def origin(self, register: int, index: int | None = None) -> Origin:
        if not self.path.steps:
            return Origin("lost", -1)
        return self.path.origin(self.last if index is None else index, register)

    def call(self, index: int) -> str:
        """Name of what a step calls."""
        return called(self.path.steps[index].asm) or "a function"

    def find(self, wanted: Callable[[int], bool], index: int | None = None) -> int | None:
        """The latest step before another of which something holds."""
        for i in range((self.last if index is None else index) - 1, -1, -1):
            if wanted(i):
                return i
        return None

    # -- the code

    def owned(self, place: Place | None) -> bool:
        """Whether a place is a line of the source at hand, with its number."""
        return bool(
            place
            and place.line
            and self.source
            and place.line in self.source
            and self.source.line(place.line).strip() == place.text
        )

    def variable(self, place: Place | None, function: str = r"\w+") -> str | None:
        """The variable that a line assigns a call's result to."""
        found = place and re.search(rf"(\w+)\s*=\s*(?:\([^()]*\)\s*)*{function}\s*\(", place.text)
        return found[1] if found else None

    def assigned(self, place: Place | None) -> str | None:
        """The variable that a line assigns to, if it is one."""
        found = place and re.search(r"(?<![\w.>\]])([A-Za-z_]\w*)\s*=(?!=)", place.text)
        return found[1] if found else None

    def guard(self, place: Place | None, condition: str) -> list[Edit]:
        """A check behind the statement on a line that leaves the function."""
        if not self.owned(place):
            return []
        end = self.source.end_of_statement(place.line)
        around = self.source.function(place.line)
        if end is None or around is None or place.line == around[0]:
            return []
        blanks = self.source.indent(place.line)
        return [
            Edit("after", end, f"{blanks}if ({condition})"),
            Edit("after", end, f"{blanks}{self.source.unit}{self.source.leave(place.line)}"),
        ]

    def before(self, place: Place | None, *lines: str) -> list[Edit]:
        """Lines before a line, indented as it is; with braces, where the line is all that an if or a loop has."""
        if not self.owned(place):
            return []
        added = [Edit("before", place.line, self.source.indent(place.line) + text) for text in lines]
        return self.braced(place, added)

    def braced(self, place: Place, edits: list[Edit]) -> list[Edit]:
        """Edits around a line, and braces where it is the only statement of an if, an else or a loop."""
        above = place.line - 1
        code = self.source.code(above).rstrip() if above in self.source else ""
        if not re.match(r"\s*(\}\s*)?(if|else|while|for)\b.*\)$|\s*(\}\s*)?else$", code):
            return edits
        end = self.source.end_of_statement(place.line)
        if end is None:
            return []
        opened = Edit("replace", above, self.source.line(above).rstrip() + " {")
        return [opened, *edits, Edit("after", end, self.source.indent(above) + "}")]

    def swap(self, place: Place | None, old: str, new: str) -> list[Edit]:
        """A line with one piece of it replaced, if it has that piece once."""
        if not self.owned(place) or self.source.line(place.line).count(old) != 1:
            return []
        return [Edit("replace", place.line, self.source.line(place.line).replace(old, new))]

    # -- what registers hold

    def words(self, register: int, index: int | None = None) -> str:
        """A register in words, or an empty text."""
        known = self.value(register, index)
        return f"r{register} is {states.words(known)}" if known else ""

    def kind(self, register: int, index: int | None = None) -> str:
        return states.kind(self.value(register, index))

    def writes(self) -> bool:
        """Whether the rejected instruction writes to memory."""
        return stored(self.asm) is not None
