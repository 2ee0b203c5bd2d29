"""Exercise 07-verdicts: every verdict of XDP once, judged on the bench and on a wire."""

import random
import struct

from . import Hint, load
from .packets import ETH_P_ARP, ETH_P_IPV6, XDP_DROP, XDP_PASS, ethernet, ipv4, random_address

SECTION = "7.2"
TASK = "a sorting office that gives every verdict"
_ABORTED, _TX, _REDIRECT = 0, 3, 4  # enum xdp_action, include/uapi/linux/bpf.h
_NAMES = {_ABORTED: "XDP_ABORTED", XDP_DROP: "XDP_DROP", XDP_PASS: "XDP_PASS", _TX: "XDP_TX", _REDIRECT: "XDP_REDIRECT"}
_TCP, _UDP = 6, 17  # include/uapi/linux/in.h
_GLOBALS = ("echo", "closed", "onward", "next", "dropped")
_IP, _PORTS = 26, 34  # where the two addresses and the two ports of a frame begin
_PASSES = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("xdp") int pass(struct xdp_md *ctx) { return XDP_PASS; }
char LICENSE[] SEC("license") = "GPL";
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"office": "xdp"}, maps={"roads": ("devmap", "devmap_hash")})
    for name in _GLOBALS:
        if name not in obj.globals:
            raise Hint(f"the answer has no global variable named '{name}'")
    net = lab.netlab("sender -- box\nbox -- target")
    ports = random.sample([n for n in range(1024, 65536) if n >> 8 != n & 255], 4)
    names = dict(zip(("echo", "closed", "onward"), ports))
    for name, port in names.items():
        obj.globals[name] = port
    obj.globals["next"] = list(bytes.fromhex(net["target"].mac.replace(":", "")))
    obj.maps["roads"][0] = net["box"].devs["target"]
    _bench(obj, names, ports[-1], net["target"].mac)
    _wire(lab, obj, net, names, ports[-1])


def _run(obj, frame):
    run = obj.programs["office"].test_run(frame)
    return run.retval, run.data, f"verdict {_NAMES.get(run.retval, run.retval)} on {frame.hex(' ')}"


def _datagram(to, source=None, protocol=_UDP):
    data = random.randbytes(random.randrange(20, 200))
    source = source or random.randrange(1, 1024)
    return ipv4(protocol, random_address(), random_address(), struct.pack("!HHHH", source, to, 8 + len(data), 0) + data)


def _bench(obj, names, other, target):
    _passes(obj, names, other)
    _drops(obj, names)
    _aborts(obj, names)
    for name, verdict, called in (("echo", _TX, "sent back"), ("onward", _REDIRECT, "sent on")):
        for _ in range(5):
            frame = _datagram(names[name])
            got, after, seen = _run(obj, frame)
            if got == XDP_PASS and verdict == _REDIRECT:
                raise Hint(
                    "a packet to port 'onward' got XDP_PASS: bpf_redirect_map returns the verdict, and the program has to return it",
                    seen,
                )
            if got != verdict:
                raise Hint(f"a packet to port '{name}' was not {called}: its verdict is {_NAMES[verdict]}", seen)
            _rewritten(name, frame, after, target)


def _passes(obj, names, other):
    for name, port in names.items():
        swapped = port >> 8 | (port & 255) << 8
        if _run(obj, _datagram(swapped))[0] != XDP_PASS and _run(obj, _datagram(port))[0] == XDP_PASS:
            raise Hint(
                f"port '{name}' is compared back to front: what is in a packet is in network byte order, bpf_ntohs() turns it"
            )
    for port in names.values():
        for frame, hint in (
            (_datagram(other), "a packet to another port did not pass"),
            (_datagram(other, port), "a packet was taken for its source port: udp->dest is where it is going"),
            (_datagram(port, protocol=_TCP), "a TCP packet did not pass: only UDP (ip->protocol 17) is sorted"),
            (
                ethernet(ETH_P_ARP, _datagram(port)[14:]),
                "a frame that is not IPv4 did not pass: read eth->h_proto first",
            ),
            (
                ethernet(ETH_P_IPV6, _datagram(port)[14:]),
                "a frame that is not IPv4 did not pass: read eth->h_proto first",
            ),
        ):
            got, _, seen = _run(obj, frame)
            if got != XDP_PASS:
                raise Hint(hint, seen)


