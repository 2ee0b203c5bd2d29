"""1,000,000 packets that one host sends another and that are dropped there: at each place where that can be done, on the same veth.

The packets are sent by XDP test runs with live frames, which is the cheapest way; what that takes is part of every figure, so that the
true ratios are larger. A raw socket does not see all of them: its seconds are those for a million at the rate at which it saw some.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import LabError, NotSupportedError
from ..lab import Lab
from ..netlab import Netlab
from . import Measure
from .programs import c_program

PACKETS = 1_000_000
ROUNDS = 3
PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;

/* UDP to port 9, as the rule of nftables says it */
static bool matches(void *data, void *end)
{
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);
    struct udphdr *udp = (void *)(ip + 1);

    return (void *)(udp + 1) <= end && eth->h_proto == bpf_htons(0x0800) && ip->ihl == 5 && ip->protocol == 17 && udp->dest == bpf_htons(9);
}

SEC("xdp") int at_xdp(struct xdp_md *ctx)
{
    if (!matches((void *)(long)ctx->data, (void *)(long)ctx->data_end))
        return XDP_PASS;
    seen++;
    return XDP_DROP;
}

SEC("tc") int at_tc(struct __sk_buff *skb)
{
    if (!matches((void *)(long)skb->data, (void *)(long)skb->data_end))
        return 0;
    seen++;
    return 2;
}
"""
NFT = """
table ip bench {
    chain in {
        type filter hook prerouting priority raw;
        udp dport 9 counter drop
    }
}
"""


class Bed:
    """Two hosts, and the programs."""

    def __init__(self, lab: Lab, net: Netlab):
        self.lab, self.net, self.target = lab, net, net["target"]
        self.obj = lab.load(PROGRAM, name="drops")

    def flood(self) -> float:
        sent = self.net["sender"].udp_flood("target", packets=PACKETS, way="frames", seconds=120)
        if sent.sent != PACKETS:
            raise LabError(f"{sent.sent:,} of {PACKETS:,} packets were sent in {sent.seconds:.0f} s; try again when the computer has less to do")
        return sent.seconds

    def counted(self, attach: Callable) -> tuple[float, int]:
        """Seconds, and packets that did not come."""
        self.obj.globals["seen"] = 0
        with attach(self.target.dev):
            taken = self.flood()
            return taken, PACKETS - self.obj.globals["seen"]

    def native(self) -> tuple[float, int]:
        return self.counted(lambda dev: self.obj.programs["at_xdp"].attach_xdp(dev, "native"))

    def generic(self) -> tuple[float, int]:
        return self.counted(lambda dev: self.obj.programs["at_xdp"].attach_xdp(dev, "generic"))

    def tc(self) -> tuple[float, int]:
        return self.counted(self.obj.programs["at_tc"].attach_tc)

    def add_rule(self) -> None:
        if self.lab.sh("command -v nft", check=False).returncode:
            raise NotSupportedError("nftables", self.lab.where, "there is no nft", remedy="install it: apt install nftables")
        self.target.sh(["nft", "-f", "-"], input=NFT)

    def nftables(self) -> tuple[float, int]:
        self.add_rule()
        taken = self.flood()
        said = self.target.sh("nft list chain ip bench in").stdout.split()
        self.target.sh("nft delete table ip bench")
        return taken, PACKETS - int(said[said.index("packets") + 1])

    def raw_socket(self) -> tuple[float, int]:
        self.add_rule()  # the socket has seen them before; nobody shall answer them
        with self.target.spawn([c_program("raw_drop.c"), self.target.dev.name, "200"]) as reader:
            reader.wait_for("ready")
            self.flood()
            seen, seconds = reader.wait(timeout=60).stdout.split()[-2:]
        self.target.sh("nft delete table ip bench")
        return float(seconds) * PACKETS / max(1, int(seen)), 0


def _against(name: str) -> Callable[[], Iterator[tuple]]:
    def pairs():
        with Lab("local", quiet=True) as lab, lab.netlab("sender", "target") as net:
            bed = Bed(lab, net)
            bed.native()
            for _ in range(ROUNDS):
                ours, missing = bed.native()
                other, others = getattr(bed, name)()
                yield ours, other, missing + others, f"{PACKETS / ours / 1e6:.2f} against {PACKETS / other / 1e6:.2f} million packets a second"

    return pairs


NAME = f"{PACKETS:,} packets dropped by XDP native on a veth"
MEASURES = [
    Measure(NAME, "XDP generic", 1.2, _against("generic")),
    Measure(NAME, "tc, direct action", 1.2, _against("tc")),
    Measure(NAME, "nftables, prerouting", 1.2, _against("nftables")),
    Measure(NAME, "a raw socket in user space, in C", 2, _against("raw_socket")),
]
