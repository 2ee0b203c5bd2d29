/* Where the time goes: on a CPU (samples) and off it (waits), added up in the kernel by whole stacks.
 *
 * A stack goes to the notebook once, through the ring, when it is first seen; from then on only numbers change. Its
 * name is a hash of 64 bits over all of its addresses, so stacks do not collide as they do in a stack_trace map.
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define DEPTH 127 /* kernel.perf_event_max_stack of a stock kernel */
#define PF_KTHREAD 0x00200000
#define TASK_DEAD 0x80

const volatile u32 only;      /* a process (tgid), 0 for all */
const volatile u64 least_ns;  /* shorter waits are left out */
const volatile bool preempted; /* a task that was ready to run but had to go counts as waiting */

struct stack {
	u64 hash, first_ns;
	u32 tgid, user_bytes, kernel_bytes, kthread;
	char comm[16];
	u64 frames[2 * DEPTH]; /* of the process, then of the kernel; the innermost first */
};
struct sum {
	u64 times, ns;
};
struct leave {
	u64 at_ns, hash;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct stack);
} room SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} found SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 18);
	__type(key, u64);
	__type(value, struct sum);
} sums SEC(".maps");
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, u32);
	__type(value, struct leave);
} away SEC(".maps");

u64 idle;    /* samples of a CPU that had nothing to do */
u64 lost;    /* samples or waits whose stack found no room */
u64 cut;     /* stacks as deep as we look: there may be more */

static __always_inline u64 mix(u64 hash, u64 more)
{
	hash = (hash ^ more) * 0x9e3779b97f4a7c15;
	return hash ^ (hash >> 29);
}

/* The sums of the stack that is current now, less `skip` frames of ours; 0 with `lost` counted where there is no room. */
static __always_inline struct sum *here(void *ctx, struct task_struct *task, u64 now, u64 skip, u64 *name)
{
	struct sum zero = {}, *sum;
	u32 i, first = 0, user = 0, kernel = 0;
	struct stack *s = bpf_map_lookup_elem(&room, &first);
	u64 hash;
	long got;

	if (!s)
		return 0;
	s->tgid = task->tgid;
	s->kthread = !!(task->flags & PF_KTHREAD);
	bpf_get_current_comm(s->comm, sizeof(s->comm));
	hash = mix(mix(mix(1, s->tgid), task->self_exec_id), s->kthread);
	hash = mix(mix(hash, *(u64 *)s->comm), *(u64 *)(s->comm + 8));

	got = s->kthread ? 0 : bpf_get_stack(ctx, s->frames, DEPTH * 8, BPF_F_USER_STACK);
	if (got > 0)
		user = got;
	if (user > DEPTH * 8)
		user = DEPTH * 8;
	got = bpf_get_stack(ctx, (void *)s->frames + user, DEPTH * 8, skip);
	if (got > 0)
		kernel = got;
	if (kernel > DEPTH * 8)
		kernel = DEPTH * 8;
	s->user_bytes = user;
	s->kernel_bytes = kernel;
	hash = mix(hash, (u64)user << 32 | kernel);
	for (i = 0; i < 2 * DEPTH; i++) {
		if (i >= (user + kernel) / 8)
			break;
		hash = mix(hash, s->frames[i]);
	}
	*name = hash;
	sum = bpf_map_lookup_elem(&sums, &hash);
	if (sum)
		return sum;
	s->hash = hash;
	s->first_ns = now;
	if (user == DEPTH * 8 || kernel == DEPTH * 8)
		__sync_fetch_and_add(&cut, 1);
	if (bpf_ringbuf_output(&found, s, __builtin_offsetof(struct stack, frames) + user + kernel, 0)) {
		__sync_fetch_and_add(&lost, 1);
		return 0;
	}
	bpf_map_update_elem(&sums, &hash, &zero, BPF_NOEXIST);
	sum = bpf_map_lookup_elem(&sums, &hash);
	if (!sum)
		__sync_fetch_and_add(&lost, 1);
	return sum;
}

SEC("perf_event") int on_cpu(void *ctx)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct sum *sum;
	u64 name;

	if (!task->pid) {
		__sync_fetch_and_add(&idle, 1);
		return 0;
	}
	if (only && task->tgid != only)
		return 0;
	sum = here(ctx, task, bpf_ktime_get_ns(), 0, &name);
	if (sum)
		__sync_fetch_and_add(&sum->times, 1);
	return 0;
}

SEC("tp_btf/sched_switch") int BPF_PROG(off_cpu, bool forced, struct task_struct *prev, struct task_struct *next)
{
	struct leave *left, leave = { .at_ns = bpf_ktime_get_ns() };
	u32 state = prev->__state, tid = prev->pid;
	struct sum *sum;
	u64 waited, name;

	if (tid && !(state & TASK_DEAD) && (!only || prev->tgid == only) && (preempted || (state && !forced))) {
		if (here(ctx, prev, leave.at_ns, 1, &leave.hash) && bpf_map_update_elem(&away, &tid, &leave, BPF_ANY))
			__sync_fetch_and_add(&lost, 1);
	}
	tid = next->pid;
	left = bpf_map_lookup_elem(&away, &tid);
	if (!left)
		return 0;
	waited = leave.at_ns - left->at_ns;
	name = left->hash;
	bpf_map_delete_elem(&away, &tid);
	if (waited < least_ns)
		return 0;
	sum = bpf_map_lookup_elem(&sums, &name);
	if (sum) {
		__sync_fetch_and_add(&sum->times, 1);
		__sync_fetch_and_add(&sum->ns, waited);
	}
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
