"""Tries of what runs on packets, sockets and control groups, in a network namespace and a cgroup of their own."""

import contextlib
import ctypes
import os
import socket
import struct

from . import netlink, ownership, tc
from .serve import Refused
from .syscalls import PROG_ATTACH, Attr, bpf, libc
from .tiny import Failed, counts, errno_words, feature, returns, step

# enum bpf_prog_type
SOCKET_FILTER, SCHED_CLS, SCHED_ACT, XDP = 1, 3, 4, 6
LWT_IN, LWT_OUT, LWT_XMIT, LWT_SEG6LOCAL, LIRC_MODE2 = 10, 11, 12, 19, 20
CGROUP_SKB, CGROUP_SOCK, SOCK_OPS, CGROUP_DEVICE = 8, 9, 13, 15
CGROUP_SOCK_ADDR, CGROUP_SYSCTL, CGROUP_SOCKOPT = 18, 23, 25
SK_SKB, SK_MSG, SK_REUSEPORT, FLOW_DISSECTOR = 14, 16, 21, 22
SK_LOOKUP, NETFILTER = 30, 32
XDP_GENERIC, XDP_NATIVE = 2, 4  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE
KIND = "attach"


def _pair():
    """A veth pair in the namespace of this thread, made on first use."""
    with contextlib.suppress(OSError):
        return socket.if_nametoindex("try0")
    with step("making a veth pair"):
        netlink.add_pair("try0", "try1")
    return socket.if_nametoindex("try0")


def _send(device="try1"):
    """One frame out of an interface, so in at the other end."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((device, 0))
        sock.send(bytes(12) + b"\x88\xb5" + bytes(50))  # an EtherType for local experiments


def _await(t, counter, what):
    """Packets on a veth are received in a softirq: give it a moment."""
    for _ in range(200):
        if t.count(counter):
            return
        libc.usleep(100)
    t.expect(counter, what)


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


def _xdp(t, mode, flags=0):
    counter = t.counter()
    device = _pair()
    t.link(t.load(XDP, counts(counter, 2), flags=flags), device, 37, flags=mode)
    _send()
    _await(t, counter, "a frame came")


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
    _await(t, counter, "a frame came")


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
    _await(t, counter, "a frame came")


@feature("sched_act", KIND, "made a traffic control action of it", "net")
def sched_act(t):
    prog = t.load(SCHED_ACT, returns(0))
    with step("RTM_NEWACTION"):
        netlink.add_bpf_action(prog)


@feature("netkit", KIND, "made a netkit pair", "net")
def netkit(t):
    with step("making a netkit pair"):
        netlink.add_pair("try2", "try3", "netkit")


def _lwt(t, kind, direction):
    device = _pair()
    prog = t.load(kind, returns(0))
    with step("RTM_NEWROUTE"):
        netlink.add_bpf_route(direction, prog, device)


@feature("lwt_in", KIND, "made a route with it, for packets that come in", "net")
def lwt_in(t):
    _lwt(t, LWT_IN, 1)


@feature("lwt_out", KIND, "made a route with it, for packets that go out", "net")
def lwt_out(t):
    _lwt(t, LWT_OUT, 2)


@feature("lwt_xmit", KIND, "made a route with it, for packets about to be sent", "net")
def lwt_xmit(t):
    _lwt(t, LWT_XMIT, 3)


@feature("lwt_seg6local", KIND, "loaded it")
def lwt_seg6local(t):
    t.load(LWT_SEG6LOCAL, returns(0))


@feature("lirc_mode2", KIND, "loaded it, and looked for an infra-red receiver")
def lirc_mode2(t):
    t.load(LIRC_MODE2, returns(0))
    if not os.path.exists("/dev/lirc0"):
        raise Failed("it loads, but there is no infra-red receiver: no /dev/lirc0")


@feature("netfilter", KIND, "attached to the hook for incoming IPv4 packets", "net")
def netfilter(t):
    t.link(t.load(NETFILTER, returns(1), 45), 0, 45, "IIiI", 2, 1, -128, 0)


def _netns_link(t, kind, attach, code):
    fd = t.own(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
    return t.link(t.load(kind, code, attach), fd, attach)


@feature("sk_lookup", KIND, "attached to a network namespace, and counted a connection", "net")
def sk_lookup(t):
    counter = t.counter()
    _netns_link(t, SK_LOOKUP, 36, counts(counter, 1))
    netlink.up("lo")
    with socket.socket() as sock, contextlib.suppress(ConnectionRefusedError):
        sock.connect(("127.0.0.1", 9))
    t.expect(counter, "a socket was looked up")


@feature("flow_dissector", KIND, "attached to a network namespace", "net")
def flow_dissector(t):
    _netns_link(t, FLOW_DISSECTOR, 17, returns(0))


# -- sockets


@feature("sk_skb", KIND, "attached to a sock map", "net")
def sk_skb(t):
    _sock_map(t, t.load(SK_SKB, returns(1), 5), 5)


@feature("sk_msg", KIND, "attached to a sock map", "net")
def sk_msg(t):
    _sock_map(t, t.load(SK_MSG, returns(1), 7), 7)


def _sock_map(t, prog, attach):
    with step("BPF_PROG_ATTACH"):
        bpf(PROG_ATTACH, Attr("4I", t.map(15, 4, 4), prog, attach, 0))


@feature("sk_reuseport", KIND, "attached to a socket that shares its port", "net")
def sk_reuseport(t):
    prog = t.load(SK_REUSEPORT, returns(1), 39)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with step("SO_ATTACH_REUSEPORT_EBPF"):
            sock.setsockopt(socket.SOL_SOCKET, 52, struct.pack("i", prog))


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


# -- control groups


@contextlib.contextmanager
def _cgroup():
    """A cgroup without members, for a moment."""
    path = f"{ownership.cgroup2()}/{ownership.lab}-try-{os.urandom(4).hex()}"
    number = ownership.on_end("rmdir", path)
    with step(f"mkdir {path}"):
        os.mkdir(path)
    try:
        fd = os.open(path, os.O_RDONLY)
        try:
            yield fd
        finally:
            os.close(fd)
    finally:
        os.rmdir(path)
        ownership.settled(number)


def _on_cgroup(name, kind, attach, where, code=None):
    code = code or returns(1)

    def attempt(t):
        cgroup = t.enter_context(_cgroup())
        t.link(t.load(kind, code, attach), cgroup, attach)

    feature(name, KIND, f"attached to a cgroup, {where}")(attempt)


_on_cgroup("cgroup_skb", CGROUP_SKB, 1, "for packets that go out")
_on_cgroup("cgroup_sock", CGROUP_SOCK, 2, "for new sockets")
_on_cgroup("cgroup_sock_addr", CGROUP_SOCK_ADDR, 10, "for IPv4 connect")
_on_cgroup("cgroup_device", CGROUP_DEVICE, 6, "for opening devices")
_on_cgroup("cgroup_sysctl", CGROUP_SYSCTL, 18, "for reading and writing sysctls")
_on_cgroup("cgroup_sockopt", CGROUP_SOCKOPT, 22, "for setsockopt")
_on_cgroup("sock_ops", SOCK_OPS, 3, "for TCP events")
