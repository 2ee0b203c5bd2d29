"""One run of a filter or program on a packet, and what the kernel says of the same."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import kinds, open_labs
from ..compiler import CSource
from ..errors import BpfError, CommandError, LabError, NotSupportedError
from ..machines import AgentError
from ..packet import Field, fields
from ..packet import packet_bytes as bytes_of
from ..program import Program
from . import blocks, classic, classic_run, classic_text, ebpf, image
from .classic import ClassicInsn
from .context import MEMBERS, has_link_header, sees_packet
from .ebpf import Insn
from .ebpf_run import Machine
from .helpers import MapCopy
from .trace import Trace

if TYPE_CHECKING:
    from ..lab import Lab
    from ..map import Map
    from ..netlab import Host

MAX_PACKET = 1 << 16


@dataclass
class Run:
    """A finished run.

    Attributes
    ----------
    kind : str
        "classic" or the program's type.
    name : str
        What was run, for a heading.
    texts, lines : list
        Each instruction written out, and its source line or None.
    trace : Trace
    first : dict
        Region of memory -> bytes that it held when it came to be.
    fields : dict
        Region -> list of Field.
    kernel : int or None
        The kernel's own verdict; of a classic filter the bytes that came through.
    kernel_note : str
        How it was asked, or why not.
    """

    kind: str
    name: str
    texts: list[str]
    lines: list[image.Line | None]
    trace: Trace
    first: dict[str, bytes]
    fields: dict[str, list[Field]]
    size: int
    kernel: int | None = None
    kernel_note: str = ""
    functions: list[tuple[int, str]] = field(default_factory=list)
    names: Any = None  # a number in a register -> "packet + 14" or None

    @property
    def verdict(self) -> int | None:
        """What the program returned."""
        return self.trace.verdict

    @property
    def agrees(self) -> bool | None:
        """Whether the kernel came to the same; None when it was not asked or nothing can be compared."""
        if self.kernel is None or self.verdict is None:
            return None
        return self.kernel == (min(self.verdict, self.size) if self.kind == "classic" else self.verdict)


def packet_bytes(packet: Any) -> bytes:
    """The bytes of a packet that the kernel's test run can take; see `bpflab.packet.packet_bytes`.

    Raises
    ------
    TypeError, ValueError
    """
    data = bytes_of(packet)
    if len(data) > MAX_PACKET:
        raise ValueError(f"the packet has {len(data):,} bytes; give at most {MAX_PACKET:,}")
    return data


def run(source: Any, packet: Any = None, *, ctx: bytes | None = None, type: str | None = None, check: bool = True) -> Run:
    """See `bpflab.step`."""
    lab = open_labs.newest()
    data = None if packet is None else packet_bytes(packet)
    if ctx is not None and not isinstance(ctx, (bytes, bytearray, memoryview)):
        raise TypeError(f"a context is bytes, not {ctx.__class__.__name__}; give those of its C struct")
    if isinstance(source, Program):
        return _program(source, data, ctx, check)
    if isinstance(source, (Path, CSource)) or isinstance(source, str) and ("SEC(" in source or re.search(r"\.(c|o)$", source.strip())):
        return _loaded(source, data, ctx, lab, check)
    if isinstance(source, str):
        return _classic(compile_filter(source, lab), data, _filter_name(source), lab if check else None)
    # a map, an object, a dict and a DataFrame can be iterated over, but have no rows of instructions
    if hasattr(source, "items") or not isinstance(source, Iterable) or isinstance(source, (bytes, bytearray)):
        raise TypeError(
            f"step takes a program (obj.programs['name']), a filter ('udp port 53', or what tcpdump -dd prints) or "
            f"(code, jt, jf, k) rows, not {source.__class__.__name__}"
        )
    rows = list(source)
    if rows and isinstance(rows[0], Insn):
        return _raw(rows, type, data, ctx, lab if check else None)
    return _classic(classic.filter_of(rows), data, "classic filter", lab if check else None)


# -- classic


def _filter_name(text: str) -> str:
    return "classic filter" if classic.looks_like_dump(text) or classic_text.is_text(text) else text


def compile_filter(text: str, lab: Lab | None, host: Host | None = None, device: str = "") -> list[ClassicInsn]:
    """A filter as tcpdump compiles it: for bytes of a packet, or for a socket on the interface of a host.

    There the kernel has taken the VLAN tag out of the packet, and knows the direction.
    """
    if classic.looks_like_dump(text):
        return classic.parse(text)
    if classic_text.is_text(text):
        return classic_text.assemble(text)
    if not text.strip():
        raise ValueError("the filter is empty; give an expression such as 'udp port 53', or what tcpdump -dd prints")
    if lab is None:
        raise LabError("no lab is open to compile a filter expression with tcpdump; open one: lab = bl.Lab()")
    if host is not None:
        compiled = host.sh(["tcpdump", "-i", device, "-ddd", text], check=False)
        if not compiled.returncode:
            return classic.parse(compiled.stdout)
        # no such filter, which is told below; or the interface is down
    try:
        compiled = lab.sh(["tcpdump", "-y", "EN10MB", "-ddd", text])
    except CommandError as error:
        said = error.result.stderr.strip().splitlines() if error.result else []
        if not said or "not found" in said[-1]:
            raise NotSupportedError("tcpdump", lab.where, "it is not installed there", remedy="install it: apt install tcpdump") from None
        hint = "C text has a SEC(...) before each program" if re.search(r"[{;]", text) else "see pcap-filter(7)"
        raise ValueError(f"tcpdump does not understand the filter '{text}': {said[-1].removeprefix('tcpdump: ')}; {hint}") from None
    return classic.parse(compiled.stdout)


def _classic(insns: list[ClassicInsn], packet: bytes | None, name: str, lab: Lab | None) -> Run:
    if packet is None:
        raise TypeError("a filter runs on a packet: bl.step(filter, packet)")
    classic.check(insns)
    trace = classic_run.run(insns, packet)
    made = Run("classic", name, classic.disassemble(insns), [None] * len(insns), trace, {"packet": packet}, {"packet": fields(packet)}, len(packet))
    beside = sorted({i.ancillary for i in insns if i.ancillary} - {"xor_x"})
    if beside or any(i.cls in (0, 1) and i.mode in (classic.ABS, classic.IND, classic.MSH) and i.k >= classic.LL_OFF and not i.ancillary for i in insns):
        made.kernel_note = f"not asked: the filter reads {', '.join(beside) or 'headers by their place'}, which only a packet from a device has"
    elif lab is None:
        made.kernel_note = "not asked"
    else:
        code = b"".join(struct.pack("=HBBI", *i) for i in insns)
        (found,) = lab.call("the kernel cannot be asked", "insns.classic", [code], [packet])
        if isinstance(found, int):
            raise BpfError("the kernel refuses this filter, and the stepper does not know why; please report it", -found)
        made.kernel, made.kernel_note = max(found[0], 0), "bytes let through by SO_ATTACH_FILTER on a socket"
    return made


# -- eBPF


def _loaded(source, packet, ctx, lab: Lab | None, check: bool) -> Run:
    if lab is None:
        raise LabError("no lab is open to load the program on; open one: lab = bl.Lab()")
    with lab.load(source) as obj:
        programs = list(obj.programs.values())
        if len(programs) != 1:
            raise ValueError(f"the object has {len(programs)} programs; load it and give one of them: bl.step(obj.programs['name'], packet)")
        return _program(programs[0], packet, ctx, check)


def _program(program: Program, packet: bytes | None, ctx: bytes | None, check: bool) -> Run:
    owner = program._object
    elf = getattr(owner, "_elf", None)
    given = image.given(program, image.Code(elf) if elf else None)
    maps = {m._fd: copy_of(m) for m in getattr(owner, "_all_maps", ())}
    made = _ebpf(given, program.type, packet, ctx, maps, program.name)
    if not check:
        made.kernel_note = "not asked"
        return made
    if _sees_nothing(program._lab, program.type):
        made.kernel_note = _BLIND
        return made
    try:
        reply = program.test_run(_seen(program.type, packet), ctx=ctx)
        made.kernel, made.kernel_note = reply.retval, "BPF_PROG_TEST_RUN of the same program and packet"
    except BpfError as error:
        made.kernel_note = f"not asked: {error}"
    return made


def _raw(insns: list[Insn], kind: str | None, packet, ctx, lab: Lab | None) -> Run:
    if kind is None:
        raise TypeError("of bare instructions the program's type must be told: bl.step(insns, packet, type='xdp')")
    number = kinds.number_of(kinds.PROG_TYPES, kind, "program type")
    blocks.of_ebpf(insns)  # refuses jumps out of the program
    made = _ebpf(image.Image(insns, [None] * len(insns), [(0, "program")]), kind, packet, ctx, {}, "instructions")
    if lab is None:
        made.kernel_note = "not asked"
        return made
    if _sees_nothing(lab, kind):
        made.kernel_note = _BLIND
        return made
    seen = _seen(kind, packet)
    try:
        (found,) = lab.ask("insns.verdicts", number, [ebpf.encode(insns)], [seen if seen is not None else b""])
    except AgentError as error:
        made.kernel_note = f"not asked: {error}"
        return made
    if isinstance(found, str):
        said = [line for line in found.splitlines() if line and not line.startswith(("processed ", "verification "))]
        made.kernel_note = f"the verifier refuses it: {said[-1] if said else 'it gave no reason'}"
    elif found[0][0] < 0:
        made.kernel_note = f"not asked: BPF_PROG_TEST_RUN takes no packet of {len(seen or b'')} bytes"
    else:
        made.kernel, made.kernel_note = found[0][0], "BPF_PROG_TEST_RUN of the same program and packet"
    return made


# return ctx->data_end > ctx->data
_ANY_DATA = [Insn(0x61, 2, 1, 76), Insn(0x61, 3, 1, 80), Insn(0xB7, 0, 0, 0, 1), Insn(0x2D, 3, 2, 1), Insn(0xB7), Insn(0x95)]
_BLIND = "not asked: this kernel's BPF_PROG_TEST_RUN gives a cgroup_skb program an empty packet; a real packet it shows"


def _sees_nothing(lab: Lab, kind: str) -> bool:
    """Whether the kernel's test run sets no `data_end` for programs of this type, as that of Linux 6.12 and before for cgroup_skb."""
    if kind != "cgroup_skb":
        return False
    found = lab.ask("insns.verdicts", kinds.PROG_TYPES.index(kind), [ebpf.encode(_ANY_DATA)], [bytes(64)])[0]
    return isinstance(found, list) and found[0][0] == 0


