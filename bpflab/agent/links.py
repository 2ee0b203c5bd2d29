"""Attach programs. Everything here is a bpf_link or a descriptor of ours, so that it ends with us.

Tracing goes through libbpf; network, cgroup and iterator links through raw
BPF_LINK_CREATE, which older libbpfs cannot do for every type.
"""

import contextlib
import ctypes
import itertools
import os
import socket
import struct

from . import objects
from .libbpf import KprobeOpts, UprobeOpts, lib, listening, must
from .netns import ifindex, in_netns
from .serve import Refused, quick
from .syscalls import (
    ITER_CREATE,
    LINK_CREATE,
    PROG_ATTACH,
    PROG_DETACH,
    RAW_TRACEPOINT_OPEN,
    Attr,
    bpf,
    check,
    info,
    libc,
    perf_event_open,
)

_numbers = itertools.count(1)
_links = {}


class Held:
    """One attachment: descriptors, libbpf links, and functions that undo the rest."""

    def __init__(self, fds=(), pointers=(), undo=()):
        self.fds, self.pointers, self.undo = list(fds), list(pointers), list(undo)

    def fd(self):
        if self.fds:
            return self.fds[0]
        if self.pointers:
            return lib.bpf_link__fd(self.pointers[0])
        return -1

    def close(self):
        for function in self.undo:
            with contextlib.suppress(OSError, Refused):  # what is undone may have gone by itself, with its interface, namespace or map
                function()
        for pointer in self.pointers:
            with listening():
                lib.bpf_link__destroy(pointer)
        for fd in self.fds:
            os.close(fd)


def _hold(held):
    number = next(_numbers)
    _links[number] = held
    reply = {"link": number, "id": 0, "type": 0}
    fd = held.fd()
    if fd >= 0:
        with contextlib.suppress(OSError):  # a packet socket, and a perf event before 5.15, is no bpf_link
            reply["type"], reply["id"] = struct.unpack_from("2I", info(fd, 80))
    return reply


def create(prog_fd, target, attach_type, flags=0, beside=0):
    """BPF_LINK_CREATE with a descriptor or an interface index as target; of tcx, `beside` is the id of another link there."""
    return _hold(Held(fds=[bpf(LINK_CREATE, Attr("5I", prog_fd, target, attach_type, flags, beside))]))


def create_dev(prog_fd, netns, device, attach_type, flags=0, beside=0):
    """BPF_LINK_CREATE on an interface (XDP, tcx)."""

    def run():
        return create(prog_fd, ifindex(device), attach_type, flags, beside)

    return in_netns(netns, run)


def create_path(prog_fd, path, attach_type, flags=0):
    """BPF_LINK_CREATE on what a path names: a cgroup or a network namespace."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return create(prog_fd, fd, attach_type, flags)
    finally:
        os.close(fd)


def _program(handle, name):
    return objects.get(handle).programs[name]


def _pointer(call, what):
    with listening() as said:
        return _hold(Held(pointers=[must(call(), what, said)]))


def auto(handle, name):
    """As the program's SEC() says."""
    return _pointer(lambda: lib.bpf_program__attach(_program(handle, name)), f"program '{name}' does not attach")


def tracepoint(handle, name, category, event):
    call = lib.bpf_program__attach_tracepoint
    return _pointer(
        lambda: call(_program(handle, name), category.encode(), event.encode()),
        f"tracepoint {category}:{event}",
    )


def raw_tracepoint(prog_fd, event):
    name = ctypes.create_string_buffer(event.encode())
    return _hold(Held(fds=[bpf(RAW_TRACEPOINT_OPEN, Attr("QI", ctypes.addressof(name), prog_fd))]))


def kprobe(handle, name, function, offset, retprobe, cookie):
    options = KprobeOpts(ctypes.sizeof(KprobeOpts), cookie, offset, retprobe)
    call = lib.bpf_program__attach_kprobe_opts
    return _pointer(lambda: call(_program(handle, name), function.encode(), options), f"kprobe {function}")


def uprobe(handle, name, binary, symbol, offset, pid, retprobe, cookie):
    options = UprobeOpts(ctypes.sizeof(UprobeOpts), 0, cookie, retprobe, symbol.encode() if symbol else None)
    call = lib.bpf_program__attach_uprobe_opts
    return _pointer(
        lambda: call(_program(handle, name), pid, binary.encode(), offset, options),
        f"uprobe {binary}:{symbol or hex(offset)}",
    )


