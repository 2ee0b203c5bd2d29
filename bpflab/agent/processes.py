"""What the profilers ask of processes, of the clock and of the kernel's limits."""

import time

from .serve import quick


@quick
def alive(pid):
    """ "process", "gone", or the process that a thread of this number belongs to."""
    try:
        with open(f"/proc/{pid}/status") as file:
            fields = dict(line.split(None, 1) for line in file if line.startswith(("State:", "Tgid:")))
    except OSError:
        return "gone"
    if fields["State:"].startswith(("Z", "X")):
        return "gone"
    leader = int(fields["Tgid:"])
    return "process" if leader == pid else leader


@quick
def now():
    """CLOCK_MONOTONIC in ns, as bpf_ktime_get_ns has it."""
    return time.monotonic_ns()


@quick
def most_hz():
    """Samples a second that the kernel allows."""
    with open("/proc/sys/kernel/perf_event_max_sample_rate") as file:
        return int(file.read())


def comms(pids):
    """Names of processes; of those that are over their number."""
    found = {}
    for pid in pids:
        try:
            with open(f"/proc/{pid}/comm") as file:
                found[pid] = file.read().rstrip("\n") if pid else "stacks"
        except OSError:
            found[pid] = f"process {pid}" if pid else "stacks"
    return found
