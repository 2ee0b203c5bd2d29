"""The kernel's numbers and names: map types, program types, attach types (include/uapi/linux/bpf.h), perf events.

They are ABI: the list only grows at its end. A number beyond it is shown as
`type 99`, never refused.
"""

from __future__ import annotations

from .errors import UnknownNameError

MAP_TYPES = (
    "unspec hash array prog_array perf_event_array percpu_hash percpu_array stack_trace cgroup_array lru_hash "
    "lru_percpu_hash lpm_trie array_of_maps hash_of_maps devmap sockmap cpumap xskmap sockhash cgroup_storage "
    "reuseport_sockarray percpu_cgroup_storage queue stack sk_storage devmap_hash struct_ops ringbuf inode_storage "
    "task_storage bloom_filter user_ringbuf cgrp_storage arena"
).split()

PROG_TYPES = (
    "unspec socket_filter kprobe sched_cls sched_act tracepoint xdp perf_event cgroup_skb cgroup_sock lwt_in lwt_out "
    "lwt_xmit sock_ops sk_skb cgroup_device sk_msg raw_tracepoint cgroup_sock_addr lwt_seg6local lirc_mode2 "
    "sk_reuseport flow_dissector cgroup_sysctl raw_tracepoint_writable cgroup_sockopt tracing struct_ops ext lsm "
    "sk_lookup syscall netfilter"
).split()

ATTACH_TYPES = (
    "cgroup_inet_ingress cgroup_inet_egress cgroup_inet_sock_create cgroup_sock_ops sk_skb_stream_parser "
    "sk_skb_stream_verdict cgroup_device sk_msg_verdict cgroup_inet4_bind cgroup_inet6_bind cgroup_inet4_connect "
    "cgroup_inet6_connect cgroup_inet4_post_bind cgroup_inet6_post_bind cgroup_udp4_sendmsg cgroup_udp6_sendmsg "
    "lirc_mode2 flow_dissector cgroup_sysctl cgroup_udp4_recvmsg cgroup_udp6_recvmsg cgroup_getsockopt "
    "cgroup_setsockopt trace_raw_tp trace_fentry trace_fexit modify_return lsm_mac trace_iter "
    "cgroup_inet4_getpeername cgroup_inet6_getpeername cgroup_inet4_getsockname cgroup_inet6_getsockname xdp_devmap "
    "cgroup_inet_sock_release xdp_cpumap sk_lookup xdp sk_skb_verdict sk_reuseport_select "
    "sk_reuseport_select_or_migrate perf_event trace_kprobe_multi lsm_cgroup struct_ops netfilter tcx_ingress "
    "tcx_egress trace_uprobe_multi"
).split()

# enum bpf_map_type of the types whose value is kept once for each possible CPU
PERCPU_MAPS = {"percpu_hash", "percpu_array", "lru_percpu_hash", "percpu_cgroup_storage"}
# the key is an index below max_entries
INDEXED_MAPS = {
    *("array", "percpu_array", "prog_array", "perf_event_array", "cgroup_array", "array_of_maps"),
    *("devmap", "cpumap", "xskmap", "sockmap", "reuseport_sockarray"),
}
KEYLESS_MAPS = {"queue", "stack", "bloom_filter"}
RING_MAPS = {"ringbuf", "user_ringbuf"}
# nothing can be looked up by user space in these; they hold descriptors or live in kernel objects
FD_VALUE_MAPS = {
    *("prog_array", "perf_event_array", "cgroup_array", "array_of_maps", "hash_of_maps"),
    *("sockmap", "sockhash", "reuseport_sockarray", "xskmap"),
}
# the kernel object that owns the value is named by a descriptor of it
FD_KEY_MAPS = {"sk_storage", "inode_storage", "task_storage", "cgrp_storage"}

# enum perf_hw_id, enum perf_sw_ids of include/uapi/linux/perf_event.h
PERF_EVENTS = {
    "cpu-cycles": (0, 0),
    "instructions": (0, 1),
    "cache-references": (0, 2),
    "cache-misses": (0, 3),
    "branch-instructions": (0, 4),
    "branch-misses": (0, 5),
    "cpu-clock": (1, 0),
    "task-clock": (1, 1),
    "page-faults": (1, 2),
    "context-switches": (1, 3),
    "cpu-migrations": (1, 4),
    "minor-faults": (1, 5),
    "major-faults": (1, 6),
}

BPF_F_NO_PREALLOC = 1
UPDATE_FLAGS = {"any": 0, "noexist": 1, "exist": 2, "lock": 4}


def name_of(names: list[str], number: int) -> str:
    """Name for one of the kernel's numbers."""
    return names[number] if 0 <= number < len(names) else f"type {number}"


def number_of(names: list[str], text: str, what: str) -> int:
    """Number for a name, short ("hash") or whole ("BPF_MAP_TYPE_HASH").

    Raises
    ------
    UnknownNameError
        With the near names.
    """
    short = text.lower().removeprefix("bpf_").removeprefix("map_type_").removeprefix("prog_type_")
    if short not in names:
        raise UnknownNameError(what, text, names[1:])
    return names.index(short)


def update_flags(flags: str | int) -> int:
    """The BPF_ bits of "any", "noexist", "exist" and "lock".

    Raises
    ------
    ValueError
    """
    if isinstance(flags, int):
        return flags
    try:
        return UPDATE_FLAGS[flags.lower().removeprefix("bpf_")]
    except (KeyError, AttributeError):
        raise ValueError(f"flags are any, noexist, exist or lock, not {flags!r}") from None
