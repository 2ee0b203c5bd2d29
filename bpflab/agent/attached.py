"""What is attached in network namespaces, asked from the kernel: rtnetlink(7), BPF_PROG_QUERY, /proc/net. Nothing of our own records."""

import contextlib
import ctypes
import errno
import os
import socket
import struct

from . import netlink, ownership
from .net import path_of
from .netns import in_netns
from .syscalls import PROG_GET_FD_BY_ID, Attr, bpf, info

PROG_QUERY = 16
MOST = 64  # programs at one place (BPF_MPROG_MAX)
# enum bpf_attach_type
TCX = {46: "ingress", 47: "egress"}
OF_NETNS = {17: "flow dissector", 36: "sk_lookup"}
OF_CGROUP = {
    **{0: "ingress", 1: "egress", 2: "sock create", 3: "sock_ops", 6: "device", 8: "bind4", 9: "bind6", 10: "connect4", 11: "connect6"},
    **{12: "post bind4", 13: "post bind6", 14: "sendmsg4", 15: "sendmsg6", 18: "sysctl", 19: "recvmsg4", 20: "recvmsg6"},
    **{21: "getsockopt", 22: "setsockopt", 29: "getpeername4", 30: "getpeername6", 31: "getsockname4", 32: "getsockname6", 34: "sock release"},
}
CLSACT = {0xFFFFFFF2: "ingress", 0xFFFFFFF3: "egress"}  # TC_H_MAKE(TC_H_CLSACT, TC_H_MIN_INGRESS or _EGRESS)
USUAL_QDISCS = {"noqueue", "mq", "pfifo_fast", "fq_codel"}


def look(names):
    """What there is in the namespaces of these hosts; an entry is None where one is gone.

    Returns
    -------
    dict
        `hosts`: for each `interfaces` (dicts of `name`, `up`, `carrier`, `mtu`, `addresses`, `attached`), `attached` (of the namespace), `sockets`;
        `cgroups`: (name, attached) of this lab's groups. Something attached has `place`, `mode`, `id`, `name`.
    """
    named = {}
    hosts = []
    for name in names:
        try:
            hosts.append(in_netns(path_of(name), _look, named))
        except Exception:  # noqa: BLE001 - it was removed, or is being removed
            hosts.append(None)
    return {"hosts": hosts, "cgroups": _cgroups(named)}


def _name(number, named):
    """A program's name; struct bpf_prog_info has it at 64."""
    if number not in named:
        try:
            fd = bpf(PROG_GET_FD_BY_ID, Attr("I", number))
        except OSError:
            return ""
        try:
            named[number] = netlink.words(info(fd, 80)[64:80].split(b"\0")[0])
        finally:
            os.close(fd)
    return named[number]


def _query(target, kind, named, place, mode=""):
    ids = ctypes.create_string_buffer(4 * MOST)
    # target, attach_type, query_flags, attach_flags, prog_ids, count
    attr = Attr("4IQII", target, kind, 0, 0, ctypes.addressof(ids), MOST, 0)
    try:
        bpf(PROG_QUERY, attr)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENODEV):
            return []
        raise
    numbers = struct.unpack(f"{MOST}I", ids.raw)[: attr.get("I", 24)]
    return [{"place": place, "mode": mode, "id": number, "name": _name(number, named)} for number in numbers if number]


def _look(named):
    links = {}
    for message in netlink.dump(netlink.RTM_GETLINK, bytes(16)):
        index, flags = struct.unpack_from("iI", message, 4)
        about = netlink.attributes(message, 16)
        one = {"name": netlink.words(about[3]), "up": bool(flags & 1), "carrier": bool(about.get(33, b"\1")[0])}
        one |= {"mtu": struct.unpack("I", about[4])[0], "addresses": [], "attached": []}
        links[index] = one
        one["attached"] += _xdp(about.get(43), named)
        for kind, direction in TCX.items():
            one["attached"] += _query(index, kind, named, f"tcx {direction}")
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError):  # without IPv6
            for message in netlink.dump(netlink.RTM_GETADDR, struct.pack("BBBBi", family, 0, 0, 0, 0)):
                length, index = message[1], struct.unpack_from("i", message, 4)[0]
                about = netlink.attributes(message, 8)
                address = about.get(2) or about.get(1)  # IFA_LOCAL, IFA_ADDRESS
                if index in links and address:
                    links[index]["addresses"].append(f"{socket.inet_ntop(family, address)}/{length}")
    for message in netlink.dump(netlink.RTM_GETQDISC, bytes(20)):
        index = struct.unpack_from("i", message, 4)[0]
        if index not in links:  # made while we look
            continue
        kind = netlink.words(netlink.attributes(message, 20)[1])
        if kind == "clsact" or kind == "ingress":
            for parent, direction in CLSACT.items():
                links[index]["attached"] += _filters(index, parent, direction, named)
        elif kind not in USUAL_QDISCS:
            links[index]["attached"].append({"place": "qdisc", "mode": "", "id": 0, "name": kind})
    of_netns = []
    with open("/proc/thread-self/ns/net") as file:
        for kind, place in OF_NETNS.items():
            of_netns += _query(file.fileno(), kind, named, place)
    return {"interfaces": list(links.values()), "attached": of_netns, "sockets": _sockets({index: one["name"] for index, one in links.items()})}


