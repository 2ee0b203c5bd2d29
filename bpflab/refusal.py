"""What the kernel means by a bare errno, in the words of the map or program that it refused."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from . import kinds
from .errors import BpfError

if TYPE_CHECKING:
    from .lab import Lab
    from .machines import AgentError
    from .map import Map
    from .program import Program

_INNER = "an inner map must be like the one it was made with: type, key size, value size and flags"
_COOKIE = "what user space reads of a socket is its cookie, which has 8 bytes: __type(value, __u64)"
_SOCKETS = "it takes connected or listening TCP sockets, bound UDP sockets and connected unix sockets"
_STORAGE = "user space cannot make storage; the kernel does, for each cgroup that a program with this map is attached to"

# kernel/bpf/arraymap.c, map_in_map.c, local_storage.c; net/core/sock_map.c
_REASONS = {
    ("prog_array", errno.EINVAL): "its programs are all of one type, that of the first program that uses it or sits in it",
    ("array_of_maps", errno.EINVAL): _INNER,
    ("hash_of_maps", errno.EINVAL): _INNER,
    ("sockmap", errno.ENOSPC): _COOKIE,
    ("sockhash", errno.ENOSPC): _COOKIE,
    ("sockmap", errno.EOPNOTSUPP): _SOCKETS,
    ("sockhash", errno.EOPNOTSUPP): _SOCKETS,
    ("cgroup_array", 524): "only programs read it, with bpf_current_task_under_cgroup",
    ("cgroup_storage", errno.ENOENT): _STORAGE,
    ("percpu_cgroup_storage", errno.ENOENT): _STORAGE,
}


def refused(m: Map, error: AgentError, doing: str, key=...) -> BpfError:
    """The error to raise when the kernel refused to do something with a map.

    Parameters
    ----------
    doing : str
        What was not done ("not written").
    key
        The key it was about, if any.
    """
    number = error.payload["errno"]
    at = "" if key is ... else f" at key {key!r}"
    text = f"map '{m.name}': {doing}{at}"
    reason = _reason(m, number, doing)
    return BpfError(f"{text}: {reason}" if reason else f"{text} ({error})", number)


def _reason(m: Map, number: int, doing: str) -> str | None:
    if number == errno.EPERM and m.frozen:
        return "it is frozen: user space may only read it; create it anew to change it"
    if (m.type, number) in _REASONS:
        return _REASONS[m.type, number]
    if number in (errno.E2BIG, errno.ENOSPC) and m.type in kinds.INDEXED_MAPS:
        return f"the index is out of range; it has {m.max_entries} elements, 0 to {m.max_entries - 1}"
    if number in (errno.E2BIG, errno.ENOSPC):
        # only a keyed map has a sibling that makes room by itself; a queue has a flag for it
        room = "push with replace=True" if m.type in ("queue", "stack") else "use a type that makes room by itself (lru_hash)"
        return f"it is full with max_entries = {m.max_entries}; delete something, create it larger, or {room}"
    if number == errno.EEXIST:
        return 'the key is there already; use flags="exist" or "any" to replace its value'
    if number == errno.ENOENT:
        return 'there is no such key; use flags="noexist" or "any" to insert it'
    if m.type in ("array", "percpu_array") and doing in ("not deleted", "not taken", "not emptied"):
        return "elements of an array cannot be deleted; write a zero instead"
    return None


# kernel/bpf/inode.c
_PINS = {
    errno.EEXIST: "something has that name; choose another, or remove it with lab.unpin",
    errno.ENOENT: "there is no such folder; make it with lab.sh, or pin to a bare name",
    errno.EPERM: "names in the BPF filesystem have no '.'; choose another",
}


def pin_refused(m: Map, error: AgentError, path: str) -> BpfError:
    """The same for a pin, where an errno is about the path."""
    number = error.payload["errno"]
    return BpfError(f"map '{m.name}' is not pinned to {path}: {_PINS.get(number, error)}", number)


def not_permitted(lab: Lab, number: int, doing: str) -> BpfError | None:
    """The error to raise where a refusal is one of permissions, not of what the kernel can do; None where it is not.

    Without CAP_SYS_ADMIN tracefs is not even mounted, and what is looked for in it is "not there".
    """
    if number not in (errno.EPERM, errno.EACCES, errno.ENOENT):
        return None
    lacks = lab.ask("machine.lacking")
    if not lacks:
        return None
    return BpfError(
        f"{doing}: the agent on {lab.machine} is root without {' and '.join(lacks)}, as in a container that drops them; "
        "start Jupyter outside of it, or give it those capabilities",
        errno.EPERM,
    )


def attach_hint(program: Program, target: str, number: int) -> str:
    """The next step where a program does not attach, or ""."""
    if number == errno.EINVAL and program.type == "perf_event":
        return "give CPUs that are online, and no more a second than /proc/sys/kernel/perf_event_max_sample_rate says"
    if number == errno.EINVAL and target.startswith(("uprobe", "uretprobe")):
        return "give the name of a function, or an offset inside of the file's code"
    if number == errno.EBADF and program.type.startswith(("cgroup", "sock_ops", "sk_lookup", "flow_dissector")):
        return "the path is neither a control group nor a network namespace"
    if number == errno.ERANGE and program.type == "xdp":  # veth_xdp_set in drivers/net/veth.c, and its like in other drivers
        return (
            "the MTU is too large for native mode, where a packet has to fit into one page (on a veth about 3,500 bytes, of the other end): "
            'take a smaller MTU, SEC("xdp.frags"), or attach_xdp(dev, "generic")'
        )
    if number == errno.ENOENT and target.startswith("tcx"):
        return 'the link that it should stand beside is at another place; take one of this interface and direction, or "all"'
    return {
        errno.ENOENT: "nothing has that name; look for it with lab.sh",
        errno.ESRCH: "no such process runs",
        errno.EBUSY: "something is attached there already; detach it first",
        errno.EINVAL: f"its type '{program.type}', as SEC(\"{program.section}\") made it, does not fit this place",
        errno.EEXIST: "an interface has one XDP program, and one is there in the other mode; detach it first" if program.type == "xdp" else "it is attached there already; detach it first",
        errno.EPERM: "the kernel does not allow it",
    }.get(number, "")
