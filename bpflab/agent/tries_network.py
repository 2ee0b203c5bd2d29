"""Tries of what runs on packets: at devices, routes and other places on their way, in a network namespace of its own."""

import contextlib
import os
import socket
import struct

from . import netlink, tc
from .serve import Refused
from .syscalls import PROG_ATTACH, PROG_DETACH, Attr, bpf, libc
from .tiny import Failed, counts, errno_words, feature, returns, step

# enum bpf_prog_type
SCHED_CLS, SCHED_ACT, XDP = 3, 4, 6
LWT_IN, LWT_OUT, LWT_XMIT, LWT_SEG6LOCAL, LIRC_MODE2 = 10, 11, 12, 19, 20
FLOW_DISSECTOR, NETFILTER = 22, 32
XDP_GENERIC, XDP_NATIVE = 2, 4  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
KIND = "attach"


def _pair():
    """A veth pair in the namespace of this thread, made on first use."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex("try0")
    with step("making a veth pair"):
        netlink.add_pair("try0", "try1")
    return socket.if_nametoindex("try0")


_FRAME = bytes(12) + b"\x88\xb5" + bytes(50)  # an EtherType for local experiments


def _send(device="try1", frame=_FRAME):
    """One frame out of an interface, so in at the other end."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((device, 0))
        sock.send(frame)


def datagram():
    """One UDP datagram from this namespace to itself."""
    netlink.up("lo")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("127.0.0.1", 9))


def wait_for(t, counter, what):
    """Packets on a veth are received in a softirq: give it a moment."""
    for _ in range(2000):
        if t.count(counter):
            return
        libc.usleep(100)
    t.expect(counter, what)


def _xdp(t, mode, flags=0):
    counter = t.counter()
    device = _pair()
    t.link(t.load(XDP, counts(counter, 2), flags=flags), device, 37, flags=mode)
    _send()
    wait_for(t, counter, "a frame came")


@feature("xdp generic", KIND, "attached to a veth with XDP_FLAGS_SKB_MODE, and counted a frame", "net")
def xdp_generic(t):
    _xdp(t, XDP_GENERIC)


@feature("xdp native", KIND, "attached to a veth with XDP_FLAGS_DRV_MODE, and counted a frame", "net")
def xdp_native(t):
    _xdp(t, XDP_NATIVE)


@feature("xdp frags", KIND, "attached a program for frames of several buffers to a veth, and counted a frame", "net")
def xdp_frags(t):
    _xdp(t, XDP_NATIVE, 1 << 5)


@feature("xdp offload", KIND, "loaded a program for the hardware of each interface of the machine")
def xdp_offload(t):
    names = [(number, name) for number, name in socket.if_nameindex() if name != "lo"]
    if not names:
        raise Failed("the machine has no interface")
    for number, name in names:
        try:
            t.load(XDP, returns(2), ifindex=number)
            return
        except Failed as error:
            last = f"{name}: {error}"
    raise Failed(last)


@feature("tcx", KIND, "attached to a veth's ingress by a link, and counted a frame", "net")
def tcx(t):
    counter = t.counter()
    device = _pair()
    t.link(t.load(SCHED_CLS, counts(counter)), device, 46, "IIQ", 0, 0, 0)
    _send()
    wait_for(t, counter, "a frame came")


@feature("clsact", KIND, "attached to a veth's ingress as a direct-action filter, and counted a frame", "net")
def clsact(t):
    counter = t.counter()
    _pair()
    prog = t.load(SCHED_CLS, counts(counter))
    try:
        # a namespace's name only tells where to undo it; this one goes as a whole
        tc.attach(prog, "this", "try0", True)
    except Refused as refused:
        raise Failed(f"the filter was refused: {errno_words(refused.payload['errno'])}") from None
    _send()
    wait_for(t, counter, "a frame came")


@feature("sched_act", KIND, "attached to a veth's ingress as the action of a filter, and counted a frame", "net")
def sched_act(t):
    counter = t.counter()
    device = _pair()
    action, all_packets = t.load(SCHED_ACT, counts(counter)), t.load(SCHED_CLS, returns(-1))
    with step("making a clsact qdisc"):
        tc.make(device)
    with step("RTM_NEWTFILTER with the action"):
        netlink.add_bpf_filter(device, all_packets, action)
    _send()
    wait_for(t, counter, "a frame came")