def uprobes(handle, name, binary, offsets, pid, cookie):
    """One attachment to several instructions of a file."""
    options = UprobeOpts(ctypes.sizeof(UprobeOpts), 0, cookie, False, None)
    call = lib.bpf_program__attach_uprobe_opts
    held = Held()
    try:
        for offset in offsets:
            with listening() as said:
                link = call(_program(handle, name), pid, binary.encode(), offset, options)
                held.pointers.append(must(link, f"uprobe {binary}:{offset:#x}", said))
    except BaseException:
        held.close()
        raise
    return _hold(held)


def usdt(handle, name, binary, provider, event, pid):
    call = lib.bpf_program__attach_usdt
    return _pointer(
        lambda: call(_program(handle, name), pid, binary.encode(), provider.encode(), event.encode(), None),
        f"USDT probe {provider}:{event} of {binary}",
    )


def perf_event(handle, name, kind, config, frequency, period, pid, cpus):
    """One event per CPU in `cpus`; frequency in Hz, or a sample every `period` events."""
    # struct perf_event_attr: type, size, config, sample_period|freq, sample_type, read_format, flags
    freq_flag = 1 << 10 if frequency else 0
    attr = struct.pack("IIQQQQQ", kind, 112, config, frequency or period, 0, 0, freq_flag).ljust(112, b"\0")
    held = Held()
    try:
        for cpu in cpus:
            fd = perf_event_open(attr, pid, cpu)
            with listening() as said:
                link = lib.bpf_program__attach_perf_event(_program(handle, name), fd)
                if not link:
                    os.close(fd)
                held.pointers.append(must(link, f"perf event on CPU {cpu}", said))
    except BaseException:
        held.close()
        raise
    return _hold(held)


def struct_ops(handle, name):
    pointer = objects.get(handle).maps[name]
    return _pointer(lambda: lib.bpf_map__attach_struct_ops(pointer), f"struct_ops map '{name}'")


def raw_attach(prog_fd, target_fd, attach_type):
    """BPF_PROG_ATTACH to a map (sk_skb, sk_msg), which holds the program until it goes or is detached."""
    bpf(PROG_ATTACH, Attr("4I", target_fd, prog_fd, attach_type, 0))
    return _hold(Held(undo=[lambda: bpf(PROG_DETACH, Attr("4I", target_fd, prog_fd, attach_type, 0))]))


SO_ATTACH_BPF, SO_DETACH_BPF = 50, 27
SO_ATTACH_REUSEPORT_EBPF, SO_DETACH_REUSEPORT_BPF = 52, 68


def packet_socket(prog_fd, netns, device):
    """A raw packet socket on an interface with the program as its filter."""

    def run():
        ifindex(device)
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_BPF, struct.pack("i", prog_fd))
            sock.bind((device, 3))  # ETH_P_ALL; bound after the filter, so that nothing slips by
        except OSError:
            sock.close()
            raise
        return sock

    sock = in_netns(netns, run)
    return _hold(Held(fds=[sock.detach()]))


def socket_option(prog_fd, sock_fd, option, detach_option):
    """SO_ATTACH_BPF and its kin on a socket of the agent's."""
    value = struct.pack("i", prog_fd)
    check(libc.setsockopt(sock_fd, socket.SOL_SOCKET, option, value, 4), "setsockopt")

    def undo():
        check(libc.setsockopt(sock_fd, socket.SOL_SOCKET, detach_option, value, 4), "setsockopt")

    return _hold(Held(undo=[undo]))


def clsact(prog_fd, netns, device, ingress):
    """A direct-action filter of the clsact qdisc, which is made where there is none."""
    from . import tc

    return _hold(Held(undo=[in_netns(netns, tc.attach, prog_fd, netns, device, ingress)]))


def route(prog_fd, netns, device, destination, via, direction):
    """A program on a route (lwt_in, lwt_out, lwt_xmit)."""
    from . import lwt

    return _hold(Held(undo=[lwt.attach(prog_fd, netns, device, destination, via, direction)]))


def read_iter(number):
    """What an iterator prints when it is run once.

    Returns
    -------
    bytes
    """
    fd = bpf(ITER_CREATE, Attr("II", _links[number].fd(), 0))
    with open(fd, "rb", buffering=0) as file:
        return file.read()


def iter_map(handle, name, map_fd):
    """Attach an iterator that walks one map (bpf_map_elem, bpf_sk_storage_map)."""
    info_buffer = ctypes.create_string_buffer(struct.pack("I", map_fd), 16)
    prog_fd = lib.bpf_program__fd(_program(handle, name))
    # BPF_LINK_CREATE for iterators: iter_info, iter_info_len stand behind flags
    attr = Attr("4IQI", prog_fd, 0, 28, 0, ctypes.addressof(info_buffer), 16)
    return _hold(Held(fds=[bpf(LINK_CREATE, attr)]))


@quick
def fd_of(number):
    return _links[number].fd()


def detach(number):
    held = _links.pop(number, None)
    if held:
        held.close()