def _drops(obj, names):
    before = obj.globals["dropped"]
    frames = [_datagram(names["closed"]) for _ in range(random.randrange(5, 20))]
    for frame in frames:
        got, _, seen = _run(obj, frame)
        if got != XDP_DROP:
            raise Hint("a packet to port 'closed' was not dropped: its verdict is XDP_DROP", seen)
    counted = obj.globals["dropped"] - before
    if counted != len(frames):
        raise Hint(
            "'dropped' does not count what was dropped: nobody else will, add 1 for each",
            f"{len(frames)} dropped, counted {counted}",
        )


def _aborts(obj, names):
    whole = _datagram(random.choice(list(names.values())))
    for size, missing in ((random.randrange(14, 34), "IPv4"), (random.randrange(34, 42), "UDP")):
        got, _, seen = _run(obj, whole[:size])
        if got == XDP_DROP:
            raise Hint(
                "a frame that ends within a header was dropped, and nobody will ever learn of it: that is a case for XDP_ABORTED",
                seen,
            )
        if got != _ABORTED:
            raise Hint(f"a frame that says {missing} and ends within that header did not get XDP_ABORTED", seen)
    frame = ethernet(ETH_P_ARP, bytes(random.randrange(0, 20)))
    got, _, seen = _run(obj, frame)
    if got != XDP_PASS:
        raise Hint("a short frame that is not IPv4 did not pass: what is not ours to read cannot be cut short", seen)


def _rewritten(name, frame, after, target):
    seen = f"before: {frame.hex(' ')}; after: {after.hex(' ')}"
    to, source = frame[:6], frame[6:12]
    if name == "echo":
        if after[:12] != source + to:
            raise Hint(
                "what is sent back has not the sender's MAC address: exchange eth->h_dest and eth->h_source", seen
            )
        if after[_IP:_PORTS] != frame[_IP + 4 : _PORTS] + frame[_IP : _IP + 4]:
            raise Hint("what is sent back still goes to its old IP address: exchange ip->saddr and ip->daddr", seen)
        if after[_PORTS : _PORTS + 4] != frame[_PORTS + 2 : _PORTS + 4] + frame[_PORTS : _PORTS + 2]:
            raise Hint("what is sent back still goes to its old port: exchange udp->source and udp->dest", seen)
        if after[_PORTS + 4 :] != frame[_PORTS + 4 :] or after[12:_IP] != frame[12:_IP]:
            raise Hint("more was changed than addresses and ports", seen)
    else:
        if after[:12] != bytes.fromhex(target.replace(":", "")) + to:
            raise Hint(
                "what is sent on needs MAC addresses for its next wire: to 'next', from what was its destination", seen
            )
        if after[12:] != frame[12:]:
            raise Hint("more was changed than the MAC addresses of what is sent on", seen)


def _wire(lab, obj, net, names, other):
    passes = lab.load(_PASSES, name="passes").programs["pass"]
    sender, box, target = net["sender"], net["box"], net["target"]
    for dev in (sender.dev, box.devs["target"], target.dev):
        passes.attach_xdp(dev, "native")
    obj.programs["office"].attach_xdp(box.devs["sender"], "native")
    words = random.randbytes(12)
    asking = sender.socket(type="dgram").bind()
    asking.sendto(words, (box.ip, names["echo"]))
    if not asking.readable(2) or asking.recv() != words:
        raise Hint("on a wire, the sender gets no answer from port 'echo'")
    for port, hint in (
        (
            names["onward"],
            "on a wire, what is for port 'onward' does not arrive: bpf_redirect_map(&roads, 0, 0) says where to, a bare XDP_REDIRECT does not",
        ),
        (other, "on a wire, what is for another port does not get through"),
    ):
        waiting = target.socket(type="dgram").bind((target.ip, port))
        asking.sendto(words, (target.ip, port))
        if not waiting.readable(2) or waiting.recv() != words:
            raise Hint(hint)