@feature("netkit", KIND, "attached to a netkit pair, and counted a packet", "net")
def netkit(t):
    with step("making a netkit pair"):
        netlink.add_pair("try2", "try3", "netkit")
    counter = t.counter()
    primary = socket.if_nametoindex("try2")
    t.link(t.load(SCHED_CLS, counts(counter)), primary, 54, "IIQ", 0, 0, 0)
    _send("try2")
    wait_for(t, counter, "a packet was sent")


# -- routes


def _lwt(t, kind, direction, local=False):
    counter = t.counter()
    netlink.up("lo")
    device = socket.if_nametoindex("lo") if local else _pair()
    prog = t.load(kind, counts(counter))
    with step("RTM_NEWROUTE"):
        netlink.add_bpf_route(direction, prog, device, local)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (f"192.0.2.{direction}", 9))
    wait_for(t, counter, "a packet took the route")


@feature("lwt_in", KIND, "attached to a route, and counted a packet that came in", "net")
def lwt_in(t):
    _lwt(t, LWT_IN, 1, local=True)


@feature("lwt_out", KIND, "attached to a route, and counted a packet that went out", "net")
def lwt_out(t):
    _lwt(t, LWT_OUT, 2)


@feature("lwt_xmit", KIND, "attached to a route, and counted a packet about to be sent", "net")
def lwt_xmit(t):
    _lwt(t, LWT_XMIT, 3)


@feature("lwt_seg6local", KIND, "attached to a route's End.BPF, and counted a packet with a segment header", "net")
def lwt_seg6local(t):
    counter = t.counter()
    device = _pair()
    prog = t.load(LWT_SEG6LOCAL, counts(counter, 2))  # BPF_DROP
    with step("RTM_NEWROUTE"):
        netlink.add_seg6local_route("fc00::1", prog, device)
    address = {n: socket.inet_pton(socket.AF_INET6, f"fc00::{n}") for n in (1, 2, 3)}
    # struct ipv6_sr_hdr: next header none, 4 * 8 bytes more, type 4, one segment left of two
    segments = struct.pack("6BH", 59, 4, 4, 1, 1, 0, 0) + address[3] + address[1]
    packet = struct.pack(">IHBB", 6 << 28, len(segments), 43, 64) + address[2] + address[1] + segments
    _send("try1", netlink.hardware_address("try0") + bytes(6) + b"\x86\xdd" + packet)
    wait_for(t, counter, "a packet came by the route")


# -- other places


@feature("lirc_mode2", KIND, "attached to the first infra-red device, and counted a pulse")
def lirc_mode2(t):
    counter = t.counter()
    prog = t.load(LIRC_MODE2, counts(counter))
    if not os.path.exists("/dev/lirc0"):
        raise Failed("it loads, but there is no infra-red receiver: no /dev/lirc0")
    fd = t.own(os.open("/dev/lirc0", os.O_RDWR))
    with step("BPF_PROG_ATTACH"):
        bpf(PROG_ATTACH, Attr("4I", fd, prog, 16, 0))
    t.callback(bpf, PROG_DETACH, Attr("4I", fd, prog, 16, 0))
    with contextlib.suppress(OSError):  # only some can send; rc-loopback hears itself
        os.write(fd, struct.pack("I", 1000))
    wait_for(t, counter, "a pulse was sent; one from a remote control would do")


@feature("netfilter", KIND, "attached to the hook for incoming IPv4 packets, and counted a datagram", "net")
def netfilter(t):
    counter = t.counter()
    t.link(t.load(NETFILTER, counts(counter, 1), 45), 0, 45, "IIiI", 2, 1, -128, 0)
    datagram()
    wait_for(t, counter, "a datagram came")


def netns_link(t, prog, attach):
    """A link of a program to this thread's network namespace."""
    return t.link(prog, t.own(os.open("/proc/thread-self/ns/net", os.O_RDONLY)), attach)


@feature("flow_dissector", KIND, "attached to a network namespace, and counted a packet", "net")
def flow_dissector(t):
    counter = t.counter()
    _pair()
    netns_link(t, t.load(FLOW_DISSECTOR, counts(counter), 17), 17)
    _send()  # a packet socket looks for the transport header of what it sends
    wait_for(t, counter, "a packet was dissected")
