"""bpf(2), perf_event_open(2), mount(2) and their kin through ctypes, errno kept."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
_syscall = libc.syscall
_syscall.restype = ctypes.c_long

_MACHINE = os.uname().machine
# arch/x86/entry/syscalls/syscall_64.tbl; include/uapi/asm-generic/unistd.h for the others
NR_BPF, NR_PERF_EVENT_OPEN = (321, 298) if _MACHINE == "x86_64" else (280, 241)

# enum bpf_cmd, include/uapi/linux/bpf.h
MAP_CREATE, MAP_LOOKUP_ELEM, MAP_UPDATE_ELEM, MAP_DELETE_ELEM, MAP_GET_NEXT_KEY, PROG_LOAD = range(6)
OBJ_PIN, OBJ_GET, PROG_ATTACH, PROG_DETACH, PROG_TEST_RUN = range(6, 11)
PROG_GET_FD_BY_ID, MAP_GET_FD_BY_ID, OBJ_GET_INFO_BY_FD = 13, 14, 15
RAW_TRACEPOINT_OPEN, BTF_LOAD, BTF_GET_FD_BY_ID = 17, 18, 19
MAP_LOOKUP_AND_DELETE_ELEM, MAP_FREEZE = 21, 22
MAP_LOOKUP_BATCH, MAP_LOOKUP_AND_DELETE_BATCH, MAP_UPDATE_BATCH, MAP_DELETE_BATCH = 24, 25, 26, 27
LINK_CREATE, ENABLE_STATS, ITER_CREATE = 28, 32, 33

ENOTSUPP = 524  # the kernel's own, include/linux/errno.h; it leaks to user space from bpf(2)


class Attr:
    """A `union bpf_attr` to be used for many calls without building it anew."""

    __slots__ = ("buffer", "address", "size")

    def __init__(self, layout, *values, size=144):
        self.buffer = ctypes.create_string_buffer(struct.pack(layout, *values), size)
        self.address = ctypes.addressof(self.buffer)
        self.size = size

    def set(self, layout, offset, *values):
        struct.pack_into(layout, self.buffer, offset, *values)

    def get(self, layout, offset):
        return struct.unpack_from(layout, self.buffer, offset)[0]


def bpf(command, attr):
    """One bpf(2) call.

    Returns
    -------
    int
        What the system call returned: a new descriptor, or 0.

    Raises
    ------
    OSError
        With the kernel's errno.
    """
    result = _syscall(NR_BPF, command, ctypes.c_void_p(attr.address), attr.size)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def check(result, what):
    """Raise OSError(errno, what) when a C function returned a negative number."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def info(fd, size):
    """Bytes of the `bpf_*_info` of a descriptor (BPF_OBJ_GET_INFO_BY_FD)."""
    out = ctypes.create_string_buffer(size)
    return fill_info(fd, out)


def fill_info(fd, out):
    """Ask for info into a prepared buffer, whose pointer fields say where arrays go."""
    bpf(OBJ_GET_INFO_BY_FD, Attr("IIQ", fd, len(out), ctypes.addressof(out)))
    return out.raw


def btf_bytes(btf_id):
    """Raw BTF of a kernel BTF object.

    Returns
    -------
    bytes
    """
    fd = bpf(BTF_GET_FD_BY_ID, Attr("I", btf_id))
    try:
        size = struct.unpack_from("QI", info(fd, 64))[1]
        data = ctypes.create_string_buffer(size)
        head = ctypes.create_string_buffer(struct.pack("QII", ctypes.addressof(data), size, 0), 64)
        fill_info(fd, head)
        return data.raw
    finally:
        os.close(fd)


def btf_load(data):
    """Give BTF to the kernel; returns the descriptor that holds it."""
    log = ctypes.create_string_buffer(1 << 16)
    buffer = ctypes.create_string_buffer(data, len(data))
    # struct { btf, btf_log_buf, btf_size, btf_log_size, btf_log_level } of union bpf_attr
    attr = Attr("QQIII", ctypes.addressof(buffer), ctypes.addressof(log), len(data), len(log), 1)
    try:
        return bpf(BTF_LOAD, attr)
    except OSError as error:
        raise OSError(error.errno, f"the kernel refused the BTF: {log.value.decode(errors='replace').strip()}") from None


def perf_event_open(attr, pid, cpu, group=-1, flags=8):
    """perf_event_open(2); flags 8 is PERF_FLAG_FD_CLOEXEC."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return check(_syscall(NR_PERF_EVENT_OPEN, buffer, pid, cpu, group, ctypes.c_ulong(flags)), "perf_event_open")


CLONE_NEWNS, CLONE_NEWNET = 0x20000, 0x40000000
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_SLAVE = 2, 4, 8, 0x4000, 1 << 19


def unshare(flags):
    check(libc.unshare(flags), "unshare")


def setns(fd, kind=0):
    check(libc.setns(fd, kind), "setns")


def mount(source, target, kind, flags=0, data=None):
    text = [x.encode() if x is not None else None for x in (source, target, kind, data)]
    check(libc.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3]), f"mount {kind} on {target}")


def possible_cpus():
    """How many values a per-CPU map keeps for a key: the possible CPUs, not the online ones."""
    with open("/sys/devices/system/cpu/possible") as file:
        last = file.read().strip().split(",")[-1]
    return int(last.split("-")[-1]) + 1
