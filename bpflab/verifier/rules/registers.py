"""Registers: never set, spoiled by a call, numbers used as pointers, pointers of a kind that cannot be followed."""

from __future__ import annotations

import re

from .. import states
from ..case import Case, Finding
from ..log import Place
from ..path import called
from . import rule

# bpf_helper_changes_pkt_data() in net/core/filter.c
_MOVES_PACKET = {
    *("bpf_xdp_adjust_head", "bpf_xdp_adjust_tail", "bpf_xdp_adjust_meta", "bpf_skb_pull_data", "bpf_skb_change_head"),
    *("bpf_skb_change_tail", "bpf_skb_change_proto", "bpf_skb_adjust_room", "bpf_skb_store_bytes", "bpf_skb_vlan_push"),
    *("bpf_skb_vlan_pop", "bpf_l3_csum_replace", "bpf_l4_csum_replace", "bpf_clone_redirect", "bpf_msg_pull_data"),
    *(
        "bpf_msg_push_data",
        "bpf_msg_pop_data",
        "bpf_lwt_push_encap",
        "bpf_lwt_seg6_store_bytes",
        "bpf_lwt_seg6_adjust_srh",
    ),
    *("bpf_lwt_seg6_action", "bpf_store_hdr_opt", "bpf_sk_assign", "bpf_set_hash_invalid"),
}
_RELEASES = {
    *("bpf_ringbuf_submit", "bpf_ringbuf_discard", "bpf_sk_release", "bpf_task_release", "bpf_cgroup_release"),
    *(
        "bpf_obj_drop_impl",
        "bpf_ringbuf_submit_dynptr",
        "bpf_ringbuf_discard_dynptr",
        "bpf_cpumask_release",
        "bpf_put_file",
    ),
}


@rule(r"^R(?P<reg>\d+) !read_ok")
def unset(case: Case, match: re.Match) -> Finding:
    register = int(match["reg"])
    origin = case.origin(register)
    if register == 0 and case.asm == "exit" and origin.kind in ("unset", "lost", "call"):
        if origin.kind == "call" and re.match(
            r"call (#0|kernel-function#0|unknown#0)$", case.path.steps[origin.index].asm
        ):
            return _kfunc_missing(case, origin.index)
        if origin.kind == "call":
            callee = next((i for i in range(origin.index, case.last) if case.path.parent[i] == origin.index), None)
            name = case.path.steps[origin.index].asm
            return Finding(
                "register-unset",
                "the program returns a number that its last call did not give",
                f"The last instruction before the end, {name}, gives back nothing that can be read.",
                "nothing was returned",
                cause=case.place(callee if callee is not None else origin.index),
                note="this call gives nothing back",
                advice="return a number of your own",
            )
        found = Finding(
            "return-unset",
            "the program ends without a value to return"
            if origin.kind == "unset"
            else "the program ends, and what it returns was not set",
            "What a program returns stands in r0, and each way through it has to set r0: the kernel acts upon it.",
            "r0 was never set",
            advice="return a number on each way through the program",
        )
        place = case.path.steps[-1].place
        returned = re.match(r"return (\w+);", place.text) if place else None
        if returned and case.owned(place):
            line = case.source.declaration(returned[1], place.line)
            if line is not None and line < place.line and re.search(rf"\b{returned[1]};", case.source.code(line)):
                found.cause = Place(place.file, line, case.source.line(line).strip())
                found.note = f"{returned[1]} gets no value, neither here nor on this way through the program"
                found.edits = case.swap(found.cause, f"{returned[1]};", f"{returned[1]} = 0;")
                found.advice = f"set {returned[1]} where it is declared"
        return found
    if origin.kind == "clobbered":
        name = called(case.path.steps[origin.index].asm) or "the function"
        return Finding(
            "register-clobbered",
            f"r{register} is read behind a call, which left nothing in it",
            "A call takes r1 to r5 as its arguments, and leaves none of them; r6 to r9 keep what they held.",
            f"r{register} holds nothing here",
            case.place(origin.index),
            f"{name}() spoils r1 to r5",
            "keep the value in a variable, so that the compiler puts it into r6 to r9 or onto the stack",
        )
    where = "on this way through the program" if origin.kind == "unset" else "as far as the log shows"
    return Finding(
        "register-unset",
        f"r{register} is read, but nothing was put into it {where}",
        "At its start a program has its context in r1 and its stack in r10; all other registers are empty.",
        f"r{register} was never set",
        advice="give the variable a value on each way that leads here",
    )


