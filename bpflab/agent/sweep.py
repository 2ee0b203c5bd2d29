"""Undo what the kernel does not undo by itself: processes, cgroups, qdiscs of a lab that ended.

Self-contained: the watcher runs it when its agent has ended or was killed, and
every new agent runs it for labs that nobody watched.
"""

import json
import os
import signal
import subprocess
import time

RECORDS = "/run/bpflab"
VARIABLE = "BPFLAB_LAB"  # set for every process a lab starts, and inherited by whatever that starts


PF_EXITING = 0x4  # include/linux/sched.h
SIGKILL_PENDING = 1 << signal.SIGKILL - 1


def start_time(pid):
    """Start of a process in clock ticks since boot (proc(5), stat fields 3, 9, 22 and 31), or None when it has ended.

    One that was killed has ended: it runs no more of its own code, though the kernel may
    need a second to detach its programs, and its parent may never reap it.
    """
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return None
    if fields[0] in "ZX" or int(fields[6]) & PF_EXITING or int(fields[28]) & SIGKILL_PENDING:
        return None
    return int(fields[19])


def alive(lab):
    """Does the agent of a lab, `bpflab-PID-START`, still run?"""
    try:
        _, pid, started = lab.split("-")
        return start_time(int(pid)) == int(started)
    except ValueError:
        return False


def processes(lab):
    """Processes that a lab started: by the variable in their environment, or by the lab's bpffs among their mounts.

    A daemon keeps the one, a command with a cleared environment the other. The agent itself is none of them.
    """
    mark, source = f"{VARIABLE}={lab}".encode(), f" {lab} ".encode()
    spared = {os.getpid(), int(lab.split("-")[1])}
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in spared:
            if mark in _read(f"/proc/{name}/environ").split(b"\0") or source in _read(f"/proc/{name}/mountinfo"):
                found.append(int(name))
    return found


def _read(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""  # ended meanwhile, or a kernel thread


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
            # [number, words of a command...], or [number] when it is settled; half a line is left by a kill
            lines = [json.loads(line) for line in file if line.endswith("]\n")]
    except OSError:
        return done
    steps = {}
    for number, *command in lines:
        steps[number] = command
    for step in reversed(list(filter(None, steps.values()))):
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
