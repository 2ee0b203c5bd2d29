"""What becomes of a program on its way from C to the hook: each stage as rows that know their source lines."""

from __future__ import annotations

import errno
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .. import loading
from ..errors import BpfError, LabError, NotSupportedError, VerifierError
from ..hooks import HOOKS, UNKNOWN
from ..lab import Lab
from ..machines import AgentError
from ..object import Object
from ..program import Program
from ..verifier.lines import of_program
from . import image, native
from .image import Code, Image

if TYPE_CHECKING:
    from collections.abc import Iterator

LOG_LINES = 3000  # of a verifier's log; a loop can make millions


@dataclass
class Row:
    """One line of a stage.

    Attributes
    ----------
    place : str
        Its number or address.
    text : str
    lines : list of int
        Source lines that it came from, or that it is used by.
    """

    place: str
    text: str
    lines: list[int] = field(default_factory=list)
    kind: str = ""


@dataclass
class Stage:
    """A stage of one program; `note` says what is special, or why there is nothing."""

    title: str
    rows: list[Row]
    note: str = ""


@dataclass
class Ways:
    """Everything of an object: its source, and the stages of each program by name."""

    name: str
    source: list[Row]
    programs: dict[str, list[Stage]]
    refused: str = ""


def collect(source: Any) -> Ways:
    """See `bpflab.pipeline`."""
    chosen = source.name if isinstance(source, Program) else None
    if isinstance(source, Program):
        source = source._object
    if isinstance(source, Object):
        if source._elf is None:
            raise NotSupportedError("the pipeline of an object that BCC made", source._lab.where, remedy="give C text for lab.load")
        if source.closed:
            raise BpfError(f"object '{source.name}' was closed; load it again", errno.EBADF)
        return _of(source._lab, source.name, source._elf, source.source, source, {}, None, chosen)
    if not isinstance(source, (str, bytes)) and not hasattr(source, "suffix"):
        raise TypeError(f"pipeline takes C text, a path, a loaded object or a program of it, not {type(source).__name__}")
    lab = Lab.current()
    data, name, text = loading.read_source(lab, source, None)
    obj, logs, error = _load(lab, data, name, text)
    try:
        return _of(lab, name, data, text, obj, logs, error, None)
    finally:
        if obj is not None:
            obj.close()


def _load(lab: Lab, data: bytes, name: str, text) -> tuple[Object | None, dict[str, str], LabError | None]:
    """Load with the verifier's log kept; a refusal is a result too."""
    for keep in (True, False):
        try:
            opened = lab.ask("objects.open_object", data, name)
        except AgentError as refused:
            raise refused.blame(f"'{name}' is no object that libbpf can open") from None
        handle = opened["handle"]
        if keep:
            lab.ask("insns.keep_logs", handle)
        obj, error = None, None
        try:
            obj = loading.load_opened(lab, name, text, data, opened, {})
        except LabError as refused:
            error = refused
        logs = lab.ask("insns.logs", handle)
        error = _judged(error, logs, text, data)
        if obj is None:
            lab.ask("objects.close", handle)
        # a log that does not fit fails the load of a good program
        if obj is not None or getattr(error, "errno", 0) != errno.ENOSPC:
            break
    return obj, logs, error


def _judged(error: LabError | None, logs: dict[str, str], text, elf: bytes) -> LabError | None:
    """A refusal as the verifier's, whose log stands in buffers of ours and not in libbpf's."""
    failed = re.search(r"prog '([^']+)': BPF program load failed", str(error))
    if failed and logs.get(failed[1], "").strip() and error.errno != errno.ENOSPC:
        return VerifierError(failed[1], logs[failed[1]], error.errno, text, of_program(elf, failed[1]))
    return error


def _of(lab, name, data, text, obj, logs, error, chosen) -> Ways:
    code = Code(data)
    wholes = _programs(code, obj, chosen, logs)
    main = _main_file(wholes.values(), text)
    number = lambda line: [line.line] if line and line.file == main else []  # noqa: E731
    programs = {}
    for program, whole in wholes.items():
        loaded = obj.programs[program] if obj is not None else None
        programs[program] = _stages(lab, loaded, whole, logs.get(program), error if getattr(error, "program", program) == program else None, number)
    return Ways(name, _source_rows(text, wholes.values(), main), programs, str(error) if error else "")


def _programs(code: Code, obj: Object | None, chosen: str | None, logs: dict[str, str]) -> dict[str, Image]:
    names = [chosen] if chosen else list(obj.programs) if obj is not None else list(logs)
    found = {name: code.whole(name) for name in names if name in code.functions}
    if not found:
        raise LabError("the object has no programs; write one with SEC(...)")
    return found


