"""Runs a program on one packet or on a table of them."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .. import verdicts
from ..errors import BpfError, NotSupportedError
from ..insn.context import MEMBERS
from ..machines import AgentError
from ..packet import dissect, packet_bytes
from ..packet.diff import changed_bytes
from . import refusal
from .result import BenchRun

if TYPE_CHECKING:
    from ..program import Program

_XDP_MD = struct.Struct("6I")  # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
_SKB_SIZE = 192  # struct __sk_buff up to hwtstamp, include/uapi/linux/bpf.h
_WATCHED = ("mark", "priority", "tstamp", *(f"cb[{n}]" for n in range(5)))


def bench(program: Program, packet: Any, repeat: int, ctx: bytes | None) -> BenchRun | pd.DataFrame:
    """See `Program.bench`."""
    program._refuse_closed()
    fd = program._fd  # of BCC's, says so when it is not loaded
    check_type(program)
    if isinstance(repeat, bool) or not isinstance(repeat, int):
        raise TypeError(f"repeat is a number of runs, not {type(repeat).__name__}")
    if not 1 <= repeat < 1 << 32:
        raise ValueError(f"repeat is {repeat}; give 1 to {(1 << 32) - 1:,}")
    of = _Bench(program, fd, repeat, ctx)
    if isinstance(packet, Mapping):
        return of.table([str(name) for name in packet], list(packet.values()))
    if _is_packet(packet):
        return of.one(packet_bytes(packet))
    if not isinstance(packet, Iterable):
        packet_bytes(packet)  # says what a packet is
    values = list(packet)
    return of.table(range(len(values)), values)


def check_type(program: Program) -> None:
    """Refuse a program that no test run takes a packet for."""
    if program.type not in refusal.PACKET_TYPES:
        reason, remedy = refusal.no_bench(program.type)
        raise NotSupportedError(f"a packet bench for {program.type} programs", program._lab.where, reason, remedy=remedy)


def _is_packet(value: Any) -> bool:
    if isinstance(value, (str, bytes, bytearray, memoryview)) or hasattr(value, "__bytes__"):
        return True
    return getattr(getattr(value, "dtype", None), "str", "") == "|u1" and value.ndim == 1


class _Bench:
    def __init__(self, program: Program, fd: int, repeat: int, ctx: bytes | None):
        self.program, self.fd, self.repeat = program, fd, repeat
        self.kind, self.xdp = program.type, program.type == "xdp"
        self.seen_from = refusal.ETH_HLEN if self.kind in refusal.WITHOUT_ETHERNET else 0
        self.ctx = self._context(ctx)
        self.names = verdicts.names(self.kind, program.attach_type, program._lab)

    def _context(self, ctx: bytes | None) -> bytes:
        if ctx is None:
            return bytes(_XDP_MD.size if self.xdp else _SKB_SIZE)
        if not isinstance(ctx, (bytes, bytearray, memoryview)):
            raise TypeError(f"a context is bytes, not {type(ctx).__name__}; give those of a struct __sk_buff")
        if self.xdp:
            raise TypeError("an XDP program's context is made of the packet; to run it on a struct xdp_md of yours: prog.test_run(packet, ctx=...)")
        return bytes(ctx)

    def run(self, packets: list[bytes]) -> _Found:
        sizes = np.fromiter(map(len, packets), np.int32, len(packets))
        arguments = (b"".join(packets), sizes.tobytes(), self.repeat, self.ctx, self.xdp, self.seen_from)
        try:
            numbers, data, contexts = self.program._lab.ask("packet_runs.run", self.fd, *arguments)
        except AgentError as error:
            raise error.blame(f"program '{self.program.name}' does not run") from None
        return _Found(np.frombuffer(numbers, np.int64).reshape(-1, 5), data, contexts)

    def refused(self, size: int, number: int) -> str:
        return refusal.packet(self.kind, size, number, self.ctx) or str(BpfError("the kernel refuses it", number))

    def one(self, data: bytes) -> BenchRun:
        found = self.run([data])
        number, retval, ns, _, _ = found.numbers[0].tolist()
        if number:
            why = refusal.packet(self.kind, len(data), number, self.ctx)
            raise BpfError(f"program '{self.program.name}' does not run on this packet{': ' if why else ''}{why}", number)
        after = found.after().get(0, data)
        context = found.contexts[0]
        metadata, notes = b"", []
        if self.xdp:
            start = _XDP_MD.unpack_from(context)[0]
            metadata, after = after[:start], after[start:]
        link = "ethernet"
        if self.seen_from:
            link, data, after = "ip", data[self.seen_from :], after[self.seen_from :]
            notes.append(f"the test run takes the Ethernet header off, since {self.kind} programs see none; offsets count from the IP header")
        if said := verdicts.unknown(retval, self.kind, self.names):
            notes.append(said)
        return BenchRun(
            program=self.program.name,
            type=self.kind,
            verdict=verdicts.name_of(retval, self.kind, self.names),
            retval=retval,
            before=dissect(data, link),
            after=dissect(after, link),
            ns=ns,
            repeat=self.repeat,
            metadata=metadata,
            context={} if self.xdp else self._set(context),
            notes=notes,
        )

    def _set(self, context: bytes) -> dict[str, int]:
        """Members of struct __sk_buff that the run left with another value."""
        found = {}
        for name in _WATCHED:
            offset, size = MEMBERS["sched_cls"][name]
            before, after = (data[offset : offset + size] for data in (self.ctx, context))
            if len(after) == size and before.ljust(size, b"\0") != after:
                found[name] = int.from_bytes(after, "little")
        return found

    def table(self, names: Iterable, values: list) -> pd.DataFrame:
        names = list(names)
        expected: list[str | None] = []
        packets = []
        for name, value in zip(names, values):
            wanted = None
            if isinstance(value, tuple):
                if len(value) != 2:
                    raise TypeError(f"packet {name!r} is a tuple of {len(value)}; give a packet, or (packet, verdict)")
                value, wanted = value[0], verdicts.wanted(value[1], self.kind, self.names)
            expected.append(wanted)
            try:
                packets.append(packet_bytes(value))
            except (TypeError, ValueError) as error:
                raise type(error)(f"packet {name!r}: {error}") from None
        return self._frame(names, packets, self.run(packets), expected)

    def _frame(self, names, packets, found: _Found, expected) -> pd.DataFrame:
        number, retval, ns, _, which = found.numbers.T
        refused = number != 0
        values, index = np.unique(retval, return_inverse=True)
        verdict = np.array([verdicts.name_of(int(value), self.kind, self.names) for value in values], object)[index]
        verdict[refused] = None
        changed = np.zeros(len(packets), np.int64)
        for i, after in found.after().items():
            start = _XDP_MD.unpack_from(found.contexts[which[i]])[0] if self.xdp else self.seen_from
            changed[i] = changed_bytes(packets[i][self.seen_from :], after[start:])
        columns = {"name": names, "verdict": pd.array(verdict, "str")}
        columns |= {name: pd.arrays.IntegerArray(values.copy(), refused) for name, values in (("changed", changed), ("ns", ns))}
        if any(wanted is not None for wanted in expected):
            columns["expected"] = pd.array(expected, "str")
            columns["ok"] = pd.array([None if want is None else want == got for want, got in zip(expected, verdict)], "boolean")
        if refused.any():
            columns["refused"] = pd.array([self.refused(len(p), int(n)) if n else "" for p, n in zip(packets, number)], "str")
        return pd.DataFrame(columns)


class _Found:
    """What the agent gave back: a row of numbers for each packet (errno, return value, ns, bytes after or -1, context)."""

    def __init__(self, numbers: np.ndarray, data: bytes, contexts: list[bytes]):
        self.numbers, self.data, self.contexts = numbers, data, contexts

    def after(self) -> dict[int, bytes]:
        """The packets that are not as they were, by their place in the table."""
        sizes = self.numbers[:, 3]
        rows = np.flatnonzero(sizes >= 0)
        ends = np.cumsum(sizes[rows])
        return {int(row): self.data[end - sizes[row] : end] for row, end in zip(rows, ends.tolist())}
