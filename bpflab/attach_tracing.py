"""Where a program that traces is attached: tracepoints, functions of the kernel and of programs, samples, iterators."""

from __future__ import annotations

import errno
import functools
from typing import TYPE_CHECKING

from . import elf, kinds
from .errors import UnknownNameError
from .link import Link
from .process import gone, number_of

if TYPE_CHECKING:
    from .map import Map
    from .process import Process


class AttachTracing:
    """The `attach_...` methods of a `Program` that watch what the kernel or a process does."""

    def attach_tracepoint(self, category: str, name: str) -> Link:
        """A tracepoint by its tracefs names: attach_tracepoint("syscalls", "sys_enter_execve")."""
        self._lab.check_tracepoint(category, name)
        target = f"tracepoint {category}:{name}"
        return self._attach(target, "tracepoint", "links.tracepoint", self._handle, self.name, category, name)

    def attach_raw_tracepoint(self, name: str) -> Link:
        """A tracepoint with its raw arguments (BPF_RAW_TRACEPOINT_OPEN)."""
        why = functools.partial(self._no_raw_tracepoint, name)
        return self._attach(f"raw tracepoint {name}", "raw_tracepoint", "links.raw_tracepoint", self.fd, name, why=why)

    def _no_raw_tracepoint(self, name: str, number: int) -> Exception | None:
        if number != errno.ENOENT:
            return None
        from . import traceable

        listed = traceable.catalog(self._lab).tracepoints
        close = traceable.near(name, [listed])
        tail = "did you mean " + " or ".join(f"'{one}'" for one in close) + "?" if close else "nothing has that name; search with lab.events()"
        return UnknownNameError("raw tracepoint", name, close, self._lab.where, tail=tail)

    def attach_kprobe(self, function: str, *, offset: int = 0, retprobe: bool = False, cookie: int = 0) -> Link:
        """A kernel function, at its entry or `offset` bytes in, or at its return."""
        what = "kretprobe" if retprobe else "kprobe"
        arguments = (self._handle, self.name, function, offset, retprobe, cookie)
        why = functools.partial(self._no_kprobe, function, offset)
        return self._attach(f"{what} {function}", "kprobe", "links.kprobe", *arguments, why=why)

    def _no_kprobe(self, function: str, offset: int, number: int) -> Exception | None:
        from . import uprobes  # and with it disassembly and the lists of names, which a start need not wait for

        return uprobes.unknown_function(self._lab, function) or uprobes.not_allowed(self._lab, function, offset, number)

    def attach_kretprobe(self, function: str, *, cookie: int = 0) -> Link:
        return self.attach_kprobe(function, retprobe=True, cookie=cookie)

    def attach_uprobe(
        self,
        binary: str,
        symbol: str | int,
        *,
        pid: int | Process | None = None,
        retprobe: bool = False,
        at: str = "entry",
        force: bool = False,
        cookie: int = 0,
    ) -> Link:
        """A function of a program or library on the lab machine.

        Parameters
        ----------
        binary : str
            Path, or the name of a library ("libc.so.6") or of a program in PATH. With `pid` as that process sees it: of one in
            a container, the container's file.
        symbol : str or int
            Function name, or the offset in the file of an instruction.
        pid : int or Process, optional
            Only this process; None for all.
        retprobe : bool
            When the function returns (a uretprobe), which writes into the stack.
        at : {"entry", "returns"}
            "returns" puts a probe on every return instruction of the function: what a Go program allows.
        force : bool
            Do what is refused for good reason: a uretprobe on a Go program, an offset that is no instruction's.

        Raises
        ------
        UnknownNameError
            No such function; the message says whether it was inlined or stripped away, or has the near names.
        LabError
            It would break the program.
        BpfError
            The process has ended.
        """
        name, offset = (symbol, 0) if isinstance(symbol, str) else ("", symbol)
        if offset < 0:
            raise ValueError(f"an offset in {binary} is 0 or more, not {offset}")
        if at not in ("entry", "returns") or (at == "returns" and (retprobe or not name)):
            raise ValueError("at is 'entry' or 'returns'; 'returns' goes with a function's name, and without retprobe")
        from . import uprobes

        pid = number_of(pid)
        path = elf.path_of(self._lab, binary, pid)
        who = -1 if pid is None else pid
        if at == "returns":
            places = uprobes.returns(self._lab, elf.binary(self._lab, path), name)
            target = f"the {len(places)} return instructions of {binary}:{symbol}"
            return self._attach(target, "uprobe", "links.uprobes", self._handle, self.name, path, places, who, cookie)
        uprobes.check(self._lab, path, symbol, retprobe, force)
        target = f"{'uretprobe' if retprobe else 'uprobe'} {binary}:{symbol}"
        arguments = (self._handle, self.name, path, name, offset, who, retprobe, cookie)
        return self._attach(target, "uprobe", "links.uprobe", *arguments, why=functools.partial(self._no_uprobe, path, name, pid))

    def _no_uprobe(self, path: str, name: str, pid: int | None, number: int) -> Exception | None:
        if ended := self._no_process(pid, number):
            return ended
        from . import uprobes

        binary = elf.binary(self._lab, path)
        return uprobes.unknown(self._lab, binary, name) if name and binary.function(name) is None else None

    def attach_usdt(self, binary: str, provider: str, name: str, *, pid: int | Process | None = None) -> Link:
        """A statically defined probe (SystemTap's sys/sdt.h) of a program or library, with `pid` as that process sees it."""
        pid = number_of(pid)
        path = elf.path_of(self._lab, binary, pid)
        arguments = (self._handle, self.name, path, provider, name, -1 if pid is None else pid)
        why = functools.partial(self._no_usdt, path, provider, name, pid)
        return self._attach(f"USDT {provider}:{name} of {binary}", "usdt", "links.usdt", *arguments, why=why)

    def _no_usdt(self, path: str, provider: str, name: str, pid: int | None, number: int) -> Exception | None:
        if ended := self._no_process(pid, number):
            return ended
        from . import uprobes

        binary = elf.binary(self._lab, path)
        has = any((one.provider, one.name) == (provider, name) for one in binary.usdt)
        explain = uprobes.unreadable_usdt if has else uprobes.unknown_usdt
        return explain(self._lab, binary, provider, name)

    def attach_perf_event(
        self, event: str = "cpu-clock", *, frequency: int | None = None, period: int | None = None, pid: int | Process | None = None, cpus=None
    ) -> Link:
        """Samples of a performance event (perf_event_open(2)).

        Parameters
        ----------
        event : str
            "cpu-clock", "page-faults", "cpu-cycles", ...
        frequency, period : int, optional
            Samples a second, or one sample every `period` events (of cpu-clock: nanoseconds). 99 Hz if neither is given.
        pid : int or Process, optional
            Only this process, on any CPU; else every process on `cpus` (all of them).
        """
        if event not in kinds.PERF_EVENTS:
            raise UnknownNameError("perf event", event, kinds.PERF_EVENTS)
        if frequency is not None and period is not None:
            raise ValueError("give frequency (samples a second) or period (events for one sample), not both")
        for what, value in (("frequency", frequency), ("period", period)):
            if value is not None and value < 1:
                raise ValueError(f"{what} is {value}; give 1 or more, or leave it out for 99 samples a second")
        if period is None:
            frequency = 99 if frequency is None else frequency
        pid = number_of(pid)
        kind, config = kinds.PERF_EVENTS[event]
        where = [-1] if pid is not None else list(cpus) if cpus is not None else list(range(self._lab.online))
        if not where:
            raise ValueError("cpus has no CPU in it; leave it out for all of them")
        arguments = (self._handle, self.name, kind, config, frequency or 0, period or 0, -1 if pid is None else pid, where)
        why = functools.partial(self._no_process, pid)
        return self._attach(f"perf event {event}", f"perf event {event}", "links.perf_event", *arguments, why=why)

    def _no_process(self, pid: int | None, number: int) -> Exception | None:
        return gone(self._lab, pid) if pid is not None and not self._lab.ask("binaries.alive", pid) else None

    def attach_iter(self, map: Map | None = None) -> Link:
        """An iterator; `link.read()` runs it. One that walks a map's elements takes the map."""
        self._must_be("trace_iter", "iter/...")
        if map is None:
            return self._attach(self.section, "iter", "links.auto", self._handle, self.name)
        return self._attach(f"iterator of map '{map.name}'", "iter", "links.iter_map", self._handle, self.name, map.fd)

    def attach_fentry(self) -> Link:
        """A kernel function's entry, by BTF, as SEC("fentry/...") names it."""
        self._must_be("trace_fentry", "fentry/...")
        return self._attach(self.section, "fentry", "links.auto", self._handle, self.name)

    def attach_fexit(self) -> Link:
        self._must_be("trace_fexit", "fexit/...")
        return self._attach(self.section, "fexit", "links.auto", self._handle, self.name)

    def attach_lsm(self) -> Link:
        """A security hook, as SEC("lsm/...") names it."""
        self._must_be("lsm_mac", "lsm/...")
        return self._attach(self.section, "LSM programs", "links.auto", self._handle, self.name)
