"""The shape of a program: loops, calls, dead code, the size of the stack."""

from __future__ import annotations

import re
from collections import Counter

from .. import states
from ..case import Case, Finding
from ..log import Place
from ..source import Edit
from . import rule

# of the last 3000 steps, when the log has them all: it is the loop that branches, and not what stands in it
_MANY_ROUNDS = 10


def _loop(case: Case, rounds: int = 2) -> tuple[int, int, int] | None:
    """The jump back that the path takes most often at its end: step, and first and last instruction of the loop.

    None when it takes none that often.
    """
    steps = case.path.steps
    begin = max(len(steps) - 3000, 0)
    back = Counter()
    latest: dict[tuple[int, int], int] = {}
    for i in range(begin, len(steps) - 1):
        one, two = steps[i], steps[i + 1]
        if two.insn <= one.insn and case.path.parent[i] == case.path.parent[i + 1]:
            back[two.insn, one.insn] += 1
            latest[two.insn, one.insn] = i
    if not back:
        return None
    (first, last), times = back.most_common(1)[0]
    return (latest[first, last], first, last) if times >= rounds else None


def _loop_head(case: Case, loop: tuple[int, int, int]) -> Place | None:
    """The for or while that a loop belongs to, or else the line of its jump back."""
    step, first, last = loop
    places = [p for s in case.path.steps[-3000:] if first <= s.insn <= last and (p := s.place)]
    heads = [p for p in places if re.match(r"(for|while|do)\b|\} while", p.text)]
    return heads[-1] if heads else case.place(step)


def _loop_limit(case: Case, loop: tuple[int, int, int]) -> tuple[int, str] | None:
    """What leaves the loop: the number it is compared with, or None and the register's value in words."""
    step, first, last = loop
    for i in range(step, max(step - (last - first) - 2, -1), -1):
        condition = case.path.condition(i)
        if condition and condition[2] is not None:
            for register in (condition[0], condition[2]):
                value = case.value(register, i)
                if states.kind(value) == "scalar" and states.number(value) is None:
                    high = states.bounds(value)[1]
                    return (
                        -1,
                        f"a number that may be up to {high:,}"
                        if high is not None and high < 1 << 33
                        else "a number that may be anything",
                    )
        if condition and condition[3] is not None:
            value = case.value(condition[0], i)
            if states.kind(value) == "scalar" and states.number(value) is None:
                return -1, "a number that the program reads anew in each round" if case.origin(
                    condition[0], i
                ).kind == "load" else "a number that may be anything"
            return int(condition[3], 0), ""
    return None


@rule(r"^BPF program is too large\. Processed (?P<n>\d+) insn", r"^BPF program is too large")
def too_many(case: Case, match: re.Match) -> Finding:
    loop = _loop(case) if case.path.steps else None
    if loop is None:
        return Finding(
            "too-many-instructions",
            "the verifier gave up after a million instructions",
            "It walks each way through the program, and each round of a loop; the log does not show one loop that is to blame.",
            "it gave up here, which is not to say that this line is to blame",
            advice="split the program with tail calls, or move a part into a function that is not static, which is verified once",
        )
    return _round_and_round(
        case, loop, "It walked a million instructions, round after round.", "gave up after a million instructions"
    )


def _round_and_round(case: Case, loop: tuple[int, int, int], walked: str, gave_up: str) -> Finding:
    """A loop that the verifier did not come to the end of."""
    head = _loop_head(case, loop)
    limit = _loop_limit(case, loop)
    times = _rounds(case, head)
    if limit and limit[0] == -1:
        found = Finding(
            "loop-unbounded",
            "the loop has no end that the verifier knows of",
            f"{walked} What ends the loop is {limit[1]}.",
            "how often this goes round is not known",
            place=head,
            advice="give the loop a constant limit as well, or use bpf_loop(), whose body is verified once",
        )
        bounded = re.match(r"for \(([\w ]+ (\w+) = 0); \2 < (\w+); ", head.text) if head else None
        if bounded:
            found.edits = case.swap(
                head, f"{bounded[2]} < {bounded[3]};", f"{bounded[2]} < 64 && {bounded[2]} < {bounded[3]};"
            )
            found.advice = (
                "give the loop a constant limit as well, such as 64, or use bpf_loop(), whose body is verified once"
            )
        return found
    return Finding(
        "loop-long" if limit else "too-many-instructions",
        f"the loop goes round too often{times}: the verifier walks each round, and {gave_up}",
        "A loop is no shorter for the verifier than for the CPU.",
        "each round is verified",
        place=head,
        advice="go round less often, or use bpf_loop(), whose body is verified once",
    )


