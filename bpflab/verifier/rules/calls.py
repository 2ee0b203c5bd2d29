"""Which helpers and kfuncs a program may call, and when."""

from __future__ import annotations

import re

from ..case import Case, Finding
from ..log import Place
from ..path import called
from ..source import Edit
from . import rule

# may_sleep helpers: bpf_*_proto with .might_sleep, and those that only sleepable programs got before that flag existed
_SLEEPING = {
    "bpf_copy_from_user",
    "bpf_copy_from_user_task",
    "bpf_ima_file_hash",
    "bpf_ima_inode_hash",
    "bpf_copy_from_user_str",
}


# license_is_gpl_compatible() in include/linux/license.h
_COMPATIBLE = ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")


@rule(
    r"^helper call might sleep in a non-sleepable prog",
    r"^helper call might sleep in (?P<where>rcu_read_lock|non-preemptible|IRQ-disabled|\w+) region",
    r"^program must be sleepable to call sleepable kfunc (?P<name>\w+)",
    r"^kernel func(?:tion)? (?P<name>\w+) is sleepable within (?P<where>\w+)",
    r"^unknown func (?P<name>" + "|".join(sorted(_SLEEPING)) + r")#",
    r"^program of this type cannot use helper (?P<name>" + "|".join(sorted(_SLEEPING)) + r")#",
    r"^(?:sleepable|global sub-prog that may sleep).*(?P<where>RCU|rcu|non-preemptible)",
)
def sleepable(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    name = groups.get("name") or called(case.asm) or "a function"
    where = groups.get("where")
    if where:
        return Finding(
            "sleepable",
            f"{name}() may sleep, and is called where nothing may sleep ({where})",
            "Between locking and unlocking the CPU must not be given away.",
            "may sleep",
            advice="call it before, or behind, that part of the program",
        )
    return Finding(
        "sleepable",
        f"{name}() may sleep, and this program must not",
        "Reading the memory of a process may have to wait for a disk. Only sleepable programs may wait: LSM, uprobe, fentry, "
        "iterator and syscall programs that say so in their section.",
        "may sleep",
        advice='use a section that sleeps, such as SEC("uprobe.s") or SEC("lsm.s/..."); or bpf_probe_read_user(), which does not wait',
    )


@rule(
    r"^(?:unknown func|program of this type cannot use helper) (?P<name>\w+)#(?P<n>\d+)",
)
def for_others(case: Case, match: re.Match) -> Finding:
    name = match["name"]
    if name == "unknown":
        return unknown(case, match)
    return Finding(
        "helper-not-for-type",
        f"programs of this type cannot call {name}()",
        "Each program type has its own set of helpers: what makes sense on a packet does not in a tracepoint.",
        "not for this program type",
        advice=f"see which types have {name}() in bpf-helpers(7), or in lab.sh('bpftool feature probe')",
    )


@rule(r"^invalid func (?P<name>\w+)#(?P<n>-?\d+)")
def unknown(case: Case, match: re.Match) -> Finding | None:
    if int(match["n"]) == 195896080:  # 0xbad2310, what libbpf writes over a relocation that failed
        return core(case, match)
    return Finding(
        "helper-unknown",
        f"this kernel has no helper with number {match['n']}",
        "The number is that of a helper of a newer kernel, or of none.",
        "no such helper",
        advice="take a kernel that has it; lab.sh('bpftool feature probe') lists the helpers of this one",
    )


@rule(r"failed to resolve CO-RE relocation <(?P<what>\w+)> \[\d+\] (?P<name>.*?) \(", r"<invalid CO-RE relocation>")
def core(case: Case, match: re.Match) -> Finding:
    name = match.groupdict().get("name")
    field = name and name.rpartition(".")[2]
    what = f"what the program calls {name}" if name else "a member that the program reads"
    return Finding(
        "core-relocation",
        f"this kernel's structs do not have {what}",
        "libbpf looked it up in the kernel's BTF and did not find it, and put an instruction there that cannot be run.",
        "not in this kernel",
        advice=f"ask first: if (bpf_core_field_exists(...{'->' + field if field else ''})); or spell it as this kernel does",
        place=_line_with(case, field) if field else None,
    )


def _line_with(case: Case, word: str) -> Place | None:
    """The only line inside of a function that has a word."""
    if not case.source:
        return None
    numbers = range(case.source.first, case.source.first + len(case.source.lines))
    found = [
        n for n in numbers if re.search(rf"\b{re.escape(word)}\b", case.source.code(n)) and case.source.function(n)
    ]
    return Place(case.source.name, found[0], case.source.line(found[0]).strip()) if len(found) == 1 else None


@rule(
    r"^cannot call GPL.restricted function from non-GPL compatible program",
    r"^cannot call kernel function from non-GPL compatible program",
    r"^kernel function .*GPL",
)
def licence(case: Case, match: re.Match) -> Finding:
    name = called(case.asm) or "this function"
    found = Finding(
        "licence",
        f"{name}() is only for programs under the GPL",
        "Part of the helpers and all kfuncs are for programs whose licence is compatible with the GPL.",
        "for GPL programs only",
        advice='write  char LICENSE[] SEC("license") = "GPL";',
    )
    if case.source:
        for number, line in enumerate(case.source.lines, case.source.first):
            stated = re.search(r'SEC\("license"\)\s*=\s*("[^"]*")', line)
            if stated and case.source.code(number).strip():
                if stated[1].strip('"') in _COMPATIBLE:
                    break  # then the log is of another text
                found.cause = Place(case.source.name, number, line.strip())
                found.note = f"the licence is {stated[1]}"
                found.edits = case.swap(found.cause, stated[1], '"GPL"')
                break
        else:
            last = case.source.first + len(case.source.lines) - 1
            found.edits = [Edit("after", last, 'char LICENSE[] SEC("license") = "GPL";')]
    return found


@rule(r"^calling kernel function (?P<name>\w+) is not allowed")
def kfunc_for_others(case: Case, match: re.Match) -> Finding:
    return Finding(
        "kfunc-not-for-type",
        f"programs of this type cannot call the kernel's {match['name']}()",
        "The kernel lists for each program type which of its functions may be called.",
        "not for this program type",
        advice="call it from a program of a type that has it, or use a helper that does the same",
    )


@rule(r"^kernel btf_id \d+ is not a kernel function", r"^kernel function btf_id \d+ does not have a valid func_proto")
def kfunc_not(case: Case, match: re.Match) -> Finding:
    return Finding(
        "kfunc-unknown",
        "the program calls something that is no function of this kernel",
        "What is declared with __ksym is looked up in the kernel's BTF when the program is loaded.",
        "no such function",
        advice="see the declaration, and take a kernel that has the function",
    )


@rule(r"^unknown opcode (?P<code>8d)", r"^(?:R\d+ )?callx? .*indirect", r"^unknown opcode (?P<code>[0-9a-f]{2})")
def opcode(case: Case, match: re.Match) -> Finding:
    if match.groupdict().get("code") in (None, "8d"):
        return Finding(
            "function-pointer",
            "the program calls through a function pointer",
            "The verifier has to know at each call which function it goes to.",
            "calls through a pointer",
            place=case.place_of_code(0x8D),
            advice="call the function by its name, choose with if or switch, or use tail calls through a map of programs",
        )
    return Finding(
        "opcode-unknown",
        f"this kernel does not know an instruction (0x{match['code']})",
        "The compiler was asked for a newer instruction set than this kernel has, or the code is damaged.",
        "unknown instruction",
        advice="compile with an older -mcpu, such as -mcpu=v2",
    )
