"""An explanation as plain text."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from .log import Place
from .source import Source

if TYPE_CHECKING:
    from . import Explanation, Stop

_WIDTH = 100


def of(found: Explanation) -> str:
    """The explanation without path and log."""
    before, name, behind = found.heading
    parts = [f"{before} '{name}'{behind}" if name else f"{before}{behind}"]
    quoted = quote(found)
    if quoted:
        parts.append("\n".join(quoted))
    if found.reason:
        parts.append(_wrapped("why: ", found.reason))
    if found.advice:
        parts.append(_wrapped("try: ", found.advice) + "".join(f"\n  {line}" for line in change(found)))
    if found.verdict:
        parts.append(f"the kernel's words: {found.verdict}")
    behind = "the path with all registers: print(error.explain().path_text); " if found.path else ""
    parts.append(f"({behind}the whole log: error.log)" if found.log.strip() else "(the log is empty)")
    return "\n\n".join(parts)


def _wrapped(label: str, words: str) -> str:
    return textwrap.fill(words, _WIDTH, initial_indent=label, subsequent_indent=" " * len(label))


def quote(found: Explanation) -> list[str]:
    """The two lines in question, with what is to be said of each, and what surrounds them."""
    rows: list[str] = []
    marks = [(found.cause, "  ", found.note)] if found.cause else []
    if found.text:
        marks.append((Place(found.file, found.line, found.text), "> ", found.failing))
    marks.sort(key=lambda mark: mark[0].line or 1 << 30)
    for place, sign, words in marks:
        if rows:
            rows.append("")
        label = f"{place.file}:{place.line}:" if place.line else f"{place.file}:" if place.file else ""
        rows.append(f"{sign}{label + ' ' if label else ''}{place.text}")
        if words:
            kind = "rejected here" if sign == "> " else "the cause"
            rows.append(f"    ^ {kind}: {words}")
        elif sign == "> ":
            rows.append("    ^ rejected here")
    return rows


def change(found: Explanation) -> list[str]:
    """The proposed change as the lines of a diff, each with its number in the source as it is."""
    if not found.edits or not found.source:
        return []
    return [
        f"{sign} {number:>4}  {line}" if number else f"{sign}       {line}"
        for sign, number, line in diff(found.source, found.edits)
    ]


def diff(source: Source, edits) -> list[tuple[str, int | None, str]]:
    """Rows of a change: "-", "+" or " ", a line number (None for a new line), the line."""
    rows: list[tuple[str, int | None, str]] = []
    touched = sorted({e.line for e in edits})
    previous = None
    for number in touched:
        if previous is not None and number > previous + 1:
            rows.append((" ", None, "..."))
        mine = [e for e in edits if e.line == number]
        rows += [("+", None, e.text) for e in mine if e.what == "before"]
        replaced = [e.text for e in mine if e.what == "replace"]
        rows.append(("-" if replaced else " ", number, source.line(number)))
        rows += [("+", None, line) for line in replaced]
        rows += [("+", None, e.text) for e in mine if e.what == "after"]
        previous = number
    return rows


def path(stops: tuple[Stop, ...], left_out: int) -> str:
    """The path as text."""
    rows = [f"({left_out:,} instructions before these are left out)"] if left_out else []
    for stop in stops:
        place = stop.place
        label = f"{place.file}:{place.line}: " if place and place.line else ""
        rows.append(f"{label}{place.text if place else '(code of the compiler)'}")
        for insn, asm, known in stop.steps:
            rows.append(f"    {insn:>5}  {asm:<36}{'  ' + '; '.join(known) if known else ''}".rstrip())
    return "\n".join(rows)
