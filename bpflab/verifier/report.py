"""The structured report that kernels since 7.3 put behind a verdict (kernel/bpf/diagnostics.c).

Verification failed: Register Type Safety: Unreadable register

Reason:
  ...
At:
  name @ file.c:12:5
  ...
Causal path:
  ...
Suggestion:
  ...
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from .log import Place

_HEADER = re.compile(r"^Verification failed: ([^:\n]+)(?:: (.*))?$", re.M)
_SECTION = re.compile(r"^(Reason|At|Causal path|Active lock|Suggestion):[ \t]*$", re.M)
_WHERE = re.compile(r"^  (?:(\S+) @ )?([^\s:|]\S*?):(\d+):\d+$|^  insn (\d+)$")
_MARKED = re.compile(r"^\s*>>> +(\d+) \| (.*)$")
_NOTE = re.compile(r"^\s+\| +\^-- ([\w ]+?): (.*)$")
_MORE = re.compile(r"^\s+\| {4,}(\S.*)$")
_INSTRUCTION = re.compile(r"\([0-9a-f]{2}\) ")


@dataclass
class Event:
    """A place that the report names, and what it says of it.

    Attributes
    ----------
    label : str
        "error", "branch", "update", "invalidated", "acquired", "released", "context", ...
    text : str
    place : Place or None
    insn : int or None
    """

    label: str = ""
    text: str = ""
    place: Place | None = None
    insn: int | None = None


@dataclass
class Report:
    """A structured report.

    Attributes
    ----------
    category, problem : str
        "Register Type Safety", "Unreadable register".
    reason, suggestion : str
    at : Event or None
    path : list of Event
    """

    category: str
    problem: str
    reason: str = ""
    suggestion: str = ""
    at: Event | None = None
    path: list[Event] = field(default_factory=list)


def split(text: str) -> tuple[str, Report | None]:
    """The log before the report, and the last report of it.

    Parameters
    ----------
    text : str
        Any text.
    """
    start = text.rfind("Verification failed: ")
    header = _HEADER.match(text, start) if start >= 0 and text[start - 1 : start] in ("", "\n") else None
    if not header:
        return text, None
    report = Report(header[1].strip(), (header[2] or "").strip())
    body = text[header.end() :]
    marks = [*_SECTION.finditer(body)]
    for mark, following in zip(marks, [*marks[1:], None]):
        section = body[mark.end() : following.start() if following else len(body)]
        match mark[1]:
            case "Reason":
                report.reason = _prose(section)
            case "Suggestion":
                report.suggestion = _prose(section)
            case "At":
                report.at = next(iter(_events(section)), None)
            case "Causal path" | "Active lock":
                report.path += _events(section)
    return text[:start], report


def _prose(section: str) -> str:
    """Indented lines up to the first that is not, put together again."""
    words = []
    for line in section.strip("\n").split("\n"):
        if line and not line.startswith("  "):
            break
        words.append(line.strip())
    return " ".join(words).strip()


def _events(section: str) -> list[Event]:
    found: list[Event] = []
    more = False
    for line in section.split("\n"):
        where = _WHERE.match(line)
        if where:
            found.append(
                Event(
                    place=Place(where[2], int(where[3]), "") if where[2] else None,
                    insn=int(where[4]) if where[4] else None,
                )
            )
            more = False
            continue
        if not found:
            continue
        event = found[-1]
        marked, note = _MARKED.match(line), _NOTE.match(line)
        rest = _MORE.match(line) if more else None
        if marked:
            more = False
            if _INSTRUCTION.match(marked[2]):
                event.insn = int(marked[1])
            elif event.place and int(marked[1]) == event.place.line:
                event.place = Place(event.place.file, event.place.line, marked[2].strip())
        elif note:
            event.label, event.text, more = note[1], note[2].strip(), True
        elif rest:
            event.text += " " + rest[1].strip()
        else:
            more = False
    return found


# where a report's own cause lies: what changed, took or spoiled the value, not which way was taken
CAUSES = ("invalidated", "acquired", "update", "spilled", "context", "released")


def cause(report: Report) -> Event | None:
    """The event of the causal path with which it began."""
    for labels in (("invalidated",), ("acquired", "context"), ("update", "spilled")):
        found = [event for event in report.path if event.label in labels and event.place]
        if found:
            return found[0] if labels != ("invalidated",) else found[-1]
    return None
