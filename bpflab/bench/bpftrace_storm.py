"""What a reader would write with bpftrace: its JSON lines, piped into pandas, while a storm of system calls runs.

Arguments and output as those of bcc_storm.py.
"""

import json
import os
import subprocess
import sys
import threading
import time

from pandas import DataFrame

PROGRAM = 'tracepoint:syscalls:sys_enter_getppid { printf("%llu %d %d\\n", nsecs, pid, cpu); }'
environment = {**os.environ, "BPFTRACE_PERF_RB_PAGES": "4096"}
bpftrace = subprocess.Popen(["bpftrace", "-f", "json", "-e", PROGRAM], stdout=subprocess.PIPE, text=True, env=environment)
waiting = threading.Event()


def knock():
    while not waiting.wait(0.01):
        os.getppid()


threading.Thread(target=knock).start()
for line in bpftrace.stdout:
    if '"printf"' in line:  # it says "attached" before it is
        break
waiting.set()
rows = []
last = 0.0
said = []
ended = []


def storm():
    said.append(subprocess.run(sys.argv[1:], capture_output=True, text=True).stdout)
    ended.append(time.perf_counter())
    for _ in range(10):  # it forgets what is still in its buffers when it is told to end
        before = len(rows)
        time.sleep(0.5)
        if len(rows) < before + 100:  # somebody always asks for his parent
            break
    bpftrace.send_signal(2)


thread = threading.Thread(target=storm)
thread.start()
for line in bpftrace.stdout:
    record = json.loads(line) if line[0] == "{" else {"type": ""}
    if record["type"] == "printf":
        rows.append([int(word) for word in record["data"].split()])
        last = time.perf_counter()
thread.join()
start = time.perf_counter()
frame = DataFrame(rows, columns=["time_ns", "pid", "cpu"])
late = max(0, last - ended[0]) + time.perf_counter() - start  # without the half second that bpftrace takes to detach
bpftrace.wait()
calls, _, pid = said[0].split()
print(calls, (frame.pid == int(pid)).sum(), late)