def _kfunc_missing(case: Case, index: int) -> Finding:
    place = case.place(index)
    name = re.search(r"\b(bpf_\w+|\w+)\s*\((?!.*\b\1\s*\()", place.text) if place else None
    what = f"{name[1]}()" if name else "a function of the kernel"
    return Finding(
        "kfunc-unknown",
        f"this kernel has no {what}" if name else "this kernel does not have a function that the program calls",
        "The function is declared __weak, so that the program was loaded without it; the call then does nothing, and gives nothing back.",
        "calls a function that is not there",
        advice="ask first: if (bpf_ksym_exists(function)); or take a kernel that has it",
        place=place,
    )


@rule(r"^invalid kernel function call not eliminated in verifier pass", r"^calling invalid kernel func")
def kfunc_missing(case: Case, match: re.Match) -> Finding:
    for i in range(len(case.path.steps) - 1, -1, -1):
        if re.match(r"call (#0|kernel-function#0)$", case.path.steps[i].asm):
            return _kfunc_missing(case, i)
    return Finding(
        "kfunc-unknown",
        "this kernel does not have a function that the program calls",
        "The function is declared __weak, so that the program was loaded without it.",
        advice="ask first: if (bpf_ksym_exists(function)); or take a kernel that has it",
    )


@rule(r"<invalid kfunc call>", r"^kfunc '(?P<name>\w+)' is referenced but wasn't resolved")
def kfunc_poisoned(case: Case, match: re.Match) -> Finding:
    name = re.search(r"kfunc '(\w+)'", "\n".join(case.log.said))
    what = f"no {name[1]}()" if name else "not every function that the program calls"
    return Finding(
        "kfunc-unknown",
        f"this kernel has {what}",
        "The function is declared __weak, so that libbpf left the call out, and the verifier came to it all the same.",
        "calls a function that is not there",
        advice="ask first: if (bpf_ksym_exists(function)); or take a kernel that has it",
    )


@rule(r"^R(?P<reg>\d+) invalid mem access '(?:scalar|inv)'")
def scalar(case: Case, match: re.Match) -> Finding:
    register = int(match["reg"])
    stale = _was_pointer(case, register)
    if stale:
        return stale
    value = case.value(register)
    if states.number(value) == 0:
        return Finding(
            "null-dereference",
            "the program follows a pointer that is NULL",
            f"r{register} is the number 0 here: this way through the program is only taken when the pointer is NULL, or it was set to NULL.",
            f"r{register} is 0",
            advice="follow the pointer only on the way where it is not NULL",
        )
    found = Finding(
        "scalar-dereference",
        "a number is used as a pointer",
        "The verifier follows only pointers whose origin it knows. A number that the program read, and that happens to be an "
        "address, is not one of them.",
        f"r{register} holds a number",
        advice="read what stands at that address with bpf_probe_read_kernel() or bpf_probe_read_user(), which may fail but not crash",
    )
    origin = case.origin(register)
    if origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause = place
            found.note = (
                "the number comes from here"
                if origin.kind == "load"
                else f"{case.call(origin.index)}() returns a number"
            )
            _better_pointer(case, found)
    return found


