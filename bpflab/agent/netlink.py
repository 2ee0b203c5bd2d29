"""The few rtnetlink messages (rtnetlink(7)) that trying network features takes."""

import fcntl
import os
import socket
import struct

RTM_NEWLINK, RTM_NEWROUTE, RTM_NEWACTION = 16, 24, 48
_REQUEST, _ACK, _CREATE, _EXCLUSIVE = 1, 4, 0x400, 0x200
NESTED = 0x8000


def attribute(kind, *parts):
    """One struct nlattr; several parts are nested attributes or make up its bytes."""
    data = b"".join(parts)
    size = len(data) + 4
    return struct.pack("HH", size, kind) + data + bytes(-size % 4)


def text(kind, value):
    return attribute(kind, value.encode() + b"\0")


def request(message, body):
    """Send one message and await the kernel's word on it.

    Raises
    ------
    OSError
        With the kernel's errno, and its own words where it gave some.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK
        flags = _REQUEST | _ACK | _CREATE | _EXCLUSIVE
        sock.send(struct.pack("IHHII", 16 + len(body), message, flags, 1, 0) + body)
        answer = sock.recv(65536)
    number = -struct.unpack_from("i", answer, 16)[0]
    if number:
        raise OSError(number, os.strerror(number))


def add_pair(name, peer, kind="veth", data=b""):
    """Two interfaces joined together, up."""
    head = bytes(16)  # struct ifinfomsg
    other = attribute(1 | NESTED, head, text(3, peer))  # VETH_INFO_PEER, IFLA_IFNAME
    info = attribute(18 | NESTED, text(1, kind), attribute(2 | NESTED, data, other))  # IFLA_LINKINFO: KIND, DATA
    request(RTM_NEWLINK, head + text(3, name) + info)
    up(name)
    up(peer)


def up(name):
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", name.encode(), 1))  # SIOCSIFFLAGS, IFF_UP


def add_bpf_action(prog):
    """A traffic control action that runs a program."""
    options = attribute(
        2 | NESTED, attribute(2, struct.pack("5I", 0, 0, 3, 0, 0)), attribute(5, struct.pack("I", prog))
    )
    request(RTM_NEWACTION, struct.pack("I", 0) + attribute(1 | NESTED, attribute(1 | NESTED, text(1, "bpf"), options)))


def add_bpf_route(direction, prog, device):
    """A route to 192.0.2.N whose packets pass a program; N, the direction, is 1 (in), 2 (out) or 3 (xmit)."""
    program = attribute(direction | NESTED, attribute(1, struct.pack("I", prog)), text(2, "try"))
    route = struct.pack("8BI", socket.AF_INET, 32, 0, 0, 254, 4, 253, 1, 0)  # struct rtmsg: main, static, link, unicast
    body = attribute(1, socket.inet_aton(f"192.0.2.{direction}")) + attribute(
        4, struct.pack("I", device)
    )  # RTA_DST, RTA_OIF
    body += attribute(21, struct.pack("H", 6)) + attribute(22 | NESTED, program)  # RTA_ENCAP_TYPE, RTA_ENCAP
    request(RTM_NEWROUTE, route + body)
