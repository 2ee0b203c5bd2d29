"""What a program takes and has to give back: references, locks, RCU."""

from __future__ import annotations

import re

from ..case import Case, Finding
from ..log import Place
from ..path import called
from ..source import Edit
from . import rule

_RELEASE = {
    "bpf_ringbuf_reserve": "bpf_ringbuf_submit() or bpf_ringbuf_discard()",
    "bpf_sk_lookup_tcp": "bpf_sk_release()",
    "bpf_sk_lookup_udp": "bpf_sk_release()",
    "bpf_skc_lookup_tcp": "bpf_sk_release()",
    "bpf_task_acquire": "bpf_task_release()",
    "bpf_task_from_pid": "bpf_task_release()",
    "bpf_cgroup_acquire": "bpf_cgroup_release()",
    "bpf_cgroup_from_id": "bpf_cgroup_release()",
    "bpf_ringbuf_reserve_dynptr": "bpf_ringbuf_submit_dynptr() or bpf_ringbuf_discard_dynptr()",
    "bpf_obj_new_impl": "bpf_obj_drop()",
}


def _leaving(case: Case) -> Place | None:
    """Where the program leaves: the line of the exit, or of the jump that leads to it."""
    return case.place(case.last) if case.path.steps else None


@rule(r"^Unreleased reference id=(?P<id>\d+) alloc_insn=(?P<insn>\d+)")
def leaked(case: Case, match: re.Match) -> Finding:
    insn = int(match["insn"])
    index = case.find(lambda i: case.path.steps[i].insn == insn, case.last + 1)
    name = case.call(index) if index is not None else "a helper"
    if name == "a function" or name == "a helper":
        name = "a helper"
    release = _RELEASE.get(name)
    iterator = re.fullmatch(r"bpf_iter_(\w+)_new", name)
    if iterator:
        release = f"bpf_iter_{iterator[1]}_destroy()"
    what = f"what {name}() gave" if name != "a helper" else "what a helper gave"
    # a reader gets a record when all before it are given back: Documentation/bpf/ringbuf.rst
    waits = name.startswith("bpf_ringbuf_")
    otherwise = "otherwise the reader would wait at it for ever" if waits else "otherwise nobody could ever give it back"
    found = Finding(
        "reference-leak",
        f"{what} is not given back on each way through the program",
        f"It has to be given back by {release or 'the function that belongs to it'} before the program ends, on every way; {otherwise}.",
        "the program ends here and still holds it",
        advice=f"call {release} before you leave" if release else "give it back before you leave",
    )
    found.cause = case.place_of(insn)
    found.note = "taken here" if found.cause else ""
    variable = case.variable(found.cause, name) if found.cause else None
    way = _way_out(case)
    if way:
        found.place = way
        call = {
            "bpf_ringbuf_reserve": f"bpf_ringbuf_discard({variable}, 0);",
            "bpf_sk_lookup_tcp": f"bpf_sk_release({variable});",
            "bpf_sk_lookup_udp": f"bpf_sk_release({variable});",
        }.get(name)
        begun = re.search(r"_new\(\s*(&\w+)", found.cause.text) if iterator and found.cause else None
        if begun:
            variable, call = begun[1], release.replace("()", f"({begun[1]});")
        if variable and call and case.owned(way):
            found.edits = _insert_release(case, way, call)
            found.advice = f"write {call} before this return"
    return found


def _way_out(case: Case) -> Place | None:
    """The return statement of the source that this path takes, when only one can be meant."""
    if not case.path.steps or case.source is None:
        return None
    last = case.path.steps[-1].place
    if last and last.text.startswith("return"):
        return last
    for i in range(case.last - 1, -1, -1):
        place = case.path.steps[i].place
        if place is None or place.text in ("}", "") or not case.owned(place):
            continue
        condition = re.match(r"(?:if|while) \(.*\)$", place.text)
        following = case.source.line(place.line + 1).strip() if condition and place.line + 1 in case.source else ""
        jumps = case.path.steps[i].jumped_to is not None or (
            i < case.last and case.path.steps[i + 1].insn != case.path.steps[i].insn + 1
        )
        if condition and jumps and re.match(r"return\b", following) and not _leaves_anyway(case, place.line + 2):
            return Place(place.file, place.line + 1, following)
        return place if place.text.startswith("return") else None
    return None


def _leaves_anyway(case: Case, number: int) -> bool:
    """Whether the next statement leaves as well, so that the path may have taken either."""
    around = case.source.function(number)
    for i in range(number, (around[1] if around else number) + 1):
        code = case.source.code(i).strip()
        if code not in ("", "}"):
            return re.match(r"return\b|else\b|if\b|goto\b", code) is not None
    return True


def _insert_release(case: Case, way: Place, call: str):
    """A line before a return; braces as well, where the return is the only statement of an if."""
    ternary = re.fullmatch(r"return (\w+) \? ([-\w]+) : ([-\w]+);", way.text)
    if ternary:
        blanks = case.source.indent(way.line)
        variable = re.search(r"\((\w+)", call)
        if variable and variable[1] == ternary[1]:
            return [
                Edit("before", way.line, f"{blanks}if ({ternary[1]})"),
                Edit("before", way.line, f"{blanks}{case.source.unit}{call}"),
            ]
    return case.before(way, call)


