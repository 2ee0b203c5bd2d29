"""bpflab.events: ring buffers and perf buffers, what they carry and what they lose."""

import numpy as np
import pytest

import bpflab as bl

PROGRAM = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 number; u32 square; char word[12]; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 1 << 20); __type(value, struct event); } ring SEC(".maps");
struct { __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); __uint(key_size, 4); __uint(value_size, 4); } perf SEC(".maps");
u64 lost, count = 10, from, odd_sizes, discard_every;

static long send(u32 i, void *ctx)
{
    u64 n = from + i;
    if (odd_sizes) {
        char long_one[48] = {};
        *(u64 *)long_one = n;
        if (bpf_ringbuf_output(&ring, long_one, n % 2 ? 48 : sizeof(struct event), 0))
            lost++;
        return 0;
    }
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        lost++;
        return 0;
    }
    *e = (struct event){ .number = n, .square = n * n, .word = "word" };
    if (discard_every && n % discard_every == 0)
        bpf_ringbuf_discard(e, 0);
    else
        bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("syscall") int fill(void *ctx) { bpf_loop(count, send, 0, 0); from += count; return 0; }

SEC("raw_tp/sys_enter") int on_enter(void *ctx)
{
    struct event e = { .number = from, .square = 4, .word = "perf" };
    __sync_fetch_and_add(&from, 1);
    bpf_perf_event_output(ctx, &perf, BPF_F_CURRENT_CPU, &e, sizeof(e));
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def obj(lab):
    with lab.load(PROGRAM) as obj:
        yield obj


@pytest.fixture
def fill(obj):
    def run(count, **settings):
        for name, value in {"count": count, **settings}.items():
            obj.globals[name] = value
        obj.programs["fill"].test_run()

    return run


@pytest.mark.parametrize("count", [1, 7, 20_000], ids=["one", "few", "many"])
def test_ring_buffer_to_frame(obj, fill, count):
    """20,000 events travel through shared memory, few with the answer."""
    events = obj.events("ring")
    fill(count)
    frame = events.read()
    assert list(frame.columns) == ["number", "square", "word"]
    assert list(frame.number) == list(range(count))
    assert (frame.square == (np.arange(count) ** 2).astype("u4")).all()
    assert set(frame.word) == {"word"}
    assert events.lost == 0 and len(events.read()) == 0


def test_many_times_around(obj, fill):
    events = obj.events("ring")
    total = 0
    for count in (1, 9_999, 17_000, 3, 20_001, 11_111, 19_999):
        fill(count)
        assert list(events.read().number) == list(range(total, total + count))
        total += count


def test_what_does_not_fit_is_counted(obj, fill):
    events = obj.events("ring")
    fill(100_000)
    frame = events.read()
    assert 0 < len(frame) < 100_000
    assert len(frame) + events.lost == 100_000
    fill(5)
    assert len(events.read()) == 5


def test_lost_is_unknown_where_nobody_counts(obj, lab):
    events = obj.maps["ring"].events(lost="no_such_counter")
    assert events.lost is None and "not counted" in repr(events)


def test_discarded(obj, fill):
    events = obj.events("ring")
    fill(1000, discard_every=10)
    assert len(events.read()) == 900 and events.discarded == 100


def test_records_of_different_length(obj, fill):
    events = obj.events("ring")
    fill(501, odd_sizes=1)
    assert list(events.read().number) == list(range(501))
    assert events.wrong_size == 0


def test_records_shorter_than_the_type(obj, fill):
    long_type = bl.btf.ctype(np.dtype([("number", "u8"), ("more", "u8", 9)]))
    events = obj.maps["ring"].events(long_type)
    fill(4)
    assert len(events.read()) == 0 and events.wrong_size == 4


def test_events_that_are_one_number(obj, fill):
    events = obj.events("ring", "u64")
    fill(5)
    assert events.read().to_dict("list") == {"value": [0, 1, 2, 3, 4]}


def test_count_keeps_the_rest(obj, fill):
    events = obj.events("ring")
    fill(10)
    assert list(events.read(count=4).number) == [0, 1, 2, 3]
    assert list(events.read(count=3).number) == [4, 5, 6]
    assert list(events.read().number) == [7, 8, 9]


def test_count_waits(obj, fill):
    import threading

    events = obj.events("ring")
    later = threading.Timer(0.2, fill, [6])
    later.start()
    assert len(events.read(count=6)) == 6
    later.join()
    assert len(events.read(count=5, seconds=0.1)) == 0


def test_stream(obj, fill):
    import threading

    events, frames, enough = obj.events("ring"), [], threading.Event()

    def take(frame):
        frames.append(frame)
        if sum(map(len, frames)) >= 3000:
            enough.set()

    with events.stream(take):
        for _ in range(3):
            fill(1000)
        assert enough.wait(10)
    numbers = [n for frame in frames for n in frame.number]
    assert numbers == list(range(3000))


def test_an_error_of_the_callback_is_raised(obj, fill):
    import threading

    called = threading.Event()

    def fail(frame):
        called.set()
        raise ZeroDivisionError("of the reader's own")

    stream = obj.events("ring").stream(fail)
    fill(1)
    assert called.wait(10)
    with pytest.raises(ZeroDivisionError, match="own"):
        stream.stop()


def test_perf_buffer(lab, obj):
    with obj.events("perf", "struct event", pages=8) as events, obj.programs["on_enter"].attach():
        frame = events.read(count=50)
        assert len(frame) == 50
        assert set(frame.word) == {"perf"} and set(frame.square) == {4}
        assert frame.time_ns.is_monotonic_increasing and frame.cpu.max() < lab.ncpus


def test_perf_buffer_counts_what_it_loses(lab, obj):
    """To the last one: what was read and what was lost is what the program sent."""
    with obj.events("perf", "struct event", pages=1) as events:
        with obj.programs["on_enter"].attach():
            lab.sh("for i in $(seq 3000); do true < /dev/null; done")
        frame = events.read()
        sent = obj.globals["from"]
        assert events.lost > 0 and len(frame) > 0
        assert len(frame) + events.lost == sent


def test_what_has_no_events_and_no_type(lab, obj):
    with pytest.raises(bl.ObjectError, match=r"__type\(value, struct event\)"):
        obj.events("perf")
    with pytest.raises(bl.UnknownNameError, match="did you mean 'event'"):
        obj.events("perf", "struct evnt")
    with pytest.raises(bl.UnknownNameError):
        obj.events()
    m = lab.create_map("hash", "u32", "u32", 1)
    with pytest.raises(TypeError, match="only a ringbuf or a perf_event_array"):
        m.events()
    m.close()


EMPTY = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 number; };
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); __type(value, struct event); } ring SEC(".maps");
SEC("syscall") int send(void *ctx) { u64 n = 1; return bpf_ringbuf_output(&ring, &n, 0, 0); }
char LICENSE[] SEC("license") = "GPL";
"""


def test_records_of_no_bytes(lab):
    with lab.load(EMPTY) as obj:
        events = obj.events()
        for _ in range(3):
            assert obj.programs["send"].test_run().retval == 0
        assert len(events.read()) == 0 and events.wrong_size == 3


def test_readers_at_once_share_the_events(obj, fill):
    """Each event is seen once, by whoever reads first; also by two that were opened for the same map."""
    import threading

    readers = [obj.events("ring"), obj.events("ring")]
    frames, stop = [], threading.Event()

    def read(events):
        while not stop.is_set():
            frames.append(events.read(seconds=0.01))
        frames.append(events.read())

    threads = [threading.Thread(target=read, args=(events,)) for events in readers * 2]
    for thread in threads:
        thread.start()
    for _ in range(20):
        fill(2000)
    stop.set()
    for thread in threads:
        thread.join(20)
    numbers = sorted(n for frame in frames for n in frame.number)
    assert numbers == list(range(40_000)) and not obj.globals["lost"]


def test_an_interrupt_keeps_what_was_read(obj, fill):
    import os
    import threading

    events = obj.events("ring")
    fill(500)
    threading.Timer(0.3, os.kill, (os.getpid(), 2)).start()
    with pytest.raises(KeyboardInterrupt):
        events.read(seconds=20)
    fill(500)
    assert list(events.read().number) == list(range(1000))


def test_closed_events_and_streams_of_a_closed_object(lab):
    obj = lab.load(PROGRAM)
    events, other = obj.events("ring"), obj.events("ring")
    other.close()
    with pytest.raises(bl.BpfError, match="events of map 'ring' are closed; open them again"):
        other.read()
    stream = events.stream(lambda frame: None)
    obj.close()
    stream.stop()
    assert not stream.running


def test_events_of_a_closed_lab_can_be_shown(fresh_lab):
    events = fresh_lab.load(PROGRAM).events("ring")
    fresh_lab.close()
    assert "lost: not counted" in repr(events)
    with pytest.raises(bl.MachineLost):
        events.read()
