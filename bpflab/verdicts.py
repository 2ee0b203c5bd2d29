"""What a program's return value means: the names that the kernel's headers have for it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import LabError, UnknownNameError

if TYPE_CHECKING:
    from .lab import Lab

# TC_ACT_ are macros of include/uapi/linux/pkt_cls.h, which no BTF has
_TC = {-1: "UNSPEC", 0: "OK", 1: "RECLASSIFY", 2: "SHOT", 3: "PIPE", 4: "STOLEN", 5: "QUEUED", 6: "REPEAT", 7: "REDIRECT", 8: "TRAP"}
_TC_NAMES = {number: f"TC_ACT_{name}" for number, name in _TC.items()}
# enums of include/uapi/linux/bpf.h, for kernels whose BTF lacks them
_ENUMS = {
    "xdp_action": {0: "XDP_ABORTED", 1: "XDP_DROP", 2: "XDP_PASS", 3: "XDP_TX", 4: "XDP_REDIRECT"},
    "tcx_action_base": {-1: "TCX_NEXT", 0: "TCX_PASS", 2: "TCX_DROP", 7: "TCX_REDIRECT"},
    "bpf_ret_code": {0: "BPF_OK", 2: "BPF_DROP", 7: "BPF_REDIRECT", 128: "BPF_LWT_REROUTE"},
}
# bpf_prog_run_array_cg_skb and BPF_CGROUP_RUN_PROG_INET_EGRESS in include/linux/bpf-cgroup.h
_CGROUP = {0: "drop", 1: "pass", 2: "drop, congested", 3: "pass, congested"}
# what the kernel makes of a value it has no name for: bpf_prog_run_xdp's callers, cls_bpf_exec_opcode in net/sched/cls_bpf.c
_UNKNOWN = {"xdp": "XDP_ABORTED", "sched_cls": "TC_ACT_UNSPEC"}

DROPPING = re.compile(r"drop|SHOT|ABORTED|DROP")
PASSING = re.compile(r"pass|keep|_OK\b|PASS|NEXT|UNSPEC|PIPE")


def names(kind: str, attach_type: str = "unspec", lab: Lab | None = None) -> dict[int, str]:
    """The verdicts of a program type by number, signed.

    Parameters
    ----------
    kind, attach_type : str
        "sched_cls"; "tcx_ingress" tells that TCX_ names are meant.
    lab : Lab, optional
        Whose kernel to ask: its BTF has the enums.
    """
    if kind == "xdp":
        return _enum(lab, "xdp_action")
    if kind in ("sched_cls", "sched_act"):
        return {**_TC_NAMES, **(_enum(lab, "tcx_action_base") if attach_type.startswith("tcx") else {})}
    if kind.startswith("lwt_"):
        return {number: name for number, name in _enum(lab, "bpf_ret_code").items() if "FLOW_DISSECTOR" not in name}
    if kind == "cgroup_skb":
        return _CGROUP
    return {}


def name_of(retval: int, kind: str, known: dict[int, str]) -> str:
    """A return value in words: "XDP_DROP"; "drop" or "keep" of a socket filter, whose value is a number of bytes."""
    if kind == "socket_filter":
        return "keep" if retval else "drop"
    return known.get(_signed(retval), str(_signed(retval)))


def unknown(retval: int, kind: str, known: dict[int, str]) -> str:
    """What the kernel makes of a value that has no name; empty when it has one."""
    if not known or _signed(retval) in known or kind not in _UNKNOWN:
        return ""
    return f"{_signed(retval)} is no verdict of {kind} programs: the kernel takes it for {_UNKNOWN[kind]}"


def wanted(verdict: str | int, kind: str, known: dict[int, str]) -> str:
    """The name of a verdict that a test expects, as `name_of` gives it.

    Raises
    ------
    UnknownNameError
        Programs of this type have no such verdict.
    TypeError
    """
    if isinstance(verdict, bool) or not isinstance(verdict, (str, int)):
        raise TypeError(f"a verdict is a name such as {_example(kind, known)!r}, or a number, not {type(verdict).__name__}")
    if isinstance(verdict, int):
        return name_of(verdict, kind, known)
    every = {"drop", "keep"} if kind == "socket_filter" else set(known.values())
    if verdict in every or verdict.lstrip("-").isdigit():
        return verdict
    if kind in ("sched_cls", "sched_act"):  # TC_ACT_ and TCX_ are names of the same numbers
        other = {name: number for names in (_TC_NAMES, _ENUMS["tcx_action_base"]) for number, name in names.items()}
        if verdict in other:
            return known[other[verdict]]
        every |= set(other)
    raise UnknownNameError("verdict", verdict, every, f"{kind} programs")


def _example(kind: str, known: dict[int, str]) -> str:
    return next((name for name in known.values() if DROPPING.search(name)), "drop")


def _signed(retval: int) -> int:
    return retval - (1 << 32) if retval >= 1 << 31 else retval


def _enum(lab: Lab | None, name: str) -> dict[int, str]:
    if lab is None:
        return _ENUMS[name]
    try:
        return _read(lab.vmlinux / "vmlinux.h", name) or _ENUMS[name]
    except LabError:  # no BTF, or no bpftool to print it with
        return _ENUMS[name]


@cache
def _read(header: Path, name: str) -> dict[int, str]:
    """An enum of vmlinux.h, which is a kernel's BTF as C text."""
    found = re.search(rf"^enum {name} \{{([^}}]*)\}}", header.read_text(), re.M)
    return {int(value): entry for entry, value in re.findall(r"(\w+) = (-?\d+)", found[1])} if found else {}
