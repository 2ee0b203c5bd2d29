"""Exercise 01-classic-filter: a filter in the language of 1992."""

import random
import struct

from ..insn import classic, classic_text
from . import Hint, packets

SECTION = "1.2"
TASK = "a classic filter for the answers of name servers"

_UDP, _TCP = 17, 6  # include/uapi/linux/in.h
_MORE, _DONT = 0x2000, 0x4000  # bits of the IP header's flags and fragment offset, RFC 791
_DNS = 53


def check(lab, answer):
    insns = _instructions(answer)
    frames = _frames()
    code = b"".join(struct.pack("=HBBI", *i) for i in insns)
    (through,) = lab.ask("insns.classic", [code], [frame for _, _, frame in frames])
    if isinstance(through, int):
        raise Hint("the kernel refuses the filter")
    passed = [count > 0 for count in through]
    if not any(passed):
        raise Hint("nothing passes: one way through the filter has to end with ret #65535")
    if all(passed):
        raise Hint("everything passes: packets that are not wanted have to come to ret #0")
    for kind, wanted, hint in _KINDS:
        wrong = [frame for (k, _, frame), got in zip(frames, passed) if k == kind and got != wanted]
        if wrong:
            raise Hint(hint, f"{len(wrong)} of these packets were {'dropped' if wanted else 'let through'}, for instance {wrong[0].hex()}")
    if any(0 < count < len(frame) for count, (_, _, frame) in zip(through, frames)):
        raise Hint("packets are cut: ret says how many bytes pass, so return more than any packet has")


# kind, whether it is wanted, and what to say when the filter sees it otherwise; the first that is wrong is told
_KINDS = (
    ("plain", True, "answers of a name server are dropped: the source port, 53, is the first half-word behind the IP header"),
    ("to a server", False, "questions pass: a packet to port 53 has 53 for its destination; the source port stands two bytes before"),
    ("another port", False, "packets pass whose source port is not 53: compare the whole half-word"),
    ("tcp", False, "TCP passes: byte 23 of the frame, the IP header's protocol, has to be 17"),
    ("not ip", False, "a frame that is not IPv4 passes: look at the EtherType, at offset 12, before anything else"),
    (
        "options",
        True,
        "answers whose IP header has options are dropped: the header's length varies, so let ldxb 4*([14]&0xf) put it into X, and load from [x + 14]",
    ),
    ("options, another port", False, "with a longer IP header other ports pass: find the ports behind the header, by way of X"),
    ("unbroken", True, "packets that may not be fragmented are dropped: of the half-word at offset 20 only the lower 13 bits are the fragment offset"),
    (
        "first fragment",
        True,
        "the first fragment of an answer is dropped: it has the ports in it, and its fragment offset, the lower 13 bits at offset 20, is 0",
    ),
    (
        "later fragment",
        False,
        "later fragments pass: they have no ports, what stands there is data; drop a packet whose fragment offset, jset #0x1fff at offset 20, is not 0",
    ),
)


def _instructions(answer):
    if not isinstance(answer, str):
        raise Hint(f"the answer is no text but of type {type(answer).__name__}: write instructions, one to a line, into answer")
    if not classic_text.is_text(answer):
        raise Hint("the answer has no instructions of classic BPF: write them as tcpdump -d prints them, one to a line, and end with a ret")
    try:
        insns = classic_text.assemble(answer)
        classic.check(insns)
    except ValueError as exc:
        raise Hint("the answer is no filter that the kernel takes", error=str(exc)) from exc
    return insns


def _frames():
    """(kind, index, frame) in random order; every kind several times."""
    made = [(kind, n, _frame(kind)) for kind, *_ in _KINDS for n in range(12)]
    random.shuffle(made)
    return made


def _frame(kind):
    other = random.choice([p for p in range(1, 65536) if p & 0xFF != _DNS and p >> 8 != _DNS])
    source, destination = _DNS, other
    words, fragment, protocol = 5, 0, _UDP
    match kind:
        case "to a server":
            source, destination = other, _DNS
        case "another port":
            source = random.choice([other, _DNS << 8, _DNS | 256 * random.randrange(1, 200)])
        case "tcp":
            protocol = _TCP
        case "options":
            words = random.randrange(6, 16)
        case "options, another port":
            words, source = random.randrange(6, 16), other
        case "unbroken":
            fragment = _DONT
        case "first fragment":
            fragment = _MORE
        case "later fragment":
            fragment = random.randrange(1, 0x2000) | random.choice([0, _MORE])
    # where a filter that forgets the header's length would look, an option has the number 53
    options = struct.pack("!HH", _DNS if source != _DNS else other, other) * (words - 5)
    data = struct.pack("!HHHH", source, destination, 20, 0) + random.randbytes(12)
    header = struct.pack("!BBHHHBBH4s4s", 0x40 | words, 0, words * 4 + 20, random.randrange(65536), fragment, 64, protocol, 0,
                         packets.random_address().packed, packets.random_address().packed)  # fmt: skip
    link = random.randbytes(12).replace(b"\x08", b"\x09")
    ether_type = random.choice([0x0806, 0x86DD, 0x0801, 0x88CC]) if kind == "not ip" else packets.ETH_P_IP
    return link + struct.pack("!H", ether_type) + header + options + data
