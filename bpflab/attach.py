"""Where a program can be put to work: one method for each kind of place."""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from . import elf, interfaces, kinds, tcx
from .errors import BpfError, NotSupportedError, UnknownNameError
from .interfaces import name_of
from .link import Link
from .machines import AgentError
from .refusal import attach_hint, not_permitted

if TYPE_CHECKING:
    from .map import Map

XDP_MODES = {None: 0, "generic": 1 << 1, "native": 1 << 2, "offload": 1 << 3}  # XDP_FLAGS_*, linux/if_link.h
# sections that leave the place to whoever attaches
_NAMED_LATER = {
    "tp": "attach_tracepoint",
    "tracepoint": "attach_tracepoint",
    "raw_tp": "attach_raw_tracepoint",
    "raw_tracepoint": "attach_raw_tracepoint",
    "kprobe": "attach_kprobe",
    "kretprobe": "attach_kretprobe",
    "uprobe": "attach_uprobe",
    "uretprobe": "attach_uprobe",
    "usdt": "attach_usdt",
}
# SEC("uprobe/PATH:FUNCTION"), as libbpf takes it; one with an offset behind goes to libbpf as it is
_USER_FUNCTION = re.compile(r"u(?P<ret>ret)?probe(?:\.s)?/(?P<binary>.+):(?P<symbol>[^:+]+)")
_USDT = re.compile(r"usdt(?:\.s)?/(?P<binary>.+):(?P<provider>[^:]+):(?P<name>[^:]+)")
_ATTACH = {name: number for number, name in enumerate(kinds.ATTACH_TYPES)}


