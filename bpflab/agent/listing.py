"""Everything that a kernel offers to trace: tracepoints and their formats, functions, types."""

import errno
import os
import re

from .machine import TRACEFS

_TEXT = re.compile(rb"^\S+ [tT] (\S+)(?:\t\[(\S+)\])?$", re.M)


def tracepoints():
    """Lines "category:name"; None where there is no tracefs."""
    if not os.path.isdir(f"{TRACEFS}/events"):
        return None
    try:
        with open(f"{TRACEFS}/available_events", "rb") as file:
            return file.read()
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOENT):
            raise
    # lockdown hides some files of tracefs, but not the folders
    found = []
    for category in os.scandir(f"{TRACEFS}/events"):
        if category.is_dir():
            found += [f"{category.name}:{event.name}" for event in os.scandir(category) if event.is_dir()]
    return "\n".join(found).encode()


def formats(events):
    """The text of each tracepoint's `format` file, "" where it has gone; `events` are (category, name)."""
    return [_text(f"{TRACEFS}/events/{category}/{name}/format") for category, name in events]


def _text(path):
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def functions():
    """The kernel's functions, and those of them that ftrace can trace.

    Returns
    -------
    dict
        `symbols`: lines "name" or "name module" of /proc/kallsyms; `traceable`: the same from available_filter_functions, or
        None; `why`: what kept it from being read; `blacklist`: names that kprobes refuse, where debugfs tells.
    """
    with open("/proc/kallsyms", "rb") as file:
        found = _TEXT.findall(file.read())
    symbols = b"\n".join(name + b" " + module if module else name for name, module in found)
    traceable, why = None, ""
    try:
        with open(f"{TRACEFS}/available_filter_functions", "rb") as file:
            traceable = re.sub(rb"[\t ]*\[(\S+)\]", rb" \1", file.read())
    except OSError as error:
        why = os.strerror(error.errno).lower()
    return {"symbols": symbols, "traceable": traceable, "why": why}


def btf_names():
    """The kernel and its modules, as far as they have BTF."""
    try:
        names = os.listdir("/sys/kernel/btf")
    except FileNotFoundError:
        return []
    return sorted(names, key=lambda name: (name != "vmlinux", name))


def btf(name):
    with open(f"/sys/kernel/btf/{name}", "rb") as file:
        return file.read()


def hardware():
    """Whether this machine has hardware counters."""
    return os.path.isdir("/sys/bus/event_source/devices/cpu")
