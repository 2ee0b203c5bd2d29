"""Maps as such: which helper takes which type, what their values have to hold, timers and locks in them."""

from __future__ import annotations

import re

from ..case import Case, Finding
from ..log import Place
from ..path import called, stored
from . import rule

# enum bpf_map_type, include/uapi/linux/bpf.h
_MAPS = (
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash lru_percpu_hash "
    "lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage reuseport_sockarray "
    "percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage task_storage bloom_filter "
    "user_ringbuf cgrp_storage arena insn_array"
).split()
_OPERATIONS = ("bpf_map_lookup_elem", "bpf_map_update_elem", "bpf_map_delete_elem")


@rule(r"^cannot pass map_type (?P<type>\d+) into func (?P<name>\w+)#")
def map_type(case: Case, match: re.Match) -> Finding:
    number = int(match["type"])
    kind = _MAPS[number] if number < len(_MAPS) else f"of type {number}"
    return Finding(
        "map-type",
        f"{match['name']}() does not work on a map of type {kind}",
        "Most helpers for maps work on a few types of map.",
        f"a map of type {kind}",
        advice=f"give {match['name']}() a map of a type that it is made for; see bpf-helpers(7)",
    )


@rule(r"^expected prog array map for tail call", r"^kernel subsystem misconfigured verifier")
def tail_call_map(case: Case, match: re.Match) -> Finding | None:
    if called(case.asm) != "bpf_tail_call" or case.kind(2) != "map_ptr":
        return None
    return Finding(
        "map-type",
        "bpf_tail_call() takes a map of programs, and is given another one",
        "A tail call jumps to a program that a map of type prog_array holds; no other map can hold one.",
        "no prog_array map",
        advice="declare the map with __uint(type, BPF_MAP_TYPE_PROG_ARRAY), and a key and a value of 4 bytes",
    )


def has_no_keys(case: Case) -> bool:
    """Whether the rejected call looks for a key in a map that has none: a queue, a stack, a bloom filter."""
    return called(case.asm) in _OPERATIONS and re.search(r"\bks=0\b", case.value(1) or "") is not None


def without_keys(case: Case) -> Finding:
    name = called(case.asm)
    place = case.path.steps[-1].place
    handed = re.search(r"\(\s*&(\w+)", place.text) if place else None
    return Finding(
        "map-no-keys",
        f"{name}() works with a key, and {f'map {handed[1]!r}' if handed else 'this map'} has no keys",
        "A queue, a stack and a bloom filter hold values without keys.",
        "a map without keys",
        advice="use bpf_map_push_elem(), bpf_map_pop_elem() and bpf_map_peek_elem()",
    )


@rule(r"^only read from (?P<name>bpf_(?:array|htab|map|\w+_map|\w+trie\w*)) is supported")
def map_pointer(case: Case, match: re.Match) -> Finding:
    found = Finding(
        "map-pointer",
        "the program writes to a map itself, as if that were a value",
        "The pointer leads to a map. What a lookup in a map of maps gives is the inner map, and not yet a value.",
        "a map stands here, not a value",
        advice="look a key up in the inner map as well: bpf_map_lookup_elem(inner, &key), and write to what that gives",
    )
    written = stored(case.asm)
    origin = case.origin(written[0]) if written else None
    if origin and origin.kind == "call" and case.call(origin.index) == "bpf_map_lookup_elem":
        found.cause, found.note = case.place(origin.index), "this gives a map, or NULL"
    return found


@rule(r"^(?P<what>\w+) pointer in R\d+ map_uid=\d+ doesn't match map pointer in R\d+ map_uid=\d+")
def other_map(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "the helper"
    found = Finding(
        "timer-map",
        f"{name}() is given a {match['what']} of one map, and another map",
        f"The kernel ties a {match['what']} to the map whose value it lies in: both arguments have to be of the same map.",
        "the two do not belong together",
        advice=f"hand {name}() the map that the value was looked up in",
    )
    origin = case.origin(1)
    if origin.kind != "call":
        return found
    found.cause, found.note = case.place(origin.index), f"the {match['what']} lies in a value of this map"
    place = case.path.steps[-1].place
    right = re.search(r"lookup_elem\(\s*(&\w+)", found.cause.text) if found.cause else None
    wrong = re.search(r",\s*(&\w+)\s*[,)]", place.text) if place else None
    if right and wrong and right[1] != wrong[1]:
        found.edits = case.swap(place, wrong[1], right[1])
    return found


@rule(r"^(?P<who>[\w ]+?) progs? cannot use (?P<what>bpf_\w+)(?: yet)?$")
def member_for_others(case: Case, match: re.Match) -> Finding:
    what = match["what"]
    return Finding(
        "map-member-not-for-type",
        f"{match['who']} programs cannot use a map whose values hold a struct {what}",
        f"The kernel lets only some program types use a {what}: others may run at a moment when it cannot be served.",
        f"programs of this type may not use a map with a {what}" if _member(case, what) else "",
        advice="leave the member out, or use the map from another program type, such as tc or xdp",
        place=_member(case, what),
    )


def _member(case: Case, what: str) -> Place | None:
    """The only line of the source that declares a member of a type."""
    if not case.source:
        return None
    numbers = range(case.source.first, case.source.first + len(case.source.lines))
    found = [n for n in numbers if re.search(rf"\bstruct {what} \w+;", case.source.code(n))]
    return Place(case.source.name, found[0], case.source.line(found[0]).strip()) if len(found) == 1 else None


@rule(r"^map '(?P<map>[^']*)' (?:has no valid|doesn't have '?(?:struct )?)\s*(?P<what>bpf_\w+)")
def member_missing(case: Case, match: re.Match) -> Finding:
    what = match["what"]
    return Finding(
        "map-member-missing",
        f"the values of map '{match['map']}' have no struct {what}",
        f"{called(case.asm) or 'The helper'}() finds the {what} by the type of the map's value, as BTF describes it.",
        f"no {what} here",
        advice=f"put a member  struct {what} ...;  into the struct of the value, and hand over its address",
    )
