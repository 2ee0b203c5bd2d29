"""Programs of a BCC text: loaded when their type is known, which is by name, by context, or by where they attach."""

from __future__ import annotations

import difflib
import errno
import functools
import re
from typing import TYPE_CHECKING

from . import kinds
from .errors import BpfError, NotSupportedError, VerifierError
from .link import Link
from .machines import AgentError
from .program import Program

if TYPE_CHECKING:
    from .lab import Lab

# what the name of a function says, as BCC's BPF._trace_autoload reads it: prefix -> (program type, SEC() of libbpf)
_PREFIXES = {
    "kprobe__": ("kprobe", "kprobe"),
    "kretprobe__": ("kprobe", "kretprobe"),
    "tracepoint__": ("tracepoint", "tp"),
    "raw_tracepoint__": ("raw_tracepoint", "raw_tp"),
    "kfunc__": ("tracing", "fentry"),
    "kretfunc__": ("tracing", "fexit"),
    "lsm__": ("lsm", "lsm"),
}
# what the context says; struct __sk_buff is left out, since five types have it
_CONTEXTS = {
    "pt_regs": "kprobe",
    "xdp_md": "xdp",
    "bpf_perf_event_data": "perf_event",
    "bpf_raw_tracepoint_args": "raw_tracepoint",
    "bpf_sock_ops": "sock_ops",
    "bpf_sock_addr": "cgroup_sock_addr",
    "sk_msg_md": "sk_msg",
}


class BccProgram(Program):
    """A program of a BCC text.

    As `Program`, but loaded by the first `attach_...`, or by `load(type)`, unless its name or its context already
    tells the type. Until then `id` and `type` are None.
    """

    def __init__(self, lab: Lab, name: str, handle: int, text: str, places):
        self._lab, self._handle, self.name = lab, handle, name
        self._object = None
        self._loaded: int | None = None
        self._text, self._places = text, list(places)
        self._links: list[Link] = []
        self.id = self.type = None
        self.attach_type = "unspec"
        self._prefix = next((p for p in _PREFIXES if name.startswith(p)), None)
        context = re.search(rf"\b{re.escape(name)}\s*\(\s*struct\s+(\w+)\s*\*", text)
        self._context = context[1] if context else ""
        self.section = f"{_PREFIXES[self._prefix][1]}/{self._rest()}" if self._prefix else ""

    def _rest(self) -> str:
        rest = self.name.removeprefix(self._prefix)
        return rest.replace("__", "/", 1) if self._prefix == "tracepoint__" else rest

    # -- load

    def _load_if_known(self) -> None:
        kind = _PREFIXES[self._prefix][0] if self._prefix else _CONTEXTS.get(self._context)
        if self._places or self._context.startswith("tracepoint__"):
            kind = "kprobe" if self._places else "tracepoint"
        if kind:
            self.load(kind)

    def load(self, type: str, attach_type: str | None = None) -> BccProgram:
        """Load it as a program of a type ("xdp", "socket_filter", ...); once it is loaded, that stays.

        Raises
        ------
        VerifierError
            The verifier rejected it.
        NotSupportedError
            The kernel has no such type.
        TypeError
            It is loaded already, as another type.
        """
        number = kinds.number_of(kinds.PROG_TYPES, type, "program type")
        kind = kinds.PROG_TYPES[number]
        if self._loaded is not None:
            if kind != self.type:
                raise TypeError(
                    f"program '{self.name}' is loaded as {self.type}, and cannot be {kind} as well; write a second function"
                )
            return self
        attach = -1 if attach_type is None else kinds.number_of(kinds.ATTACH_TYPES, attach_type, "attach type")
        try:
            about = self._lab.ask("bcc.load", self._handle, self.name, number, attach)
        except AgentError as error:
            raise self._refused(error, kind) from None
        self._loaded, self.id, self.type = about["fd"], about["id"], kind
        self.attach_type = attach_type or self.attach_type
        return self

    def _refused(self, error: AgentError, kind: str) -> Exception:
        number, said = error.payload["errno"], error.payload.get("log", "")
        log = re.sub(r"\A(?:bpf: )?Failed to load program: .*\n", "", said).strip("\0\n")
        if re.search(r"^(?:\d+: |; |R\d|processed \d)", log, re.M):
            return VerifierError(self.name, _own_lines(log, self._text, error.payload["rewritten"]), number, self._text)
        feature = self.section.split("/")[0] or kind
        missing = self._lab.missing(feature)
        if missing:
            return NotSupportedError(feature, self._lab.where, missing, number)
        told = " ".join(said.split())
        return BpfError(f"program '{self.name}' does not load as {kind}{': ' if told else ''}{told}", number)

    @property
    def _fd(self) -> int:
        if self._loaded is None:
            raise BpfError(
                f"program '{self.name}' is not loaded, since nothing tells its type; attach it, or .load('socket_filter') first",
                errno.EBADF,
            )
        return self._loaded

    # -- attach

    def attach(self, *target, **options) -> Link:
        """Attach as its name says (kprobe__..., tracepoint__...), or as its context lets no doubt.

        Raises
        ------
        TypeError
            Neither tells; the text says what to call instead.
        """
        if self._places and not target:
            return self._attach(
                f"USDT probe in {self._places[0][0]}", "usdt", "perf_links.usdt", self._fd, self._places
            )
        rest = self.name.removeprefix(self._prefix or "")
        match self._prefix:
            case "kprobe__":
                return self.attach_kprobe(self._syscall(rest))
            case "kretprobe__":
                return self.attach_kretprobe(self._syscall(rest))
            case "tracepoint__":
                return self.attach_tracepoint(*rest.split("__", 1))
            case "raw_tracepoint__":
                return self.attach_raw_tracepoint(rest)
            case "kfunc__" | "kretfunc__" | "lsm__":
                return self._attach(self.section, _PREFIXES[self._prefix][1], "bcc.tracing", self._fd)
        if self._loaded is None or self.type in ("kprobe", "tracepoint", "raw_tracepoint"):
            raise TypeError(
                f"nothing says where program '{self.name}' goes; call one of its attach_ methods "
                "(attach_kprobe, attach_uprobe, attach_xdp, attach_socket, ...)"
            )
        return super().attach(*target, **options)

    def _attach(self, target: str, feature: str, name: str, *arguments, why=None) -> Link:
        # what libbpf attaches by the name of a program in its object goes by descriptor here
        if arguments[:2] == (self._handle, self.name):
            name, arguments = name.replace("links.", "perf_links."), (self._fd, *arguments[2:])
        return super()._attach(target, feature, name, *arguments, why=why)

    def _syscall(self, function: str) -> str:
        """BCC's names kprobe__sys_open and kprobe__syscall__open mean the function of the system call."""
        for start in ("syscall__", "sys_"):
            if function.startswith(start):
                prefix = {"x86_64": "__x64_sys_", "aarch64": "__arm64_sys_"}.get(self._lab.arch, "sys_")
                return prefix + function.removeprefix(start)
        return function

    def attach_usdt(self, binary: str, provider: str, name: str, *, pid: int | None = None) -> Link:
        place = f"('{binary}', '{provider}:{name}')"
        raise TypeError(
            f"BCC needs to know USDT probes before it compiles: lab.bcc(text, usdt={{'{self.name}': {place}}})"
        )

    def attach_cgroup(self, cgroup, attach_type: str | None = None) -> Link:
        if self._loaded is None:
            if attach_type is None:
                raise TypeError(
                    f"say where in the cgroup program '{self.name}' goes: attach_type='cgroup_inet_egress' or another"
                )
            self.load(_CGROUP_TYPES.get(attach_type.lower(), "cgroup_sock_addr"), attach_type)
        return super().attach_cgroup(cgroup, attach_type)

    def __repr__(self) -> str:
        if self._loaded is None:
            return f"<program '{self.name}' of BCC, not loaded yet>"
        return f"<{self.type} program '{self.name}' of BCC, id {self.id}>"


