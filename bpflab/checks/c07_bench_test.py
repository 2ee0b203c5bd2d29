"""Exercise 07-bench-test: a table of packets that a right program passes and its broken siblings do not."""

import random
from collections.abc import Mapping, Sequence

from .. import errors
from . import Hint, call

SECTION = "7.5"
TASK = "a table of packets that finds broken programs"
_MOST = 5000  # packets in a table
_GUARD = """
#include "vmlinux.h"
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

const volatile __u16 closed;
const volatile __u32 fault;

SEC("xdp")
int guard(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp;
	__u16 to, from;

	if (fault == 1)
		return XDP_PASS;
	if ((void *)(ip + 1) > end)
		return XDP_PASS;
	if (eth->h_proto != bpf_htons(0x0800) && fault != 7)
		return XDP_PASS;
	if (ip->protocol != IPPROTO_UDP && fault != 6)
		return XDP_PASS;
	if (ip->frag_off & bpf_htons(0x1fff) && fault != 9)
		return XDP_PASS;
	udp = (void *)ip + (fault == 8 ? 20 : ip->ihl * 4);
	if ((void *)(udp + 1) > end)
		return fault == 10 ? XDP_DROP : XDP_PASS;
	to = bpf_ntohs(udp->dest);
	from = bpf_ntohs(udp->source);
	if (fault == 2)
		return XDP_DROP;
	if (fault == 3)
		return from == closed ? XDP_DROP : XDP_PASS;
	if (fault == 4)
		return from == closed || to == closed ? XDP_DROP : XDP_PASS;
	if (fault == 5)
		return udp->dest == closed ? XDP_DROP : XDP_PASS;
	if (fault == 11)
		return to >= closed ? XDP_DROP : XDP_PASS;
	if (fault == 12)
		return (to & 255) == (closed & 255) ? XDP_DROP : XDP_PASS;
	return to == closed ? XDP_DROP : XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
"""
_FAULTS = [
    "lets everything pass",
    "drops all UDP",
    "looks at the source port instead of the destination",
    "drops what comes *from* the port as well",
    "reads the port back to front",
    "never asks whether it is UDP",
    "never asks whether it is IPv4",
    "believes that every IP header has 20 bytes",
    "takes the middle of a fragmented message for a UDP header",
    "drops frames that end before the UDP header is whole",
    "drops all higher ports, too",
    "compares only half of the port",
]


def check(lab, answer):
    for _ in range(2):
        # neither the same from both sides nor one that a table has by chance
        port = random.choice([n for n in range(0x0500, 0xF000) if n >> 8 != n & 255])
        table = call(answer, port)
        _must_be_table(table)
        right = _judged(lab, table, port, 0)
        _right_passes(right)
        for fault, words in enumerate(_FAULTS, 1):
            if _judged(lab, table, port, fault)["ok"].all():
                raise Hint(
                    f"a program passes all your tests that {words}",
                    f"the port was {port}, the table has {len(right)} packets",
                )


def _must_be_table(table):
    if not isinstance(table, (Mapping, Sequence)) or isinstance(table, (str, bytes)):
        raise Hint(f"the answer returned {type(table).__name__}; a table is {{'a name': (packet, 'XDP_DROP'), ...}}")
    rows = list(table.values() if isinstance(table, Mapping) else table)
    if not rows:
        raise Hint("the table is empty")
    if len(rows) > _MOST:
        raise Hint(f"the table has more than {_MOST:,} packets: think of cases, not of numbers")
    if not all(isinstance(row, tuple) and len(row) == 2 for row in rows):
        raise Hint("each row of the table is a packet and the verdict that you expect: (packet, 'XDP_DROP')")


def _judged(lab, table, port, fault):
    with lab.load(_GUARD, name="guard", closed=port, fault=fault) as obj:
        try:
            return obj.programs["guard"].bench(table)
        except (TypeError, ValueError, errors.UnknownNameError) as exc:
            raise Hint("the bench does not take the table", error=str(exc)) from exc


def _right_passes(found):
    if "refused" in found:
        names = found.loc[found["refused"] != "", "name"]
        raise Hint(
            "the kernel takes a packet of the table not at all: a frame has 14 bytes at least",
            f"packets: {list(names)}",
        )
    wrong = found[~found["ok"].astype(bool)]
    if len(wrong):
        row = wrong.iloc[0]
        raise Hint(
            "the right program fails your tests: read again what it is to do, and with which port",
            f"{row['name']}: you expect {row['expected']}, it says {row['verdict']}",
        )
