"""Network namespaces in a row, neighbours joined by veth.

The names are files in a /run/netns of this lab alone: when its last process
ends, the kernel takes down the mounts, with them the namespaces, and with
those the interfaces. Nothing has to be recorded for the end.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time

from . import ownership
from .netns import ifindex, in_netns
from .serve import Refused
from .syscalls import CLONE_NEWNET, libc, mount, unshare

PREFIX6 = "fd00:0:0:"  # of every IPv6 address given here
MS_BIND, MNT_DETACH = 4096, 2
SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO of include/uapi/linux/ethtool.h, and what they are set to;
# ETHTOOL_GLINK, which makes the kernel notice now, not within a second, that the link is up (net/core/link_watch.c)
_SETTINGS = ((0x17, 0), (0x1F, 0), (0x24, 0), (0x2C, 1), (0x0A, 0))
_SYSCTLS = {
    # addresses are usable at once, and nothing speaks that was not asked: captures and counts stay those of the reader
    "ipv6/conf/all/disable_ipv6": 0,
    "ipv6/conf/default/disable_ipv6": 0,
    "ipv6/conf/default/accept_dad": 0,
    "ipv6/conf/default/dad_transmits": 0,
    "ipv6/conf/default/router_solicitations": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/addr_gen_mode": 1,
    "ipv6/conf/default/mldv2_unsolicited_report_interval": 1,
    "ipv4/conf/default/rp_filter": 0,
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/ping_group_range": "0 2147483647",
}
_FORWARDING = {"ipv4/ip_forward": 1, "ipv6/conf/all/forwarding": 1}


def create(names):
    """Make the namespaces and join them.

    Returns
    -------
    list
        For each host its path and its interfaces, a dict each: `name`, `neighbour`, `ifindex`, `mac`, `ip`, `ip6`.
    """
    ownership.own_netns_names()
    made = []
    try:
        for place, name in enumerate(names):
            _in_thread(_begin, name, 0 < place < len(names) - 1)
            made.append(name)
        for place in range(len(names)):
            lines = _lines(names, place)
            _ip(names[place], lines if _has_ipv6() else [line for line in lines if PREFIX6 not in line])
        about = [_about(names, place) for place in range(len(names))]
        for host in about:
            in_netns(host["path"], _await_silence, [one["name"] for one in host["interfaces"]])
        return about
    except BaseException:
        close(made)
        raise


def _has_ipv6():
    return os.path.exists("/proc/sys/net/ipv6/conf")


def _path(name):
    return f"{ownership.NETNS}/{name}"


def _in_thread(function, *arguments):
    """Run in a thread of its own, which may leave our network namespace."""
    failed = []

    def run():
        try:
            function(*arguments)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]


def _begin(name, forwards):
    unshare(CLONE_NEWNET)
    open(_path(name), "x").close()
    mount("/proc/thread-self/ns/net", _path(name), None, MS_BIND)
    for key, value in (_SYSCTLS | (_FORWARDING if forwards else {})).items():
        with contextlib.suppress(FileNotFoundError):  # without IPv6
            with open(f"/proc/sys/net/{key}", "w") as file:
                file.write(str(value))


def _ends(names, link):
    """The two ends of link 0, 1, ...: (interface, MAC, IPv4, IPv6) at its left and its right host."""
    left, right = names[link], names[link + 1]
    number = link + 1
    return [
        (f"veth-{other}", f"02:00:00:00:{number:02x}:{end:02x}", f"10.0.{number}.{end}", f"{PREFIX6}{number:x}::{end}")
        for end, other in ((1, right), (2, left))
    ]


def _interfaces(names, place):
    """(neighbour, interface, MAC, IPv4, IPv6) of a host."""
    found = []
    if place > 0:
        found.append((names[place - 1], *_ends(names, place - 1)[1]))
    if place < len(names) - 1:
        found.append((names[place + 1], *_ends(names, place)[0]))
    return found


def _lines(names, place):
    """What `ip -batch` does in a host; the link to the right neighbour is made by its left one."""
    lines = ["link set lo up"]
    last = len(names) - 1
    if place < last:
        (mine, my_mac, _, _), (theirs, their_mac, _, _) = _ends(names, place)
        lines.append(
            f"link add {mine} address {my_mac} type veth peer name {theirs} address {their_mac} netns {names[place + 1]}"
        )
    for neighbour, name, _, ip, ip6 in _interfaces(names, place):
        lines += [
            # GRO stays on, since only then a veth receives frames by XDP redirect; this keeps it from joining packets
            f"link set {name} gro_max_size 1",
            f"address add {ip}/24 dev {name}",
            f"address add {ip6}/64 dev {name} nodad",
            f"link set {name} up",
        ]
        their_mac, their_ip, their_ip6 = next(
            (mac, ip, ip6) for back, _, mac, ip, ip6 in _interfaces(names, names.index(neighbour)) if back == names[place]
        )
        lines += [f"neighbour add {other} lladdr {their_mac} nud permanent dev {name}" for other in (their_ip, their_ip6)]
    for link in range(last):
        if link in (place - 1, place):
            continue
        end = _ends(names, place - 1)[0] if link < place else _ends(names, place)[1]
        lines += [f"route add 10.0.{link + 1}.0/24 via {end[2]}", f"route add {PREFIX6}{link + 1:x}::/64 via {end[3]}"]
    return lines


def _ip(name, lines):
    done = subprocess.run(
        ["ip", "-n", name, "-batch", "-"],
        input="\n".join(lines).encode(),
        capture_output=True,
        env=ownership.environment(),
    )
    if done.returncode:
        raise Refused("Network", done.stderr.decode(errors="replace").strip() or "ip failed")


def _about(names, place):
    def run():
        interfaces = []
        for neighbour, name, mac, ip, ip6 in _interfaces(names, place):
            _set_up(name)
            number = ifindex(name)
            about = {"name": name, "neighbour": neighbour, "ifindex": number, "mac": mac, "ip": ip}
            interfaces.append(about | {"ip6": ip6 if _has_ipv6() else ""})
        return interfaces

    return {"path": _path(names[place]), "interfaces": in_netns(_path(names[place]), run)}


def _set_up(name):
    """Packets leave whole and with checksums, as on a wire, so that a capture or an XDP program sees right ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command, value in _SETTINGS:
            request = ctypes.create_string_buffer(struct.pack("II", command, value), 8)
            # struct ifreq: the name, then a pointer to struct ethtool_value
            frame = struct.pack("16sQ16x", name.encode(), ctypes.addressof(request))
            fcntl.ioctl(sock, SIOCETHTOOL, frame)


