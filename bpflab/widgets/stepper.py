"""The stepper: `step` and its widget."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import pandas as pd
import traitlets

from .. import verdicts
from ..insn.memory import STACK_SIZE
from ..insn.run import Run, run
from ..insn.trace import MAX_STEPS
from ..packet import Field

_STATIC = Path(__file__).parent / "static"
SHOWN = 128  # bytes of a packet that are shown though the program does not look at them


class Stepper(anywidget.AnyWidget):
    """A run of a program, to walk through. Made by `step`.

    Attributes
    ----------
    verdict : int or None
        What the program returned; None when the run could not be finished (`stopped` says why).
    kernel : int or None
        What the kernel says; of a classic filter the bytes of the packet that came through. None when it could not be asked.
    agrees : bool or None
        Whether the two are the same.
    position : int
        Instructions done, of those that are kept; set it to go there.
    trace : bpflab.insn.trace.Trace
        Every step.
    """

    _esm = "\n".join((_STATIC / part).read_text() for part in ("machine.js", "stepper.js"))
    _css = "\n".join((_STATIC / part).read_text() for part in ("machine.css", "stepper.css"))
    _run = traitlets.Dict().tag(sync=True)
    position = traitlets.Int(0).tag(sync=True)

    def __init__(self, done: Run):
        self._done = done
        self.trace, self.verdict, self.stopped = done.trace, done.verdict, done.trace.stopped
        self.kernel, self.agrees = done.kernel, done.agrees
        super().__init__(_run=_page(done))

    @traitlets.validate("position")
    def _there(self, proposal):
        last = len(self.trace.steps)
        if not 0 <= proposal["value"] <= last:
            raise traitlets.TraitError(f"{proposal['value']} is no position of this run; give 0 to {last}")
        return proposal["value"]

    def to_frame(self) -> pd.DataFrame:
        """The steps: `pc`, `instruction`, `what` it did, `next`."""
        steps = self.trace.steps
        columns = {"pc": [s.pc for s in steps], "instruction": [self._done.texts[s.pc] for s in steps], "what": [s.note for s in steps]}
        return pd.DataFrame({**columns, "next": pd.array([s.next for s in steps], dtype="Int64")})

    def __repr__(self) -> str:
        done = self._done
        width = max((len(done.texts[s.pc]) for s in self.trace.steps[:30]), default=0)
        lines = [f"{done.name} ({done.kind}): {_verdict(done)}; {_kernel(done)}"]
        lines += [f"{s.pc:4}: {done.texts[s.pc]:<{width}}  {s.note}" for s in self.trace.steps[:30]]
        if self.trace.count > 30:
            lines.append(f"      ... {self.trace.count - 30:,} more")
        if self.stopped:
            lines.append(self.stopped)
        return "\n".join(lines)


def step(source: Any, packet: Any = None, *, ctx: bytes | None = None, type: str | None = None, check: bool = True) -> Stepper:
    """Run a filter or a program on a packet, one instruction after the other, forward and back.

    The run is worked out here, on copies of the packet and of the maps: stepping changes nothing in the kernel. Then the kernel
    is asked to run the same, and its verdict stands beside the stepper's.

    Parameters
    ----------
    source : Program or str or list or pathlib.Path
        A loaded program; a filter expression ("udp port 53", compiled by tcpdump on the lab machine), or what ``tcpdump -d``, ``-dd`` or
        ``-ddd`` prints; (code, jt, jf, k) rows of a classic filter; C text or a file with one program; a list of
        `bpflab.insn.Insn`.
    packet : bytes or str or scapy packet
        As `bpflab.packet.packet_bytes` takes it, hex text too. At most 65,536 bytes, from the Ethernet header on. Programs that see no
        Ethernet header (socket_filter, cgroup_skb) get what follows it, as in the kernel's own test run.
    ctx : bytes, optional
        The context, for programs that see no packet.
    type : str, optional
        The program type ("xdp") of a list of `Insn`.
    check : bool
        Ask the kernel. It runs the program once, as `test_run` does, so a program that counts counts one more.

    Returns
    -------
    Stepper

    Raises
    ------
    ValueError
        The filter or the instructions are not valid (a jump out of range, a division by the constant 0, ...), as the kernel would say.
    TypeError
        What is given is no program and no packet.
    NotSupportedError
        The program was loaded by BCC, or the machine has no tcpdump.

    Notes
    -----
    A classic filter is what net/core/filter.c runs, an eBPF program what RFC 9669 says. Stepped are all instructions, calls of the program's own
    functions, and these helpers: lookup, update and delete on hash and array maps (of a per-CPU map: the values of CPU 0), ring
    buffer reserve, submit and output, clocks, random numbers, process and CPU ids, bpf_trace_printk, bpf_skb_load_bytes,
    bpf_skb_store_bytes, spin locks. At any other helper, and at kernel functions, callbacks and tail calls, the stepper stops and
    says so; the kernel's verdict is shown all the same.
    """
    return Stepper(run(source, packet, ctx=ctx, type=type, check=check))


def _verdict(done: Run) -> str:
    if done.verdict is None:
        return "not finished"
    if done.kind == "classic":
        return f"returns {done.verdict}: " + (f"let {done.verdict} bytes through" if done.verdict else "drop")
    known = verdicts.names(done.kind)
    name = verdicts.name_of(done.verdict, done.kind, known) if known else ""
    return f"returns {done.verdict}" + (f", {name}" if name and name.lstrip("-") != str(done.verdict) else "")


def _kernel(done: Run) -> str:
    if done.kernel is None:
        return f"kernel{' ' if done.kernel_note.startswith('not asked') else ': '}{done.kernel_note}"
    said = f"kernel: {done.kernel}"
    if done.kind == "classic":
        said = f"kernel: {done.kernel} of {done.size} bytes came through"
    return said + {True: ", the same", False: ", which differs", None: ""}[done.agrees]


def _page(done: Run) -> dict:
    """What the view draws."""
    steps = done.trace.steps
    order = _touched(done)
    numbers = {name: n for n, name in enumerate(order)}
    functions = dict(done.functions) if len(done.functions) > 1 else {}
    rows, before = [], None
    for pc, text in enumerate(done.texts):
        if not text:
            continue
        line = done.lines[pc]
        new = line and (line.file, line.line) != before
        before = (line.file, line.line) if line else before
        rows.append([pc, text, line.line if line else None, line.text if new else None, functions.get(pc)])
    kept = []
    for s in steps:
        changed = {name: _number(done, value) for name, value in s.changed.items()}
        reads = [[numbers[region], at, size, _field(done.fields.get(region, []), at, size)] for region, at, size in s.reads]
        writes = [[numbers[region], at, data.hex()] for region, at, data in s.writes]
        kept.append([s.pc, changed, reads, writes, s.note, s.next])
    end = done.trace.stopped or f"the end: {_verdict(done)}"
    if done.trace.count > MAX_STEPS:
        end = f"the first {MAX_STEPS:,} of {done.trace.count:,} instructions are kept; in the end the program {_verdict(done)}"
    return {
        **{"title": done.name, "kind": "classic BPF" if done.kind == "classic" else done.kind, "verdict": _verdict(done)},
        **{"kernel": _kernel(done), "agrees": done.agrees, "note": done.kernel_note, "stopped": done.trace.stopped},
        **{"rows": rows, "steps": kept, "end": end, "start": _start(done)},
        "regions": [_region(done, name, order[name]) for name in order],
    }


def _start(done: Run) -> dict[str, str]:
    if done.kind == "classic":
        words = sorted({name for s in done.trace.steps for name in s.changed if name[0] == "M"}, key=lambda name: int(name[1:]))
        return {"A": "0", "X": "0", **dict.fromkeys(words, "0")}
    return {**{f"r{n}": "" for n in range(10)}, "r1": "context", "r10": "stack's end"}


def _number(done: Run, value: int) -> str:
    name = done.names(value) if done.names else None
    return name or (str(value) if value < 10 else f"{value} 0x{value:x}")


def _field(known: list[Field], at: int, size: int) -> str:
    """The field or fields that a read takes."""
    met = [f for f in known if f.offset < at + size and at < f.offset + f.size]
    if not met:
        return ""
    said = f" = {met[0].said}" if met[0].said and (met[0].offset, met[0].size) == (at, size) else ""
    if len(met) == 1:
        part = "" if (met[0].offset, met[0].size) == (at, size) else "part of "
        return f"{part}{met[0].title}{said}"
    return f"{met[0].title} to {met[-1].title}"


def _touched(done: Run) -> dict[str, list[tuple[int, int]]]:
    """Regions to show, each with the stretches of it that the run reads or writes."""
    found: dict[str, list[tuple[int, int]]] = {}
    if "packet" in done.first:
        found["packet"] = [(0, min(SHOWN, len(done.first["packet"])))]
    for s in done.trace.steps:
        for name, at, size in s.reads:
            found.setdefault(name, []).append((at, at + size))
        for name, at, data in s.writes:
            found.setdefault(name, []).append((at, at + len(data)))
    return found


def _region(done: Run, name: str, touched: list[tuple[int, int]]) -> dict:
    data = done.first[name]
    width = 8 if name.startswith("stack") else 16
    shown: list[list[int]] = []
    for start, end in sorted(touched):
        start, end = start // width * width, min(len(data), -(-end // width) * width)
        if shown and start <= shown[-1][1]:
            shown[-1][1] = max(shown[-1][1], end)
        else:
            shown.append([start, end])
    inside = lambda f: any(a < f.offset + f.size and f.offset < b for a, b in shown)  # noqa: E731
    return {
        **{"name": name, "size": len(data), "width": width, "top": STACK_SIZE if name.startswith("stack") else 0},
        # XDP reaches the first page of a packet, what is behind it only with helpers
        "of": done.size if name == "packet" and done.kind == "xdp" and len(data) < done.size else 0,
        "chunks": [[start, data[start:end].hex()] for start, end in shown],
        "fields": [[f.offset, f.size, f.title, f.said] for f in done.fields.get(name, []) if inside(f)],
    }
