"""Exercise 07-find-the-bug: a filter for one UDP port that drops pieces of other messages."""

import random
import struct

from . import Hint, load
from .packets import ETH_P_ARP, ETH_P_IPV6, XDP_DROP, XDP_PASS, ethernet, ipv4, random_address

SECTION = "7.6"
TASK = "find two bugs by test, and repair them"
_TCP, _UDP = 6, 17  # include/uapi/linux/in.h
_DF, _MF = 0x4000, 0x2000  # RFC 791: don't fragment, more fragments; in the field of the fragment offset
_FRAGMENT = 20  # where that field lies in a frame
_NO_OPERATION = b"\x01"  # the IP option that only fills; RFC 791


def check(lab, answer):
    obj = load(lab, answer, programs={"close": "xdp"}, maps={})
    if "closed" not in obj.globals:
        raise Hint("the answer has no global variable named 'closed'")
    closed, other = random.sample([n for n in range(1024, 65536) if n >> 8 != n & 255], 2)
    obj.globals["closed"] = closed
    run = obj.programs["close"].test_run
    for make, want, hint in _kinds(closed, other):
        for _ in range(random.randrange(5, 10)):
            frame = make()
            got = run(frame).retval
            if got != want:
                raise Hint(hint, f"port {closed}: verdict {got} instead of {want} on {frame.hex(' ')}")
    _the_file(lab, obj, closed, other)


def _datagram(to, options=b"", protocol=_UDP):
    data = random.randbytes(random.randrange(4, 200))
    header = struct.pack("!HHHH", random.randrange(1, 1024), to, 8 + len(data), 0)
    return ipv4(protocol, random_address(), random_address(), header + data, options)


def _flagged(frame, fragment):
    return frame[:_FRAGMENT] + struct.pack("!H", fragment) + frame[_FRAGMENT + 2 :]


def _filling():
    return _NO_OPERATION * 4 * random.randrange(1, 11)


def _kinds(closed, other):
    def later():
        """A later piece of a message, whose bytes say the closed port where a first piece has its header."""
        return _flagged(_datagram(closed), random.randrange(1, 0x2000) | random.choice([0, _MF]))

    def low_byte_zero():
        return _flagged(_datagram(closed), random.randrange(1, 8) << 5)

    return [
        (lambda: _datagram(closed), XDP_DROP, "a packet to the closed port got through"),
        (lambda: _datagram(other), XDP_PASS, "a packet to another port was dropped"),
        (
            lambda: _datagram(closed, _filling()),
            XDP_DROP,
            "a packet to the closed port got through whose IP header has options: where does the UDP header begin then?",
        ),
        (
            lambda: _datagram(other, struct.pack("!HH", other, closed) * random.randrange(1, 10)),
            XDP_PASS,
            "an option of the IP header was taken for a port: where does the UDP header begin?",
        ),
        (
            later,
            XDP_PASS,
            "a piece of another message was dropped, a later fragment: it has no UDP header, and ip->frag_off tells which piece it is",
        ),
        (
            lambda: _flagged(_datagram(closed), _DF),
            XDP_DROP,
            "a packet to the closed port got through that may not be fragmented: frag_off holds flags too, "
            "the offset is its lower 13 bits, in network byte order",
        ),
        (
            lambda: _flagged(_datagram(closed), _MF),
            XDP_DROP,
            "the first fragment of a message to the closed port got through: it has the header, and its offset is 0",
        ),
        (low_byte_zero, XDP_PASS, "some later fragments were dropped: the offset is 13 bits in network byte order"),
        (lambda: _datagram(closed, protocol=_TCP), XDP_PASS, "a TCP packet was dropped: the task is UDP"),
        (
            lambda: ethernet(random.choice([ETH_P_ARP, ETH_P_IPV6]), _datagram(closed)[14:]),
            XDP_PASS,
            "a frame that is not IPv4 was dropped: read eth->h_proto",
        ),
        (
            lambda: _datagram(closed)[: random.randrange(14, 38)],
            XDP_PASS,
            "a frame was dropped that ends before its port: nobody can know where it was going",
        ),
    ]


def _the_file(lab, obj, closed, other):
    """A message of three pieces over a real wire; the second begins like a header for the closed port."""
    net = lab.netlab("reader", "archive")
    message = bytearray(random.randbytes(4000))
    message[1474:1476] = struct.pack("!H", closed)  # 1480 bytes a piece, 8 of the first are the UDP header
    with obj.programs["close"].attach_xdp(net["reader"].dev):
        waiting = net["reader"].socket(type="dgram").bind((net["reader"].ip, other))
        net["archive"].socket(type="dgram").bind().sendto(bytes(message), waiting)
        if not waiting.readable(3) or waiting.recv() != bytes(message):
            raise Hint("over a real wire, the file still does not arrive", f"port {closed}")
