"""Packets: what was proved to lie before data_end."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..path import operation
from . import rule

_FARTHEST = 0xFFFF  # MAX_PACKET_OFF, kernel/bpf/verifier.c
_ACCESS = (
    r"^invalid access to packet, off=(?P<off>-?\d+) size=(?P<size>\d+), R(?P<reg>\d+)"
    r"\(id=(?P<id>\d+),off=(?P<at>-?\d+),r=(?P<r>-?\d+)\)"
)


def _end_checks(case: Case) -> list[int]:
    """Comparisons of a packet pointer with the end of the packet, latest first."""
    found = []
    for i in range(case.last - 1, -1, -1):
        condition = case.path.condition(i)
        if condition and condition[2] is not None:
            kinds = {case.kind(condition[0], i), case.kind(condition[2], i)}
            if "pkt_end" in kinds and len(kinds) == 2:
                found.append(i)
    return found


@rule(_ACCESS, r"^R(?P<reg>\d+) offset is outside of the packet")
def packet(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    register = int(groups["reg"])
    end = int(groups["off"]) + int(groups["size"]) if groups.get("off") else None
    proved = int(groups["r"]) if groups.get("r") else None
    varies = bool(groups.get("id")) and groups["id"] != "0"
    rule_text = (
        "Each byte of a packet has to be compared with data_end before it is touched, for a packet may end anywhere."
    )
    checks = _end_checks(case) if case.path.steps else []
    if varies:
        return _moved(case, register, rule_text, end, proved)
    if proved:
        found = Finding(
            "packet-bounds",
            f"the program reads byte {end} of the packet, but only {proved} were compared with data_end",
            f"{rule_text} Here the first {proved} bytes are proved, and the access ends with byte {end}.",
            f"{_bytes(end - int(groups['size']) + 1, end)}, where {proved} are proved",
            advice=f"compare with data_end where your access ends: {end - proved} more byte{'s' if end - proved > 1 else ''}",
        )
        if case.writes():
            found.summary = found.summary.replace("reads", "writes")
        if checks and case.place(checks[0]):
            found.cause = case.place(checks[0])
            found.note = f"this proves {proved} bytes"
            if _index_varies(case):
                found.advice = "compare the end of all that the loop reads with data_end: the first of its accesses is already past what is proved"
                return found
            number = re.findall(rf"(?<![\w.]){proved}(?![\w.])", found.cause.text)
            pointer = re.search(r"\((\w+) \+ 1\)", found.cause.text)
            used = re.search(r"\b(\w+)->", case.path.steps[-1].place.text) if case.path.steps[-1].place else None
            if len(number) == 1:
                found.edits = case.swap(found.cause, number[0], str(end))
            elif pointer and used and used[1] != pointer[1]:
                found.edits = case.swap(found.cause, pointer[0], f"({used[1]} + 1)")
                found.advice = f"compare the end of {used[1]} with data_end, not only that of {pointer[1]}"
        return found
    if proved is None:
        return Finding(
            "packet-bounds",
            "the program touches bytes of the packet that it did not compare with data_end",
            rule_text,
            "not compared with data_end",
            advice="compare the end of what you touch with data_end, and leave when the packet is shorter",
        )
    found = Finding(
        "packet-unchecked",
        "the program touches the packet before it compared it with data_end",
        f"{rule_text} Here nothing is proved yet" + (f", and the access ends with byte {end}." if end else "."),
        "no byte of the packet is proved here",
        advice="compare the end of what you read with data_end, and leave when the packet is shorter",
    )
    origin = case.origin(register)
    bare = next((check for check in checks if _compares_bare(case, check, register)), None)
    if bare is not None:
        return _bare(case, found, bare, end)
    if origin.kind == "load" and not checks:
        found.cause = case.place(origin.index)
        found.note = "the packet begins here, and nothing on this way compares it with data_end"
        place = case.path.steps[-1].place
        pointer = re.search(r"\b(\w+)->(?!data)", place.text) if place else None
        context = re.search(r"(\w+)->data\b", found.cause.text) if found.cause else None
        if pointer and context and case.owned(place):
            condition = f"if ((void *)({pointer[1]} + 1) > (void *)(long){context[1]}->data_end)"
            found.edits = case.before(place, condition, case.source.unit + case.source.leave(place.line))
    return found


def _index_varies(case: Case) -> bool:
    """Whether the rejected line has an index that is not the same each time: the compiler has unrolled a loop."""
    place = case.path.steps[-1].place
    inside = re.findall(r"\[([^\[\]]*)\]", place.text) if place else []
    return any(re.search(r"\b[a-z_]\w*\b", one) for one in inside)


def _compares_bare(case: Case, index: int, register: int) -> bool:
    """Whether a comparison is of the beginning of the packet itself, from which the verifier learns nothing.

    find_good_pkt_pointers() in kernel/bpf/verifier.c leaves at once where the offset is 0 and the range open to the right.
    """
    first, operator, second, _ = case.path.condition(index)
    pointer = first if case.kind(first, index) == "pkt" else second
    mirrored = {">": "<", "<": ">", ">=": "<=", "<=": ">="}
    if pointer == second:
        operator = mirrored.get(operator, operator)
    known = states.fields(case.value(pointer, index) or "")
    here, there = case.origin(register), case.origin(pointer, index)
    same = (here.kind, here.index) == (there.kind, there.index)
    return same and operator in (">=", "<") and known.get("off", "0") == "0" and known.get("id", "0") == "0"


def _bare(case: Case, found: Finding, check: int, end: int | None) -> Finding:
    found.summary = "the packet was compared with data_end, but from this comparison the verifier learns of no byte"
    found.reason = (
        "That the packet does not end where it begins tells you that it has a byte. The verifier does not draw that conclusion: "
        "it looks for a pointer behind the bytes that you want."
    )
    found.cause, found.note = case.place(check), "no byte is proved by this"
    found.advice = "compare the end of what you read: pointer + size > data_end, and leave then"
    compared = re.search(r"\b(\w+) (<|>=) (\w+)", found.cause.text) if found.cause else None
    if compared and not re.match(r"(for|while)\b", found.cause.text):
        better = {"<": "<=", ">=": ">"}[compared[2]]
        found.advice = f"write {compared[1]} + {end} {better} {compared[3]}"
        found.edits = case.swap(found.cause, compared[0], f"{compared[1]} + {end} {better} {compared[3]}")
    elif compared:
        found.advice = (
            f"write {compared[1]} + {end} <= {compared[3]}; and count the rounds with a constant limit, for the verifier walks through each"
        )
    return found


def _bytes(first: int, last: int) -> str:
    return f"byte {last}" if first == last else f"bytes {first} to {last}"


def _moved(case: Case, register: int, rule_text: str, end: int | None, proved: int | None) -> Finding:
    found = Finding(
        "packet-offset",
        "the pointer into the packet was moved by a number that varies, and nothing is proved behind it"
        if not proved
        else f"behind the number that varies, the program reads up to byte {end}, but only {proved} were compared with data_end",
        f"{rule_text} Once a number from the packet was added, what was proved before no longer counts.",
        "no byte behind the moved pointer is proved"
        if not proved
        else f"{proved} bytes are proved behind the moved pointer",
        advice="compare the moved pointer, and what you read behind it, with data_end once more",
    )
    if not case.path.steps:
        return found
    place = case.path.steps[-1].place
    for i in case.origin(register).chain:
        done = operation(case.path.steps[i].asm)
        if done and done[1] == "+=" and re.fullmatch(r"r\d+", done[2]):
            found.cause = case.place(i)
            found.note = "here the pointer moves by a number that varies"
            later = [check for check in _end_checks(case) if check > i]
            if later and proved:
                found.cause, found.note = case.place(later[0]), f"this proves {proved} bytes behind the moved pointer"
                break
            if later:
                return _too_far(case, found, int(done[2][1:]), i)
            found.summary = "the pointer into the packet was moved by a number that varies, and was not compared with data_end again"
            variable = case.assigned(found.cause)
            end_name = _end_name(case)
            if variable and end_name and place and re.search(rf"\b{variable}->", place.text):
                found.edits = case.guard(found.cause, f"(void *)({variable} + 1) > {end_name}")
                found.advice = f"compare the end of {variable} with {end_name} before you use it"
            break
    return found


def _too_far(case: Case, found: Finding, register: int, index: int) -> Finding:
    """Of a pointer that was compared, but may be so far off that comparing it proves nothing."""
    value = case.value(register, index)
    _, high = states.bounds(value)
    if value is None or high is not None and high <= _FARTHEST:
        return found
    found.kind = "packet-offset-large"
    found.summary = (
        "the pointer into the packet was moved by a number so great that comparing it with data_end proves nothing"
    )
    found.reason = (
        f"The verifier follows a packet pointer up to {_FARTHEST:,} bytes from where it began, which no packet exceeds."
    )
    found.failing = "nothing is proved behind a pointer that may be so far off"
    found.advice = "limit the number before you add it, for instance with & 0x7fff"
    name = re.search(r"\+ (\w+);", found.cause.text) if found.cause else None
    if name:
        found.edits = case.swap(found.cause, f"+ {name[1]};", f"+ ({name[1]} & 0x7fff);")
    return found


def _end_name(case: Case) -> str | None:
    """The variable that holds data_end."""
    found = (
        {
            m[1]
            for line in case.source.lines
            if (m := re.search(r"(\w+)\s*=\s*\(void \*\)\s*\(long\)\s*\w+->data_end", line))
        }
        if case.source
        else set()
    )
    return found.pop() if len(found) == 1 else None


@rule(r"^cannot write into packet")
def packet_readonly(case: Case, match: re.Match) -> Finding:
    return Finding(
        "packet-readonly",
        "programs of this type may read the packet, but not write to it",
        "Socket filters, cgroup programs and some others see a packet that is shared with the rest of the kernel.",
        "writes to the packet",
        advice='use SEC("tc") or SEC("xdp") for a program that changes packets',
    )