def _stages(lab, program, whole: Image, log, error, number) -> list[Stage]:
    made = [Stage("bytecode", list(_image_rows(whole, number)), f"{len(whole.insns)} instructions, as clang wrote them"), _verifier(whole, log, error, program, number)]
    if program is None:
        why = "not there: the object was not loaded"
        return [*made, *(Stage(title, [], why) for title in ("xlated", "JIT", "hook", "maps"))]
    dump = lab.call("its instructions cannot be read", "insns.dump", program.fd)
    xlated = image.xlated_of(program, dump)
    made.append(Stage("xlated", list(_image_rows(xlated, number)), f"{len(xlated.insns)} instructions, as the verifier left them"))
    machine, why = native.rows(lab, dump, xlated)
    made.append(Stage("JIT", [Row(at, text, number(line), "" if at else "title") for at, text, line in machine], why or f"{len(dump['jited']):,} bytes of {lab.arch} code"))
    made.append(_hook(program, whole, number))
    made.append(_maps(program, whole, number))
    return made


def _image_rows(made: Image, number) -> Iterator[Row]:
    starts = dict(made.functions) if len(made.functions) > 1 else {}
    for pc, text in enumerate(made.texts()):
        if pc in starts:
            yield Row("", f"{starts[pc]}:", kind="title")
        if text:
            yield Row(str(pc), text, number(made.lines[pc]))


def _verifier(whole: Image, log: str | None, error, program, number) -> Stage:
    if log is None:
        return Stage("verifier", [], "the log was not kept when this object was loaded; give its source: bl.pipeline(source)")
    if not log.strip() and program is None and error is None:
        return Stage("verifier", [], "not asked: another program of the object was refused before")
    if not log.strip():
        return Stage("verifier", [], "no log: " + (str(error) if error else "the kernel gave none"))
    rows, at = [], None
    for text in log.splitlines():
        if re.fullmatch(r";\s+@ \S+:0", text):
            continue  # what the compiler made on its own account
        match = re.match(r"(\d+): \(|from \d+ to (\d+)(?: \(speculative execution\))?:", text)
        if match:
            at = int(match[1] or match[2])
        comment = text.startswith("; ")
        apart = comment or not text.strip() or re.match(r"processed \d+ insns|verification time|stack depth|func#", text)
        line = whole.lines[at] if at is not None and at < len(whole.lines) and not apart else None
        rows.append(Row("", text, number(line), "src" if comment else ""))
    refused = program is None and isinstance(error, VerifierError)
    count = re.search(r"^processed (\d+) insns", log, re.M)
    note = ("refused" if refused else "accepted") + (f", {int(count[1]):,} instructions looked at" if count else "")
    if len(rows) > LOG_LINES:
        left = len(rows) - LOG_LINES
        rows = [*rows[: LOG_LINES // 2], Row("", f"... {left:,} lines left out ...", kind="src"), *rows[-LOG_LINES // 2 :]]
    return Stage("verifier", rows, note)


def _hook(program: Program, whole: Image, number) -> Stage:
    hook = HOOKS.get(program.type, UNKNOWN)
    when = hook.when or "what it is attached to happens"
    returned = hook.returns or "depends on where it is attached"
    first = next((number(line) for line in whole.lines if number(line)), [])
    returning = [n for pc, i in enumerate(whole.insns) if i.is_exit for n in number(whole.lines[pc])]
    rows = [Row("type", program.type, first), Row("section", f'SEC("{program.section}")', first), Row("runs when", when, first), Row("returns", returned, returning)]
    links = [link for link in program._links if not link.detached]
    return Stage("hook", rows, f"id {program.id}, " + (f"attached to {', '.join(link.target for link in links)}" if links else "not attached"))


def _maps(program: Program, whole: Image, number) -> Stage:
    used: dict[str, list[int]] = {}
    for pc, name in whole.names.items():
        if name.startswith("map "):
            used.setdefault(name[4:], []).extend(number(whole.lines[pc]))
    maps = program._object.maps
    rows = []
    for name, lines in used.items():
        m = maps.get(name)
        types = ", ".join(f"{part} {kind.name or kind.kind}" for part, kind in (("key", m.key_type), ("value", m.value_type)) if kind) if m else ""
        rows.append(Row(name, f"{m.type if m else 'map'}, {m.max_entries if m else '?'} entries at most{f'; {types}' if types else ''}", sorted(set(lines))))
    return Stage("maps", rows, f"{len(rows)} used" if rows else "it uses none")


def _main_file(wholes, text: str | None) -> str:
    """The file whose lines are the given text's: a program has lines of headers too."""
    known = {line.strip() for line in text.splitlines()} if text else None
    found = Counter(line.file for whole in wholes for line in whole.lines if line and (known is None or line.text in known))
    return found.most_common(1)[0][0] if found else ""


def _source_rows(text: str | None, wholes, main: str) -> list[Row]:
    if text is not None:
        first = getattr(text, "line", 1)
        return [Row(str(n), line, [n]) for n, line in enumerate(text.rstrip().splitlines(), first)]
    known = {line.line: line.text for whole in wholes for line in whole.lines if line and line.file == main}
    return [Row(str(n), known[n], [n]) for n in sorted(known)]

