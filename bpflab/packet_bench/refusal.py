"""Why the kernel's test run takes a program or a packet not, in words (net/bpf/test_run.c)."""

from __future__ import annotations

import errno

ETH_HLEN = 14
WITH_ETHERNET = ("xdp", "sched_cls", "sched_act")
# those from whose packets the test run takes the Ethernet header off (is_l2 in bpf_prog_test_run_skb)
WITHOUT_ETHERNET = ("socket_filter", "cgroup_skb", "lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local")
PACKET_TYPES = (*WITH_ETHERNET, *WITHOUT_ETHERNET)
_OTHERWISE = {
    "flow_dissector": "its test run gives the keys that it found, not a packet: prog.test_run(packet)",
    **dict.fromkeys(("syscall", "raw_tracepoint", "raw_tracepoint_writable", "sk_lookup"), "run it on its context: prog.test_run(ctx=...)"),
}


def no_bench(kind: str) -> tuple[str, str]:
    """Why programs of a type have no bench, and what to do instead."""
    has = ", ".join(name for name in PACKET_TYPES if not name.startswith("lwt")) + ", lwt_*"
    reason = f"the kernel runs only these types on a packet of yours: {has}"
    return reason, _OTHERWISE.get(kind, "attach it and cause the event")


_SETTABLE = "mark, priority, ingress_ifindex and ifindex (of an interface that is there), cb, tstamp, wire_len, gso_segs, gso_size and hwtstamp, the rest is 0"


def packet(kind: str, size: int, number: int, ctx: bytes = b"") -> str:
    """What is wrong with a packet that the kernel refused; empty when only its errno tells."""
    if number == errno.EINVAL and size < ETH_HLEN:
        return f"{size} byte{'s' if size != 1 else ''}, but a packet has at least the {ETH_HLEN} of an Ethernet header; give it from there on"
    if number == errno.EINVAL and kind != "xdp" and size > 3000:
        # bpf_test_init: a page less its head and tail
        return f"{size:,} bytes, but one that is no XDP packet has to fit into a page beside what the kernel adds; give 3,700 at most"
    if number == errno.ENOMEM and size > 65_536:
        return f"{size:,} bytes, but the test run holds a page and 17 fragments, about 70,000 bytes; give 65,536 at most"
    if any(ctx) and number in (errno.EINVAL, errno.ENODEV):
        # convert___skb_to_skb in net/bpf/test_run.c
        return f"its context is refused; of a struct __sk_buff a test may set {_SETTABLE}"
    return ""
