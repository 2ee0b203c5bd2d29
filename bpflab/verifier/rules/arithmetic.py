"""Arithmetic: with pointers, and the few operations that no program may contain."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..path import operation
from . import rule


@rule(
    r"^R(?P<reg>\d+) pointer arithmetic on (?P<type>\w+) prohibited",
    r"^R(?P<reg>\d+) pointer arithmetic with (?P<op>\S+) operator prohibited",
    r"^R(?P<reg>\d+) (?P<bits>32-bit) pointer arithmetic prohibited",
    r"^R(?P<reg>\d+) bitwise operator (?P<op>\S+) on pointer prohibited",
    r"^R(?P<reg>\d+) (?P<two>pointer [+-]= pointer) prohibited",
    r"^R(?P<reg>\d+) tried to (?:add|subtract) (?:to|from|pointer from|from stack)",
    r"^R(?P<reg>\d+) (?P<compare>pointer comparison) prohibited",
    r"^R(?P<reg>\d+) partial copy of pointer",
)
def pointers(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    what = states.words(f"{groups['type']}()") if groups.get("type") else "a pointer"
    summary = f"the program computes with {what}, which has to stay as it is"
    advice = "keep the pointer as it is, and compute with a number beside it"
    if groups.get("two"):
        summary = "the program adds two pointers" if "+=" in groups["two"] else "the program subtracts two pointers"
        advice = "add a number to a pointer: which of the two did you mean as a number?"
    elif groups.get("op"):
        summary = f"the program uses {groups['op']} on a pointer"
        advice = "a pointer may only be moved, by adding or subtracting a number"
    elif groups.get("bits"):
        summary = "the program computes with half of a pointer"
        advice = "keep pointers in variables of 64 bits: void *, long or __u64"
    elif groups.get("compare"):
        summary = "the program compares pointers that must not be compared"
        advice = "compare a pointer with NULL, or a packet pointer with data_end"
    elif groups.get("type") == "pkt_end":
        advice = "compute with data, and compare the sum with data_end: data + n > data_end"
    found = Finding(
        "pointer-arithmetic",
        summary,
        "After such an operation the verifier could not tell any more where the pointer points to.",
        f"r{groups['reg']} is {what}" if groups.get("type") else "no operation for pointers",
        advice=advice,
    )
    done = operation(case.asm)
    origin = case.origin(done[0] if done else int(groups["reg"]))
    if groups.get("type") and origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, f"here it is made {what}"
    return found


@rule(r"^div by zero")
def division(case: Case, match: re.Match) -> Finding:
    return Finding(
        "division-by-zero",
        "the program divides by the constant 0",
        "Divided by a variable that is 0, BPF gives 0; a constant 0 can only be a mistake.",
        "divides by 0",
        advice="divide by another number",
    )


@rule(r"^invalid shift (?P<n>-?\d+)")
def shift(case: Case, match: re.Match) -> Finding:
    width = 32 if case.asm.startswith("w") else 64
    return Finding(
        "shift",
        f"the program shifts by {match['n']}, more than a register has",
        f"A register of {width} bits can be shifted by 0 to {width - 1}.",
        f"shifts by {match['n']}",
        advice=f"shift by less than {width}",
    )


@rule(
    r"^BPF_ATOMIC (?:stores into|loads from) R(?P<reg>\d+) (?P<type>\w+) is not allowed",
    r"^invalid atomic operand size",
    r"^BPF_ATOMIC uses invalid",
)
def atomic(case: Case, match: re.Match) -> Finding:
    what = states.words(f"{match['type']}()") if match.groupdict().get("type") else ""
    return Finding(
        "atomic",
        f"an atomic operation on {what}" if what else "an atomic operation that BPF does not have",
        "Atomic operations, __sync_fetch_and_add() and its like, work on 4 or 8 bytes in the values of maps and on the stack.",
        "not for atomic operations",
        advice="use plain reading and writing here; only one CPU at a time has this memory",
    )