def _seen(kind: str, packet: bytes | None) -> bytes | None:
    return (bytes(64) if packet is None else packet) if sees_packet(kind) else packet


def _ebpf(given: image.Image, kind: str, packet, ctx, maps, name: str) -> Run:
    if not sees_packet(kind) and ctx is None and packet is None and kind != "syscall":
        raise TypeError(f"a {kind} program runs on its context: bl.step(program, ctx=bytes)")
    if not sees_packet(kind) and packet is not None:
        raise TypeError(f"a {kind} program sees no packet; give the bytes of its context: bl.step(program, ctx=bytes)")
    packet = _seen(kind, packet)
    machine = Machine(given.insns, kind, packet, ctx, maps)
    trace = machine.run()
    seen = bytes(machine.packet.first) if machine.packet else b""
    known = {"packet": fields(seen, has_link_header(kind))} if machine.packet else {}
    known["context"] = [Field(at, size, "context", member, "") for member, (at, size) in MEMBERS.get(kind, {}).items()]
    first = {region.name: region.first for region in machine.memory.regions if region.data}
    return Run(kind, name, given.texts(), given.lines, trace, first, known, len(packet or b""), functions=given.functions, names=machine.memory.name)


def copy_of(m: Map) -> MapCopy:
    """A map for the stepper: what the kernel has in it now."""

    def fetch(key: bytes) -> bytes | None:
        data = m._lookup(key)
        return None if data is None else bytes(data[: m.value_size])

    return MapCopy(m.name, m.type, m.key_size, m.value_size, m.max_entries, fetch, lambda: len(m))
