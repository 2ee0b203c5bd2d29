"""Memory: pointers that may be NULL, the context, what is only for reading, the kernel's own structs, alignment."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..log import Place
from ..path import loaded, stored
from . import rule
from .bounds import added

_LOOKUPS = {
    "bpf_map_lookup_elem": "gives NULL when the map has no such key",
    "bpf_map_lookup_percpu_elem": "gives NULL when the map has no such key",
    "bpf_ringbuf_reserve": "gives NULL when the ring buffer is full",
    "bpf_sk_lookup_tcp": "gives NULL when there is no such socket",
    "bpf_sk_lookup_udp": "gives NULL when there is no such socket",
    "bpf_skc_lookup_tcp": "gives NULL when there is no such socket",
    "bpf_get_local_storage": "may give NULL",
    "bpf_task_storage_get": "gives NULL when the task has no storage yet",
    "bpf_sk_storage_get": "gives NULL when the socket has no storage yet",
    "bpf_inode_storage_get": "gives NULL when the inode has no storage yet",
    "bpf_cgrp_storage_get": "gives NULL when the cgroup has no storage yet",
    "bpf_per_cpu_ptr": "gives NULL for a CPU that is not there",
    "bpf_dynptr_data": "gives NULL when the slice does not lie in one piece",
    "bpf_kptr_xchg": "gives NULL when nothing was stored",
}


@rule(
    r"^R(?P<reg>\d+) invalid mem access '(?P<type>\w+_or_null_?)'",
    r"^R(?P<reg>\d+) type=(?P<type>\w+_or_null_?) expected=",
    r"^R(?P<reg>\d+) pointer arithmetic on (?P<type>\w+_or_null_?) prohibited",
    r"^Possibly NULL pointer passed to (?:trusted arg|helper arg)(?P<arg>\d+)",
    r"^R(?P<reg>\d+) (?:may be NULL|is a nullable)",
)
def pointer_unchecked(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    register = int(groups["reg"]) if groups.get("reg") else int(groups["arg"]) + 1
    passed = case.asm.startswith("call")
    use = "is handed on" if passed else "is used"
    found = Finding(
        "pointer-unchecked",
        f"a pointer that may be NULL {use} before it was compared with NULL",
        "The verifier follows both ways out of a check, and lets a program use such a pointer only on the way where it is not NULL.",
        f"r{register} may still be NULL here",
        advice="compare the pointer with NULL before you use it, and leave when it is NULL",
    )
    origin = case.origin(register)
    if origin.kind == "call":
        name = case.call(origin.index)
        found.summary = f"what {name}() returned {use} before it was compared with NULL"
        found.cause = case.place(origin.index)
        found.note = f"{name}() {_LOOKUPS.get(name, 'may return NULL')}, and nothing compared it on this way"
        variable = case.variable(found.cause, name)
        if variable:
            found.advice = f"compare {variable} with NULL behind the call"
            found.edits = case.guard(found.cause, f"!{variable}")
    elif origin.kind == "load":
        place = case.place(origin.index)
        variable = case.assigned(place)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, "the pointer is read here, and may be NULL"
        if variable:
            found.summary = f"{variable} {use} before it was compared with NULL"
            found.advice = f"compare {variable} with NULL before you use it"
            found.edits = case.guard(place, f"!{variable}")
    elif origin.kind == "entry":
        found.summary = "an argument that may be NULL is used before it was compared with NULL"
        found.reason = "A function that is not static is verified by itself: the verifier assumes that any caller may hand it NULL."
        found.advice = "compare the argument with NULL at the start of the function, or make the function static"
        place = case.path.steps[-1].place
        if case.owned(place) and case.source.function(place.line):
            first, _ = case.source.function(place.line)
            found.cause = Place(place.file, first, case.source.line(first).strip())
            found.note = "the function takes the pointer from callers that the verifier does not look at"
            argument = re.search(r"\*\s*(\w+)\s*[,)]", found.cause.text)
            if argument and origin.register == 1:
                found.edits = case.before(
                    place, f"if (!{argument[1]})", case.source.unit + case.source.leave(place.line)
                )
    return found


@rule(r"^R(?P<reg>\d+) type=(?:scalar|inv) expected=(?!scalar|inv)")
def null_passed(case: Case, match: re.Match) -> Finding | None:
    """A number where a pointer is wanted: on the way on which a helper gave NULL."""
    register = int(match["reg"])
    origin = case.origin(register)
    if origin.kind != "call" or states.number(case.value(register)) != 0:
        return None
    given = case.call(origin.index)
    if given not in _LOOKUPS:
        return None
    found = Finding(
        "pointer-unchecked",
        f"what {given}() returned is handed on where it is NULL",
        "The verifier follows both ways out of a check. On one of them the pointer is NULL, and that way leads here as well.",
        f"r{register} is NULL on this way",
        case.place(origin.index),
        f"{given}() {_LOOKUPS[given]}",
        "leave, or go another way, when it is NULL",
    )
    variable = case.variable(found.cause, given)
    if variable:
        found.advice = f"leave when {variable} is NULL, right behind the call"
        found.edits = case.guard(found.cause, f"!{variable}")
    return found


@rule(r"^invalid bpf_context access off=(?P<off>-?\d+) size=(?P<size>\d+)")
def context_access(case: Case, match: re.Match) -> Finding:
    offset, size = match["off"], match["size"]
    if case.writes():
        place = case.path.steps[-1].place
        member = re.search(r"->\s*(\w+)", place.text) if place else None
        return Finding(
            "context-readonly",
            f"the program writes to {member[1] + ', a member' if member else 'a part'} of the context that it may only read",
            f"Which members of its context a program may write differs by program type. Byte {offset} is none of them here.",
            "this member is not for writing",
            advice="keep the value in a variable of your own; to change the packet, use a helper",
        )
    missing = re.search(r"^func '(\w+)' doesn't have (\d+)-th argument", "\n".join(case.log.said), re.M)
    if missing:
        return Finding(
            "context-access",
            f"the program takes argument {missing[2]} of {missing[1]}, which has fewer",
            "The context of such a program is the row of arguments, 8 bytes each, and BTF says how many there are.",
            f"there is no argument {missing[2]}",
            advice=f"take no more arguments than {missing[1]} has; its declaration in the kernel's source shows them",
        )
    found = Finding(
        "context-access",
        "the program reads a part of the context that its type does not have",
        f"Which members of its context a program may read, and in which size, differs by program type. {size} bytes at byte {offset} "
        "are not among them.",
        f"{size} bytes at byte {offset} of the context",
        advice="look which members the context of this program type has; another type may have this one",
    )
    place = case.path.steps[-1].place if case.path.steps else None
    if place and re.search(r"->data(_end|_meta)?\b", place.text):
        found.summary = "the program takes a pointer into the packet, and programs of its type have none"
        found.advice = "copy what you need: bpf_skb_load_bytes(skb, offset, &variable, sizeof(variable))"
    return found


@rule(r"^dereference of modified (?P<type>\w+) ptr R(?P<reg>\d+) off=(?P<off>-?\d+) disallowed")
def context_modified(case: Case, match: re.Match) -> Finding:
    what = "the context" if match["type"] == "ctx" else "this object"
    place = case.path.steps[-1].place if case.path.steps else None
    member = re.search(r"(\w+)->(\w+)", place.text) if place and (loaded(case.asm) or stored(case.asm)) else None
    if member:  # by name in the source: it was the compiler that moved the pointer
        return Finding(
            "context-modified",
            f"the compiler moved a pointer to {what}, to reach {member[2]} more than once, and the verifier refuses such a pointer",
            f"{what.capitalize()} may be read at a fixed place only: the kernel rewrites every access to it. Where a member is used in "
            "several branches, the compiler may compute its address once and keep it.",
            f"{member[1]} was moved by {match['off']} bytes before this",
            advice=f"read {member[1]}->{member[2]} once, into a variable at the beginning of the function, and use that",
        )
    return Finding(
        "context-modified",
        f"a pointer to {what} was moved, and then handed to a helper or used",
        f"{what.capitalize()} may be handed on only as it came: the kernel rewrites every access to it, at a fixed place.",
        f"moved by {match['off']} bytes",
        advice="hand over ctx itself, and take its members by name: ctx->member",
    )


@rule(r"^variable (?P<type>\w+) access var_off=")
def context_index(case: Case, match: re.Match) -> Finding:
    found = Finding(
        "context-index",
        "the place in the context is not the same at every run",
        "The kernel rewrites each access to the context when it loads the program, so that each has to be at one fixed place.",
        "the place varies",
        advice="take the members by name, with a switch; or copy them into an array of your own first",
    )
    base = loaded(case.asm) or stored(case.asm)
    moved = added(case, base[0]) if base else None
    if moved:
        origin = case.origin(moved[1], moved[0])
        if origin.kind in ("load", "call"):
            found.cause, found.note = case.place(origin.index), "the number comes from here"
    return found


@rule(
    r"^write into map forbidden",
    r"^R(?P<reg>\d+) leaks addr into map_rdonly",
    r"^cannot write into rdonly_(?:mem|buf)",
    r"^R(?P<reg>\d+) cannot write into rdonly_\w+",
)
def map_readonly(case: Case, match: re.Match) -> Finding:
    place = case.path.steps[-1].place if case.path.steps else None
    found = Finding(
        "map-readonly",
        "the program writes to memory that is only for reading",
        "Global variables that are const lie in a map that is frozen when the program is loaded; a map with "
        "BPF_F_RDONLY_PROG is no different.",
        "not for writing",
        advice="drop const from the variable, or write to another one",
    )
    names = re.findall(r"\b([A-Za-z_]\w*)\b", place.text) if place else []
    if case.source:
        for i, line in enumerate(case.source.lines, case.source.first):
            found_const = re.match(r"(?:static )?const .*?\b(\w+)(?:\[\w*\])?\s*(?:=|;)", line)
            if found_const and found_const[1] in names:
                found.cause = Place(case.source.name, i, line.strip())
                found.note = f"{found_const[1]} is const"
                found.edits = case.swap(found.cause, "const ", "")
    written = stored(case.asm)
    origin = case.origin(written[0]) if written else None
    if not found.cause and origin and origin.kind == "call" and case.call(origin.index) == "bpf_map_lookup_elem":
        found.cause, found.note = case.place(origin.index), "the value of a map that programs may only read"
        found.reason = "Programs only read the values of some maps: those of device maps, and of each map with BPF_F_RDONLY_PROG."
        found.advice = "let user space write this map, or keep the number in a map of another type"
    return found


@rule(
    r"^only read is supported",
    r"^R(?P<reg>\d+) is ptr_\w+ access .*only read",
    r"^access to \w+ at off \d+ with write is not allowed",
)
def kernel_write(case: Case, match: re.Match) -> Finding:
    return Finding(
        "kernel-write",
        "the program writes to a struct of the kernel's own",
        "Through a typed pointer a program may read the kernel's structs; a few members of a few of them are for writing.",
        "only reading is allowed",
        advice="keep your value in a map, or in task, socket or cgroup storage",
    )


@rule(
    r"^access beyond (?:struct|the end of member) (?P<name>\w+)[^\n]*? at off (?P<off>\d+) size (?P<size>\d+)",
    r"^access beyond (?:the end of member )?(?P<name>\w+)",
)
def kernel_bounds(case: Case, match: re.Match) -> Finding:
    return Finding(
        "kernel-bounds",
        f"the access goes past the end of struct {match['name']}",
        "The verifier knows the layout of the kernel's structs from BTF, and holds each access against it.",
        "past the end of the struct",
        advice="read a member by its name; what lies outside is for bpf_probe_read_kernel()",
    )


@rule(r"^misaligned (?P<what>\w+) access off (?P<off>.*) size (?P<size>\d+)")
def misaligned(case: Case, match: re.Match) -> Finding:
    size = match["size"]
    return Finding(
        "misaligned",
        f"an access of {size} bytes at an address that is no multiple of {size}",
        f"The verifier keeps account of the stack in whole words, so that a value of {size} bytes has to lie at a multiple of {size}."
        if match["what"] == "stack"
        else f"This machine reads {size} bytes only from an address that is a multiple of {size}.",
        "not aligned",
        advice="let the compiler place the variable, or copy it byte by byte with __builtin_memcpy",
    )
