"""One of everything that a lab can leave behind, loaded and attached. The lifecycle tests run it in a notebook kernel."""

PROGRAMS = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u32 pid; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 65536); __type(value, struct event); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 64); __type(key, u32); __type(value, u64); } seen SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
struct element { struct bpf_timer timer; };
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, struct element); } timers
    SEC(".maps");

static int tick(void *map, u32 *key, struct element *e)
{
    bpf_timer_start(&e->timer, 1000000, 0);
    return 0;
}
SEC("syscall") int start_timer(void *ctx)
{
    u32 zero = 0;
    struct element *e = bpf_map_lookup_elem(&timers, &zero);
    if (!e)
        return 1;
    bpf_timer_init(&e->timer, &timers, 1);
    bpf_timer_set_callback(&e->timer, tick);
    return bpf_timer_start(&e->timer, 1000000, 0);
}
SEC("tp/syscalls/sys_enter_execve") int on_exec(void *ctx)
{
    u32 key = 1;
    u64 one = 1;
    bpf_map_update_elem(&seen, &key, &one, BPF_ANY);
    return 0;
}
SEC("raw_tp/sched_process_exit") int on_exit(void *ctx) { return 0; }
SEC("tp_btf/sched_process_fork") int on_fork(void *ctx) { return 0; }
SEC("perf_event") int on_sample(void *ctx) { return 0; }
SEC("uprobe") int on_malloc(void *ctx) { return 0; }
SEC("iter/bpf_map") int each_map(struct bpf_iter__bpf_map *ctx) { return 0; }
SEC("xdp") int on_frame(struct xdp_md *ctx) { return XDP_PASS; }
SEC("tc") int on_packet(struct __sk_buff *skb) { return -1; }
SEC("cgroup_skb/egress") int on_egress(struct __sk_buff *skb) { return 1; }
SEC("socket") int on_socket(struct __sk_buff *skb) { return 0; }
SEC("sk_lookup") int on_lookup(void *ctx) { return 1; }
char LICENSE[] SEC("license") = "GPL";
"""


def make(lab, alone=True):
    """Load and attach; returns the handles. An interface has one XDP program: with another lab, not `alone`, none on lo."""
    obj = lab.load(PROGRAMS, name="everything")
    programs = obj.programs
    net = lab.netlab("a", "b")
    group = lab.cgroup("everything")
    attached = [
        programs["on_exec"].attach(),
        programs["on_exit"].attach(),
        programs["on_fork"].attach(),
        programs["on_sample"].attach_perf_event(frequency=10),
        programs["on_malloc"].attach_uprobe("libc.so.6", "malloc"),
        programs["each_map"].attach(),
        programs["on_frame"].attach_xdp(net["a"].dev),
        programs["on_packet"].attach_tcx(net["b"].dev),
        programs["on_packet"].attach_tc("lo", "ingress"),
        programs["on_packet"].attach_tc("lo", "egress"),
        programs["on_egress"].attach_cgroup(group),
        programs["on_socket"].attach_socket("lo"),
        programs["on_lookup"].attach_netns(net["a"]),
    ]
    if alone:
        attached.append(programs["on_frame"].attach_xdp("lo", "generic"))
    programs["start_timer"].test_run()
    obj.maps["seen"].pin("everything-seen")
    made = lab.create_map("lru_hash", "u32", "u32", 10, name="from_python")
    made.pin("everything-made")
    return [
        obj,
        attached,
        made,
        obj.events("ring"),
        obj.events("perf", "struct event"),
        net,
        group,
        lab.spawn("sleep 1000"),
        # one that leaves the session, the cgroup and the terminal of whoever started it
        lab.spawn("setsid -f sleep 1000; setsid -f env -i sleep 999 & sleep 1000"),
        net["b"].spawn("sleep 1000"),
        group.spawn("sleep 1000"),
    ]
