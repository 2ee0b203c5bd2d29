"""Exercise 07-load-balancer: the table of a load balancer, that changes as little as can be."""

import random
from collections import Counter

from . import Hint, call
from .packets import ethernet, ipv4, random_address

SECTION = "7.9"
TASK = "the table of a load balancer: consistent hashing"
_SIZES = (1021, 1511, 2039)  # primes

# what the table is for: the MAC address of a packet's receiver ends in the number that its flow has in the table
_BALANCER = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
__u32 slots;
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2048);
	__type(key, __u32);
	__type(value, __u32);
} table SEC(".maps");

SEC("xdp") int balance(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *ip = data + sizeof(*eth);
	__u16 *ports = (void *)(ip + 1);
	__u32 hash, slot, *number;

	if ((void *)(ports + 2) > end || eth->h_proto != bpf_htons(0x0800) || ip->ihl != 5)
		return XDP_PASS;
	hash = ip->saddr * 0x9e3779b1 ^ ((__u32)ports[0] << 16 | ports[1]) * 0x85ebca6b;
	slot = (hash ^ hash >> 15) % slots;
	number = bpf_map_lookup_elem(&table, &slot);
	if (!number)
		return XDP_DROP;
	eth->h_dest[5] = *number;
	return XDP_TX;
}
char LICENSE[] SEC("license") = "GPL";
"""


class _Bed:
    def __init__(self, lab, names):
        self.obj, self.numbers = lab.load(_BALANCER, name="balancer"), {name: number for number, name in enumerate(names)}

    def where(self, table, flows):
        """The back end that each flow goes to, by what the kernel does."""
        self.obj.globals["slots"] = len(table)
        self.obj.maps["table"].update_batch(range(len(table)), [self.numbers[name] for name in table])
        ran = [self.obj.programs["balance"].test_run(flow).data[5] for flow in flows]
        names = list(self.numbers)
        return [names[number] for number in ran]


def check(lab, answer):
    size = random.choice(_SIZES)
    names = [f"{random.choice(['web', 'api', 'cache'])}-{number}" for number in random.sample(range(10, 100), 7)]
    start = random.sample(names, 6)
    new = next(name for name in names if name not in start)
    bed = _Bed(lab, names)
    flows = [ethernet(0x0800, ipv4(17, random_address(), "192.0.2.80", random.randbytes(12))[14:]) for _ in range(400)]

    before = _table(answer, start, size)
    if _table(answer, start, size) != before:
        raise Hint("the same back ends gave two different tables: two balancers, or one that was started again, would not agree")
    gone = random.choice(start)
    smaller = _table(answer, [name for name in start if name != gone], size)
    was, now = bed.where(before, flows), bed.where(smaller, flows)
    others = [(old, new_) for old, new_ in zip(was, now) if old != gone]
    moved = sum(old != new_ for old, new_ in others)
    if moved > len(others) * 0.3:
        raise Hint(
            "connections of back ends that stayed were moved when another went: a table by number modulo count moves half of them or more; let each name choose its own slots",
            f"{gone} of {len(start)} went; of {len(others)} flows that others had, {moved} moved",
        )
    mixed = _table(answer, random.sample(start, len(start)), size)
    if mixed != before and _table(answer, start[::-1], size) != before:
        raise Hint("the order of the list changes the table: two balancers that list the same back ends in another order must agree; sort the names")
    share = Counter({name: before.count(name) for name in start})
    (most, many), (least, few) = share.most_common()[0], share.most_common()[-1]
    if many > 1.25 * size / len(start) or few < 0.75 * size / len(start):
        raise Hint(
            "the shares are uneven: each back end should have about as many slots as another, so let them take turns",
            f"of {size} slots {most} has {many}, {least} has {few}",
        )
    if moved > len(others) * 0.12:
        raise Hint("too many connections of back ends that stayed were moved when another went", f"of {len(others)} flows that others had, {moved} moved")
    larger = _table(answer, [*start, new], size)
    then = bed.where(larger, flows)
    shifted = sum(old != new_ != new for old, new_ in zip(was, then))
    if shifted > len(flows) * 0.12:
        raise Hint("a new back end came, and connections moved between the old ones", f"{shifted} of {len(flows)} flows")
    if new not in then:
        raise Hint("a new back end came, and nobody went to it")


def _table(answer, names, size):
    found = call(answer, list(names), size)
    if not isinstance(found, (list, tuple)):
        raise Hint(f"answer(names, size) returned {type(found).__name__}, not a list")
    if len(found) != size:
        raise Hint("the table has not 'size' slots", f"{len(found)} instead of {size}")
    strange = [slot for slot in found if slot not in names]
    if strange:
        raise Hint("a slot has no name of a back end in it: every slot belongs to one of 'names'", f"{strange[:5]}")
    if len(set(names)) > 1 and len(set(found)) < len(names):
        raise Hint("a back end has no slot at all", f"only {', '.join(sorted(set(found)))}")
    return list(found)
