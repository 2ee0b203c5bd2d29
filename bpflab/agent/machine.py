"""What this machine has: binaries, tracepoints, names of features that its kernel lacks."""

import os
import re
import shutil
import subprocess

from . import ownership
from .serve import quick

TRACEFS = "/sys/kernel/tracing"


def online_cpus():
    return os.cpu_count() or 1


def find_binary(name):
    """Path of a program or shared library, or None."""
    if "/" in name:
        return name if os.path.exists(name) else None
    found = shutil.which(name, path=ownership.environment()["PATH"])
    if found:
        return found
    listed = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, env=ownership.environment()).stdout
    match = re.search(rf"^\s*{re.escape(name)}(?:\.so\S*)? .*=> (\S+)$", listed, re.M)
    return match[1] if match else None


@quick
def tracepoints(category):
    """Names of the tracepoints in a category; the categories themselves for "". None where there is no tracefs."""
    try:
        folder = os.path.join(TRACEFS, "events", category)
        return [e.name for e in os.scandir(folder) if e.is_dir()]
    except FileNotFoundError:
        return [] if os.path.isdir(f"{TRACEFS}/events") else None


def vmlinux_identity():
    """Size and name of the kernel's BTF, which tell one vmlinux.h from another; None without BTF."""
    try:
        size = os.stat("/sys/kernel/btf/vmlinux").st_size
    except OSError:
        return None
    return f"{os.uname().release}-{os.uname().machine}-{size}"


def btf():
    """The kernel's BTF; None without."""
    try:
        with open("/sys/kernel/btf/vmlinux", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def vmlinux_h():
    """The kernel's types as C, by bpftool."""
    done = subprocess.run(
        ["bpftool", "btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
        capture_output=True,
        env=ownership.environment(),
    )
    if done.returncode:
        raise OSError(0, done.stderr.decode(errors="replace").strip() or "bpftool failed")
    return done.stdout
