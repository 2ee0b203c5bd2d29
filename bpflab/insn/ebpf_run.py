"""The eBPF machine, run instruction by instruction (RFC 9669; ___bpf_prog_run in kernel/bpf/core.c).

It runs what the verifier was given, before the kernel rewrote it: contexts are those of include/uapi/linux/bpf.h.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import alu, ebpf
from .context import lay_out
from .ebpf import ALU, ALU64, ATOMIC, CALL, JA, JCOND, JMP, JMP32, LDX, MEM, MEMSX, ST, STX, Insn
from .helper_names import HELPERS as NAMES
from .helpers import HELPERS, CannotStep, MapCopy
from .memory import OTHER, STACK, STACK_SIZE, Fault, Memory, Region, place
from .trace import MAX_RUN, Trace

U64 = alu.U64
MAX_FRAMES = 8  # MAX_CALL_FRAMES


class Machine:
    """One run of a program.

    Parameters
    ----------
    insns : sequence of Insn
    kind : str
        The program's type, "xdp".
    packet, ctx : bytes, optional
        See `context.lay_out`.
    maps : mapping, optional
        By the number in a map reference (a descriptor): the map.

    Attributes
    ----------
    memory : Memory
        After the run; each region still knows what it held first.
    """

    def __init__(
        self, insns: Sequence[Insn], kind: str, packet: bytes | None = None, ctx: bytes | None = None, maps: Mapping[int, MapCopy] | None = None
    ):
        self.insns, self.kind, self.maps = insns, kind, maps or {}
        self._unknown = {pc for pc, i in enumerate(insns) if not ebpf.is_known(i)}
        self.memory, self.trace = Memory(), Trace()
        self.context, self.packet = lay_out(self.memory, kind, packet, ctx)
        self.regs = [0] * 11
        self.regs[1] = self.context.base
        self._frames: list[tuple[int, list[int]]] = []  # where to go on, r6 to r10 of the caller
        self._stacks: list[Region] = []
        self._map_regions: dict[int, Region] = {}
        self._enter()
        self._answered = False  # something was put into r0
        self._changed: set[int] = set()
        self._reads: list[tuple[str, int, int]] = []
        self._writes: list[tuple[str, int, bytes]] = []

    def run(self) -> Trace:
        """Run to the end, or to what cannot be stepped; `Trace.stopped` says what that was."""
        pc: int | None = 0
        while pc is not None:
            if self.trace.count >= MAX_RUN:
                self.trace.stopped = f"the program is still running after {MAX_RUN:,} instructions; give a packet that makes it shorter"
                break
            if not 0 <= pc < len(self.insns):
                self.trace.stopped = f"the program runs on to instruction {pc}, and it has {len(self.insns)}; end it with exit"
                break
            i = self.insns[pc]
            self._changed, self._reads, self._writes = set(), [], []
            try:
                note, following = self._do(i, pc)
            except (CannotStep, Fault) as error:
                self.trace.stopped = f"instruction {pc} ({i.text()}) cannot be stepped: {error}"
                break
            changed = {f"r{n}": self.regs[n] for n in sorted(self._changed)}
            self.trace.add(pc, changed, self._reads, self._writes, note or self._told(i), following)
            pc = following
        return self.trace

    # -- what helpers use

    def map_at(self, address: int) -> MapCopy:
        """The map that a pointer in a register stands for."""
        for number, region in self._map_regions.items():
            if region.base == address:
                return self.maps[number]
        raise CannotStep("its map is not one that the program names; a map out of a map is not followed")

    def take(self, address: int, size: int) -> bytes:
        """Read memory, and note it."""
        region, offset = self.memory.find(address, size)
        self.read_mark(region, offset, size)
        return bytes(region.data[offset : offset + size])

    def read_mark(self, region: Region, offset: int, size: int) -> None:
        self._reads.append((region.name, offset, size))

    def store(self, address: int, data: bytes) -> None:
        """Write memory, and note it."""
        region, offset = self.memory.find(address, len(data))
        self.put(region, offset, data)

    def put(self, region: Region, offset: int, data: bytes) -> None:
        region.data[offset : offset + len(data)] = data
        self._writes.append((region.name, offset, bytes(data)))

    # -- the instructions

    def _enter(self) -> None:
        depth = len(self._frames)
        if depth == len(self._stacks):
            self._stacks.append(self.memory.add("stack" if not depth else f"stack of call {depth}", STACK, bytes(STACK_SIZE)))
        self.regs[10] = self._stacks[depth].end

    def _set(self, register: int, value: int) -> None:
        self.regs[register] = value & U64
        self._answered |= register == 0
        self._changed.add(register)

    def _do(self, i: Insn, pc: int) -> tuple[str, int | None]:
        if pc in self._unknown:
            raise CannotStep("eBPF has no such instruction")
        if i.dst > 10 or i.src > 10:
            raise CannotStep("there are the registers r0 to r10")
        if i.cls in (ALU, ALU64):
            other = self.regs[i.src] if i.code & 8 and i.op != ebpf.END else i.imm & U64
            self._set(i.dst, alu.alu(i, self.regs[i.dst], other))
            return "", pc + 1
        if i.cls in (JMP, JMP32):
            return self._jump(i, pc)
        if i.cls == LDX:
            return self._load(i), pc + 1
        if i.cls in (ST, STX):
            return self._store(i), pc + 1
        return self._ld(i, pc)

    def _load(self, i: Insn) -> str:
        mode = i.code & 0xE0
        if mode not in (MEM, MEMSX):
            raise CannotStep("this kind of load is made by the kernel only")
        value = int.from_bytes(self.take(self.regs[i.src] + i.off & U64, i.size), "little")
        self._set(i.dst, alu.signed(value, 8 * i.size) if mode == MEMSX else value)
        return ""

    def _store(self, i: Insn) -> str:
        mode, address = i.code & 0xE0, self.regs[i.dst] + i.off & U64
        if mode == MEM:
            value = i.imm if i.cls == ST else self.regs[i.src]
            self.store(address, (value & (1 << 8 * i.size) - 1).to_bytes(i.size, "little"))
            return ""
        if mode != ATOMIC or i.cls != STX:
            raise CannotStep("this kind of store is made by the kernel only")
        if i.imm == ebpf.LOAD_ACQ:
            self._set(i.dst, int.from_bytes(self.take(self.regs[i.src] + i.off & U64, i.size), "little"))
            return ""
        mask = (1 << 8 * i.size) - 1
        if i.imm == ebpf.STORE_REL:
            self.store(address, (self.regs[i.src] & mask).to_bytes(i.size, "little"))
            return ""
        old = int.from_bytes(self.take(address, i.size), "little")
        new = alu.atomic(i.imm, old, self.regs[i.src], i.size)
        if i.imm == ebpf.CMPXCHG and old != self.regs[0] & mask:
            new = old
        self.store(address, new.to_bytes(i.size, "little"))
        if i.imm == ebpf.CMPXCHG:
            self._set(0, old)
        elif i.imm & ebpf.FETCH:
            self._set(i.src, old)
        return f"in one step: {old} becomes {new}"

    def _ld(self, i: Insn, pc: int) -> tuple[str, int | None]:
        if i.code == ebpf.LD_IMM64:
            return self._immediate(i, pc), pc + 2
        mode = i.code & 0xE0
        if mode not in (ebpf.ABS, ebpf.IND) or self.packet is None:
            raise CannotStep("this is no instruction of eBPF")
        # gen_ld_abs in net/core/filter.c: the offset is an int, and a load beyond the packet leaves the function with 0
        offset = alu.signed(i.imm + (self.regs[i.src] if mode == ebpf.IND else 0), 32)
        if offset < 0:
            raise CannotStep(f"offset {offset} means the kernel's own places before the packet")
        if offset + i.size > len(self.packet.data):
            self._set(0, 0)
            note, following = self._leave()
            return f"bytes {offset} to {offset + i.size - 1} are not in the packet: {note}", following
        self._set(0, int.from_bytes(self.take(self.packet.base + offset, i.size), "big"))
        return "", pc + 1

    def _immediate(self, i: Insn, pc: int) -> str:
        value = ebpf.imm64(self.insns, pc)
        if i.src in (ebpf.PSEUDO_MAP_FD, ebpf.PSEUDO_MAP_VALUE):
            copy = self.maps.get(i.imm)
            if copy is None:
                raise CannotStep(f"map {i.imm} is not at hand; give the loaded program, which knows its maps")
            if i.src == ebpf.PSEUDO_MAP_FD:
                if i.imm not in self._map_regions:
                    self._map_regions[i.imm] = self.memory.add(f"map {copy.name}", OTHER, b"")
                self._set(i.dst, self._map_regions[i.imm].base)
                return f"r{i.dst} points to map '{copy.name}'"
            found = copy.lookup(self, bytes(4))
            self._set(i.dst, found.base + self.insns[pc + 1].imm)
        elif i.src:
            raise CannotStep("it is the address of something in the kernel, or of a function")
        else:
            self._set(i.dst, value)
        return ""

    def _jump(self, i: Insn, pc: int) -> tuple[str, int | None]:
        if i.is_exit:
            return self._leave()
        if i.code in (JMP | CALL, JMP | CALL | 8):
            return self._call(i, pc)
        to = pc + 1 + i.distance
        if i.op == JA:
            return f"goes on at {to}", to
        if i.code == JMP | JCOND:
            return "the loop may go on", pc + 1
        other = self.regs[i.src] if i.code & 8 else i.imm & U64
        taken = alu.holds(i, self.regs[i.dst], other)
        said = i.text().split(" goto")[0].removeprefix("if ")
        return f"{said} is {str(taken).lower()}: goes on at {to if taken else pc + 1}", to if taken else pc + 1

    def _leave(self) -> tuple[str, int | None]:
        if not self._frames:
            self.trace.verdict = self.regs[0] & 0xFFFFFFFF
            return f"returns {self.trace.verdict}" + ("" if self._answered else ": nothing was put into r0"), None
        back, saved = self._frames.pop()
        self.regs[6:11] = saved
        self._changed |= {6, 7, 8, 9, 10}
        return f"returns {self.regs[0]} to {back}", back

    def _call(self, i: Insn, pc: int) -> tuple[str, int]:
        if i.src == ebpf.PSEUDO_CALL:
            if len(self._frames) + 1 >= MAX_FRAMES:
                raise CannotStep(f"more than {MAX_FRAMES} functions are active")
            self._frames.append((pc + 1, self.regs[6:11]))
            self._enter()
            self._changed.add(10)
            return f"calls the function at {pc + 1 + i.imm}", pc + 1 + i.imm
        if i.src or i.code & 8:
            raise CannotStep("a kernel function (kfunc) acts on the kernel's own data")
        if i.imm not in HELPERS:
            name = NAMES[i.imm] if 0 < i.imm < len(NAMES) else f"helper {i.imm}"
            raise CannotStep(f"{name} acts on the kernel, and the stepper has no copy of what it changes")
        result, note = HELPERS[i.imm](self, *self.regs[1:6])
        self._set(0, result)
        return f"{NAMES[i.imm]}: {note}", pc + 1

    def _told(self, i: Insn) -> str:
        """What an instruction did, from what it changed."""
        parts = [f"r{n} = {self._value(self.regs[n])}" for n in sorted(self._changed)]
        parts += [f"{place(name, offset)} = {int.from_bytes(data, 'little')}" for name, offset, data in self._writes if len(data) <= 8]
        reads = [f"{size} byte{'s' * (size > 1)} at {place(name, offset)}" for name, offset, size in self._reads]
        return ", ".join(parts) + (f" (from {', '.join(reads)})" if reads else "") or i.text()

    def _value(self, value: int) -> str:
        return self.memory.name(value) or (str(value) if value < 10 else f"{value} (0x{value:x})")