@rule(
    r"^bpf_spin_unlock is missing",
    r"^BPF_EXIT instruction (?:in main prog|in .*) cannot be used inside bpf_spin_lock-ed region",
    r"^bpf_(?:res_)?spin_lock-ed region",
)
def lock_kept(case: Case, match: re.Match) -> Finding:
    found = Finding(
        "lock-kept",
        "the program ends while it holds a spin lock",
        "Whoever wants the lock next would wait for ever.",
        "the lock is still held here",
        advice="call bpf_spin_unlock() on each way that leads out",
    )
    _lock_place(case, found)
    place = found.place or (case.path.steps[-1].place if case.path.steps else None)
    argument = re.search(r"bpf_spin_lock\((.*?)\);", found.cause.text) if found.cause else None
    way = _way_out(case)
    if way:
        found.place = way
        if argument and case.owned(way):
            found.edits = _insert_release(case, way, f"bpf_spin_unlock({argument[1]});")
    elif argument and case.owned(place) and place.text == "}":
        above = place.line - 1
        if above in case.source and case.source.line(above).strip().startswith("return"):
            found.edits = case.before(
                Place(place.file, above, case.source.line(above).strip()), f"bpf_spin_unlock({argument[1]});"
            )
    return found


def _taken(case: Case) -> int | None:
    """The latest step that takes a lock."""
    return case.find(lambda i: called(case.path.steps[i].asm) in ("bpf_spin_lock", "bpf_res_spin_lock"))


def _lock_place(case: Case, found: Finding) -> None:
    taken = _taken(case)
    if taken is not None:
        found.cause, found.note = case.place(taken), "the lock is taken here"


@rule(
    r"^function calls are not allowed while holding a lock",
    r"^Locking two bpf_spin_locks are not allowed",
    r"^(?:kernel function|kfunc) \w+ .*while holding.*lock",
)
def lock_call(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "a function"
    locking = name in ("bpf_spin_lock", "bpf_res_spin_lock")
    if locking and _taken(case) is not None or "two" in match[0]:
        found = Finding(
            "lock-twice",
            "the program takes a second spin lock while it holds one",
            "Two programs that take two locks in different order would wait for each other for ever.",
            "a second lock",
            advice="give back the first lock before you take the second",
        )
    elif locking:  # the lock that is held must have been taken before this one
        return Finding(
            "lock-call",
            "the program calls a function while it holds a spin lock",
            "Others wait for the lock, so that nothing but plain computing is allowed until it is given back.",
            advice="call functions before bpf_spin_lock(), or behind bpf_spin_unlock()",
        )
    else:
        found = Finding(
            "lock-call",
            f"the program calls {name}() while it holds a spin lock",
            "Others wait for the lock, so that nothing but plain computing is allowed until it is given back.",
            "a call while the lock is held",
            advice=f"call {name}() before bpf_spin_lock(), and keep what it gave in a variable",
        )
    _lock_place(case, found)
    place = case.path.steps[-1].place if case.path.steps else None
    call = re.search(rf"= ({re.escape(name)}\(\));", place.text) if place else None
    if found.kind == "lock-call" and call and case.owned(found.cause):
        found.edits = [*case.before(found.cause, f"__u64 before = {call[1]};"), *case.swap(place, call[1], "before")]
    return found


@rule(
    r"^bpf_spin_unlock without taking a lock",
    r"^bpf_spin_unlock of different lock",
    r"^bpf_res_spin_unlock .*(?:without|cannot be out of order)",
)
def lock_unpaired(case: Case, match: re.Match) -> Finding:
    return Finding(
        "lock-unpaired",
        "the program gives back a spin lock that it does not hold",
        "Each bpf_spin_unlock() belongs to one bpf_spin_lock() of the same lock, on every way through the program.",
        "not held here",
        advice="take the lock first, on each way that leads here",
    )


@rule(
    r"^(?:direct loading of )?(?P<what>bpf_spin_lock|bpf_timer|bpf_wq|kptr|bpf_list_head|bpf_rb_root|bpf_res_spin_lock) cannot be accessed (?:directly|indirectly) by"
)
def lock_access(case: Case, match: re.Match) -> Finding:
    what = match["what"]
    return Finding(
        "lock-access",
        f"the program touches a {what} as if it were a number",
        f"A {what} belongs to the kernel; only its helpers change it.",
        f"touches the {what}",
        advice="copy the other members one by one; a whole struct with such a member cannot be copied",
    )


@rule(
    r"^bpf_rcu_read_unlock is missing",
    r"^BPF_EXIT instruction in .* cannot be used inside bpf_rcu_read_lock-ed region",
    r"^unmatched rcu read (?:un)?lock",
)
def rcu_kept(case: Case, match: re.Match) -> Finding:
    if "unmatched" in match[0]:
        return Finding(
            "rcu-unpaired",
            "bpf_rcu_read_unlock() without bpf_rcu_read_lock()",
            "The two belong together on every way.",
            "nothing is locked here",
            advice="lock first",
        )
    found = Finding(
        "rcu-kept",
        "the program ends between bpf_rcu_read_lock() and bpf_rcu_read_unlock()",
        "The kernel would wait for ever to free what was read.",
        "still inside of bpf_rcu_read_lock()",
        advice="call bpf_rcu_read_unlock() on each way that leads out",
    )
    taken = case.find(lambda i: called(case.path.steps[i].asm) == "bpf_rcu_read_lock") if case.path.steps else None
    if taken is not None:
        found.cause, found.note = case.place(taken), "begun here"
    return found


@rule(
    r"^BPF_EXIT instruction in .* cannot be used inside bpf_(?P<what>\w+)-ed region",
    r"^(?P<what>\d+ bpf_preempt_enable)s? (?:is|are) missing",
)
def region_kept(case: Case, match: re.Match) -> Finding:
    return Finding(
        "region-kept",
        f"the program ends inside of a part that {match['what']} began",
        "What stops the CPU from doing other work has to be undone on every way.",
        "not undone here",
        advice="undo it on each way that leads out",
    )
