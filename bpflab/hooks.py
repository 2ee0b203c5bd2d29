"""Program types: when a program of each runs, what its return value does, since which kernel; and how each is tried.

What is known here is prose with its source. Which types a kernel has, what context they get and whether they work
is read from that kernel or tried on it (`bpflab.type_table`).
"""

from __future__ import annotations

from typing import NamedTuple


class Hook(NamedTuple):
    """One program type.

    Attributes
    ----------
    when : str
        What happens when a program of the type runs.
    returns : str
        What its return value does.
    source : str
        File of the kernel that has it run.
    since : str
        The release in which the type appeared.
    commit : str
        The change that brought it.
    ways : tuple of str
        Features (`Lab.features`) that attach such a program, cause the event and see that it ran.
    """

    when: str
    returns: str
    source: str
    since: str
    commit: str
    ways: tuple[str, ...]


UNKNOWN = Hook("", "", "", "", "", ())
_TC = "TC_ACT_OK lets the packet go on, TC_ACT_SHOT drops it, TC_ACT_REDIRECT sends it elsewhere, -1 asks the next program"
_PERF = "0, as a rule; another value also stores the event for perf"
_ALLOW = "1 allows it, 0 refuses it with EPERM"
_LWT = "BPF_OK lets the packet go on, BPF_DROP drops it, BPF_LWT_REROUTE looks for a route again"
_VERDICT = "SK_PASS lets the data through, SK_DROP drops it"
_CGROUP = "kernel/bpf/cgroup.c"

