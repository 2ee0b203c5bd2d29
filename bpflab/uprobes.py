"""Probes in user programs: where exactly they go, and what must not be probed."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from . import elf
from .elf import Binary, Function
from .errors import LabError, NotSupportedError, UnknownNameError
from .insn.native import _capstone

if TYPE_CHECKING:
    from .lab import Lab

LONGEST = 4 << 20  # bytes of code that are taken apart to find where instructions begin
_GO_RETPROBE = (
    "a uretprobe writes its own address over the return address on the stack. Go's runtime moves and walks stacks, meets an "
    "address that is not its own and ends the program ('unexpected return pc')"
)


def check(lab: Lab, path: str, symbol: str | int, retprobe: bool, force: bool) -> None:
    """Refuse a probe that would break the program it is put into.

    Raises
    ------
    LabError
        A return probe on a Go program, or an offset that is no instruction's.
    """
    if force or (not retprobe and isinstance(symbol, str)):
        return
    binary = elf.binary(lab, path)
    if retprobe and binary.go:
        raise LabError(
            f"no uretprobe on the Go program {path}: {_GO_RETPROBE}; probe its return instructions instead, with at='returns', "
            "or see it happen with force=True"
        )
    if isinstance(symbol, int):
        refuse_inside(lab, binary, symbol)


def refuse_inside(lab: Lab, binary: Binary, offset: int) -> None:
    """Refuse an offset at which no instruction begins.

    The kernel does not look: it writes its breakpoint into the middle of an instruction, and the program runs something else
    from then on.
    """
    if not binary.holds(offset):
        return  # the kernel itself refuses it
    function = binary.around(offset)
    if function is None:
        raise LabError(f"offset {offset:#x} of {binary.path} is in no function; lab.events('', binary=...) lists those it has")
    if offset - function.offset > LONGEST:
        return
    place = f"{function.name or 'a function without a name'}+{offset - function.offset:#x}"
    at = function.offset
    for address, size, text in instructions(lab, binary, function.offset, offset - function.offset + 16):
        if address == offset:
            return
        if address > offset:
            break
        if text.startswith(".byte"):
            return  # something that capstone does not know: no ground to refuse what follows
        at, last, length = address, text, size
    raise LabError(
        f"offset {offset:#x} of {binary.path} ({place}) is inside of the instruction '{last}', which begins at {at:#x} and has "
        f"{length} bytes; a breakpoint there would change what the program does. Give {at:#x} or {at + length:#x}"
    )


def instructions(lab: Lab, binary: Binary, offset: int, size: int) -> list[tuple[int, int, str]]:
    """(offset in the file, bytes, text) of each instruction; [] for a machine that capstone does not know."""
    disassembler = _capstone({62: "x86_64", 183: "aarch64", 243: "riscv64"}.get(binary.machine, lab.arch))
    if disassembler is None:
        return []
    code = binary.code(offset, size)
    return [(at, length, f"{name} {operands}".strip()) for at, length, name, operands in disassembler.disasm_lite(code, offset)]


_RETURNS = re.compile(r"(?:(?:bnd|repz|rep) )?ret[qnf]?\b|retaa\b|retab\b|jr ra\b|c\.jr ra\b")


def returns(lab: Lab, binary: str | Binary, symbol: str, pid: int | None = None) -> list[int]:
    """Offsets in the file of every instruction that returns from a function.

    Parameters
    ----------
    binary : str or Binary
        Path or name.
    symbol : str

    Returns
    -------
    list of int

    Raises
    ------
    UnknownNameError
        The binary has no such function.
    LabError
        The function has no return instruction: it ends with a jump into another one (a tail call), or never.

    Notes
    -----
    A return that is left by a jump into another function is not among them.
    """
    found = binary if isinstance(binary, Binary) else elf.of(lab, binary, pid)
    function = found.function(symbol)
    if function is None:
        raise unknown(lab, found, symbol)
    size = function.size or _until_next(found, function)
    if size > LONGEST:
        raise LabError(f"'{symbol}' of {found.path} has {size:,} bytes, more than are taken apart here; give an offset")
    places = [at for at, _, text in instructions(lab, found, function.offset, size) if _RETURNS.match(text)]
    if not places:
        raise LabError(f"'{symbol}' of {found.path} has no return instruction: it jumps into another function at its end, or never ends; probe its callers")
    return places


def _until_next(binary: Binary, function: Function) -> int:
    later = binary._starts[binary._starts > function.offset]
    return int(later[0]) - function.offset if len(later) else LONGEST


def unknown(lab: Lab, binary: Binary, symbol: str) -> UnknownNameError:
    """What to say of a function that a binary has not: inlined, stripped away, or misspelt."""
    from .traceable import catalog, near

    where = binary.path
    into = binary.inlined_into(symbol)
    if into is not None:
        there = " and ".join(f"'{name}'" for name in into[:3]) or "what calls it"
        tail = f"the compiler inlined it into {there} (its debug information says so): probe that, or compile it with __attribute__((noinline))"
        return UnknownNameError("function", symbol, (), where, tail=tail)
    if mangled := catalog(lab).symbols_of(where, symbol):
        tail = f"the compiler calls it {' or '.join(repr(one) for one in mangled[:3])}: give that name"
        return UnknownNameError("function", symbol, (), where, tail=tail)
    functions = [group for group in catalog(lab).of_binary(where) if group.kind == "user function"]
    close = near(symbol, functions)
    if close:
        tail = "did you mean " + " or ".join(f"'{name}'" for name in close) + "?"
    elif not binary.names:
        tail = "it was stripped of all symbols: give the offset of an instruction, or install its debug symbols"
    elif binary.stripped:
        tail = f"it is stripped: only the {len(binary.names):,} functions that it shares with other files have names; give an offset"
    else:
        tail = f"none of its {len(binary.names):,} functions is like it; what is static and small was perhaps inlined"
    return UnknownNameError("function", symbol, close, where, tail=tail)


def unknown_usdt(lab: Lab, binary: Binary, provider: str, name: str) -> UnknownNameError:
    from .traceable import catalog, near

    groups = [group for group in catalog(lab).of_binary(binary.path) if group.kind == "USDT"]
    known = groups[0].lines
    if not known:
        tail = "it has no USDT probes; it was built without them"
    elif close := near(f"{provider}:{name}", groups):
        tail = "did you mean " + " or ".join(f"'{one}'" for one in close) + "?"
    else:
        tail = f"there are: {', '.join(known[:12])}{', ...' if len(known) > 12 else ''}"
    return UnknownNameError("USDT probe", f"{provider}:{name}", known, binary.path, tail=tail)


# what every libbpf reads on x86-64: a register, memory at a register, a constant (tools/lib/bpf/usdt.c)
_READABLE = re.compile(r"-?\d+@(?:%\w+|-?\w*\(%\w+\)|\$-?\w+)")
_INDEXED = re.compile(r"-?\d+@(?P<offset>-?\w*)\(%(?P<base>\w+),%(?P<index>\w+)(?:,(?P<scale>\d))?\)")


def unreadable_usdt(lab: Lab, binary: Binary, provider: str, name: str) -> NotSupportedError | None:
    """What to say of a USDT probe that libbpf does not attach to since it cannot read an argument; None if it can read all."""
    if binary.machine != 62:
        return None
    places = [one for one in binary.usdt if (one.provider, one.name) == (provider, name)]
    found = next(((place, n, text) for place in places for n, text in enumerate(place.arguments, 1) if not _READABLE.fullmatch(text)), None)
    if found is None:
        return None
    place, n, text = found
    if indexed := _INDEXED.fullmatch(text):
        base, index = (re.sub(r"^r(?=[a-ds][ipx]$|bp$)", "", indexed[part]) for part in ("base", "index"))
        offset = f" + {indexed['offset']}" if indexed["offset"] else ""
        what = "is an element of an array, at one register plus another"
        where = f", and read the argument at ctx->{base} + ctx->{index} * {indexed['scale'] or 1}{offset}"
    else:
        what, where = "is in a place that it does not know", ""
    return NotSupportedError(
        f"USDT probe {provider}:{name} of {binary.path}",
        lab.where,
        f"its argument {n}, '{text}', {what}, and the libbpf there reads registers, constants, and memory at one register",
        remedy=f"attach a SEC(\"uprobe\") program to that place, attach_uprobe('{binary.path}', {place.offset:#x}){where}",
    )


def unknown_function(lab: Lab, name: str, what: str = "kernel function") -> Exception | None:
    """What to say of a kernel function that a probe did not find; None where the kernel has it."""
    from .traceable import catalog, near

    listed = catalog(lab)
    if name in listed.symbols:
        return None
    parts = sorted(one for one in listed.symbols if one.startswith(name + ".") and ".cold" not in one)
    if parts:
        tail = f"the compiler made {' and '.join(repr(one) for one in parts[:3])} of it, with other arguments perhaps: probe that"
    elif listed.function_type(name):
        tail = "BTF has its type, but kallsyms no address: it was inlined into its callers; probe one of those"
    elif close := near(name, [listed.functions]):
        tail = "did you mean " + " or ".join(f"'{one}'" for one in close) + "?"
    else:
        tail = "one that the source has was inlined, or is in a module that is not loaded; search with lab.events()"
    return UnknownNameError(what, name, (), lab.where, tail=tail)


def not_allowed(lab: Lab, function: str, offset: int, number: int) -> Exception | None:
    """What to say of a kprobe that the kernel refuses though the function is there (kernel/kprobes.c)."""
    if number == 84 or (number == 22 and offset):  # EILSEQ: arch_prepare_kprobe() met no instruction there
        return LabError(f"{function}+{offset:#x} is no kprobe's place: no instruction begins there; 0 is the function's entry")
    if number == 22:
        return NotSupportedError(
            f"kprobe on {function}", lab.where, "the kernel keeps probes away from this function (NOKPROBE_SYMBOL, notrace)", number,
            remedy="probe a function that calls it, or one that it calls",
        )  # fmt: skip
    return None
