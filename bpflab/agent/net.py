"""Network namespaces joined by veth, as a plan of the notebook says (bpflab/netlab/plan.py).

The names are files in a /run/netns of this lab alone: when its last process
ends, the kernel takes down the mounts, with them the namespaces, and with
those the interfaces. Nothing has to be recorded for the end.
"""

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time

from . import netlink, ownership
from .netns import ifindex, in_netns
from .serve import Refused
from .syscalls import CLONE_NEWNET, libc, mount, unshare

MS_BIND, MNT_DETACH = 4096, 2
SIOCETHTOOL = 0x8946
# ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO of include/uapi/linux/ethtool.h, and what they are set to;
# ETHTOOL_GLINK, which makes the kernel notice now, not within a second, that the link is up (net/core/link_watch.c)
_SETTINGS = ((0x17, 0), (0x1F, 0), (0x24, 0), (0x2C, 1), (0x0A, 0))
NOTICE = _SETTINGS[-1:]
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
# a switch has no addresses of its own, and says nothing
_SWITCH = {"ipv6/conf/all/disable_ipv6": 1, "ipv6/conf/default/disable_ipv6": 1}
MANY = 32
GROUP = 4242  # of the interfaces of a pair that one end makes; the other goes with it
BRIDGE = "bridge"  # the interface that is the switch


def create(plan):
    """Make the namespaces and join them.

    Parameters
    ----------
    plan : list of dict
        See `bpflab.netlab.plan.make`.

    Returns
    -------
    dict
        `ipv6`: whether this kernel has it; `hosts`: for each its `path` and the `ifindexes` of its interfaces.
    """
    ownership.own_netns_names()
    made, six = [], _has_ipv6()
    try:
        for host in plan:
            _in_thread(_begin, host)
            made.append(host["name"])
        # links first: an interface is there from when either end has made it
        for host in plan:
            batch(host["name"], [line for one in host["interfaces"] if one["makes"] for line in _pair(host["name"], one)])
        for host in plan:
            batch(host["name"], _lines(host))
            batch(host["name"], [f"fdb replace {mac} dev {port} master static" for mac, port in host["ports"]], "bridge")
        numbers = [in_netns(path_of(host["name"]), _indexes, host) for host in plan]
        for host in plan:
            if not host["switch"]:
                in_netns(path_of(host["name"]), _await_silence, [one["name"] for one in host["interfaces"]])
        return {"ipv6": six, "hosts": [{"path": path_of(host["name"]), "ifindexes": one} for host, one in zip(plan, numbers)]}
    except BaseException:
        close(made)
        raise


def _has_ipv6():
    return os.path.exists("/proc/sys/net/ipv6/conf")


def path_of(name):
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


def _begin(host):
    unshare(CLONE_NEWNET)
    path = path_of(host["name"])
    open(path, "x").close()
    mount("/proc/thread-self/ns/net", path, None, MS_BIND)
    settings = _SYSCTLS | (_FORWARDING if host["forwards"] else {}) | (_SWITCH if host["switch"] else {})
    if host["ttl"]:
        settings |= {"ipv4/ip_default_ttl": host["ttl"], "ipv6/conf/default/hop_limit": host["ttl"], "ipv6/conf/all/hop_limit": host["ttl"]}
    for key, value in settings.items():
        with contextlib.suppress(FileNotFoundError):  # without IPv6
            with open(f"/proc/sys/net/{key}", "w") as file:
                file.write(str(value))


def _pair(name, one):
    size = f" mtu {one['mtu']}" if one["mtu"] else ""
    queues = f" numtxqueues {one['queues']} numrxqueues {one['queues']}" if one["queues"] else ""
    peer = f"peer name veth-{name}{size}{queues} netns {one['neighbour']}"
    return [f"link add {one['name']}{size}{queues} group {GROUP} type veth {peer}"]


def _lines(host):
    """What `ip -batch` does in a host, when all interfaces are there."""
    lines = ["link set lo up"]
    if host["switch"]:
        lines.append(f"link add {BRIDGE} type bridge forward_delay 0 stp_state 0 mcast_snooping 0")
        largest = [one["mtu"] for one in host["interfaces"] if one["mtu"]]
        for one in host["interfaces"]:
            lines += [f"link set {one['name']} gro_max_size 1 master {BRIDGE}", f"link set {one['name']} up"]
        return [*lines, *([f"link set {BRIDGE} mtu {max(largest)}"] if largest else []), f"link set {BRIDGE} up"]
    for one in host["interfaces"]:
        # GRO stays on, since only then a veth receives frames by XDP redirect; this keeps it from joining packets
        lines.append(f"link set {one['name']} address {one['mac']} gro_max_size 1")
        lines += lines_of(host, one["name"], "add")
    return lines


def lines_of(host, device, verb):
    """What gives an interface its addresses, its neighbours, and the routes over it; `verb` is "add" or "replace"."""
    one = next(one for one in host["interfaces"] if one["name"] == device)
    if host["switch"]:
        return [f"link set {device} up"]
    six = _has_ipv6()
    lines = [f"address {verb} {one['ip']}/24 dev {device}"]
    lines += [f"address {verb} {one['ip6']}/64 dev {device} nodad"] * six
    lines.append(f"link set {device} up")
    known = [(to, mac) for name, to, mac in host["neighbours"] if name == device and (six or ":" not in to)]
    lines += [f"neighbour {verb} {to} lladdr {mac} nud permanent dev {device}" for to, mac in known]
    return lines + [f"route {verb} {to} via {hop} dev {device}" for to, hop, name in host["routes"] if name == device and (six or ":" not in to)]


def batch(name, lines, tool="ip"):
    if not lines:
        return
    done = subprocess.run(
        [tool, "-n", name, "-batch", "-"],
        input="\n".join(lines).encode(),
        capture_output=True,
        env=ownership.environment(),
    )
    if done.returncode:
        raise Refused("Network", done.stderr.decode(errors="replace").strip() or f"{tool} failed")


def _indexes(host):
    for one in host["interfaces"]:
        set_up(one["name"])
    if host["switch"]:
        set_up(BRIDGE, NOTICE)
    return [ifindex(one["name"]) for one in host["interfaces"]]


def set_up(name, settings=_SETTINGS):
    """Packets leave whole and with checksums, as on a wire, so that a capture or an XDP program sees right ones."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command, value in settings:
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
    """Take the interfaces away now, then the names; the namespaces go with their last process or socket.

    Of many hosts only the names: each namespace's interfaces cost a grace period, and the kernel takes all of them down in one, if a moment later.
    """
    for name in names:
        if len(names) <= MANY:
            with contextlib.suppress(OSError, Refused):
                in_netns(path_of(name), _delete_interfaces)
        libc.umount2(path_of(name).encode(), MNT_DETACH)
        with contextlib.suppress(OSError):
            os.unlink(path_of(name))


def _delete_interfaces():
    """All pairs that this end made, at once: the kernel waits for a grace period only once then."""
    if len(socket.if_nameindex()) > 1:
        netlink.delete_group(GROUP)
