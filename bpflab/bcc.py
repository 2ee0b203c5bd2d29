"""BCC: C text of its dialect, compiled on the lab machine, as the same kind of object that `Lab.load` gives."""

from __future__ import annotations

import errno
import os
import re
import warnings
from typing import TYPE_CHECKING

from . import bcc_types, kinds
from .bcc_program import BccProgram
from .btf import MapDef
from .compiler import tidy
from .errors import BpfError, CompileError, LabError, NotSupportedError
from .machines import AgentError
from .map import Map
from .object import Object

if TYPE_CHECKING:
    from .lab import Lab


class BccWarning(UserWarning):
    """BCC compiled with headers of another kernel than the one that runs."""


_warned: set[str] = set()


def load(lab: Lab, text: str, *, cflags=(), usdt: dict[str, tuple] | None = None) -> Object:
    """Compile C text of BCC's dialect, and load it.

    Programs are not attached by themselves: `obj.programs["kprobe__vfs_read"].attach()` does what the name says
    (kprobe__, kretprobe__, tracepoint__CATEGORY__NAME as TRACEPOINT_PROBE makes it, raw_tracepoint__, kfunc__,
    kretfunc__, lsm__); any other is attached by the method for its type, which loads it first.

    Parameters
    ----------
    text : str
        With BCC's macros: BPF_HASH, BPF_PERF_OUTPUT, TRACEPOINT_PROBE, ...
    cflags : sequence of str
        More for its clang ("-DLIMIT=5").
    usdt : dict, optional
        Programs for USDT probes: {"function": (binary, "provider:probe")}, with a process id as third for one process.
        BCC needs to know them before it compiles, for bpf_usdt_readarg; `attach()` then attaches to every place.

    Returns
    -------
    Object
        `events(name)` reads BPF_PERF_OUTPUT and BPF_RINGBUF_OUTPUT; BCC tells the type of what is sent.

    Raises
    ------
    CompileError
        BCC's clang refused the text; lines are numbered as in the text.
    VerifierError
        The kernel's verifier rejected a program.
    NotSupportedError
        The machine has no BCC, or no kernel headers.

    Warns
    -----
    BccWarning
        BCC compiles against the headers it finds, and these are of another kernel: what it reads from kernel structs
        may be wrong without an error. Tracepoint arguments and helpers are right.
    """
    name = getattr(text, "name", "program")
    numbered = f'#line {getattr(text, "line", 1)} "{name}"\n{text}'
    wanted = [(function, *_usdt(lab, function, place)) for function, place in (usdt or {}).items()]
    headers = lab.call("the kernel's headers cannot be looked for", "bcc.headers")
    try:
        made = lab.ask("bcc.compile_text", numbered, list(cflags), wanted)
    except AgentError as error:
        raise _refused(lab, error, name) from None
    _warn(lab, headers)
    try:
        return _object(lab, name, text, made)
    except BaseException:
        if lab.alive:
            lab.ask("objects.close", made["handle"])
        raise


def _usdt(lab: Lab, function: str, place) -> tuple[str, str, int]:
    try:
        binary, probe, *rest = place
        pid = int(rest[0]) if rest and rest[0] else 0
    except (TypeError, ValueError):
        raise TypeError(
            f"usdt[{function!r}] is (binary, 'provider:probe') or (binary, 'provider:probe', pid), not {place!r}"
        ) from None
    return lab.find_binary(binary), probe, pid


def _refused(lab: Lab, error: AgentError, name: str) -> Exception:
    kind = error.payload["type"]
    if kind == "NoBcc":
        remedy = "install it there: apt install python3-bpfcc (the package 'bcc' on PyPI is another project)"
        return NotSupportedError("BCC", lab.where, str(error), remedy=remedy)
    if kind == "NoHeaders":
        reason = "BCC compiles with the kernel's headers, and none are installed"
        return NotSupportedError(
            "BCC",
            lab.where,
            reason,
            remedy="install them: apt install linux-headers-amd64, or linux-headers-$(uname -r)",
        )
    refused = re.search(r"could not open bpf map: (\S+), error: (.*)", str(error))
    if refused:
        number = next((n for n in errno.errorcode if os.strerror(n) == refused[2].strip()), 0)
        return BpfError(f"map '{refused[1]}' of '{name}' was refused; check its key, value and size against its type", number)
    if kind == "Compile":
        return CompileError(_readable(str(error)), f"'{name}'")
    if kind == "NoUsdt":
        return LabError(f"no USDT probe {error}; list them with lab.sh('bpftrace -l \"usdt:PATH:*\"')")
    return error.blame(f"BCC did not compile '{name}'")


def _readable(said: str) -> str:
    """Clang's errors without what BCC's own headers add to them."""
    blocks: list[list[str]] = []
    for line in tidy(said).splitlines():
        if re.match(r"(?:\S.*?:\d+:\d+: )(?:fatal error|error|note): ", line) or not blocks:
            blocks.append([])
        blocks[-1].append(line)
    ours = [
        b for b in blocks if not re.match(r"/virtual/include/|<scratch space>|<built-in>|include/|/usr/src/|\./", b[0])
    ]
    text = "\n".join(line for block in ours or blocks for line in block)
    if "incomplete definition of type 'struct pt_regs'" in text:
        text += "\nwrite #include <uapi/linux/ptrace.h> at its top: there is struct pt_regs"
    return text


def _warn(lab: Lab, headers: dict) -> None:
    if headers["found"] == headers["running"] or lab.id in _warned:
        return
    _warned.add(lab.id)
    warnings.warn(
        f"BCC compiles with headers of Linux {headers['found']}, but {headers['running']} runs: fields of kernel structs may "
        "be wrong; tracepoint arguments and helpers are right",
        BccWarning,
        stacklevel=4,
    )


def _object(lab: Lab, name: str, text: str, made: dict) -> Object:
    types = bcc_types.build(made["maps"], text)
    maps = {}
    for one, about in made["maps"].items():
        describe = about["about"] | {"name": one}  # the kernel's is cut to 15 characters
        key, value, event = types.of(one)
        kind = kinds.name_of(kinds.MAP_TYPES, describe["type"])
        plain = kind in kinds.FD_VALUE_MAPS or kind in kinds.RING_MAPS
        maps[one] = Map(lab, describe, key, None if plain else value)
        maps[one].definition = MapDef(one, key, event if plain else value)
    places: dict[str, list] = {}
    for function, *place in made["places"]:
        places.setdefault(function, []).append(tuple(place))
    programs = {
        function: BccProgram(lab, function, made["handle"], text, places.get(function, ()))
        for function in made["programs"]
    }
    obj = Object(lab, name, made["handle"], types.btf, programs, maps, {}, text)
    for program in programs.values():
        program._load_if_known()
    return obj
