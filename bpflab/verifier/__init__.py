"""A verifier log in words: which source line, what is wrong there, where the cause lies, what to try.

Nothing here asks a kernel, or guesses: what the log does not show is not said.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from . import html, lines, report, rules, states, text
from .case import Case, Finding
from .lines import Lines
from .log import Place, parse
from .path import Path, build
from .source import Edit, Source, apply

__all__ = ["Explanation", "Place", "Stop", "explain", "lines"]

_STOPS, _STEPS = 80, 600  # source lines and instructions of the path that are shown, from its end


@dataclass(frozen=True)
class Stop:
    """A source line on the verifier's path.

    Attributes
    ----------
    place : Place or None
    steps : tuple of (int, str, tuple of str)
        Number of an instruction, the instruction, and what the verifier knew behind it, in words.
    """

    place: Place | None
    steps: tuple[tuple[int, str, tuple[str, ...]], ...]


@dataclass(frozen=True, repr=False)
class Explanation:
    """What a rejection means. `str()` gives it as text; a notebook shows it with the path and the log to unfold.

    Attributes
    ----------
    program : str
    kind : str
        "pointer-unchecked", "packet-bounds", ...; "unknown" when the verdict is none that is known here, "no-verdict" when
        the log ends without one, "empty" and "foreign" when it is no verifier log.
    summary : str
        One line in plain words.
    reason : str
        Why the verifier cannot let it pass.
    verdict : str
        The kernel's own words.
    line : int or None
        Line of the source that was rejected.
    text, file : str
        That line, and the name of the source it stands in.
    failing : str
        What is wrong on that line, in a few words.
    cause : Place or None
        The line where the cause lies, when the log shows it, with `.line`, `.text` and `.file`.
    note : str
        What is wrong on that one.
    advice : str
        What to try.
    edits : tuple of Edit
        The same as a change to this source; empty when none can be told.
    path : tuple of Stop
        The way of the verifier to the rejected line, by source lines, with what it knew.
    left_out : int
        Instructions before these.
    log : str
        All of it.
    source : Source or None
    said : Report or None
        The structured report of a kernel since 7.3.
    """

    program: str
    kind: str
    summary: str
    reason: str
    verdict: str
    line: int | None
    text: str
    file: str
    failing: str
    cause: Place | None
    note: str
    advice: str
    edits: tuple[Edit, ...]
    path: tuple[Stop, ...]
    left_out: int
    log: str
    source: Source | None = None
    said: report.Report | None = None

    @property
    def changed(self) -> str | None:
        """The source with the change made that is proposed; None when there is none."""
        return apply(self.source, list(self.edits)) if self.source and self.edits else None

    @property
    def heading(self) -> tuple[str, str, str]:
        """What stands before the program's name, the name, and what follows it."""
        if self.kind in ("empty", "foreign"):  # then nothing shows that the verifier rejected it
            return ("program", self.program, f": {self.summary}") if self.program else ("", "", self.summary)
        return ("the verifier rejected" + (" program" if self.program else " the program"), self.program, f": {self.summary}")

    @property
    def path_text(self) -> str:
        """The path as text: source lines, instructions, and what became of registers and stack."""
        return text.path(self.path, self.left_out)

    def __str__(self) -> str:
        return text.of(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return html.of(self)


def explain(log: str, program: str = "", source: str | None = None, lines: Lines | None = None) -> Explanation:
    """Say what a verifier log means.

    Parameters
    ----------
    log : str
        As the kernel gave it, whole or cut; of another text it is said that it is none.
    program : str
        Name of the program.
    source : str, optional
        Its C text; a `bpflab.compiler.CSource` counts lines as its cell does.
    lines : Lines, optional
        The program's own line numbers (`lines.of_program`).

    Returns
    -------
    Explanation

    Raises
    ------
    TypeError
        The log is no text.
    """
    if not isinstance(log, str):
        raise TypeError(f"a verifier log is text, not {type(log).__name__}; give error.log of a VerifierError, or log.decode() of bytes")
    body, said = report.split(log)
    parsed = parse(body)
    path = build(parsed)
    code = Source(source) if source else None
    case = Case(parsed, path, code, program, lines)
    _number(case, lines)
    found, verdict = rules.judge(case)
    kind = found.kind if found else ""
    if found is None:
        found = _reported(said) if said else _unknown(case, log, verdict)
        kind = found.kind
        verdict = verdict or (f"{said.category}: {said.problem}" if said else "")
        verdict = "" if kind == "foreign" else verdict
    place = found.place or (case.place(case.last) if path.steps else None)
    if place is None and said and said.at:
        place = said.at.place or (case.place_of(said.at.insn) if said.at.insn is not None else None)
    place, cause = _own(case, place), _own(case, found.cause)
    if cause and place and (cause.line, cause.text) == (place.line, place.text):
        found.failing, cause = found.failing or found.note, None
    stops, left_out = _stops(path)
    return Explanation(
        program=program,
        kind=kind,
        summary=found.summary,
        reason=found.reason,
        verdict=verdict,
        line=place.line if place else None,
        text=place.text if place else "",
        file=place.file if place else "",
        failing=found.failing,
        cause=cause,
        note=found.note if cause else "",
        advice=found.advice,
        edits=tuple(found.edits),
        path=stops,
        left_out=left_out,
        log=log,
        source=code,
        said=said,
    )


def _number(case: Case, table: Lines | None) -> None:
    """Give each step of the path the place that the object's own line numbers say, or the source."""
    for step in case.path.steps:
        own = table.place(step.insn) if table is not None else None
        if own:
            step.place, step.known = own, True
        elif table is not None and step.insn < len(table.codes):
            step.place = None
        step.place = case.numbered(step.place)


def _own(case: Case, place: Place | None) -> Place | None:
    """A place with its number and the name of the source, as far as they are known."""
    place = case.numbered(place)
    if place and place.line and not place.text and case.source and place.line in case.source:
        place = replace(place, text=case.source.line(place.line).strip())
    if place and not place.file and case.source and place.line:
        place = replace(place, file=case.source.name)
    return place


def _reported(said: report.Report) -> Finding:
    """What the kernel's own report says, when no rule knows the verdict."""
    event = report.cause(said)
    return Finding(
        "reported",
        _sentence(said.problem or said.category),
        said.reason,
        said.at.text if said.at else "",
        event.place if event else None,
        event.text if event else "",
        said.suggestion,
    )


def _sentence(words: str) -> str:
    return words[:1].lower() + words[1:] if words[1:2].islower() else words


_LOOKS_LIKE_ONE = re.compile(r"^(?:\d+: \([0-9a-f]{2}\) |processed \d+ insns|\d+: R\d+=|R\d+ )", re.M)


def _unknown(case: Case, log: str, verdict: str) -> Finding:
    if not log.strip():
        return Finding(
            "empty",
            "the verifier gave no log",
            "The kernel refused the program before the verifier looked at it, or nobody asked for a log.",
            advice="see the error number; load it with bpflab, which asks for the log",
        )
    if not case.log.steps and not _LOOKS_LIKE_ONE.search(log):
        return Finding(
            "foreign",
            "this is no log of the verifier that bpflab can read",
            "It has no instruction, no register and no verdict of the verifier.",
            advice="hand over what BPF_PROG_LOAD, libbpf or bpftool -d gave as the verifier's log",
        )
    if verdict:
        return Finding(
            "unknown",
            f"the kernel says: {verdict}",
            "bpflab does not know this kind of rejection, and guesses no cause.",
            "the verifier stopped here" if case.path.steps else "",
            advice="look at what the verifier knew of the registers on this line, in the path and in the log",
        )
    return Finding(
        "no-verdict",
        "the log ends before the kernel says what is wrong",
        "It was cut: the kernel's buffer for it was full, or a part was lost.",
        "the log ends here" if case.path.steps else "",
        advice="a log of this size means a loop that goes round very often: make it shorter"
        if len(log) > 1 << 20
        else "get the whole log",
    )


_ADDRESS = re.compile(r"0xffff[0-9a-f]{12}\b")  # of a map or the like: another one at each load


def _stops(path: Path) -> tuple[tuple[Stop, ...], int]:
    """The end of the path by source lines, and how many instructions before it are left out."""
    groups: list[tuple[Place | None, list[int]]] = []
    for i in range(len(path.steps) - 1, max(len(path.steps) - _STEPS, 0) - 1, -1):
        place = path.steps[i].place
        if groups and (place is None or groups[-1][0] in (None, place)):
            groups[-1][1].append(i)
            groups[-1] = (groups[-1][0] or place, groups[-1][1])
        elif len(groups) == _STOPS:
            break
        else:
            groups.append((place, [i]))
    result = []
    known: dict[tuple[int, str], str] = {}
    for place, group in reversed(groups):
        rows = []
        for i in reversed(group):
            step = path.steps[i]
            fresh = []
            for name, value in step.state.items():
                if known.get((path.parent[i], name)) != value and name != "R10":
                    fresh.append(states.describe(name, value))
                known[path.parent[i], name] = value
            rows.append((step.insn, _ADDRESS.sub("an address", step.asm), tuple(fresh)))
        result.append(Stop(place, tuple(rows)))
    return tuple(result), len(path.steps) - sum(len(group) for _, group in groups)
