"""Undo what the kernel does not undo by itself: processes, cgroups, qdiscs of a lab that ended.

Self-contained: the agent runs it at its own end, the watcher runs it when the
agent was killed, and every new agent runs it for labs that nobody watched.
"""

import json
import os
import signal
import subprocess
import time

RECORDS = "/run/bpflab"
VARIABLE = "BPFLAB_LAB"  # set for every process a lab starts, and inherited by whatever that starts


def start_time(pid):
    """Start of a process in clock ticks since boot (proc(5), stat field 22), or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[19])
    except OSError:
        return None


def alive(lab):
    """Does the agent of a lab, `bpflab-PID-START`, still run?"""
    try:
        _, pid, started = lab.split("-")
        return start_time(int(pid)) == int(started)
    except ValueError:
        return False


def processes(lab):
    """Processes that a lab started, found by the variable in their environment."""
    mark = f"{VARIABLE}={lab}".encode()
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(name))
            except OSError:
                pass  # ended meanwhile, or a kernel thread
    return found


def kill(lab):
    """End the processes of a lab and wait until they are gone (at most 2 s)."""
    ended = 0
    deadline = time.monotonic() + 2
    while True:
        left = processes(lab)
        if not left or time.monotonic() > deadline:
            return ended
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
                ended += 1
            except ProcessLookupError:
                pass
        time.sleep(0.002)


def undo(lab):
    """Run a lab's undo record backwards; returns lines that say what was done."""
    done = []
    count = kill(lab)
    if count:
        done.append(f"{lab}: ended processes")
    path = f"{RECORDS}/{lab}.undo"
    try:
        with open(path) as file:
            # a lab that was killed may have left half a line
            steps = [json.loads(line) for line in file if line.endswith("]\n")]
    except OSError:
        return done
    for step in reversed(steps):
        result = subprocess.run(step, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd="/")
        if result.returncode == 0:
            done.append(f"{lab}: {' '.join(step)}")
    os.unlink(path)
    return done


def sweep():
    """Undo for every lab whose agent is gone; returns what was done."""
    done = []
    try:
        records = os.listdir(RECORDS)
    except OSError:
        return done
    for name in records:
        lab, dot, kind = name.rpartition(".")
        if kind == "undo" and not alive(lab):
            done += undo(lab)
    return done
