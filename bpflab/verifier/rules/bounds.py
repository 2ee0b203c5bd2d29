"""Memory with an end: values of maps, records, the stack; and indexes that may leave them."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..log import Place
from ..path import loaded, operation
from ..source import Edit
from . import rule


@rule(
    r"^invalid access to (?P<what>map value|memory), (?:value|mem)_size=(?P<size>\d+) off=(?P<off>-?\d+) size=(?P<n>\d+)"
)
def object_bounds(case: Case, match: re.Match) -> Finding | None:
    size, offset, count = int(match["size"]), int(match["off"]), int(match["n"])
    below = _register(case, r"^R(\d+) (?:min|max) value is (?:outside|negative)")
    value = match["what"] == "map value"
    what = "the map's value" if value else "the memory"
    detail = (
        f"{'the value' if value else 'the memory'} has {size} bytes, and this access takes {count} from byte {offset}"
    )
    moved = added(case, below) if below is not None else None
    if "max value is outside" in "\n".join(case.log.said) and moved is not None:
        return _weak_bound(case, moved, f"an index can go past the end of {what}", detail)
    if offset < 0 and moved is not None:
        return _below(case, moved, what, detail)
    found = Finding(
        "value-bounds" if value else "memory-bounds",
        f"the access goes past the end of {what}"
        if offset >= size or offset + count > size
        else f"the access goes outside of {what}",
        f"Here {detail}. Every byte that a program touches has to lie inside.",
        f"bytes {offset} to {offset + count - 1} of {size}",
        advice=f"stay below byte {size}: an array of n elements ends with element n - 1",
    )
    if offset < 0:
        found.summary = f"the access begins before the beginning of {what}"
        found.advice = "begin with byte 0: see what is added to the pointer, or subtracted from it"
    if case.asm.startswith("call"):
        found.failing = f"{count} bytes from byte {offset}, of {size}"
        found.advice = "hand over a size that fits, such as sizeof of what the pointer points to"
        found.edits = _sizeof(case, count, "*")
    index = (
        re.findall(r"\[(\d+)\]", case.path.steps[-1].place.text)
        if case.path.steps and case.path.steps[-1].place
        else []
    )
    width = count
    if (
        value
        and len(index) == 1
        and size % width == 0
        and int(index[0]) >= size // width
        and offset == int(index[0]) * width
    ):
        found.edits = case.swap(case.path.steps[-1].place, f"[{index[0]}]", f"[{size // width - 1}]")
    if not value and below is not None:
        origin = case.origin(below)
        if origin.kind == "call":
            found.cause = case.place(origin.index)
            found.note = f"{size} bytes are asked for here"
            found.advice = "ask for as many bytes as you fill: sizeof of the struct"
            target = re.search(r"(\w+)\s*=\s*\w+\(", found.cause.text) if found.cause else None
            if target:
                found.edits = case.swap(found.cause, f", {size},", f", sizeof(*{target[1]}),")
    return found


@rule(
    r"^R(?P<reg>\d+) unbounded memory access, make sure to bounds check",
    r"^R(?P<reg>\d+) max value is outside of the allowed memory range",
)
def index_unbounded(case: Case, match: re.Match) -> Finding | None:
    register = int(match["reg"])
    moved = added(case, register)
    found = Finding(
        "index-unbounded",
        "the index has no upper limit that the verifier knows of",
        "The verifier has to know the greatest value of an index, and that it still lies inside.",
        "the index may be anything here",
        advice="compare the index with the number of elements first, or mask it, where that is a power of two: i & 15 for 16",
    )
    if moved is None:
        return found
    origin = case.origin(moved[1], moved[0])
    if origin.kind in ("load", "call"):
        found.cause = case.place(origin.index)
        found.note = "the number comes from here, and no limit of it is known where it is used"
    place = case.path.steps[-1].place
    index = re.search(r"(\w+)\[(\w+)\]", place.text) if place else None
    if index and not index[2].isdigit():
        count = _elements(case, index[1])
        found.summary = f"{index[2]} is used as an index, but nothing limits it"
        found.advice = f"compare {index[2]} with the number of elements first, or mask it, where that is a power of two: {index[2]} & 15 for 16"
        if count:
            found.edits = (
                case.before(place, f"if ({index[2]} >= {count})", case.source.unit + case.source.leave(place.line))
                if case.owned(place)
                else []
            )
    return found


def _elements(case: Case, array: str) -> int | None:
    """How many elements an array has, as the source declares it."""
    if not case.source:
        return None
    text = "\n".join(case.source.lines)
    declared = rf"(?m)^\s*(?!return\b|case\b)(?:[\w*]+\s+)+\**{re.escape(array)}\[(\d+)\]\s*(?:[;,=]|\w*\()"
    inside = rf"[{{;]\s*(?:\w+\s+)+{re.escape(array)}\[(\d+)\];"
    found = {int(n) for n in [*re.findall(declared, text), *re.findall(inside, text)]}
    return found.pop() if len(found) == 1 else None


def _below(case: Case, moved: tuple[int, int], what: str, detail: str) -> Finding:
    found = Finding(
        "index-negative",
        f"an index may be negative, and lead before the beginning of {what}",
        f"Here {detail}, when the index is as small as it can be.",
        "the index may be negative",
        advice="compare the index with 0 first, or compute it so that it cannot be negative",
    )
    origin = case.origin(moved[1], moved[0])
    if origin.kind in ("load", "call"):
        found.cause = case.place(origin.index)
        found.note = "the number comes from here"
    return found


def _weak_bound(
    case: Case, moved: tuple[int, int], summary: str, detail: str, kind: str = "index-bound-off"
) -> Finding:
    step, register = moved
    _, high = states.bounds(case.value(register, step))
    found = Finding(
        kind,
        summary,
        f"Here {detail}, when the index is as great as it can be.",
        "the greatest index that the checks let through is too great",
        advice="let the check leave out the number of elements itself: an array of n elements ends with element n - 1",
    )
    check = limit(case, step, register)
    if check is not None:
        _blame_check(case, found, check)
    else:
        found.kind = "index-unbounded"
        found.failing = f"the index may lead up to {high:,} bytes away" if high else "no comparison on the way here keeps the index below the end"
        found.advice = "compare the index with the number of elements first, or mask it, where that is a power of two: i & 15 for 16"
        _mask(case, found)
    return found


def _mask(case: Case, found: Finding) -> None:
    """Mask an index that is computed on the rejected line, where the array has 2, 4, 8, ... elements."""
    place = case.path.steps[-1].place
    index = re.findall(r"(\w+)\[([^\[\]]*\w [-+*/>] ?[^\[\]]*)\]", place.text) if place else []
    count = _elements(case, index[0][0]) if len(index) == 1 else None
    if count and count & (count - 1) == 0:
        array, words = index[0]
        found.edits = case.swap(place, f"{array}[{words}]", f"{array}[({words}) & {count - 1}]")
        found.advice = f"compare {words} with the number of elements first, or mask it: ({words}) & {count - 1}"


def _blame_check(case: Case, found: Finding, check: int) -> None:
    found.cause = check_place(case, check)
    found.note = "this check lets too great an index through"
    compared = re.search(r"\b(\w+) (>|<=) (\w+)", found.cause.text if found.cause else "")
    if compared:
        better = {">": ">=", "<=": "<"}[compared[2]]
        found.edits = case.swap(found.cause, compared[0], f"{compared[1]} {better} {compared[3]}")
        found.advice = f"write {compared[1]} {better} {compared[3]}: an array of n elements ends with element n - 1"


def check_place(case: Case, step: int) -> Place | None:
    """The line of a comparison with a number: the compiler may have put it to the line of another one."""
    place, condition = case.place(step), case.path.condition(step)
    number = int(condition[3], 0) if condition and condition[3] else None

    def compares(text: str) -> bool:
        found = re.findall(r"[<>]=? (\d+|0x[0-9a-fA-F]+)\b", text)
        return any(number is not None and abs(int(n, 0) - number) <= 1 for n in found)

    if place and (compares(place.text) or re.search(r"[<>]=? [A-Za-z_]", place.text)):
        return place
    around = case.source.function(place.line) if case.owned(place) else None
    fitting = [n for n in range(around[0], around[1] + 1) if compares(case.source.code(n))] if around else []
    return Place(place.file, fitting[0], case.source.line(fitting[0]).strip()) if len(fitting) == 1 else None


def limit(case: Case, index: int, register: int) -> int | None:
    """The latest comparison, with a number, of a value that a register has before a step."""
    origin = case.origin(register, index)
    for i in range(index - 1, max(origin.index, -1), -1):
        condition = case.path.condition(i)
        if condition and condition[3] is not None and condition[1] not in ("==", "!=", "&"):
            other = case.origin(condition[0], i)
            if (other.kind, other.index) == (origin.kind, origin.index):
                return i
    return None


def _register(case: Case, shape: str) -> int | None:
    found = re.search(shape, "\n".join(case.log.said), re.M)
    return int(found[1]) if found else None


def added(case: Case, register: int) -> tuple[int, int] | None:
    """The step that adds a varying number to a pointer, and the register with the number."""
    if not case.path.steps:
        return None
    for i in case.origin(register).chain:
        done = operation(case.path.steps[i].asm)
        if done and done[1] in ("+=", "-=") and re.fullmatch(r"r\d+", done[2]):
            addend = int(done[2][1:])
            if case.kind(done[0], i) == "scalar" and case.kind(addend, i) not in ("scalar", ""):
                return i, done[0]
            return i, addend
    return None


@rule(
    r"^R(?P<reg>\d+) min value is negative, either use unsigned index",
    r"^math between (?P<type>\w+) pointer and register with unbounded min value is not allowed",
    r"^math between (?P<type>\w+) pointer and (?P<number>-\d+) is not allowed",
    r"^value -?\d+ makes (?P<type>\w+) pointer be out of bounds",
    r"^(?P<type>\w+) pointer offset -?\d+ is not allowed",
)
def index_negative(case: Case, match: re.Match) -> Finding:
    found = Finding(
        "index-negative",
        "the number that is added to a pointer may be negative, or is too great",
        "A pointer may move only by a number whose least and greatest value the verifier knows; a signed number that was "
        "only compared with its greatest may still be negative.",
        "the pointer might end up before its memory",
        advice="use an unsigned variable, and compare it with its greatest value; or compare a signed one with 0 as well",
    )
    done = operation(case.asm)
    if done and re.fullmatch(r"r\d+", done[2]):
        number = int(done[2][1:])
        if case.kind(number) not in ("scalar", "") and case.kind(done[0]) == "scalar":
            number = done[0]
        origin = case.origin(number)
        if origin.kind in ("load", "call") and origin.index >= 0:
            found.cause = case.place(origin.index)
            found.note = "the number comes from here"
            if found.cause and found.cause.text.startswith("int ") and case.path.steps[-1].place != found.cause:
                found.edits = case.swap(found.cause, "int ", "__u64 ")
            if found.cause and " % " in found.cause.text:
                _remainder(case, found)
    return found


def _remainder(case: Case, found: Finding) -> None:
    """Of an index that is the remainder of a division, of which the verifier expects anything."""
    found.note = "the number comes from here; the verifier does not work out how great a remainder can be"
    found.reason = (
        "A pointer may move only by a number whose least and greatest value the verifier knows. A remainder may be any number to it, "
        "unless the divisor is a power of two, of which the compiler makes a mask."
    )
    found.advice = (
        "compare the index with the number of elements, and put barrier_var(index) before it: otherwise the compiler, which knows that "
        "the remainder fits, leaves the comparison out"
    )
    place = case.path.steps[-1].place
    index = re.search(r"(\w+)\[(\w+)\]", place.text) if place else None
    count = _elements(case, index[1]) if index else None
    if count and case.assigned(found.cause) == index[2] and case.owned(place):
        leave = case.source.unit + case.source.leave(place.line)
        found.edits = case.before(place, f"barrier_var({index[2]});", f"if ({index[2]} >= {count})", leave)


@rule(
    r"^invalid (?P<unbounded>unbounded )?variable-offset (?:indirect access|access|read|write)? ?(?:from|to) stack R(?P<reg>\d+)",
    r"^R(?P<reg>\d+) (?:unbounded indirect )?variable.offset stack (?:access|read|write)",
)
def stack_index(case: Case, match: re.Match) -> Finding:
    register = int(match["reg"])
    found = Finding(
        "stack-index",
        "the index into an array on the stack can leave the array",
        "The verifier has to know the least and the greatest place that the access can touch; the stack ends at the frame pointer.",
        "the access might go past the end of the stack",
        advice="compare the index with the number of elements first, or mask it, where that is a power of two: i & 15 for 16",
    )
    moved = added(case, register)
    if moved is None:
        return found
    check = limit(case, *moved)
    if check is not None:
        _blame_check(case, found, check)
        return found
    origin = case.origin(moved[1], moved[0])
    if origin.kind in ("load", "call"):
        found.cause = case.place(origin.index)
        known = states.bounds(case.value(moved[1], moved[0])) != (None, None)
        found.note = "the number comes from here, and " + (
            "may be too small or too great where it is used" if known else "no limit of it is known where it is used"
        )
    place = case.path.steps[-1].place
    index = re.search(r"(\w+)\[(\w+)\]", place.text) if place else None
    if index:
        found.summary = f"{index[2]} is used as an index into the stack, but nothing limits it"
        count = _elements(case, index[1])
        if count and case.owned(place):
            found.edits = case.before(
                place, f"if ({index[2]} >= {count})", case.source.unit + case.source.leave(place.line)
            )
    else:
        _mask(case, found)
    return found


@rule(
    r"^invalid (?:indirect )?(?:access to|read from|write to) stack R(?P<reg>\d+) off=(?P<off>-?\d+) size=(?P<size>\d+)"
)
def stack_bounds(case: Case, match: re.Match) -> Finding | None:
    offset, size = int(match["off"]), int(match["size"])
    if case.asm.startswith("call"):
        return Finding(
            "size-beyond",
            "the helper would touch more bytes than the variable has",
            f"The stack of a function ends at fp0: from fp{offset} there are {-offset} bytes, and the helper is told {size}.",
            f"{size} bytes, where {-offset} are left",
            advice="hand over the size of the variable: sizeof(variable)",
            edits=_sizeof(case, size),
        )
    if -512 <= offset and offset + size <= 0 and loaded(case.asm):
        return _unset_slot(case, offset, offset, size)
    return Finding(
        "stack-bounds",
        "the access lies outside of the stack",
        f"A function's stack has 512 bytes, from fp-512 to fp-1; this access takes {size} at fp{offset:+d}.",
        f"fp{offset:+d} is not on the stack",
        advice="use less of the stack: keep large data in a per-CPU array map",
    )


def _sizeof(case: Case, size: int, star: str = "") -> list[Edit]:
    place = case.path.steps[-1].place if case.path.steps else None
    found = re.search(rf"\((\w+), {size}\b", place.text) if place else None
    return case.swap(place, f"({found[1]}, {size}", f"({found[1]}, sizeof({star}{found[1]})") if found else []


@rule(
    r"^invalid (?:indirect )?read from stack(?: R(?P<reg>\d+))? off (?P<off>-?\d+)\+(?P<i>\d+) size (?P<size>\d+)",
    r"^invalid read from stack (?:var_off \S+ )?off (?P<off>-?\d+)\+(?P<i>\d+) size (?P<size>\d+)",
)
def stack_unset(case: Case, match: re.Match) -> Finding:
    return _unset_slot(case, int(match["off"]), int(match["off"]) + int(match["i"]), int(match["size"]))


def _unset_slot(case: Case, start: int, unset: int, size: int) -> Finding:
    passed = case.asm.startswith("call")
    found = Finding(
        "stack-unset",
        "a variable on the stack is read before it was set"
        if start == unset
        else "only a part of a variable on the stack was set",
        f"Byte {unset - start} of the {size} at fp{start} was never written. A program that may not read the kernel's memory "
        "must not read what an earlier function left on the stack, nor put it into a map.",
        f"byte {unset - start} was never set",
        advice="set all of it where it is declared: = {}, which fills the gaps between the members as well",
    )
    place = case.path.steps[-1].place if case.path.steps else None
    if not case.owned(place):
        return found
    names = re.findall(r"&(\w+)", place.text) if passed else re.findall(r"\b([A-Za-z_]\w*)\b", place.text)
    declared = []
    for name in names:
        line = case.source.declaration(name, place.line)
        if line is not None and line < place.line and re.search(rf"\b{name}(\[\w*\])?;", case.source.code(line)):
            declared.append((name, line))
    if len(declared) == 1:
        name, line = declared[0]
        found.cause = Place(place.file or case.source.name, line, case.source.line(line).strip())
        found.note = f"{name} gets no value here"
        found.advice = f"set all of {name} where it is declared, which fills the gaps between the members as well"
        scalar = re.match(
            r"\s*(volatile |const )*(__)?[us]?(8|16|32|64|int|long|char|short|__u\d+)\b", case.source.code(line)
        )
        bare = re.search(rf"\b{name}((?:\[\w*\])?);", case.source.line(line))
        found.edits = case.swap(found.cause, bare[0], f"{name}{bare[1]} = {'0' if scalar and not bare[1] else '{}'};")
    return found
