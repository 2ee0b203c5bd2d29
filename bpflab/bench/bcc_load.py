"""The program of start.py as BCC has it: compiled and attached. Prints seconds."""

import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")  # last: only BCC comes from there
from bcc import BPF

TEXT = """
BPF_HASH(counts, u32, u64);
TRACEPOINT_PROBE(syscalls, sys_enter_execve)
{
    u32 pid = bpf_get_current_pid_tgid() >> 32;
    counts.increment(pid);
    return 0;
}
"""
start = time.perf_counter()
b = BPF(text=TEXT)  # TRACEPOINT_PROBE attaches by itself
print(time.perf_counter() - start)
