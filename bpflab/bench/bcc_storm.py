"""What a reader would write with BCC: events of a tracepoint to a DataFrame, while a storm of system calls runs.

Arguments: the storm and its arguments. Prints the calls that were made, the rows of the frame, and how many seconds after
the storm it was there.
"""

import os
import subprocess
import sys
import threading
import time

sys.path.append("/usr/lib/python3/dist-packages")  # last: only BCC comes from there
from bcc import BPF
from pandas import DataFrame

TEXT = """
struct event { u64 time_ns; u32 pid, cpu; };
BPF_RINGBUF_OUTPUT(events, 16384);
RAW_TRACEPOINT_PROBE(sys_enter)
{
    if (ctx->args[1] != GETPPID)
        return 0;
    struct event e = { .time_ns = bpf_ktime_get_ns(), .pid = bpf_get_current_pid_tgid() >> 32, .cpu = bpf_get_smp_processor_id() };
    events.ringbuf_output(&e, sizeof(e), 0);
    return 0;
}
"""
b = BPF(text=TEXT.replace("GETPPID", {"x86_64": "110"}.get(os.uname().machine, "173")))
rows = []


def take(ctx, data, size):
    e = b["events"].event(data)
    rows.append((e.time_ns, e.pid, e.cpu))


b["events"].open_ring_buffer(take)
said = []
ended = []


def storm():
    said.append(subprocess.run(sys.argv[1:], capture_output=True, text=True).stdout)
    ended.append(time.perf_counter())


thread = threading.Thread(target=storm)
thread.start()
while thread.is_alive():
    b.ring_buffer_poll(10)
b.ring_buffer_consume()
frame = DataFrame(rows, columns=["time_ns", "pid", "cpu"])
late = time.perf_counter() - ended[0]
calls, _, pid = said[0].split()
print(calls, (frame.pid == int(pid)).sum(), late)
