"""The few netlink messages (rtnetlink(7), sock_diag(7)) that networks and trying their features take."""

import fcntl
import os
import socket
import struct

RTM_NEWLINK, RTM_DELLINK, RTM_NEWROUTE, RTM_NEWTFILTER = 16, 17, 24, 44
_REQUEST, _ACK, _CREATE, _EXCLUSIVE = 1, 4, 0x400, 0x200
NESTED = 0x8000


def attribute(kind, *parts):
    """One struct nlattr; several parts are nested attributes or make up its bytes."""
    data = b"".join(parts)
    size = len(data) + 4
    return struct.pack("HH", size, kind) + data + bytes(-size % 4)


def text(kind, value):
    return attribute(kind, value.encode() + b"\0")


def request(message, body, flags=_CREATE | _EXCLUSIVE):
    """Send one message and await the kernel's word on it.

    Raises
    ------
    OSError
        With the kernel's errno, and its own words where it gave some.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as sock:
        sock.setsockopt(270, 11, 1)  # SOL_NETLINK, NETLINK_EXT_ACK
        sock.send(struct.pack("IHHII", 16 + len(body), message, _REQUEST | _ACK | flags, 1, 0) + body)
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


def delete_group(number):
    """Every interface of a group, of the calling thread's namespace."""
    request(RTM_DELLINK, bytes(16) + attribute(27, struct.pack("I", number)), 0)  # IFLA_GROUP


def up(name):
    with socket.socket() as sock:
        fcntl.ioctl(sock, 0x8914, struct.pack("16sH14x", name.encode(), 1))  # SIOCSIFFLAGS, IFF_UP


def hardware_address(name):
    """Six bytes."""
    with socket.socket() as sock:
        return fcntl.ioctl(sock, 0x8927, struct.pack("40s", name.encode()))[18:24]  # SIOCGIFHWADDR


def add_bpf_filter(device, prog, action):
    """A filter at a device's clsact ingress: packets that one program matches go through another, its action."""
    # TCA_ACT_BPF_PARMS with TC_ACT_PIPE, TCA_ACT_BPF_FD
    options = attribute(
        2 | NESTED, attribute(2, struct.pack("5I", 0, 0, 3, 0, 0)), attribute(5, struct.pack("I", action))
    )
    actions = attribute(1 | NESTED, attribute(1 | NESTED, text(1, "bpf"), options))  # TCA_BPF_ACT
    head = struct.pack("BxxxiIII", 0, device, 0, 0xFFFFFFF2, 1 << 16 | socket.htons(3))  # struct tcmsg, ETH_P_ALL
    matching = attribute(6, struct.pack("I", prog)) + text(7, "try")  # TCA_BPF_FD, TCA_BPF_NAME
    request(RTM_NEWTFILTER, head + text(1, "bpf") + attribute(2 | NESTED, actions, matching))


def add_bpf_route(direction, prog, device, local=False):
    """A route to 192.0.2.N whose packets pass a program; N, the direction, is 1 (in), 2 (out) or 3 (xmit)."""
    program = attribute(direction | NESTED, attribute(1, struct.pack("I", prog)), text(2, "try"))
    # struct rtmsg: table main, protocol static, scope and type
    route = struct.pack("8BI", socket.AF_INET, 32, 0, 0, 254, 4, *((254, 2) if local else (253, 1)), 0)
    _add_route(route, socket.inet_aton(f"192.0.2.{direction}"), device, 6, program)


def add_seg6local_route(address, prog, device):
    """A route for packets with a segment routing header, whose segment's action is a program (SEG6_LOCAL_ACTION_END_BPF)."""
    program = attribute(8 | NESTED, attribute(1, struct.pack("I", prog)), text(2, "try"))
    route = struct.pack("8BI", socket.AF_INET6, 128, 0, 0, 254, 4, 0, 1, 0)
    target = socket.inet_pton(socket.AF_INET6, address)
    _add_route(route, target, device, 7, attribute(1, struct.pack("I", 15)) + program)


def _add_route(route, target, device, kind, tunnel):
    # RTA_DST, RTA_OIF, RTA_ENCAP_TYPE, RTA_ENCAP
    body = attribute(1, target) + attribute(4, struct.pack("I", device))
    body += attribute(21, struct.pack("H", kind)) + attribute(22 | NESTED, tunnel)
    request(RTM_NEWROUTE, route + body)


RTM_GETLINK, RTM_GETADDR, RTM_GETQDISC, RTM_GETTFILTER = 18, 22, 38, 46
_DUMP = 0x300  # NLM_F_ROOT | NLM_F_MATCH
_DONE, _ERROR, _INTERRUPTED = 3, 2, 0x10  # NLMSG_DONE, NLMSG_ERROR, NLM_F_DUMP_INTR


def dump(message, body, protocol=socket.NETLINK_ROUTE):
    """What the kernel lists in answer to a request: the bytes behind each message's header.

    A list that changed while it was read is read again.

    Raises
    ------
    OSError
    """
    for _ in range(10):
        found, whole = _dump(message, body, protocol)
        if whole:
            break
    return found


def _dump(message, body, protocol):
    found, whole = [], True
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as sock:
        sock.setsockopt(270, 12, 1)  # SOL_NETLINK, NETLINK_GET_STRICT_CHK: the kernel minds what the request names
        sock.send(struct.pack("IHHII", 16 + len(body), message, _REQUEST | _DUMP, 1, 0) + body)
        while True:
            data = sock.recv(1 << 17)
            at = 0
            while at < len(data):
                size, kind, flags = struct.unpack_from("IHH", data, at)
                whole = whole and not flags & _INTERRUPTED
                if kind in (_DONE, _ERROR):
                    number = -struct.unpack_from("i", data, at + 16)[0] if size >= 20 else 0
                    if number:
                        raise OSError(number, os.strerror(number))
                    return found, whole
                found.append(data[at + 16 : at + size])
                at += size + 3 & ~3


def attributes(data, start=0):
    """struct nlattr of a message, from `start` on: bytes by kind; of one that comes several times the last."""
    found, at = {}, start
    while at + 4 <= len(data):
        size, kind = struct.unpack_from("HH", data, at)
        if size < 4:
            break
        found[kind & 0x3FFF] = data[at + 4 : at + size]
        at += size + 3 & ~3
    return found


def words(data):
    """Text of an attribute."""
    return data.rstrip(b"\0").decode(errors="replace")
