"""What is handed to helpers and kfuncs: types, sizes, maps, constants."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..log import Place
from ..path import called
from . import rule
from .bounds import check_place, limit
from .maps import has_no_keys, without_keys

_EXPECTED = {
    "fp": "a variable on the stack",
    "ctx": "the context",
    "map_ptr": "a map",
    "map_value": "a value of a map",
    "map_key": "a key of a map",
    "pkt": "the packet",
    "mem": "memory",
    "ringbuf_mem": "a record of the ring buffer",
    "alloc_mem": "a record of the ring buffer",
    "scalar": "a number",
    "inv": "a number",
    "sock": "a socket",
    "sock_common": "a socket",
    "tcp_sock": "a TCP socket",
    "func": "a function",
    "timer": "a timer",
}
_IN_MAPS = ("bpf_timer_", "bpf_wq_", "bpf_spin_")  # helpers of what can only lie in a map's value


def _ordinal(register: int) -> str:
    return ["", "first", "second", "third", "fourth", "fifth"][register] if 1 <= register <= 5 else f"r{register}"


@rule(r"^R(?P<reg>\d+) type=(?P<type>\w+) expected=(?P<wanted>[\w, ]*)", general=True)
def argument_type(case: Case, match: re.Match) -> Finding:
    register, name = int(match["reg"]), called(case.asm) or "the function"
    wanted = [_EXPECTED.get(word.strip("_ "), "") for word in match["wanted"].split(",")]
    wanted = list(dict.fromkeys(word for word in wanted if word))
    has = (
        states.words(match["type"] + ("0" if match["type"] == "fp" else "()"))
        if match["type"] not in ("scalar", "inv")
        else "a number"
    )
    has = "a pointer to the stack" if match["type"] == "fp" else has
    takes = (
        " or ".join([", ".join(wanted[:-1]), wanted[-1]] if len(wanted) > 1 else wanted)
        or match["wanted"].strip()
        or "something else"
    )
    found = Finding(
        "argument-type",
        f"the {_ordinal(register)} argument of {name}() is {has}, and it takes {'a pointer' if len(wanted) > 2 else takes}",
        (
            f"It takes {takes}."
            if len(wanted) <= 2
            else "It takes a pointer to memory: a variable on the stack, a value of a map, the packet."
        )
        + (f" Here {case.words(register)}." if case.words(register) else ""),
        f"r{register} is {has}",
        advice="see the order and the types of its arguments in bpf-helpers(7)"
        if name.startswith("bpf_")
        else "see the order and the types of its arguments",
    )
    if register == 1 and match["type"] == "fp" and name.startswith(_IN_MAPS):
        found.advice = "put it into the value of a map, which outlives the program's run, and hand over its address there"
    origin = case.origin(register)
    if match["type"] in ("scalar", "inv") and origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, "the number comes from here"
        variable = case.assigned(found.cause)
        place = case.path.steps[-1].place
        if variable and place and ("fp" in match["wanted"]):
            found.advice = f"hand over the address of the variable: &{variable}"
            handed = re.search(rf"(\(void \*\)\s*){variable}\b|(?<=[(, ]){variable}(?=[,)])", place.text)
            if handed:
                found.edits = case.swap(place, handed[0], f"&{variable}")
    return found


@rule(
    r"^R(?P<reg>\d+) (?:unbounded memory access|unbounded), use 'var &= const'",
    r"^R(?P<reg>\d+) unbounded memory access, use",
)
def size_unbounded(case: Case, match: re.Match) -> Finding:
    return _size(case, int(match["reg"]), "size-unbounded", "may be any number", "it has no upper limit")


@rule(r"^R(?P<reg>\d+) min value is negative, either use unsigned or 'var &= const'")
def size_negative(case: Case, match: re.Match) -> Finding:
    known = states.fields(case.value(int(match["reg"])) or "")
    if "smax" not in known:  # its greatest is not known either
        return _size(
            case, int(match["reg"]), "size-unbounded", "may be any number", "it has neither a lower nor an upper limit"
        )
    found = _size(case, int(match["reg"]), "size-negative", "may be negative", "it may be negative")
    variable = case.assigned(found.cause)
    if variable:
        found.advice = f"mask it where you hand it over: {variable} & (n - 1), where n is a power of two; or make {variable} unsigned"
        place = case.path.steps[-1].place
        check = _limit(case, int(match["reg"]))
        greatest = int(case.path.condition(check)[3], 0) if check is not None else -1
        greatest -= check is not None and case.path.condition(check)[1] in ("s>=", ">=", "s<", "<")
        if greatest > 0 and greatest & (greatest + 1) == 0:
            found.advice = f"mask it where you hand it over: {variable} & {greatest}; or make {variable} unsigned"
            found.edits = case.swap(place, f", {variable},", f", {variable} & {greatest},")
    return found


@rule(r"^(?:R(?P<reg>\d+) )?invalid zero-sized read(?:: u64=\[(?P<low>\d+),(?P<high>\d+)\])?")
def size_zero(case: Case, match: re.Match) -> Finding | None:
    if not match["reg"] and has_no_keys(case):
        return without_keys(case)
    register = int(match["reg"]) if match["reg"] else _size_argument(case)
    high = states.bounds(case.value(register))[1] if register else None
    high = int(match["high"]) if match["high"] else high
    if register and (high is None or high > 1 << 29):
        return _size(case, register, "size-unbounded", "may be any number", "it has neither a lower nor an upper limit")
    name = called(case.asm) or "the function"
    found = Finding(
        "size-zero",
        f"the size handed to {name}() may be 0",
        "This helper wants at least one byte.",
        "the size may be 0",
        advice="check that the size is not 0 as well",
    )
    place = case.path.steps[-1].place if case.path.steps else None
    if register and (check := _limit(case, register)) is not None:
        found.cause, found.note = check_place(case, check), "this check lets 0 through"
        text = found.cause.text if found.cause else ""
        compared = re.search(r"if \((\w+) < (\w+)\)", text)
        if compared:
            found.advice = (
                f"check that {compared[1]} is not 0 as well, with barrier_var({compared[1]}) between the two: "
                "otherwise the compiler makes one comparison of them, which the verifier does not see through"
            )
        if found.cause == place:
            found.cause = None
    return found


def _limit(case: Case, register: int) -> int | None:
    return limit(case, case.last, register)


def _size_argument(case: Case) -> int | None:
    """The register with the size, where the kernel does not name it: the last number among the arguments that can be 0."""
    found = None
    for register in range(1, 6):
        if case.kind(register) == "scalar" and states.bounds(case.value(register))[0] in (0, None):
            low, high = states.bounds(case.value(register))
            if low != high or low is None:
                found = register
    return found


def _size(case: Case, register: int, kind: str, state: str, short: str) -> Finding:
    name = called(case.asm) or "the function"
    found = Finding(
        kind,
        f"the size handed to {name}() {state}",
        f"The helper would touch that many bytes, and the verifier has to know that they fit. {case.words(register).capitalize() + ' here.' if case.words(register) else ''}".strip(),
        short,
        advice="compare the size with the size of the variable first, or mask it: size & (n - 1), where n is a power of two",
    )
    origin = case.origin(register)
    if origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, "the number comes from here"
    return found


@rule(
    r"^R(?P<reg>\d+) is not a known constant",
    r"^R(?P<reg>\d+) must be a known constant",
    r"^R(?P<reg>\d+) (?:is not a|doesn't have) constant",
)
def constant(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "the function"
    found = Finding(
        "argument-constant",
        f"the {_ordinal(int(match['reg']))} argument of {name}() has to be a constant",
        "The verifier remembers this number for what follows, such as how large the memory is that the helper gives.",
        "this number varies",
        advice="hand over a constant, such as sizeof(struct event)",
    )
    if name == "bpf_ringbuf_reserve":
        found.advice += "; for records of varying size use bpf_ringbuf_output() or a dynptr"
    origin = case.origin(int(match["reg"]))
    if origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, "the number comes from here"
    return found


@rule(r"^Expected an initialized dynptr as arg #(?P<n>\d+)")
def dynptr(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "the function"
    found = Finding(
        "dynptr-unset",
        f"{name}() is given a dynptr that was never made",
        "A dynptr points to nothing until a helper made it: bpf_dynptr_from_mem(), bpf_ringbuf_reserve_dynptr(), bpf_dynptr_from_skb().",
        "points to nothing yet",
        advice="make the dynptr first, on each way that leads here",
    )
    place = case.path.steps[-1].place if case.path.steps else None
    if case.owned(place):
        for variable in re.findall(r"&(\w+)", place.text):
            line = case.source.declaration(variable, place.line)
            if line is not None and "bpf_dynptr" in case.source.code(line):
                found.cause = Place(place.file, line, case.source.line(line).strip())
                found.note = f"{variable} is declared here, and not made"
    return found


@rule(r"^expected (?:an )?(?P<state>un)?initialized iter_(?P<name>\w+) as arg")
def iterator(case: Case, match: re.Match) -> Finding:
    again = bool(match["state"])
    return Finding(
        "iterator",
        "an iterator is begun while it runs" if again else "an iterator is used that was not begun",
        "bpf_iter_..._new() begins an iterator, _next() moves it, _destroy() ends it, in this order on each way.",
        "not in this order",
        advice="call _new() once before the loop, and _destroy() once behind it",
    )
