"""Exercise 06-classifier: SSH, by what it says."""

import random
import re
import time

from ..errors import CommandError, NotSupportedError
from . import Hint, load
from .segments import TCP, UDP, fragment, ipv4, ipv6, options, port, segment, tagged

SECTION = "6.4"
TASK = "a classifier that knows SSH by its greeting"

_EACH = 6  # packets of a kind
_PIN = "/sys/fs/bpf/answer-classify"
_CLASSES = """
tc qdisc add dev {dev} root handle 1: htb default 20
tc class add dev {dev} parent 1: classid 1:10 htb rate 10gbit burst 1m quantum 60000
tc class add dev {dev} parent 1: classid 1:20 htb rate 10gbit burst 1m quantum 60000
tc filter add dev {dev} parent 1: protocol all prio 1 bpf object-pinned {pin}
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"classify": "sched_cls"}, maps={})
    with lab.netlab("a", "b") as net, net["a"].socket("packet", "raw") as out:
        out.bind(net["a"].dev)
        classes = _Classes(lab, net["a"], obj.programs["classify"])
        for kind, wanted, hint in _KINDS:
            frames = [_frame(kind) for _ in range(_EACH)]
            before = classes.counts(0)
            for frame in frames:
                out.send(frame)
            after = classes.counts(sum(before) + _EACH)
            found = after[0] - before[0]
            if found != (_EACH if wanted else 0):
                raise Hint(
                    hint, f"{found} of {_EACH} packets came into class 1:10, for instance of these: {frames[0].hex()}"
                )


class _Classes:
    """Two classes of HTB, and the answer as the filter in front of them."""

    def __init__(self, lab, host, program):
        self.host, self.dev = host, host.dev.name
        lab.sh(["bpftool", "prog", "pin", "id", str(program.id), _PIN])
        try:
            host.sh("set -e" + _CLASSES.format(dev=self.dev, pin=_PIN))
        except CommandError as error:
            said = error.result.stderr.strip() if error.result else str(error)
            raise NotSupportedError(
                "classes of traffic control (htb)",
                lab.where,
                said,
                remedy="a kernel with sch_htb has them: bl.Lab('vm')",
            ) from None
        finally:
            lab.sh(["rm", "-f", _PIN])

    def counts(self, least: int) -> tuple[int, int]:
        """Packets sent by 1:10 and by 1:20, when there are so many or a second is over."""
        end = time.monotonic() + 1
        while True:
            said = self.host.sh(["tc", "-s", "class", "show", "dev", self.dev]).stdout
            found = dict(re.findall(r"^class htb (1:\d+) .*\n Sent \d+ bytes (\d+) pkt", said, re.M))
            counts = int(found["1:10"]), int(found["1:20"])
            if sum(counts) >= least or time.monotonic() > end:
                return counts


# kind, whether it belongs to class 1:10, and what to say when it is otherwise; the first that is wrong is told
_KINDS = (
    (
        "swapped",
        False,
        "a frame whose EtherType is 0x0008 was taken for IPv4: the EtherType is in network byte order, so compare it with bpf_htons(ETH_P_IP)",
    ),
    (
        "plain",
        True,
        "no greeting came into class 1:10: where the first four bytes of the TCP data are SSH-, return 0x00010010, in one number the class 1:10",
    ),
    (
        "other data",
        False,
        "packets came into class 1:10 that are no greetings: the TCP data have to begin with SSH-, whatever the port",
    ),
    (
        "another port",
        True,
        "greetings on other ports than 22 are not recognised: many move SSH elsewhere, so look at the data alone",
    ),
    (
        "later",
        False,
        "packets came into class 1:10 with SSH- somewhere in their data: only at their beginning it is a greeting",
    ),
    ("udp", False, "UDP came into class 1:10: read the protocol in the IP header, TCP is 6"),
    (
        "TCP options",
        True,
        "greetings are not recognised behind TCP options, and nearly every segment has some (time stamps): the TCP header is tcp.doff * 4 bytes long",
    ),
    ("option for data", False, "an option of the TCP header was taken for data: the header is tcp.doff * 4 bytes long"),
    ("IP options", True, "greetings are not recognised behind IP options: the IP header is ip.ihl * 4 bytes long"),
    (
        "first fragment",
        True,
        "the first fragment of a greeting is not recognised: it has all headers in it; of ip.frag_off only the lower 13 bits are the offset",
    ),
    (
        "later fragment",
        False,
        "a later fragment came into class 1:10: it has no TCP header, what stands there is data; let it be when the lower 13 bits of ip.frag_off are not 0",
    ),
    (
        "IPv6",
        True,
        "IPv6 is not recognised: its EtherType is ETH_P_IPV6, its header has 40 bytes, and the protocol is called nexthdr",
    ),
    ("IPv6 udp", False, "UDP over IPv6 came into class 1:10: read nexthdr of its header"),
    (
        "VLAN",
        True,
        "greetings in a VLAN are not recognised: where the EtherType is ETH_P_8021Q, a tag of 4 bytes follows, the EtherType of the packet is at 16, and all else moves on",
    ),
    ("VLAN IPv6", True, "IPv6 in a VLAN is not recognised: look at the EtherType behind the tag as at the first one"),
    ("not ip", False, "frames came into class 1:10 that are neither IPv4 nor IPv6: look at the EtherType"),
    (
        "not ip in a VLAN",
        False,
        "frames of a VLAN came into class 1:10 that are neither IPv4 nor IPv6: look at the EtherType behind the tag",
    ),
    (
        "short",
        False,
        "a packet without data came into class 1:10: bpf_skb_load_bytes says by a negative number that so many bytes are not there",
    ),
)


def _frame(kind):
    data = b"SSH-2.0-" + random.randbytes(random.randrange(4, 30))
    ports = random.sample([22, port()], 2) if kind in ("plain", "other data") else [port(), port()]
    tcp_options = ip_options = b""
    match kind:
        case "other data":
            data = random.choice([b"HTTP", b"SSH ", b"ssh-", b"SSG-", b"TSH-"]) + data[8:]
        case "later":
            data = random.randbytes(random.randrange(1, 9)).replace(b"S", b"s") + data
        case "TCP options":
            tcp_options = options(random.randrange(1, 11))
        case "option for data":
            # an option of kind 0x53, 0x53 bytes long as its second byte says, as no real one is: who looks for data there finds a greeting
            tcp_options, data = b"SSH-" + options(2), random.randbytes(20).replace(b"S", b"s")
        case "IP options":
            ip_options = options(random.randrange(1, 11))
        case "short":
            data = b""
    part = segment(*ports, payload=data, options=tcp_options)
    if kind.endswith("udp"):
        return ipv6(UDP, part) if kind.startswith("IPv6") else ipv4(UDP, part)
    if "IPv6" in kind:
        frame = ipv6(TCP, part)
    else:
        frame = ipv4(TCP, part, ip_options)
    match kind:
        case "swapped":
            return frame[:12] + b"\x00\x08" + frame[14:]
        case "not ip" | "not ip in a VLAN":
            frame = frame[:12] + random.choice([b"\x08\x06", b"\x88\xb5", b"\x88\x47"]) + frame[14:]
        case "first fragment":
            frame = fragment(frame, 0, True)
        case "later fragment":
            frame = fragment(frame, random.randrange(1, 1 << 13), random.choice([True, False]))
    return tagged(frame) if "VLAN" in kind else frame
