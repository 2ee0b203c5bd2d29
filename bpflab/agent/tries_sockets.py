"""Tries of what runs on sockets: filters, sock maps, lookups; in a network namespace of its own."""

import contextlib
import ctypes
import os
import socket
import struct

from . import netlink
from .syscalls import MAP_UPDATE_ELEM, PROG_ATTACH, Attr, bpf, libc
from .tiny import counts, feature, step
from .tries_network import netns_link, wait_for

# enum bpf_prog_type
SOCKET_FILTER, SK_SKB, SK_MSG, SK_REUSEPORT, SK_LOOKUP = 1, 14, 16, 21, 30
# enum bpf_attach_type
STREAM_VERDICT, MSG_VERDICT, ON_SK_LOOKUP, REUSEPORT_SELECT = 5, 7, 36, 39
KIND = "attach"


@feature("socket_filter", KIND, "attached to a socket, and counted a datagram")
def socket_filter(t):
    counter = t.counter()
    prog = t.load(SOCKET_FILTER, counts(counter, -1))
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        t.enter_context(end)
    with step("SO_ATTACH_BPF"):
        ends[0].setsockopt(socket.SOL_SOCKET, 50, struct.pack("i", prog))
    ends[1].send(b"x")
    t.expect(counter, "a datagram came")


@feature("sk_lookup", KIND, "attached to a network namespace, and counted a connection", "net")
def sk_lookup(t):
    counter = t.counter()
    netns_link(t, t.load(SK_LOOKUP, counts(counter, 1), ON_SK_LOOKUP), ON_SK_LOOKUP)
    netlink.up("lo")
    with socket.socket() as sock, contextlib.suppress(ConnectionRefusedError):
        sock.connect(("127.0.0.1", 9))
    t.expect(counter, "a socket was looked up")


def connected(t, congestion=b""):
    """Both ends of a TCP connection of this namespace to itself."""
    netlink.up("lo")
    listener = t.enter_context(socket.create_server(("127.0.0.1", 0)))
    near = t.enter_context(socket.socket())
    if congestion:
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion)
    near.connect(listener.getsockname())
    return near, t.enter_context(listener.accept()[0])


def _in_sock_map(t, prog, attach, sock):
    """A sock map with a program and a socket."""
    sockets = t.map(15, 4, 4)
    with step("BPF_PROG_ATTACH"):
        bpf(PROG_ATTACH, Attr("4I", sockets, prog, attach, 0))
    key, value = ctypes.c_uint32(), ctypes.c_uint32(sock.fileno())
    with step("giving the socket to the map"):
        bpf(MAP_UPDATE_ELEM, Attr("IQQQ", sockets, ctypes.addressof(key), ctypes.addressof(value), 0))


@feature("sk_skb", KIND, "attached to a sock map, and counted what a socket of it received", "net")
def sk_skb(t):
    counter = t.counter()
    prog = t.load(SK_SKB, counts(counter, 1), STREAM_VERDICT)
    near, far = connected(t)
    _in_sock_map(t, prog, STREAM_VERDICT, far)
    near.send(b"x")
    wait_for(t, counter, "a socket of the map received")


@feature("sk_msg", KIND, "attached to a sock map, and counted what a socket of it sent", "net")
def sk_msg(t):
    counter = t.counter()
    prog = t.load(SK_MSG, counts(counter, 1), MSG_VERDICT)
    near, _ = connected(t)
    _in_sock_map(t, prog, MSG_VERDICT, near)
    near.send(b"x")
    t.expect(counter, "a socket of the map sent")


@feature("sk_reuseport", KIND, "attached to a socket that shares its port, and counted a datagram", "net")
def sk_reuseport(t):
    counter = t.counter()
    prog = t.load(SK_REUSEPORT, counts(counter, 1), REUSEPORT_SELECT)
    netlink.up("lo")
    receiver, sender = (t.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(2))
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    receiver.bind(("127.0.0.1", 0))
    with step("SO_ATTACH_REUSEPORT_EBPF"):
        receiver.setsockopt(socket.SOL_SOCKET, 52, struct.pack("i", prog))
    sender.sendto(b"x", receiver.getsockname())
    wait_for(t, counter, "a datagram came")


@feature("seccomp", KIND, "put a filter on a thread that allows everything", "thread")
def seccomp(t):
    program = struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000)  # BPF_RET, SECCOMP_RET_ALLOW
    code = ctypes.create_string_buffer(program, 8)
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", 1, ctypes.addressof(code)), 16)
    # PR_SET_SECCOMP, SECCOMP_MODE_FILTER; root needs no PR_SET_NO_NEW_PRIVS
    with step("prctl(PR_SET_SECCOMP)"):
        if libc.prctl(22, 2, ctypes.c_void_p(ctypes.addressof(head)), 0, 0):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
