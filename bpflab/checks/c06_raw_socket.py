"""Exercise 06-raw-socket: a meter in a socket."""

import random
import struct
import time

from ..errors import BpfError
from . import Hint, load, packets
from .segments import ICMP, ICMPV6, ipv4, ipv6

SECTION = "6.2"
TASK = "a meter in a socket, of what arrives"

_FIRST = 64  # bytes of a packet that the socket gets
_SOL_SOCKET, _SO_RCVBUFFORCE = 1, 33  # include/uapi/asm-generic/socket.h


def check(lab, answer):
    obj = load(lab, answer, programs={"meter": "socket_filter"}, maps={"packets": ("array", "percpu_array")})
    table = obj.maps["packets"]
    if (table.max_entries, table.value_type.size) != (256, 8):
        raise Hint("'packets' has 256 elements, one for each protocol number, and its values are __u64")
    sent = _Sent()
    with lab.netlab("a", "b") as net, net["b"].socket("packet", "raw") as sock, net["a"].socket("packet", "raw") as out:
        sock.setsockopt(_SOL_SOCKET, _SO_RCVBUFFORCE, 4 << 20)
        sock.bind(net["b"].dev)
        out.bind(net["a"].dev)
        obj.programs["meter"].attach_socket(sock)
        for frame in sent.frames(net["b"].mac):
            out.send(frame)
        net["a"].ping("b", count=sent.pings)
        net["a"].ping(net["b"].ip6, count=sent.pings6)
        counts = _settled(table, sent.expected)
        received = _drained(sock)
        own = bytes.fromhex(net["b"].mac.replace(":", ""))
    seen = f"sent: {sent.expected}; counted: {counts}; the socket got {len(received)} packets"
    if counts != sent.expected:
        raise Hint(sent.diagnose(counts), seen)
    _judge_received(sent, received, own, seen)


class _Sent:
    """What goes over the wire, and numbers in it that only a mistake would count."""

    def __init__(self):
        numbers = iter(random.sample(range(150, 250, 2), 17))
        self.pings, self.pings6 = random.randrange(3, 9), random.randrange(3, 9)
        # where an offset that is wrong, or a byte order, would lead
        self.at_9, self.at_6, self.at_23, self.swapped, self.swapped6, self.not_ip = (next(numbers) for _ in range(6))
        self.four = {number: random.randrange(2, 7) for number in (6, 17, *(next(numbers) for _ in range(3)))}
        self.six = {number: random.randrange(2, 7) for number in (next(numbers) for _ in range(3))}
        self.expected = {**self.four, **self.six, ICMP: self.pings, ICMPV6: self.pings6}
        self.counted: list[bytes] = []

    def frames(self, mac: str) -> list[bytes]:
        link = bytes.fromhex(mac.replace(":", "")) + bytes([self.at_6, 0, 0, self.at_9, 0, 1])

        def frame(ether_type: int, rest: bytes) -> bytes:
            return link + struct.pack("!H", ether_type) + rest

        source = f"20{self.at_23:02x}:db8::1"
        for number, count in self.four.items():
            self.counted += [frame(packets.ETH_P_IP, ipv4(number, _data())[14:]) for _ in range(count)]
        for number, count in self.six.items():
            self.counted += [frame(packets.ETH_P_IPV6, ipv6(number, _data(), source)[14:]) for _ in range(count)]
        others = [frame(0x0008, ipv4(self.swapped, _data())[14:]) for _ in range(3)]
        others += [frame(0xDD86, ipv6(self.swapped6, _data(), source)[14:]) for _ in range(3)]
        others += [frame(random.choice([0x0806, 0x88B5]), ipv4(self.not_ip, _data())[14:]) for _ in range(3)]
        every = self.counted + others
        random.shuffle(every)
        return every

    def diagnose(self, counts: dict[int, int]) -> str:
        if counts.get(self.swapped) or counts.get(self.swapped6):
            return "frames are counted whose EtherType has its two bytes the other way round: it is in network byte order, so compare it with bpf_htons(ETH_P_IP)"
        if counts.get(self.at_9) or counts.get(self.at_6):
            return "the numbers are not those of the protocols but bytes of a MAC address: this filter sees the frame from its Ethernet header on, and the IP header begins at 14"
        if not counts:
            return "nothing is counted: the EtherType is at 12, and behind the Ethernet header, at 14, is the IP header; its protocol is byte 9 of it"
        if counts.get(self.at_23):
            return "of IPv6 packets a byte of the address is counted: there the next header is byte 6 of the IP header, not 9"
        if counts.get(self.not_ip):
            return "a frame that is no IP packet is counted: look at the EtherType first"
        if counts.get(0):
            return "frames that are no IP packets are counted, as protocol 0: return before you count them"
        if not any(counts.get(number) for number in self.six):
            return "IPv6 is not counted: its EtherType is ETH_P_IPV6, and the next header byte 6 of the header"
        if counts.get(ICMP, 0) >= 2 * self.pings:
            return "what the host sends itself is counted, too: a packet socket sees both directions; leave out those whose skb->pkt_type is PACKET_OUTGOING"
        if not any(counts.get(number) for number in self.four):
            return "IPv4 is not counted: its EtherType is ETH_P_IP, and the protocol byte 9 of the header"
        if all(count == 1 for count in counts.values()):
            return "every protocol has 1: add to the element that is there, with __sync_fetch_and_add"
        return "the counts are not those of the packets"


def _data() -> bytes:
    return random.randbytes(random.randrange(80, 400))


def _counts(table) -> dict[int, int]:
    found = ((key, sum(value) if isinstance(value, (list, tuple)) else int(value)) for key, value in table.items())
    return {key: value for key, value in found if value}


def _settled(table, expected) -> dict[int, int]:
    """Counts when they are as expected, or have had a second for it."""
    end = time.monotonic() + 1
    while (counts := _counts(table)) != expected and time.monotonic() < end:
        time.sleep(0.02)
    return counts


def _drained(sock) -> list[bytes]:
    found = []
    while sock.readable(0.05):
        try:
            found.append(sock.recv(timeout=0.05))
        except BpfError:  # taken meanwhile
            break
    return found


def _judge_received(sent, received, own, seen):
    if not received:
        raise Hint(
            "the socket got nothing: what the program returns is how many bytes of the packet the socket gets, and 0 is none",
            seen,
        )
    if any(len(one) > _FIRST for one in received):
        raise Hint(f"the socket got whole packets: return {_FIRST}, and it gets so many bytes", seen)
    if any(one[6:12] == own for one in received):
        raise Hint("the socket got what the host sends itself: return 0 for packets that are not counted", seen)
    if any(one[12:14] not in (b"\x08\x00", b"\x86\xdd") for one in received):
        raise Hint("the socket got frames that are no IP packets: return 0 for them", seen)
    if not {one[:_FIRST] for one in sent.counted} <= set(received):
        raise Hint(f"the socket did not get the first {_FIRST} bytes of every packet that was counted", seen)
