"""The JIT's machine code, written out by capstone."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

from .. import stacks
from ..btf import Btf
from ..errors import NotSupportedError
from .image import Image, Line, _records

if TYPE_CHECKING:
    from ..lab import Lab

ENOUGH = 5000  # instructions


def rows(lab: Lab, dump: dict, xlated: Image) -> tuple[list[tuple[str, str, Line | None]], str]:
    """Native instructions of a program, from what the agent's insns.dump gave.

    Parameters
    ----------
    xlated : Image
        Of the same program: its lines are those of the machine code.

    Returns
    -------
    rows : list of (place, text, Line or None)
        A function's name has an empty place.
    note : str
        Why there are none; empty when there are.
    """
    if dump["jited_hidden"]:
        return [], "the kernel keeps the machine code to itself (bpf_dump_raw_ok): sysctl kernel.kptr_restrict=0, and CAP_SYSLOG or kernel.perf_event_paranoid=1 or less, show it"
    if not dump["jited"]:
        return [], "the kernel did not translate this program: the JIT is off (sysctl net.core.bpf_jit_enable=1 switches it on)"
    disassembler = _capstone(lab.arch)
    if disassembler is None:
        return [], f"capstone does not write out the machine code of {lab.arch}"
    btf = Btf(dump["btf"]) if dump["btf"] else None
    lines = _lines(dump, xlated)
    names = [btf.type(kind).name for _, kind in _records("=II", dump, "func_info")] if btf else []
    lengths = [n for (n,) in _records("=I", dump, "func_lens")] or [len(dump["jited"])]
    starts = [n for (n,) in _records("=Q", dump, "ksyms")]
    made: list[tuple[str, str, Line | None]] = []
    symbols, own = _symbols(lab), dict(zip(starts, names))
    at = 0
    for k, length in enumerate(lengths):
        start = starts[k] if k < len(starts) else 0
        if len(lengths) > 1:
            made.append(("", f"{names[k] if k < len(names) else f'function {k}'}:", None))
        line = None
        for address, _, name, operands in disassembler.disasm_lite(dump["jited"][at : at + length], start):
            line = lines.get(address, line)
            target = re.search(r"0x[0-9a-f]{8,16}$", operands)
            if target:
                operands = operands[: target.start()] + (own.get(int(target[0], 16)) or _where(int(target[0], 16), start, length, symbols) or target[0])
            made.append((f"{address - start:x}", f"{name} {operands}".rstrip(), line))
            if len(made) >= ENOUGH:
                return made, f"the first {ENOUGH:,} instructions"
        at += length
    return made, ""


def _symbols(lab: Lab):
    try:
        return stacks.symbols(lab)
    except NotSupportedError:
        return None


def _where(address: int, start: int, length: int, symbols) -> str:
    """A target in words: a place in the function, or a function of the kernel."""
    if start <= address < start + length:
        return f"{address - start:x}"
    name, offset = symbols.find([address])[0] if symbols else (None, 0)
    # symbols are read once for each lab, and BPF programs come and go
    return name if name and not offset and not name.startswith("bpf_prog_") else ""


def _lines(dump: dict, xlated: Image) -> dict[int, Line | None]:
    """Address -> source line: jited_line_info and line_info of ``struct bpf_prog_info`` go side by side."""
    places = [at for at, *_ in _records("=IIII", dump, "line_info")]
    addresses = [address for (address,) in struct.iter_unpack("=Q", dump["jited_line_info"])]
    return {address: xlated.lines[at] for address, at in zip(addresses, places)}


def _capstone(arch: str):
    import capstone

    known = {
        "x86_64": (capstone.CS_ARCH_X86, capstone.CS_MODE_64),
        "aarch64": (capstone.CS_ARCH_ARM64, capstone.CS_MODE_LITTLE_ENDIAN),
        "riscv64": (capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV64 | capstone.CS_MODE_RISCVC),
        "ppc64le": (capstone.CS_ARCH_PPC, capstone.CS_MODE_64 | capstone.CS_MODE_LITTLE_ENDIAN),
        "s390x": (capstone.CS_ARCH_SYSZ, capstone.CS_MODE_BIG_ENDIAN),
    }
    if arch not in known:
        return None
    made = capstone.Cs(*known[arch])
    made.skipdata = True  # padding between functions is no code
    return made