def _rounds(case: Case, head: Place | None) -> str:
    count = re.search(r"<=? (\d+)", head.text) if head else None
    return f" ({int(count[1]):,} times)" if count else ""


@rule(r"^infinite loop detected at insn (?P<insn>\d+)", r"^back-edge from insn (?P<a>\d+) to (?P<b>\d+)")
def endless(case: Case, match: re.Match) -> Finding | None:
    groups = match.groupdict()
    if groups.get("a"):
        source, target = case.place_of(int(groups["a"])), case.place_of(int(groups["b"]))
        name = re.search(r"\b(\w+)\s*\([^()]*\)\s*\{?$", target.text) if target else None
        if name and source and re.search(rf"\b{name[1]}\s*\(", source.text) and source != target:
            return _recursion(case, name[1], source)
        return Finding(
            "loop-endless",
            "the program has a loop that this kernel does not allow",
            "Kernels before 5.3, and programs without CAP_BPF, may not jump back.",
            "jumps back",
            cause=None,
            advice="unroll the loop: #pragma unroll",
            place=source,
        )
    insn = int(groups["insn"])
    return Finding(
        "loop-endless",
        "the loop never ends",
        "The verifier came back to the same instruction with all registers and the stack as they were: nothing in the loop changes what ends it.",
        "nothing changes from round to round",
        advice="let each round change what the loop waits for, with a limit that is a constant",
        place=case.place_of(insn),
    )


def _recursion(case: Case, name: str | None, place: Place | None) -> Finding:
    return Finding(
        "recursion",
        f"{name}() calls itself" if name else "a function calls itself",
        "The stack has room for 8 functions that call each other, so that a function must not call itself.",
        "the call of itself",
        advice="write a loop with a constant limit instead",
        place=place,
    )


@rule(r"^arg#(?P<n>\d+) reference type\('[^']*'\) size cannot be determined", general=True)
def global_argument(case: Case, match: re.Match) -> Finding | None:
    # the same words stand in logs of good programs too: a static function may take such an argument
    blamed = re.search(r"^Caller passes invalid args into func#\d+ \('(\w+)'\)", "\n".join(case.log.said), re.M)
    blamed = blamed or re.search(r"^Validating (\w+)\(\) func#\d+\.\.\.\narg#.*\nprocessed 0 insns", case.log.text, re.M)
    if not blamed:
        return None
    name = blamed[1]
    found = Finding(
        "global-argument",
        f"argument {int(match['n']) + 1} of {name}() is a pointer to something whose size the verifier cannot know",
        "A function that is not static is verified by itself, from its declaration: it takes numbers, the context, and pointers to "
        "structs and numbers of a known size. A void pointer, or one into the packet, is none of these.",
        "the declaration does not say what this argument points to",
        advice="make the function static: then it is verified together with its callers, and may take any pointer",
    )
    first = _defined(case, name)
    if first is None:
        return found
    found.place = Place(case.source.name, first, case.source.line(first).strip())
    found.edits = _made_static(case, found.place)
    return found


@rule(r"^Global function (?P<name>\w+)\(\) doesn't return scalar")
def global_return(case: Case, match: re.Match) -> Finding:
    name = match["name"]
    found = Finding(
        "global-return",
        f"{name}() is a function that is not static, and returns no number",
        "A function that is not static is verified by itself, and what it returns to its callers has to be a number.",
        "no number is returned",
        advice=f"let {name}() return an int; or make it static: then it is verified together with its callers",
    )
    first = _defined(case, name)
    if first is not None:
        found.place = Place(case.source.name, first, case.source.line(first).strip())
        found.edits = _made_static(case, found.place)
    return found


def _made_static(case: Case, place: Place) -> list[Edit]:
    line = case.source.line(place.line)
    declared = line.lstrip()
    return [] if re.search(r"\bstatic\b", line) else case.swap(place, declared, f"static {declared}")


def _defined(case: Case, name: str) -> int | None:
    """The line with which a function begins."""
    if not case.source:
        return None
    numbers = range(case.source.first, case.source.first + len(case.source.lines))
    found = [n for n in numbers if re.search(rf"\b{name}\s*\(", case.source.code(n)) and (case.source.function(n) or (0,))[0] == n]
    return found[0] if len(found) == 1 else None


