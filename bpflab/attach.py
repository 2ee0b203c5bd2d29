"""Putting a program to work where its SEC() says, and what to say of a refusal; the places are in attach_tracing.py and attach_net.py."""

from __future__ import annotations

import errno
import functools
import re
from collections.abc import Callable

from . import interfaces
from .attach_net import AttachNet
from .attach_tracing import AttachTracing
from .errors import BpfError, NotSupportedError
from .link import Link
from .machines import AgentError
from .refusal import attach_hint, not_permitted

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


class Attachable(AttachTracing, AttachNet):
    """The `attach_...` methods of a `Program`."""

    def _attach(
        self, target: str, feature: str, name: str, *arguments, why: Callable[[int], Exception | None] | None = None
    ) -> Link:
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
            raise TypeError(
                f'program \'{self.name}\' is SEC("{self.section}"); this is for SEC("{section}"), attach() is for any'
            )

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
            raise TypeError(
                f"program '{self.name}': SEC(\"{self.section}\") does not say where it goes; say it with {how}(...)"
            )
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