def _better_pointer(case: Case, found: Finding) -> None:
    """Where the same pointer can be had as one that the verifier follows."""
    place = found.cause
    if not case.owned(place):
        return
    here = case.path.steps[-1].place
    variable = case.assigned(place)
    member = re.search(r"\b(\w+)->(\w+)\b(?!\s*(?:->|\[|=[^=]))", here.text) if here else None
    if variable and here and re.search(rf"\b{variable}\[|\*{variable}\b", here.text):
        found.advice = (
            f"copy what {variable} points to first: bpf_probe_read_user_str(copy, sizeof(copy), {variable}) out of the memory of a "
            "process, bpf_probe_read_kernel_str() out of the kernel's"
        )
        return
    if re.search(r"\bBPF_K(RET)?PROBE\(", place.text) and member and re.search(rf"\*\s*{member[1]}\b", place.text):
        read = f"BPF_CORE_READ({member[1]}, {member[2]})"
        found.note = f"{member[1]} is an address of the kernel's, and a number to the verifier"
        found.advice = f"write {read}, of <bpf/bpf_core_read.h>, which copies what stands there"
        if any("bpf_core_read.h" in line for line in case.source.lines):
            found.edits = case.swap(here, member[0], read)
        return
    if "bpf_get_current_task()" in place.text:
        found.advice = "take bpf_get_current_task_btf(), whose result the verifier can follow; or read with BPF_CORE_READ()"
        found.edits = case.swap(place, "bpf_get_current_task()", "bpf_get_current_task_btf()")
    elif re.search(r"\bBPF_PROG\(", place.text) and place.line - 1 in case.source:
        above = Place(place.file, place.line - 1, case.source.line(place.line - 1).strip())
        section = re.search(r'SEC\("(?:tracepoint|tp)/(\w+)/(\w+)"\)', above.text)
        if section:
            found.note = "BPF_PROG takes a row of arguments, and a tracepoint program gets a pointer to one record"
            found.advice = f"take the record: struct trace_event_raw_{section[2]} *ctx; or SEC(\"tp_btf/...\"), which gives the arguments"
            if section[1] != "syscalls":
                found.edits = case.swap(above, section[0], f'SEC("tp_btf/{section[2]}")')


def _was_pointer(case: Case, register: int) -> Finding | None:
    """When the register held a pointer that a call took away."""
    if not case.path.steps:
        return None
    origin = case.origin(register)
    if origin.kind == "lost":
        return None
    held = ""
    for i in range(case.last - 1, max(origin.index, 0) - 1, -1):
        name = called(case.path.steps[i].asm)
        if name is None:
            continue
        held = _kind_there(case, register, i)
        if name in _MOVES_PACKET and held in ("pkt", "pkt_meta"):
            return Finding(
                "packet-stale",
                f"a pointer into the packet is used behind {name}(), which may have moved the packet",
                "Helpers that change a packet may copy it elsewhere. The verifier then forgets every pointer into it.",
                f"r{register} is no pointer any more",
                case.place(i),
                f"{name}() may move the packet",
                "read data and data_end from the context again behind the call, and compare again",
            )
        if name in _RELEASES and held not in ("", "scalar"):
            return _released(case, register, i, name)
    return None


def _kind_there(case: Case, register: int, index: int) -> str:
    """What the value in a register now was, before an earlier step."""
    chain = [i for i in case.origin(register).chain if i > index]
    for i in chain:  # the register that held it then
        copied = re.match(r"r(\d+) = r(\d+)$", case.path.steps[i].asm)
        if copied and int(copied[1]) == register:
            register = int(copied[2])
    return case.kind(register, index)


def _released(case: Case, register: int, index: int, name: str) -> Finding:
    again = (called(case.asm) or "") in _RELEASES
    return Finding(
        "released",
        f"the program {'releases' if again else 'uses'} again what {name}() took away",
        "What was submitted, discarded or released belongs to the kernel again: other programs may use it already.",
        f"r{register} is no pointer any more",
        case.place(index),
        f"{name}() takes it away",
        "use it before the call; call that function once on each way through the program",
    )


