/*
 * program: no_unlock
 * missing: 6.1
 * kind: rcu-kept
 * fails: return 0;
 * cause: bpf_rcu_read_lock();
 */
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

extern void bpf_rcu_read_lock(void) __ksym;

SEC("tp_btf/sched_process_exit")
int no_unlock(__u64 *ctx)
{
    bpf_rcu_read_lock();
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