def _own_lines(log: str, text: str, rewritten: str) -> str:
    """A log with the lines of the text as it was written: BCC numbers those of what it has made of it."""
    ours, theirs = text.splitlines(), rewritten.splitlines()
    first = getattr(text, "line", 1)
    matcher = difflib.SequenceMatcher(None, ours, theirs, autojunk=False)
    numbers = {}
    for _, a, b, c, d in matcher.get_opcodes():
        for i in range(c, d):  # what BCC inserts stands before what it changes, so count from the end
            numbers[i] = max(min(b, len(ours)) - (d - i), min(a, len(ours) - 1))

    def own(match: re.Match) -> str:
        at = numbers.get(int(match[2]) - first)
        return match[0] if at is None else f"; {ours[at].strip()} @ {match[1]}:{at + first}"

    return re.sub(r"^; .*@ ([^@\n]+):(\d+)$", own, log, flags=re.M)


_CGROUP_TYPES = {
    "cgroup_inet_ingress": "cgroup_skb",
    "cgroup_inet_egress": "cgroup_skb",
    "cgroup_inet_sock_create": "cgroup_sock",
    "cgroup_sock_ops": "sock_ops",
    "cgroup_device": "cgroup_device",
    "cgroup_sysctl": "cgroup_sysctl",
    "cgroup_getsockopt": "cgroup_sockopt",
    "cgroup_setsockopt": "cgroup_sockopt",
}


def _loading(method: str, kind: str):
    inherited = getattr(Program, method)

    @functools.wraps(inherited)
    def attach(self, *arguments, **options):
        self.load(kind)
        return inherited(self, *arguments, **options)

    return attach


for _method, _kind in {
    "attach_kprobe": "kprobe",
    "attach_uprobe": "kprobe",
    "attach_tracepoint": "tracepoint",
    "attach_raw_tracepoint": "raw_tracepoint",
    "attach_perf_event": "perf_event",
    "attach_xdp": "xdp",
    "attach_tc": "sched_cls",
    "attach_tcx": "sched_cls",
    "attach_socket": "socket_filter",
}.items():
    setattr(BccProgram, _method, _loading(_method, _kind))