def _await_silence(interfaces):
    """Wait until the interfaces have told the multicast groups they are in, twice as RFC 3810 wants it (9.1).

    Nobody asked for these packets, so a reader's program that counts packets shall not see them.
    """
    deadline = time.monotonic() + 0.2
    for name in interfaces:
        while _mld_reports(name) < 2 and time.monotonic() < deadline:
            time.sleep(0.002)


def _mld_reports(name):
    try:
        with open(f"/proc/thread-self/net/dev_snmp6/{name}") as file:
            return int(dict(line.split() for line in file)["Icmp6OutMLDv2Reports"])
    except (OSError, KeyError):
        return 2  # without IPv6 there are none


def close(names):
    """Take the interfaces away now, then the names; the namespaces go with their last process or socket."""
    for name in names:
        with contextlib.suppress(OSError):
            in_netns(_path(name), _delete_interfaces)
        libc.umount2(_path(name).encode(), MNT_DETACH)
        with contextlib.suppress(OSError):
            os.unlink(_path(name))


def _delete_interfaces():
    for _, name in socket.if_nameindex():
        if name.startswith("veth-"):
            subprocess.run(["ip", "link", "del", name], capture_output=True, env=ownership.environment())


def _checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


ECHO_REQUEST, ECHO_REPLY = (8, 128), (0, 129)  # RFC 792, RFC 4443


def ping(netns, address, count, timeout):
    """Send ICMP echo requests from a namespace, one after the other's answer.

    Returns
    -------
    list of float
        Milliseconds to each answer; None for what was not answered within `timeout` seconds.
    """
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    sock = in_netns(netns, socket.socket, family, socket.SOCK_RAW, protocol)
    with sock:
        sock.connect((address, 0))
        identity = os.urandom(2)
        return [_echo(sock, six, identity + struct.pack("!H", number + 1), timeout) for number in range(count)]


def _echo(sock, six, mark, timeout):
    body = mark + bytes(range(0x10, 0x40))
    head = struct.pack("!BBH", ECHO_REQUEST[six], 0, 0)
    if not six:  # the kernel does ICMPv6's by itself
        head = struct.pack("!BBH", ECHO_REQUEST[0], 0, _checksum(head + body))
    start = time.perf_counter()
    try:
        sock.send(head + body)
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            raise
        return None  # a program on the way out dropped it (EPERM, ENOBUFS), or an earlier one was answered by an error
    while True:
        left = start + timeout - time.perf_counter()
        if left <= 0:
            return None
        sock.settimeout(left)
        try:
            data = sock.recv(2048)
        except OSError:  # the time is over, or the network answered that nobody is there
            return None
        elapsed = time.perf_counter() - start
        if not six:
            data = data[(data[0] & 15) * 4 :]  # behind the IPv4 header
        if data[0] == ECHO_REPLY[six] and data[4:8] == mark and data[8:] == body[4:]:
            return elapsed * 1000
