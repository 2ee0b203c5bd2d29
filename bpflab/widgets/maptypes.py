"""What the explorer knows of each map type: what can be done with it, and what a reader should know."""

ARRAYS = {"array", "percpu_array"}
QUEUES = {"queue", "stack"}
SLOTS = {"array_of_maps", "devmap", "cpumap", "sockmap", "xskmap"}
MAPS_OF_MAPS = {"array_of_maps", "hash_of_maps"}
INSERTS = {"hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "lpm_trie"}
EDITS = INSERTS | ARRAYS | {"cgroup_storage", "percpu_cgroup_storage"}
DELETES = INSERTS | MAPS_OF_MAPS | {"prog_array", "devmap", "devmap_hash", "cpumap", "sockmap", "sockhash", "xskmap"}
UNLISTED = {
    *("ringbuf", "user_ringbuf", "bloom_filter", "perf_event_array", "arena", "struct_ops"),
    *("sk_storage", "inode_storage", "task_storage", "cgrp_storage"),
}

# What a reader should know before believing the table. Sources: kernel/bpf/*.c and Documentation/bpf/map_*.rst.
NOTES = {
    "array": "Every index is there from the start, so nothing can be inserted or deleted; values can be changed.",
    "percpu_array": "Every index is there from the start, with one value for each CPU.",
    "lru_hash": "When it is full, the kernel drops the entries used least recently to make room.",
    "lru_percpu_hash": "When it is full, the kernel drops the entries used least recently to make room.",
    "lpm_trie": "A lookup takes the longest prefix that covers the address. Search for an address to see which do.",
    "queue": "First in, first out. The kernel cannot list a queue: only the next element can be looked at, and "
    "reading further would take elements out.",
    "stack": "Last in, first out. The kernel cannot list a stack: only the top can be looked at, and "
    "reading further would take elements out.",
    "bloom_filter": "A set that only answers “is this in?”: no is certain, yes is probable. It cannot be listed.",
    "prog_array": "Programs to jump to with bpf_tail_call. A slot shows the id of its program; empty slots are left out.",
    "array_of_maps": "Each slot holds a map: choose one to open it.",
    "hash_of_maps": "Each key holds a map: choose one to open it.",
    "ringbuf": "Events pass through here and are gone once read, so there is nothing to list without taking it from its "
    "reader. Read them with obj.events().",
    "user_ringbuf": "Messages from user space to a program; they cannot be listed.",
    "perf_event_array": "Each slot holds the perf buffer of one CPU, which only its reader can read: obj.events().",
    "stack_trace": "Call stacks by stack id: addresses from the innermost call outwards.",
    "cgroup_array": "Each slot holds a cgroup. The kernel does not tell user space which.",
    "devmap": "Interfaces to redirect packets to. Fill it from a cell: m[0] = device.",
    "devmap_hash": "Interfaces to redirect packets to. Fill it from a cell: m[0] = device.",
    "cpumap": "CPUs to redirect packets to; the value is the length of the CPU's queue.",
    "xskmap": "AF_XDP sockets by receive queue. The kernel does not tell user space which.",
    "sockmap": "Sockets by index; with a u64 value the kernel shows each socket's cookie.",
    "sockhash": "Sockets by key; with a u64 value the kernel shows each socket's cookie.",
    "reuseport_sockarray": "Sockets that share a port; with a u64 value the kernel shows each socket's cookie.",
    "cgroup_storage": "One value for each cgroup that a program is attached to; it comes and goes with the attachment.",
    "percpu_cgroup_storage": "One value for each CPU and each cgroup that a program is attached to.",
    "sk_storage": "Values that live in sockets and vanish with them. They can be listed by a BPF iterator only.",
    "inode_storage": "Values that live in inodes and vanish with them; they cannot be listed.",
    "task_storage": "Values that live in tasks and vanish with them; they cannot be listed.",
    "cgrp_storage": "Values that live in cgroups and vanish with them; they cannot be listed.",
    "arena": "Memory that programs and user space share; it has no entries.",
    "struct_ops": "A table of functions that programs implement for the kernel.",
}