def _xdp(data, named):
    about = netlink.attributes(data or b"")
    found = []
    for kind, mode in ((5, "native"), (6, "generic"), (7, "offload")):  # IFLA_XDP_DRV_PROG_ID, ...
        if kind in about:
            number = struct.unpack("I", about[kind])[0]
            found.append({"place": "XDP", "mode": mode, "id": number, "name": _name(number, named)})
    return found


def _filters(index, parent, direction, named):
    found = []
    for message in netlink.dump(netlink.RTM_GETTFILTER, struct.pack("BxxxiIII", 0, index, 0, parent, 0)):
        about = netlink.attributes(message, 20)
        if 1 not in about or 2 not in about:
            continue
        kind, options = netlink.words(about[1]), netlink.attributes(about[2])
        if kind == "bpf" and 11 in options:  # TCA_BPF_ID
            number = struct.unpack("I", options[11])[0]
            found.append({"place": f"tc {direction}", "mode": "", "id": number, "name": _name(number, named)})
        elif kind != "bpf":
            found.append({"place": f"tc {direction}", "mode": "", "id": 0, "name": kind})
    return found


def _sockets(interfaces):
    """What waits for packets: TCP listeners, UDP ports, packet and raw sockets; (kind, words) each."""
    found = {("tcp", port) for family in (socket.AF_INET, socket.AF_INET6) for port in _listening(family)}
    for file in ("udp", "udp6"):
        for fields in _lines(file):
            port = int(fields[1].rpartition(":")[2], 16)
            if port and fields[3] == "07":  # TCP_CLOSE: bound and not connected
                found.add(("udp", port))
    listed = [[kind, f"{kind} port {port}"] for kind, port in sorted(found)]
    for fields in _lines("packet"):  # sk RefCnt Type Proto Iface
        index = int(fields[4])
        listed.append(["packet", f"packet socket on {interfaces.get(index, 'another interface') if index else 'all interfaces'}"])
    if any(_lines(file) for file in ("raw", "raw6")):
        listed.append(["raw", "raw socket"])
    return listed


SOCK_DIAG, SOCK_DIAG_BY_FAMILY, TCP_LISTEN = 4, 20, 10


def _listening(family):
    """Ports with a TCP listener, by sock_diag(7): /proc/net/tcp would walk all connections of all namespaces, which takes 20 ms."""
    request = struct.pack("BBBxI48x", family, socket.IPPROTO_TCP, 0, 1 << TCP_LISTEN)  # struct inet_diag_req_v2
    try:
        found = netlink.dump(SOCK_DIAG_BY_FAMILY, request, SOCK_DIAG)
    except OSError:
        return [int(fields[1].rpartition(":")[2], 16) for file in ("tcp", "tcp6") for fields in _lines(file) if fields[3] == "0A"]
    return [struct.unpack_from("!H", message, 4)[0] for message in found]


def _lines(file):
    try:
        with open(f"/proc/thread-self/net/{file}") as lines:
            return [line.split() for line in lines.readlines()[1:]]
    except OSError:
        return []


def _cgroups(named):
    root = os.path.join(ownership.cgroup2(), ownership.lab)
    found = []
    for folder, _, _ in os.walk(root):
        try:
            fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:  # removed while we look
            continue
        try:
            attached = [one for kind, place in OF_CGROUP.items() for one in _query(fd, kind, named, place)]
        finally:
            os.close(fd)
        if attached:
            found.append((os.path.relpath(folder, root), attached))
    return found
