"""Bulk data on its way to another machine: columns of bytes there and back, and what a read takes in pieces."""

import mmap
import threading

import numpy as np
import pytest

from bpflab.agent import bulk
from bpflab.agent import planes as far
from bpflab.machines import planes

RING = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 number, time_ns; u32 random; u8 odd[5]; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 32 << 20);
    __type(value, struct event);
} ring SEC(".maps");
u32 many;
u64 lost;

static long send(u32 i, void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        lost++;
        return 0;
    }
    e->number = i;
    e->time_ns = bpf_ktime_get_ns();
    e->random = bpf_get_prandom_u32();
    __builtin_memset(e->odd, i, sizeof(e->odd));
    bpf_ringbuf_submit(e, i % 4096 ? BPF_RB_NO_WAKEUP : BPF_RB_FORCE_WAKEUP);
    return 0;
}
SEC("syscall") int fill(void *ctx)
{
    bpf_loop(many, send, 0, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


def _there_and_back(records: np.ndarray, **part):
    memory = mmap.mmap(-1, 24 + records.nbytes)
    memory[24:] = records.tobytes()
    packed = far.pack(memory, 24, len(records), records.dtype.itemsize, **part)
    return packed, packed and planes.whole(packed, len(records))


@pytest.mark.parametrize("count", [256, 257, 4095, 4096, 100_003])
def test_columns_become_the_same_records_again(count):
    random = np.random.default_rng(count)
    records = np.zeros(count, [("counter", "u8"), ("random", "u8"), ("same", "u4"), ("last", "u1"), ("pad", "u1", 3)])
    records["counter"], records["random"], records["same"] = np.arange(count), random.integers(0, 2**64, count, "u8"), 7
    records["last"][-1] = 1  # all are the same, but for one that no sample sees
    packed, back = _there_and_back(records)
    assert bytes(back) == records.tobytes()
    lengths = [len(column) for column in packed]
    assert lengths[16:20] == [1] * 4 and lengths[8:16] == [count] * 8
    assert lengths[20] > 1
    if count > 100_000:
        assert 1 < lengths[1] < count / 10, "a column that changes slowly is compressed"


def test_headers_and_padding_stay_behind():
    records = np.frombuffer(np.random.default_rng(1).bytes(1000 * 24), [("head", "u8"), ("data", "u1", 13), ("pad", "u1", 3)])
    _, back = _there_and_back(records, first=8, size=13)
    assert bytes(back) == records["data"].tobytes()


def test_few_or_wide_records_go_as_they_are():
    assert _there_and_back(np.zeros(255, "u8"))[0] is None
    assert _there_and_back(np.zeros(300, "V2000"))[0] is None
    assert bytes(planes.whole(b"abc", 3)) == b"abc"


@pytest.fixture
def far_lab(fresh_lab):
    """A lab whose notebook shares no memory with it, as with one on another machine."""
    fresh_lab._connection.machine = "as far as another one"
    return fresh_lab


def test_a_map_from_afar(far_lab):
    kind = np.dtype([("a", "u4"), ("b", "u2"), ("c", "u2")])
    keys = np.zeros(20_000, kind)
    keys["a"], keys["c"] = np.random.default_rng(2).permutation(20_000), 5
    m = far_lab.create_map("hash", kind, "u64", 20_000)
    m.update_batch(keys, np.arange(20_000, dtype="u8") * 2**40)
    assert isinstance(far_lab.ask("maps.read", m.fd, 8, 8, 20_000, None)["keys"], list)
    frame = m.to_frame().set_index("a").loc[keys["a"]]
    assert (frame["value"].to_numpy() == np.arange(20_000, dtype="u8") * 2**40).all()
    assert set(frame["b"]) == {0} and set(frame["c"]) == {5}
    assert len(m.to_numpy(remove=True)[0]) == 20_000 and len(m) == 0


@pytest.mark.parametrize("count", [10, 300, 500_000])
def test_a_ring_from_afar_in_pieces(far_lab, count):
    obj = far_lab.load(RING, many=count)
    with obj.events() as events:
        for _ in range(2):  # the second time around the end of the ring
            obj.programs["fill"].test_run()
            frame = events.read()
            assert len(frame) == count and events.lost == 0
            assert (frame.number == np.arange(count)).all() and frame.time_ns.is_monotonic_increasing
            assert (frame.iloc[:, -1] == np.arange(count) % 256).all()
        assert count < 500_000 or count * 40 > bulk.CHUNK, "not in pieces at all"
        assert events.read().empty


def test_a_ring_that_is_written_while_it_is_read(fresh_lab):
    obj = fresh_lab.load(RING, many=500_000)
    with obj.events() as events:
        sender = threading.Thread(target=obj.programs["fill"].test_run)
        sender.start()
        frame = events.read(count=500_000)
        sender.join()
        assert (frame.number == np.arange(500_000)).all() and events.lost == 0
