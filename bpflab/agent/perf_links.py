"""Attach a program by its descriptor to a perf event: tracepoint, kprobe, uprobe, samples (perf_event_open(2)).

links.py does the same through libbpf, for programs that libbpf loaded; these are for programs that BCC loaded.
"""

import ctypes
import errno
import fcntl
import os
import struct

from . import bcc
from .links import Held, _hold
from .machine import TRACEFS
from .syscalls import LINK_CREATE, Attr, bpf, perf_event_open

TYPE_SOFTWARE, TYPE_TRACEPOINT = 1, 2
FREQUENCY = 1 << 10  # the bit `freq` of struct perf_event_attr
BPF_PERF_EVENT = 41  # enum bpf_attach_type
IOC_ENABLE, IOC_SET_BPF = 0x2400, 0x40042408


def _open(kind, config=0, config1=0, config2=0, period=0, flags=0, pid=-1, cpu=0):
    # struct perf_event_attr: type, size, config, sample_period, ..., flags at 40, config1 at 56, config2 at 64
    attr = struct.pack("IIQQQQQIIQQ", kind, 112, config, period, 0, 0, flags, 0, 0, config1, config2)
    return perf_event_open(attr.ljust(112, b"\0"), pid, cpu)


def _attach(prog_fd, event, cookie):
    """Descriptors that hold the attachment: a link where the kernel has them for perf events (Linux 5.15)."""
    try:
        return [bpf(LINK_CREATE, Attr("4IQ", prog_fd, event, BPF_PERF_EVENT, 0, cookie)), event]
    except OSError as error:
        if error.errno != errno.EINVAL or cookie:
            raise
    fcntl.ioctl(event, IOC_SET_BPF, prog_fd)
    fcntl.ioctl(event, IOC_ENABLE, 0)
    return [event]


def _attach_all(prog_fd, events, cookie=0):
    """One attachment to several events; `events` opens them as they are taken."""
    held = Held()
    try:
        for event in events:
            try:
                held.fds += _attach(prog_fd, event, cookie)
            except BaseException:
                os.close(event)
                raise
    except BaseException:
        held.close()
        raise
    return _hold(held)


def _pmu(name):
    with open(f"/sys/bus/event_source/devices/{name}/type") as file:
        return int(file.read())


def tracepoint(prog_fd, category, name):
    with open(f"{TRACEFS}/events/{category}/{name}/id") as file:
        number = int(file.read())
    # opened on one CPU; the program runs for the tracepoint on every CPU
    return _attach_all(prog_fd, [_open(TYPE_TRACEPOINT, number, period=1)])


def kprobe(prog_fd, function, offset, retprobe, cookie):
    text = ctypes.create_string_buffer(function.encode())
    return _attach_all(prog_fd, [_open(_pmu("kprobe"), int(retprobe), ctypes.addressof(text), offset)], cookie)


def _uprobe(path, offset, pid, retprobe=False):
    text = ctypes.create_string_buffer(os.fsencode(path))
    return _open(_pmu("uprobe"), int(retprobe), ctypes.addressof(text), offset, pid=pid, cpu=-1 if pid > 0 else 0)


def uprobe(prog_fd, path, symbol, offset, pid, retprobe, cookie):
    if symbol:
        # through /proc/PID/root the path is one for us already, not one that the process would know
        inside = 0 if path.startswith("/proc/") else max(pid, 0)
        path, offset = bcc.resolve(bcc.library(), os.fsencode(path), symbol.encode(), 0, inside)
    return _attach_all(prog_fd, [_uprobe(path, offset, pid, retprobe)], cookie)


def uprobes(prog_fd, path, offsets, pid, cookie):
    """One attachment to several instructions of a file."""
    return _attach_all(prog_fd, (_uprobe(path, offset, pid) for offset in offsets), cookie)


def usdt(prog_fd, places):
    """Attach at each (path, offset in the file, pid) of a USDT probe."""
    return _attach_all(prog_fd, (_uprobe(*place) for place in places))


def perf_event(prog_fd, kind, config, frequency, period, pid, cpus):
    """See `links.perf_event`."""
    flags = FREQUENCY if frequency else 0
    return _attach_all(
        prog_fd, (_open(kind, config, period=frequency or period, flags=flags, pid=pid, cpu=c) for c in cpus)
    )
