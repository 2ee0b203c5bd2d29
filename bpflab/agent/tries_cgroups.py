"""Tries of what runs for the processes of a control group: a child of the agent joins one and does the thing."""

import contextlib
import os
import socket

from . import netlink, ownership
from .tiny import Failed, counts, feature, step
from .tries_network import datagram

# enum bpf_prog_type
CGROUP_SKB, CGROUP_SOCK, SOCK_OPS, CGROUP_DEVICE = 8, 9, 13, 15
CGROUP_SOCK_ADDR, CGROUP_SYSCTL, CGROUP_SOCKOPT = 18, 23, 25


@contextlib.contextmanager
def _cgroup():
    """Path of a cgroup, for a moment."""
    path = f"{ownership.cgroup2()}/{ownership.lab}-try-{os.urandom(4).hex()}"
    number = ownership.on_end("rmdir", path)
    with step(f"mkdir {path}"):
        os.mkdir(path)
    try:
        yield path
    finally:
        os.rmdir(path)
        ownership.settled(number)


def _as_member(path, action):
    """Do something in a child process that belongs to a cgroup.

    It is a copy of this process with one thread, so the action may do little more than make system calls.
    """
    pid = os.fork()
    if not pid:
        status = 1
        try:
            with open(f"{path}/cgroup.procs", "w") as file:
                file.write("0")
            status = 2
            action()
            status = 0
        finally:
            os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status:
        raise Failed("a process could not " + ("join the cgroup" if status == 1 else "do, as its member, what should be counted"))


def _connect():
    with socket.socket() as sock, contextlib.suppress(ConnectionRefusedError):
        sock.connect(("127.0.0.1", 9))


def _set_option():
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _on_cgroup(name, kind, attach, event, action):
    def attempt(t):
        netlink.up("lo")
        path = t.enter_context(_cgroup())
        counter = t.counter()
        t.link(t.load(kind, counts(counter, 1), attach), t.own(os.open(path, os.O_RDONLY)), attach)
        _as_member(path, action)
        t.expect(counter, f"a member {event}")

    feature(name, "attach", f"attached to a cgroup, and counted when a member {event}", "net")(attempt)


_on_cgroup("cgroup_skb", CGROUP_SKB, 1, "sent a packet", datagram)
_on_cgroup("cgroup_sock", CGROUP_SOCK, 2, "made a socket", lambda: socket.socket().close())
_on_cgroup("cgroup_sock_addr", CGROUP_SOCK_ADDR, 10, "connected by IPv4", _connect)
_on_cgroup("cgroup_device", CGROUP_DEVICE, 6, "opened /dev/null", lambda: open("/dev/null").close())
_on_cgroup("cgroup_sysctl", CGROUP_SYSCTL, 18, "read a sysctl", lambda: open("/proc/sys/kernel/ostype").read())
_on_cgroup("cgroup_sockopt", CGROUP_SOCKOPT, 22, "set a socket option", _set_option)
_on_cgroup("sock_ops", SOCK_OPS, 3, "made a TCP connection", _connect)
