"""An explanation as HTML for a notebook: light and dark, nothing fetched, path and log to unfold."""

from __future__ import annotations

from functools import cache
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from .log import Place
from .text import diff

if TYPE_CHECKING:
    from . import Explanation

_AROUND = 2  # source lines shown before and after a marked one
_LOG_SHOWN = 40_000  # characters; a notebook with a log of 16 MB could not be opened any more


@cache
def _style() -> str:
    return Path(__file__).with_name("static").joinpath("explanation.css").read_text()


def of(found: Explanation) -> str:
    """The explanation, whole."""
    before, name, behind = found.heading
    name = f" <code>{escape(name)}</code>" if name else ""
    before = before[:1].upper() + before[1:]
    parts = [
        f"<style>{_style()}</style>",
        f'<p class="bv-summary">{escape(before)}{name}{escape(behind)}</p>',
        _code(found),
    ]
    if found.reason:
        parts.append(f"<p>{escape(found.reason)}</p>")
    if found.advice:
        parts.append(f'<p class="bv-advice"><b>Try:</b> {escape(found.advice)}</p>')
    parts.append(_change(found))
    if found.verdict:
        parts.append(f"<p>In the kernel’s words: <code>{escape(found.verdict)}</code></p>")
    parts += [_report(found), _path(found), _log(found)]
    return f'<div class="bpflab-verifier" data-kind="{escape(found.kind)}">{"".join(parts)}</div>'


def _row(number: object, line: str, kind: str = "") -> str:
    # <pre>: a notebook that is not trusted shows it without the style
    text = f'<pre><span class="bv-n">{number:>6} </span>{escape(line) or " "}</pre>'
    return f'<div class="bv-row{" bv-" + kind if kind else ""}">{text}</div>'


def _note(words: str, kind: str) -> str:
    title = "rejected here" if kind == "failing" else "the cause"
    return f'<div class="bv-row bv-note bv-{kind}"><b>{title}</b>{": " + escape(words) if words else ""}</div>'


def _code(found: Explanation) -> str:
    """The source around the two lines; the lines alone, where there is no source."""
    source = found.source
    marks: dict[int, tuple[str, str]] = {}
    rows: list[str] = []
    loose: list[tuple[str, str, str]] = []
    wanted = [(found.cause, found.note, "cause")] if found.cause else []
    if found.text:
        wanted.append((Place(found.file, found.line, found.text), found.failing, "failing"))
    for place, words, kind in wanted:
        if source and place.line and place.line in source and source.line(place.line).strip() == place.text:
            marks[place.line] = (kind, words)
        else:
            label = f"{place.file}:{place.line}  " if place.line else ""
            loose.append((label + place.text, words, kind))
    shown = (
        sorted({n for line in marks for n in range(line - _AROUND, line + _AROUND + 1) if n in source})
        if source
        else []
    )
    for i, number in enumerate(shown):
        if i and number > shown[i - 1] + 1:
            rows.append(_row("…", "", "gap"))
        kind, words = marks.get(number, ("", ""))
        rows.append(_row(number, source.line(number).expandtabs(4), kind))
        if kind:
            rows.append(_note(words, kind))
    for line, words, kind in loose:
        rows += [_row("", line, kind), _note(words, kind)]
    return f'<div class="bv-code">{"".join(rows)}</div>' if rows else ""


def _change(found: Explanation) -> str:
    if not found.edits or not found.source:
        return ""
    kinds = {"+": "add", "-": "del", " ": ""}
    rows = "".join(
        _row(f"{number or ''} {sign}", line.expandtabs(4), kinds[sign])
        for sign, number, line in diff(found.source, found.edits)
    )
    return f'<div class="bv-code bv-change">{rows}</div>'


def _report(found: Explanation) -> str:
    said = found.said
    if not said or found.kind == "reported":
        return ""
    events = "".join(
        f"<li>{escape(f'{e.place.file}:{e.place.line}' if e.place else f'instruction {e.insn}')}: {escape(e.label)}: {escape(e.text)}</li>"
        for e in said.path
    )
    return (
        f"<details><summary>The kernel’s own report: {escape(said.problem or said.category)}</summary><div><p>{escape(said.reason)}</p>"
        f"{'<ul>' + events + '</ul>' if events else ''}<p>{escape(said.suggestion)}</p></div></details>"
    )


def _path(found: Explanation) -> str:
    if not found.path:
        return ""
    rows = (
        [f'<p class="bv-gap">{found.left_out:,} instructions before these are left out</p>'] if found.left_out else []
    )
    for stop in found.path:
        place = stop.place
        label = f"{place.line}  " if place and place.line else ""
        rows.append(f'<p class="bv-stop">{escape(label + (place.text if place else "(code of the compiler)"))}</p>')
        cells = "".join(
            f"<tr><td>{insn}</td><td>{escape(asm)}</td><td>{'<br>'.join(map(escape, known))}</td></tr>"
            for insn, asm, known in stop.steps
        )
        rows.append(f'<table class="bv-steps"><tbody>{cells}</tbody></table>')
    count = sum(len(stop.steps) for stop in found.path) + found.left_out
    what = "1 instruction" if count == 1 else f"{count:,} instructions"
    return f'<details class="bv-path"><summary>The path the verifier took: {what}, and what it knew</summary><div>{"".join(rows)}</div></details>'


def _log(found: Explanation) -> str:
    if not found.log.strip():
        return ""
    log, missing = found.log, len(found.log) - _LOG_SHOWN
    title = f"The whole log, {len(log):,} characters"
    if missing > 0:
        log = found.log[-_LOG_SHOWN:]
        title = f"The log’s last {_LOG_SHOWN:,} characters; all {len(found.log):,} are in the error’s .log"
    return f'<details class="bv-log"><summary>{title}</summary><pre>{escape(log)}</pre></details>'
