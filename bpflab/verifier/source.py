"""C text as the explainer needs it: which line holds a text, where a function begins, how its lines are indented."""

from __future__ import annotations

import re
from dataclasses import dataclass


class Source:
    """C text with the line numbers of the cell or file it stands in.

    Parameters
    ----------
    text : str
        A `bpflab.compiler.CSource` knows its name and its first line.
    """

    def __init__(self, text: str):
        self.name: str = getattr(text, "name", "program")
        self.first: int = getattr(text, "line", 1)
        self.lines = text.splitlines()
        self._code = _without_comments(text).splitlines()
        self._functions: list[tuple[int, int]] | None = None

    def __contains__(self, number: int) -> bool:
        return self.first <= number < self.first + len(self.lines)

    def line(self, number: int) -> str:
        """A line as written."""
        return self.lines[number - self.first]

    def code(self, number: int) -> str:
        """A line without comments and what stands in quotes."""
        return self._code[number - self.first] if number in self else ""

    def where(self, text: str) -> list[int]:
        """Numbers of the lines that hold just this text."""
        return [i for i, line in enumerate(self.lines, self.first) if line.strip() == text]

    def indent(self, number: int) -> str:
        """The blanks before a line."""
        return re.match(r"[ \t]*", self.line(number))[0]

    @property
    def unit(self) -> str:
        """What one level of indentation is here."""
        return "\t" if any(line.startswith("\t") for line in self.lines) else "    "

    def function(self, number: int) -> tuple[int, int] | None:
        """First and last line of the function that holds a line."""
        if self._functions is None:
            self._functions = list(self._each_function())
        return next(((a, b) for a, b in self._functions if a <= number <= b), None)

    def _each_function(self):
        depth, start = 0, None
        for i, line in enumerate(self._code, self.first):
            if (
                depth == 0
                and start is None
                and re.match(r"[A-Za-z_].*\)\s*\{?\s*$", line)
                and not re.match(r"(SEC|struct|union|enum)\b.*[^)]$", line)
            ):
                start = i
            if depth == 0 and start is not None and ";" in line and "{" not in line:
                start = None
            opened, closed = line.count("{"), line.count("}")
            if depth == 0 and opened and start is None and not re.search(r"\)\s*\{", line):
                start = -1  # a struct or an array
            depth += opened - closed
            if depth == 0 and closed:
                if start not in (None, -1):
                    yield start, i
                start = None

    def end_of_statement(self, number: int) -> int | None:
        """The line with the semicolon that ends the statement that begins on a line."""
        depth = 0
        for i in range(number, min(number + 12, self.first + len(self.lines))):
            for letter in self.code(i):
                depth += {"(": 1, "{": 1, "[": 1, ")": -1, "}": -1, "]": -1}.get(letter, 0)
                if letter == ";" and depth <= 0:
                    return i
        return None

    def leave(self, number: int) -> str:
        """A statement that leaves the function around a line: the simplest return that it has already."""
        around = self.function(number)
        if around:
            found = [
                m[0]
                for i in range(around[0], around[1] + 1)
                if (m := re.search(r"\breturn\s*(?:-?\d+|[A-Z]\w*)?\s*;", self.code(i)))
            ]
            if found:
                usual = [one for one in found if re.search(r"PASS|_OK\b|\b0\b", one)]
                return usual[0] if usual else found[-1]
            if re.search(r"\bvoid\s+\w+\s*\(", " ".join(self.code(i) for i in range(around[0], around[0] + 2))):
                return "return;"
        return "return 0;"

    def declaration(self, name: str, number: int) -> int | None:
        """The line that declares a variable, above a line and in the same function."""
        around = self.function(number)
        pattern = re.compile(
            rf"^\s*(?:(?:const|volatile|unsigned|signed|static|struct|union|enum)\s+)*[A-Za-z_]\w*[\s*]+(?:[^;(]*[,\s*])?{re.escape(name)}\b\s*(?:[=,;\[]|$)"
        )
        for i in range(number, (around[0] if around else self.first) - 1, -1):
            line = self.code(i)
            if pattern.match(line) and not re.match(r"\s*(return|goto|else|case)\b", line):
                return i
        return None


@dataclass(frozen=True)
class Edit:
    """One line of a small change.

    Attributes
    ----------
    what : str
        "replace" a line, insert "before" or "after" it.
    line : int
    text : str
    """

    what: str
    line: int
    text: str


def apply(source: Source, edits: list[Edit]) -> str:
    """The text with a change made."""
    result: list[str] = []
    for number, line in enumerate(source.lines, source.first):
        mine = [e for e in edits if e.line == number]
        result += [e.text for e in mine if e.what == "before"]
        replaced = [e.text for e in mine if e.what == "replace"]
        result += replaced or [line]
        result += [e.text for e in mine if e.what == "after"]
    return "\n".join(result) + "\n"


def _without_comments(text: str) -> str:
    def blank(match: re.Match) -> str:
        found = match[0]
        if found[0] in "\"'":
            return found[0] + " " * (len(found) - 2) + found[-1]
        return re.sub(r"[^\n]", " ", found)

    return re.sub(r'/\*.*?(?:\*/|\Z)|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)