@rule(
    r"^R(?P<reg>\d+) type=(?:scalar|inv) expected=(?:ringbuf_mem|alloc_mem|sock\w*)",
    r"^arg \d+ is an unacquired reference",
    r"^release (?:helper|kernel function) \w+ expects (?:referenced|refcounted)",
    r"^reference has not been acquired before",
    r"^R(?P<reg>\d+) must be referenced when passed to release function",
)
def released(case: Case, match: re.Match) -> Finding | None:
    register = int(match.groupdict().get("reg") or 1)
    found = _was_pointer(case, register)
    if found:
        return found
    if "type=" in match[0]:
        return None
    name = called(case.asm) or "the function"
    return Finding(
        "released",
        f"{name}() is given something that the program does not own",
        "Only what a helper handed over, and what was not released yet, can be released.",
        "not owned here",
        advice="release what you got from the helper, once, on each way through the program",
    )


@rule(
    r"^R(?P<reg>\d+) must be (?:a rcu pointer|referenced or trusted|referenced)",
    r"^R(?P<reg>\d+) (?:type=\w*ptr_\w* expected=\w*(?:trusted|rcu)\w*)",
    r"^kernel function \w+ args#\d+ expected pointer to \w+ \w+ but R\d+ has a pointer to",
)
def untrusted(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "the function"
    found = Finding(
        "pointer-untrusted",
        f"{name}() takes only a pointer that is known to be alive, and this one may be stale",
        "A pointer that was read out of another struct may point to something that is gone by now. Trusted are the arguments of "
        "tracepoints and iterators, what an acquiring function gave, and, inside of bpf_rcu_read_lock(), some members.",
        "this pointer may be stale",
        advice=f"read the struct inside of bpf_rcu_read_lock() and bpf_rcu_read_unlock(), or hand a trusted pointer to {name}()",
    )
    register = int(match.groupdict().get("reg") or 1)
    origin = case.origin(register)
    if origin.kind == "load":
        found.cause, found.note = case.place(origin.index), "the pointer is read from another struct here"
    return found


@rule(r"^R(?P<reg>\d+) invalid mem access '(?P<type>\w+)'")
def unfollowable(case: Case, match: re.Match) -> Finding:
    what = states.words(match["type"] + "()")
    found = Finding(
        "pointer-kind",
        f"{what} is not for reading or writing through",
        "Such a pointer serves to be compared, or to be handed to a helper; what it points to is not the program's.",
        f"r{match['reg']} is {what}",
        advice="hand it to a helper, or follow another pointer",
    )
    if match["type"] == "pkt_end":
        found.advice = "data_end is behind the last byte: read from data, and compare with data_end"
    origin = case.origin(int(match["reg"]))
    if origin.kind in ("load", "call"):
        place = case.place(origin.index)
        if place != case.path.steps[-1].place:
            found.cause, found.note = place, "the pointer comes from here"
    return found


@rule(r"^frame pointer is read only")
def frame_pointer(case: Case, match: re.Match) -> Finding:
    return Finding(
        "frame-pointer",
        "the program writes to r10",
        "r10 points to the end of the stack, and stays what it is.",
        "writes to r10",
        advice="use another register",
    )


@rule(
    r"^R(?P<reg>\d+) leaks addr (?P<where>[\w ]+)",
    r"^leaking pointer from stack",
    r"^R(?P<reg>\d+) is (?:a pointer|not a known value).*leak",
)
def leak(case: Case, match: re.Match) -> Finding:
    where = (match.groupdict().get("where") or "out of the program").strip()
    place = {
        "into map": "a map",
        "as return value": "what it returns",
        "into ctx": "the context",
        "into mem": "memory",
        "into packet": "the packet",
    }
    return Finding(
        "pointer-leak",
        f"the program puts an address of the kernel's into {place.get(where, where)}",
        "Who may not read the kernel's memory (CAP_PERFMON) must not learn its addresses either.",
        "an address leaves the program",
        advice="store what the pointer points to, not the pointer; or load the program with CAP_PERFMON",
    )