# by the kernel's name without BPF_PROG_TYPE_, in the order of enum bpf_prog_type
HOOKS = {
    "socket_filter": Hook(
        "a packet arrives at a socket",
        "how many bytes of it the socket gets; 0 drops it",
        *("net/core/filter.c", "3.19", "ddd872bc3098", ("socket_filter",)),
    ),
    "kprobe": Hook(
        "a function of the kernel, or of a program, is entered or returns",
        _PERF,
        *("kernel/trace/trace_kprobe.c, trace_uprobe.c", "4.1", "2541517c32be"),
        ("kprobe", "kretprobe", "kprobe.multi", "uprobe", "uretprobe", "uprobe.multi", "usdt"),
    ),
    "sched_cls": Hook(
        "a packet enters or leaves a device, at its traffic control",
        _TC,
        *("net/core/dev.c, net/sched/cls_bpf.c", "4.1", "96be4325f443", ("clsact", "tcx", "netkit")),
    ),
    "sched_act": Hook(
        "a filter of traffic control has matched a packet, and this is its action",
        _TC,
        *("net/sched/act_bpf.c", "4.1", "94caee8c312d", ("sched_act",)),
    ),
    "tracepoint": Hook(
        "the kernel passes a tracepoint; the context holds the fields of its format file",
        _PERF,
        *("kernel/events/core.c, kernel/trace/trace_syscalls.c, bpf_trace.c", "4.7", "98b5c2c65c29", ("tracepoint",)),
    ),
    "xdp": Hook(
        "a device's driver has received a packet, before the kernel makes an sk_buff of it",
        "XDP_PASS lets it go on, XDP_DROP drops it, XDP_TX sends it back, XDP_REDIRECT sends it elsewhere",
        *("net/core/dev.c, the device's driver", "4.8", "6a773a15a1e8"),
        ("xdp generic", "xdp native", "xdp frags", "xdp offload"),
    ),
    "perf_event": Hook(
        "a counter of perf_event_open(2) overflows, for instance a clock",
        _PERF,
        *("kernel/events/core.c", "4.9", "0515e5999a46", ("perf_event", "hardware perf events")),
    ),
    "cgroup_skb": Hook(
        "a process of a cgroup sends or receives a packet",
        "1 lets it through, 0 drops it",
        *(_CGROUP, "4.10", "0e33661de493", ("cgroup_skb",)),
    ),
    "cgroup_sock": Hook(
        "a process of a cgroup makes a socket, has bound it, or closes it",
        _ALLOW,
        *(_CGROUP, "4.10", "610236587600", ("cgroup_sock",)),
    ),
    "lwt_in": Hook("a packet comes in by a route that has the program", _LWT, "net/core/lwt_bpf.c", "4.10", "3a0af8fd61f9", ("lwt_in",)),
    "lwt_out": Hook(
        "a packet goes out by a route that has the program",
        "BPF_OK lets the packet go on, BPF_DROP drops it",
        *("net/core/lwt_bpf.c", "4.10", "3a0af8fd61f9", ("lwt_out",)),
    ),
    "lwt_xmit": Hook(
        "a packet is about to be sent by a route that has the program",
        f"{_LWT}, BPF_REDIRECT sends it to another device",
        *("net/core/lwt_bpf.c", "4.10", "3a0af8fd61f9", ("lwt_xmit",)),
    ),
    "sock_ops": Hook(
        "a TCP connection of a cgroup changes its state, or asks for a parameter",
        "1 makes the kernel take the context's reply, 0 leaves its own value",
        *("include/net/tcp.h, kernel/bpf/cgroup.c", "4.13", "40304b2a1567", ("sock_ops",)),
    ),
    "sk_skb": Hook(
        "a socket in a sock map has received",
        f"{_VERDICT}; from a parser it is the message's length",
        *("net/core/skmsg.c", "4.14", "b005fd189cec", ("sk_skb",)),
    ),
    "cgroup_device": Hook(
        "a process of a cgroup opens or makes a device file",
        _ALLOW,
        *(_CGROUP, "4.15", "ebc614f68736", ("cgroup_device",)),
    ),
    "sk_msg": Hook("a socket in a sock map sends", _VERDICT, "net/ipv4/tcp_bpf.c", "4.17", "4f738adba30a", ("sk_msg",)),
    "raw_tracepoint": Hook(
        "the kernel passes a tracepoint; the context holds its arguments as they are",
        "not used",
        *("kernel/trace/bpf_trace.c", "4.17", "c4f6699dfcb8", ("raw_tp",)),
    ),
    "cgroup_sock_addr": Hook(
        "a process of a cgroup calls bind, connect, sendmsg, recvmsg, getpeername or getsockname",
        f"{_ALLOW}; always 1 for recvmsg, getpeername and getsockname",
        *(_CGROUP, "4.17", "4fbac77d2d09", ("cgroup_sock_addr",)),
    ),
    "lwt_seg6local": Hook(
        "an IPv6 packet reaches a segment whose action is End.BPF",
        "BPF_OK goes on to the next segment, BPF_DROP drops it, BPF_REDIRECT goes where the program said",
        *("net/ipv6/seg6_local.c", "4.18", "004d4b274e2a", ("lwt_seg6local",)),
    ),
    "lirc_mode2": Hook(
        "an infra-red receiver has measured a pulse or a pause",
        "not used",
        *("drivers/media/rc/bpf-lirc.c", "4.18", "f4364dcfc86d", ("lirc_mode2",)),
    ),
    "sk_reuseport": Hook(
        "a packet is for several sockets that share a port",
        "SK_PASS gives it to the socket that was selected, SK_DROP drops it",
        *("net/core/sock_reuseport.c", "4.19", "2dbb9b9e6df6", ("sk_reuseport",)),
    ),
    "flow_dissector": Hook(
        "the kernel looks for the addresses and ports of a packet",
        "BPF_OK: they were found, BPF_DROP: they were not, BPF_FLOW_DISSECTOR_CONTINUE: let the kernel look",
        *("net/core/flow_dissector.c", "4.20", "d58e468b1112", ("flow_dissector",)),
    ),
    "cgroup_sysctl": Hook(
        "a process of a cgroup reads or writes a file below /proc/sys",
        _ALLOW,
        *("fs/proc/proc_sysctl.c, kernel/bpf/cgroup.c", "5.2", "7b146cebe30c", ("cgroup_sysctl",)),
    ),
    "raw_tracepoint_writable": Hook(
        "the kernel passes a tracepoint that lets programs change an argument",
        "not used",
        *("kernel/trace/bpf_trace.c", "5.2", "9df1c28bb752", ("raw_tp.w",)),
    ),
    "cgroup_sockopt": Hook(
        "a process of a cgroup calls setsockopt or getsockopt",
        _ALLOW,
        *(_CGROUP, "5.3", "0d01da6afc54", ("cgroup_sockopt",)),
    ),
    "tracing": Hook(
        "a kernel function is entered or left, a tracepoint is passed with typed arguments, or an iterator is read; the context is an array of the arguments",
        "fentry, fexit: must be 0; tp_btf: not used; fmod_ret: not 0 skips the function and is its result; iterator: 1 shows the object again",
        *("kernel/bpf/trampoline.c, bpf_iter.c", "5.5", "f1b9509c2fb0"),
        ("tp_btf", "iter", "fentry", "fexit", "fmod_ret"),
    ),
    "struct_ops": Hook(
        "the kernel calls a function of a struct that programs fill in, such as TCP's congestion control; the context is an array of the arguments",
        "the result of that function",
        *("kernel/bpf/bpf_struct_ops.c", "5.6", "27ae7997a661", ("struct_ops",)),
    ),
    "ext": Hook(
        "a global function of another program is called, which this one replaces with the same arguments",
        "the result of that function",
        *("kernel/bpf/syscall.c, trampoline.c", "5.6", "be8704ff07d2", ("freplace",)),
    ),
    "lsm": Hook(
        "the kernel asks its security modules for leave; the context is an array of the arguments",
        "0 allows it, a negative errno refuses it",
        *("kernel/bpf/bpf_lsm.c", "5.7", "fc611f47f218", ("lsm",)),
    ),
    "sk_lookup": Hook(
        "a packet of a new connection, or a datagram, looks for its socket",
        "SK_PASS takes the socket that was assigned, or goes on looking; SK_DROP drops it",
        *("include/linux/filter.h, net/core/filter.c", "5.9", "e9ddbb7707ff", ("sk_lookup",)),
    ),
    "syscall": Hook(
        "a process runs it with BPF_PROG_TEST_RUN; the context is the bytes that it gives",
        "goes back to that process",
        *("net/bpf/test_run.c", "5.14", "79a7f8bdb159", ("syscall",)),
    ),
    "netfilter": Hook(
        "a packet passes a hook of netfilter",
        "NF_ACCEPT lets it go on, NF_DROP drops it",
        *("net/netfilter/nf_bpf_link.c", "6.4", "84601d6ee68a", ("netfilter",)),
    ),
}
