"""Exercise 06-tcpdump-filter: an expression for whoever begins a connection."""

import random
import struct

from ..insn.run import compile_filter
from . import Hint, call
from .segments import ACK, CWR, ECE, FIN, PSH, RST, SYN, TCP, UDP, fragment, ipv4, ipv6, options, port, segment

SECTION = "6.1"
TASK = "an expression for whoever knocks at a port"


def check(lab, answer):
    mine = port()
    insns = _compiled(lab, call(answer, mine))
    frames = _frames(mine)
    code = b"".join(struct.pack("=HBBI", *i) for i in insns)
    (through,) = lab.ask("insns.classic", [code], [frame for _, frame in frames])
    passed = [count > 0 for count in through]
    for kind, wanted, hint in _KINDS:
        wrong = [frame for (one, frame), got in zip(frames, passed) if one == kind and got != wanted]
        if wrong:
            verb = "did not pass" if wanted else "passed"
            raise Hint(hint, f"port {mine}: {len(wrong)} of these packets {verb}, for instance {wrong[0].hex()}")


def _compiled(lab, text):
    if not isinstance(text, str):
        raise Hint(f"the answer returned {type(text).__name__}, not a text: return an expression, as tcpdump takes it")
    try:
        return compile_filter(text, lab)
    except ValueError as exc:
        raise Hint("tcpdump does not understand the expression", error=str(exc)) from exc


# kind, whether it shall pass, and what to say when it does not; the first that is wrong is told
_KINDS = (
    (
        "knock",
        True,
        "the first packet of a connection to the port that the function is given is not seen: its flags are SYN, and not ACK",
    ),
    (
        "other port",
        False,
        "connections to other ports are seen: compare the port with the number that the function was given",
    ),
    (
        "data",
        False,
        "packets of connections that stand already are seen: of the flags, tcp[tcpflags], look for tcp-syn",
    ),
    (
        "answer",
        False,
        "the server's answers are seen: what it sends comes from the port, and what knocks goes to it (dst port)",
    ),
    (
        "from the port",
        False,
        "somebody's connection to another port is seen, since it comes from a port of the same number: ask for the destination (dst port)",
    ),
    (
        "half open",
        False,
        "answers, which have SYN and ACK, are seen: of the two flags tcp-syn and tcp-ack, mask both, only the first may be set",
    ),
    (
        "udp",
        False,
        "UDP is seen: tcp[tcpflags] looks into TCP alone, and so should whatever else the expression says (tcp dst port)",
    ),
    (
        "ECN",
        True,
        "a client that offers congestion notification is not seen: its SYN has the flags ECE and CWR too, so mask the two that you ask for, with &, before you compare",
    ),
    (
        "options",
        True,
        "a knock whose IP header has options is not seen: tcp[...] counts from the TCP header, wherever that begins; an offset of the frame does not",
    ),
    ("fragment", False, "later fragments are seen: they have no ports and no flags, what stands there is data"),
    (
        "IPv6",
        True,
        "IPv6 is not seen: tcp[...] is of IPv4 only; in IPv6 the next header is ip6[6], and the TCP header begins at ip6[40]: its flags are ip6[40 + 13]",
    ),
    (
        "IPv6 data",
        False,
        "of IPv6 all packets to the port are seen: the flags are ip6[40 + 13]; and put what an or joins into brackets, for and binds no tighter than or",
    ),
    ("IPv6 half open", False, "of IPv6 also answers are seen, which have SYN and ACK: mask both flags of ip6[40 + 13]"),
    ("IPv6 other port", False, "of IPv6 connections to other ports are seen: say the port of both versions"),
    (
        "IPv6 udp",
        False,
        "of IPv6 UDP is seen: its next header, ip6[6], is 17 and not 6; dst port alone asks for either",
    ),
)


def _frames(mine):
    """(kind, frame) in random order, every kind several times."""
    made = [(kind, _frame(kind, mine)) for kind, *_ in _KINDS for _ in range(10)]
    random.shuffle(made)
    return made


def _frame(kind, mine):
    other = random.choice([n for n in range(1024, 65536) if n != mine])
    source, target, flags, extra = other, mine, SYN, options(random.randrange(0, 8))
    match kind.removeprefix("IPv6 "):
        case "other port":
            target = random.choice([other, struct.unpack("<H", struct.pack(">H", mine))[0]])
            source = other
        case "data":
            flags = random.choice([ACK, PSH | ACK, FIN | ACK, RST, RST | ACK])
        case "answer":
            source, target, flags = mine, other, random.choice([SYN | ACK, ACK])
        case "from the port":
            source, target = mine, other
        case "half open":
            flags = SYN | ACK
        case "ECN":
            flags = SYN | ECE | CWR
    if kind.endswith("udp"):
        # where TCP has its flags, the data have SYN
        data = struct.pack("!HHHH", source, target, 32, 0) + bytes([0, 0, 0, 0, 0x50, SYN]) + random.randbytes(18)
        return ipv6(UDP, data) if kind.startswith("IPv6") else ipv4(UDP, data)
    data = segment(source, target, flags, random.randbytes(random.randrange(0, 40)), extra)
    if kind.startswith("IPv6"):
        return ipv6(TCP, data)
    if kind == "options":
        return ipv4(TCP, data, options(random.randrange(1, 11)))
    return (
        fragment(ipv4(TCP, data), random.randrange(1, 1 << 13), random.choice([True, False]))
        if kind == "fragment"
        else ipv4(TCP, data)
    )