class Attachable:
    """The `attach_...` methods of a `Program`."""

    def _attach(self, target: str, feature: str, name: str, *arguments, why: Callable[[int], Exception | None] | None = None) -> Link:
        """`why` is asked for a better word when the kernel refused: it takes the errno."""
        self._refuse_closed()
        try:
            about = self._lab.ask(name, *arguments)
        except AgentError as error:
            complaint = self._complain(error, target, feature)
            better = why(error.payload["errno"]) if why and not isinstance(complaint, NotSupportedError) else None
            raise better or complaint from None
        link = Link(self._lab, self, target, about)
        self._links = [*(one for one in self._links if not one.detached), link]
        return link

    def _complain(self, error: AgentError, target: str, feature: str) -> Exception:
        number = error.payload["errno"]
        said = "; ".join(line for line in error.payload.get("said", []) if line)
        if denied := not_permitted(self._lab, number, f"program '{self.name}' does not attach to {target}"):
            return denied
        missing = self._lab.missing(feature)
        if missing:
            return NotSupportedError(feature, self._lab.where, missing, number)
        if number in (errno.EOPNOTSUPP, 524):
            return NotSupportedError(f"{feature} ({target})", self._lab.where, said or str(error), number)
        if error.payload["type"] == "NoDevice":
            where = interfaces.elsewhere(self._lab, str(error))
            return BpfError(f"program '{self.name}' does not attach: {error}{where and '; '}{where}", number)
        hint = attach_hint(self, target, number)
        parts = [f"program '{self.name}' does not attach to {target}"]
        parts += [f": {said or error}"] if said or number == 0 else []
        parts += [f"; {hint}"] if hint else []
        return BpfError("".join(parts), number)

    def _must_be(self, attach_type: str, section: str) -> None:
        if self.attach_type != attach_type:
            raise TypeError(f"program '{self.name}' is SEC(\"{self.section}\"); this is for SEC(\"{section}\"), attach() is for any")

    def _close_links(self) -> None:
        for link in self._links:
            link.detach()

    def attach(self, *target, **options) -> Link:
        """Attach as its SEC() says; what the section cannot say (an interface, a cgroup, a map) is given here.

        Examples
        --------
        `prog.attach()` for SEC("tp/syscalls/sys_enter_execve"); `prog.attach(net["a"].dev)` for SEC("xdp").
        """
        attach_of = {
            "xdp": self.attach_xdp,
            "sched_cls": self.attach_tcx,
            "socket_filter": self.attach_socket,
            "perf_event": self.attach_perf_event,
            "sk_skb": self.attach_sockmap,
            "sk_msg": self.attach_sockmap,
            "sk_lookup": self.attach_netns,
            "flow_dissector": self.attach_netns,
            "sk_reuseport": self.attach_reuseport,
        }.get(self.type)
        if self.type.startswith("cgroup") or self.type == "sock_ops":
            attach_of = self.attach_cgroup
        elif self.type.startswith("lwt_"):
            attach_of = self.attach_lwt
        if attach_of and not target and not options and self.type not in ("perf_event", "sk_lookup", "flow_dissector"):
            raise TypeError(f"program '{self.name}' is of type {self.type}: say where, with {attach_of.__name__}(...)")
        if attach_of:
            return attach_of(*target, **options)
        if target or options:
            raise TypeError(f"program '{self.name}' goes where SEC(\"{self.section}\") says; attach() takes no target")
        how = _NAMED_LATER.get(self.section.removesuffix(".s"))
        if how:
            raise TypeError(f"program '{self.name}': SEC(\"{self.section}\") does not say where it goes; say it with {how}(...)")
        if self.type == "tracepoint":
            self._lab.check_tracepoint(*self.section.split("/")[1:3])  # offers the near names
        if user := _USER_FUNCTION.fullmatch(self.section):
            return self.attach_uprobe(user["binary"], user["symbol"], retprobe=bool(user["ret"]))
        if probe := _USDT.fullmatch(self.section):
            return self.attach_usdt(probe["binary"], probe["provider"], probe["name"])
        feature, _, place = self.section.partition("/")
        feature, why = feature.rstrip("+"), None
        if feature in ("raw_tp", "raw_tracepoint"):
            why = functools.partial(self._no_raw_tracepoint, place)
        if feature in ("kprobe", "kretprobe"):
            function, _, offset = place.partition("+")
            why = functools.partial(self._no_kprobe, function, int(offset or "0", 0))
        if feature in ("kprobe", "kretprobe", "ksyscall", "kretsyscall"):
            feature = "kprobe"
        return self._attach(self.section, feature, "links.auto", self._handle, self.name, why=why)

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
        pid: int | None = None,
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
        pid : int, optional
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
        if gone := self._no_process(pid, number):
            return gone
        from . import uprobes

        binary = elf.binary(self._lab, path)
        return uprobes.unknown(self._lab, binary, name) if name and binary.function(name) is None else None

    def attach_usdt(self, binary: str, provider: str, name: str, *, pid: int | None = None) -> Link:
        """A statically defined probe (SystemTap's sys/sdt.h) of a program or library, with `pid` as that process sees it."""
        path = elf.path_of(self._lab, binary, pid)
        arguments = (self._handle, self.name, path, provider, name, -1 if pid is None else pid)
        why = functools.partial(self._no_usdt, path, provider, name, pid)
        return self._attach(f"USDT {provider}:{name} of {binary}", "usdt", "links.usdt", *arguments, why=why)

    def _no_usdt(self, path: str, provider: str, name: str, pid: int | None, number: int) -> Exception | None:
        if gone := self._no_process(pid, number):
            return gone
        from . import uprobes

        binary = elf.binary(self._lab, path)
        has = any((one.provider, one.name) == (provider, name) for one in binary.usdt)
        return None if has else uprobes.unknown_usdt(self._lab, binary, provider, name)

    def attach_perf_event(
        self, event: str = "cpu-clock", *, frequency: int = 0, period: int = 0, pid: int | None = None, cpus=None
    ) -> Link:
        """Samples of a performance event (perf_event_open(2)).

        Parameters
        ----------
        event : str
            "cpu-clock", "page-faults", "cpu-cycles", ...
        frequency, period : int
            Samples a second, or one sample every `period` events (of cpu-clock: nanoseconds). 99 Hz if neither is given.
        pid : int, optional
            Only this process, on any CPU; else every process on `cpus` (all of them).
        """
        if event not in kinds.PERF_EVENTS:
            raise UnknownNameError("perf event", event, kinds.PERF_EVENTS)
        if frequency < 0 or period < 0 or (frequency and period):
            raise ValueError("give frequency (samples a second) or period (events per sample), a positive number")
        if not period:
            frequency = frequency or 99
        kind, config = kinds.PERF_EVENTS[event]
        where = [-1] if pid is not None else list(cpus) if cpus is not None else list(range(self._lab.online))
        if not where:
            raise ValueError("cpus has no CPU in it; leave it out for all of them")
        arguments = (self._handle, self.name, kind, config, frequency, period, -1 if pid is None else pid, where)
        why = functools.partial(self._no_process, pid)
        return self._attach(f"perf event {event}", f"perf event {event}", "links.perf_event", *arguments, why=why)

    def _no_process(self, pid: int | None, number: int) -> Exception | None:
        return elf.gone(self._lab, pid) if pid is not None and not self._lab.ask("binaries.alive", pid) else None

    def attach_xdp(self, dev, mode: str | None = None) -> Link:
        """An interface, before the network stack.

        Parameters
        ----------
        dev : Device or str
            Of a `netlab`, or the name of an interface of the lab machine itself.
        mode : {None, "native", "generic", "offload"}
            None lets the kernel choose. On a veth, what a native program sends back (XDP_TX) is delivered only where the
            other end has an XDP program too, if only one that passes (veth_xdp_flush in drivers/net/veth.c).
        """
        if mode not in XDP_MODES:
            raise ValueError(f"mode is native, generic or offload, not {mode!r}")
        feature = f"XDP {mode}" if mode else "XDP"
        return self._on_dev(dev, f"XDP on {name_of(dev)}", feature, "xdp", XDP_MODES[mode])

    def attach_tcx(self, dev, direction: str = "ingress", *, before: Link | str | None = None, after: Link | str | None = None) -> Link:
        """An interface, where traffic control sits, as a link (tcx, since 6.6).

        Parameters
        ----------
        before, after : Link or "all", optional
            Where it stands among the tcx programs of this place; after all of them when neither is given.
        """
        return self._on_dev(dev, f"tcx {tcx.checked(direction)} of {name_of(dev)}", "tcx", f"tcx_{direction}", *tcx.order(before, after))

    def attach_tc(self, dev, direction: str = "ingress") -> Link:
        """The same place the old way: a direct-action filter on a clsact qdisc."""
        ingress = tcx.checked(direction) == "ingress"
        target = f"tc {direction} of {name_of(dev)}"
        return self._attach(target, "tc", "links.clsact", self.fd, interfaces.netns_of(dev, self._lab), name_of(dev), ingress)

    def _on_dev(self, dev, target: str, feature: str, attach_type: str, flags: int, beside: int = 0) -> Link:
        arguments = (self.fd, interfaces.netns_of(dev, self._lab), name_of(dev), _ATTACH[attach_type], flags, beside)
        return self._attach(target, feature, "links.create_dev", *arguments)

    def attach_cgroup(self, cgroup, attach_type: str | None = None) -> Link:
        """A control group: every process in it and below it.

        Parameters
        ----------
        cgroup : Cgroup or str
            Of `Lab.cgroup`, or a path.
        attach_type : str, optional
            Where SEC() does not say: SEC("cgroup/skb") goes to "cgroup_inet_egress" or "cgroup_inet_ingress".
        """
        getattr(cgroup, "fd", None)  # raises when the group was removed
        if not attach_type and self.section == "cgroup/skb":
            raise TypeError(
                f"program '{self.name}' is SEC(\"cgroup/skb\"), which does not say the direction: "
                'attach_cgroup(cgroup, "cgroup_inet_egress") or "cgroup_inet_ingress"'
            )
        path = getattr(cgroup, "path", cgroup)
        kind = kinds.number_of(kinds.ATTACH_TYPES, attach_type or self.attach_type, "attach type")
        target = f"{kinds.ATTACH_TYPES[kind]} of {path}"
        return self._attach(target, kinds.ATTACH_TYPES[kind], "links.create_path", self.fd, path, kind)

    def attach_netns(self, netns="") -> Link:
        """A network namespace (sk_lookup, flow_dissector): a host of a `netlab`, or the lab machine's own."""
        path = (netns if isinstance(netns, str) else interfaces.netns_of(netns, self._lab)) or "/proc/self/ns/net"
        return self._attach(f"network namespace {path}", self.type, "links.create_path", self.fd, path, _ATTACH[self.attach_type])

    def attach_lwt(self, dev, destination: str, via: str = "") -> Link:
        """A route (lwt_in, lwt_out, lwt_xmit): packets to `destination` out of an interface pass the program.

        Parameters
        ----------
        dev : Device or str
        destination : str
            An address or prefix: "10.0.1.2", "fd00::/8", "default".
        via : str, optional
            The next hop, where the destination is no neighbour.
        """
        target = f"the route to {destination} on {name_of(dev)}"
        direction = self.type.removeprefix("lwt_")
        return self._attach(target, self.type, "links.route", self.fd, interfaces.netns_of(dev, self._lab), name_of(dev), destination, via, direction)

    def attach_socket(self, target) -> Link:
        """A socket filter: on a `Socket` of the lab, or on a raw packet socket opened for an interface."""
        if hasattr(target, "recv"):
            return self._attach(f"{target!r}", "socket filter", "links.socket_option", self.fd, target.fd, 50, 27)
        return self._attach(
            f"a packet socket on {name_of(target)}", "socket filter", "links.packet_socket", self.fd, interfaces.netns_of(target, self._lab), name_of(target)
        )

    def attach_reuseport(self, sock) -> Link:
        """A group of sockets that share a port (SO_ATTACH_REUSEPORT_EBPF); any of them stands for the group."""
        return self._attach(f"{sock!r}", "sk_reuseport", "links.socket_option", self.fd, sock.fd, 52, 68)

    def attach_sockmap(self, map: Map) -> Link:
        """A sock map or sock hash (sk_skb, sk_msg): every socket that is put into it from now on, until it is taken out."""
        if map.type not in ("sockmap", "sockhash"):
            raise TypeError(f"program '{self.name}' attaches to a sock map or sock hash, not to {map!r}")
        kind = _ATTACH[self.attach_type]
        return self._attach(f"map '{map.name}'", self.attach_type, "links.raw_attach", self.fd, map.fd, kind)

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
