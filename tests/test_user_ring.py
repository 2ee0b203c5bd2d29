"""bpflab.user_ring: records written here are read by a program in the kernel."""

import errno

import pytest

import bpflab as bl

SOURCE = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct wish { __u32 number; char name[12]; };

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
	__type(value, struct wish);
} wishes SEC(".maps");

__u64 sum;
char last[12];

static long take(struct bpf_dynptr *dynptr, void *ctx)
{
	struct wish wish;

	if (bpf_dynptr_read(&wish, sizeof(wish), dynptr, 0, 0))
		return 1;
	sum += wish.number;
	__builtin_memcpy(last, wish.name, sizeof(last));
	return 0;
}

SEC("syscall")
int drain(void *ctx)
{
	return bpf_user_ringbuf_drain(&wishes, take, NULL, 0);
}

char LICENSE[] SEC("license") = "GPL";
"""


def test_records_reach_the_program_in_order(lab):
    with lab.load(SOURCE) as obj:
        wishes, drain = obj.maps["wishes"], obj.programs["drain"]
        wishes.submit((2, "two"))
        wishes.submit({"number": 40, "name": "forty"})
        assert obj.globals["sum"] == 0
        assert drain.test_run().retval == 2
        assert (obj.globals["sum"], obj.globals["last"]) == (42, "forty")
        assert drain.test_run().retval == 0


def test_a_full_ring_says_so_and_has_room_after_a_drain(lab):
    with lab.load(SOURCE) as obj:
        wishes = obj.maps["wishes"]
        taken = 0
        with pytest.raises(bl.BpfError, match="'wishes' is full") as caught:
            while True:
                wishes.submit((1, "x"))
                taken += 1
        assert caught.value.errno == errno.ENOSPC
        assert obj.programs["drain"].test_run().retval == taken == obj.globals["sum"]
        for turn in range(3 * taken):  # round the ring
            wishes.submit((1, str(turn)))
            obj.programs["drain"].test_run()
        assert (obj.globals["sum"], obj.globals["last"]) == (4 * taken, str(3 * taken - 1))


def test_a_record_of_another_shape_and_another_map_are_refused(lab):
    with lab.load(SOURCE) as obj:
        with pytest.raises(ValueError, match="takes 17 bytes"):
            obj.maps["wishes"].submit((1, "seventeen letters"))
        wishes = obj.maps["wishes"]
    with pytest.raises(bl.BpfError, match="was closed with its object"):
        wishes.submit((1, "late"))
    numbers = lab.create_map("hash", "u32", "u32", 4, name="numbers")
    with pytest.raises(TypeError, match="'numbers' is a hash; only a user_ringbuf"):
        numbers.submit(1)
    numbers.close()