@rule(r"^the call stack of (?P<n>\d+) frames is too deep", r"^recursive call from (?P<one>\w+)\(\) to (?P<two>\w+)\(\)")
def depth(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    if groups.get("one"):
        return _recursion(case, groups["two"], case.place(case.last) if case.path.steps else None)
    calls = [step.insn for i, step in enumerate(case.path.steps) if re.match(r"call pc[+-]", step.asm)]
    place = case.place(case.last) if case.path.steps else None
    if len(calls) > 1 and calls[-1] in calls[:-1]:
        around = case.source.function(place.line) if case.owned(place) else None
        name = re.search(r"(\w+)\s*\(", case.source.line(around[0]).split("))")[-1]) if around else None
        return _recursion(case, name[1] if name else None, place)
    return Finding(
        "call-depth",
        f"{groups['n']} functions call each other, and 8 are the most",
        "Each function that is called has a stack of its own, and the kernel has room for 8.",
        f"this would be the {groups['n']}th",
        advice="let the compiler put small functions into their callers: static __always_inline",
    )


@rule(
    r"^combined stack size of (?P<n>\d+) calls is (?P<size>\d+)\. Too large",
    r"^stack size of (?P<sub>subprog )?\d+ is (?P<size>\d+)\. Too large",
    r"^frame\d+ stack.*too large",
)
def stack_size(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    return Finding(
        "stack-size",
        f"the functions that call each other use {groups.get('size') or 'too many'} bytes of stack together, and 512 are the most",
        "The verifier adds up the stack of a function and of all that it calls, each rounded up to 32 bytes (to 16 in newer kernels).",
        advice="keep large variables in a per-CPU array map with one entry, or make them smaller",
    )


@rule(
    r"^tail_calls are not allowed when call stack of previous frames is (?P<size>\d+) bytes",
    r"^tail_call.* not allowed .*(?P<what>non-JITed|bpf-to-bpf)",
    r"^cannot tail call",
)
def tail_call(case: Case, match: re.Match) -> Finding:
    size = match.groupdict().get("size")
    if not size:
        return Finding(
            "tail-call",
            "this program must not make a tail call",
            "A program with functions of its own can make tail calls only where the kernel compiles it to machine code.",
            advice="make the functions static __always_inline",
        )
    return Finding(
        "tail-call-stack",
        f"a function makes a tail call while its callers hold {size} bytes of stack, and 256 are the most",
        "A tail call leaves the callers' stack behind, up to 33 times in a row, so that it may be 256 bytes in functions.",
        advice="make the tail call from the program itself, or use less stack in the callers: keep large variables in a map",
    )


@rule(r"^unreachable insn (?P<insn>\d+)")
def unreachable(case: Case, match: re.Match) -> Finding:
    return Finding(
        "unreachable",
        f"instruction {match['insn']} can never be reached",
        "No way through the program leads there: a sign of a wrong jump.",
        "never reached",
        advice="take the code out, or let something jump to it",
        place=case.place_of(int(match["insn"])),
    )


@rule(r"^jump out of range from insn (?P<a>\d+) to (?P<b>\d+)")
def jump_out(case: Case, match: re.Match) -> Finding:
    return Finding(
        "jump-out",
        f"instruction {match['a']} jumps to {match['b']}, out of the program",
        "A jump has to stay inside of its function.",
        "jumps out",
        advice="count again: a jump goes to the instruction behind it, plus its number",
        place=case.place_of(int(match["a"])),
    )


@rule(r"^last insn is not an exit or jmp", r"^subprog \d+ doesn't end with|^no (?:exit|jump) .*at the end")
def no_exit(case: Case, match: re.Match) -> Finding:
    return Finding(
        "no-exit",
        "the program runs past its last instruction",
        "The last instruction of a function has to be exit, or a jump.",
        advice="return from the function",
    )


@rule(r"^The sequence of (?P<n>\d+) jumps is too complex")
def too_complex(case: Case, match: re.Match) -> Finding:
    loop = _loop(case, _MANY_ROUNDS) if case.path.steps else None
    limit = loop and _loop_limit(case, loop)
    if limit and limit[0] == -1:
        ways = "Each round left a way for later, and the verifier keeps 8,192 of these."
        return _round_and_round(case, loop, ways, "gave up when 8,192 ways were left for later")
    return Finding(
        "jumps-too-complex",
        f"the program has too many branches: {int(match['n']):,} ways were still to be looked at",
        "At each branch the verifier keeps one way for later; it keeps 8,192.",
        advice="branch less: use a table in a map, or move a part into a function that is not static, which is verified by itself",
    )
