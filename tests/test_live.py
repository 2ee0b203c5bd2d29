"""Events followed live: the frame afterwards, lost ones as gaps, and every way to end it."""

from __future__ import annotations

import base64
import os
import re
import signal
import threading
import xml.etree.ElementTree as ET

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from waiting import until

import bpflab as bl
from bpflab import follow
from bpflab.errors import LabError, MachineLost
from bpflab.widgets import live_picture

TEXT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 time_ns; u64 number; char comm[16]; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, SIZE);
    __type(value, struct event);
} ring SEC(".maps");
u64 lost, sent;

static long send(u32 i, void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        lost++;
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->number = sent++;
    __builtin_memcpy(e->comm, i % 2 ? "odd\0\0\0\0\0" : "even\0\0\0\0", 8);
    bpf_ringbuf_submit(e, 0);
    return 0;
}
SEC("syscall") int burst(u32 *count)
{
    bpf_loop(*count, send, 0, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def load(lab):
    loaded = []

    def one(size="1 << 20"):
        loaded.append(lab.load(TEXT.replace("SIZE", size), name="burst"))
        return loaded[-1]

    yield one
    for obj in loaded:
        obj.close()


def burst(obj, count):
    obj.programs["burst"].test_run(ctx=count.to_bytes(4, "little"))


def test_the_frame_is_there_afterwards(load):
    obj = load()
    with bl.live(obj.events(), "number", by="comm", unit="events") as live:
        assert live.running
        for _ in range(5):
            burst(obj, 1000)
        until(lambda: len(live.frame) == 5000, "all events")
    assert not live.running and live.lost == 0 and live.gaps.empty
    assert live.frame.number.tolist() == list(range(5000)) and set(live.frame.comm) == {"odd", "even"}
    assert live._last["count"] == 5000 and live._last["ending"] == "stopped"
    assert "5,000 events" in repr(live) and "0 lost" in repr(live)


def test_the_picture_counts_each_event_once(load):
    obj = load()
    with bl.live(obj.events(), "number", by="comm", unit="events") as live:
        burst(obj, 3000)
        until(lambda: len(live.frame) == 3000, "all events")
        picture = live._follower.picture()
    assert sorted(picture.groups) == ["even", "odd"]
    assert picture.rate.sum(axis=1).tolist() == [1500, 1500] and picture.heat.sum() == 3000
    assert picture.totals[:, :1].sum() == 1 and picture.totals[:, 11].sum() == 1024


def test_lost_events_are_gaps(load):
    """A buffer of one page takes 102 events; the time at which the others would have come is marked."""
    obj = load("4096")
    with bl.live(obj.events()) as live:
        burst(obj, 50)
        until(lambda: len(live.frame) == 50, "the first")
        burst(obj, 5000)
        until(lambda: len(live.frame) + live.lost == 5050, "the rest is taken or lost")
    assert live.lost == obj.globals["lost"] > 4000
    assert live.gaps["lost"].sum() == live.lost == live._follower.bins.missing.sum()
    # what came is all in the picture, and the first fifty are before the gap
    whole = live._follower.picture()
    assert whole.rate.sum() == len(live.frame) < 1000 and whole.missing.sum() == live.lost
    gap = live.gaps.iloc[0]
    first = live.frame.time_ns.iloc[:50].astype(float) / 1e9 - live._follower._zero
    assert first.max() < gap.start_s < gap.end_s


@pytest.mark.parametrize("shift", ["1700000000000000000", "-500000000"])
def test_events_of_another_clock(lab, shift):
    """The wall's clock, or one that stands still while the machine sleeps: they are drawn when they come."""
    text = TEXT.replace("SIZE", "1 << 20").replace("bpf_ktime_get_ns()", f"bpf_ktime_get_ns() + {shift}LL")
    with lab.load(text) as obj, bl.live(obj.events()) as live:
        burst(obj, 100)
        until(lambda: len(live.frame) == 100, "all events")
        picture = live._follower.picture()
    if shift[0] == "-":  # half a second before it began: they may have been in the buffer
        assert live._last["early"] == 100 and not picture.rate.any()
    else:
        assert picture.rate.sum() == 100 and picture.width * picture.rate.shape[1] < 60


def test_lost_before_it_began_is_not_its_loss(load):
    obj = load("4096")
    events = obj.events()
    burst(obj, 500)
    assert events.lost
    with bl.live(events) as live:
        until(lambda: len(live.frame) > 0, "what was there")
    assert live.lost == 0 and live.gaps.empty
    assert live._last["early"] == len(live.frame) and not live._follower.bins.rate.any()


def test_it_ends_by_itself(load):
    obj = load()
    live = bl.live(obj.events(), seconds=0.3)
    assert live.wait(10) and not live.running and live._follower.ending == "complete"
    assert live.frame.empty and list(live.frame.columns) == ["time_ns", "number", "comm"]


def test_stop_ends_a_wait(load):
    """What the stop button of the widget does, while a cell waits for ten seconds of events."""
    obj = load()
    live = bl.live(obj.events(), seconds=600)
    burst(obj, 100)
    until(lambda: len(live.frame) == 100, "events")
    threading.Timer(0.2, live._hear, [{"do": "stop"}]).start()
    assert live.wait(60)
    assert live._follower.ending == "stopped" and len(live.frame) == 100


@pytest.mark.here
def test_an_interrupt_ends_a_wait(load):
    """The stop button of the notebook; the frame has what came until then."""
    obj = load()
    live = bl.live(obj.events(), seconds=600)
    burst(obj, 100)
    until(lambda: len(live.frame) == 100, "events")
    threading.Timer(0.2, os.kill, [os.getpid(), signal.SIGINT]).start()
    with pytest.raises(KeyboardInterrupt):
        live.wait(60)
    assert not live.running and len(live.frame) == 100


def test_it_ends_with_its_object(load):
    obj = load()
    live = bl.live(obj.events())
    burst(obj, 10)
    until(lambda: len(live.frame) == 10, "events")
    obj.close()
    assert live.wait(10) and live._follower.ending == "ended with its object" and len(live.frame) == 10
    live.stop()


def test_a_lab_that_dies_is_told(fresh_lab):
    obj = fresh_lab.load(TEXT.replace("SIZE", "1 << 20"), name="burst")
    live = bl.live(obj.events())
    burst(obj, 10)
    until(lambda: len(live.frame) == 10, "events")
    fresh_lab.close()
    assert live.wait(10) and len(live.frame) == 10
    assert live._follower.ending.startswith("ended: the lab on")
    with pytest.raises(MachineLost):
        live.stop()


@pytest.mark.here
def test_a_lab_that_is_killed_ends_it(fresh_lab):
    obj = fresh_lab.load(TEXT.replace("SIZE", "1 << 20"), name="burst")
    live = bl.live(obj.events())
    burst(obj, 10)
    until(lambda: len(live.frame) == 10, "events")
    os.kill(fresh_lab._connection.about["pid"], signal.SIGKILL)
    assert live.wait(10) and len(live.frame) == 10 and isinstance(live._follower.error, MachineLost)


@pytest.mark.here
def test_a_machine_that_does_not_answer_holds_nobody_up(fresh_lab, monkeypatch):
    """An agent that stands still: `stop()` says so after its time, and works once the agent goes on."""
    monkeypatch.setattr(follow, "ENDS_S", 0.5)
    obj = fresh_lab.load(TEXT.replace("SIZE", "1 << 20"), name="burst")
    live = bl.live(obj.events())
    burst(obj, 10)
    until(lambda: len(live.frame) == 10, "events")
    agent = fresh_lab._connection.about["pid"]
    os.kill(agent, signal.SIGSTOP)
    try:
        with pytest.raises(LabError, match="did not end within .* the lab machine does not answer"):
            live.stop()
        with pytest.raises(KeyboardInterrupt):
            threading.Timer(0.1, os.kill, [os.getpid(), signal.SIGINT]).start()
            live.wait(60)
    finally:
        os.kill(agent, signal.SIGCONT)
    live.stop()
    assert len(live.frame) == 10


def test_only_the_newest_rows_are_kept(load):
    obj = load()
    with bl.live(obj.events(), keep=1500) as live:
        for n in range(1, 7):
            burst(obj, 500)
            until(lambda n=n: live._follower.count == 500 * n, "a burst")
    assert live.dropped == 1500 and live.frame.number.tolist() == list(range(1500, 3000))
    assert live._last["dropped"] == 1500 and live._last["count"] == 3000


def test_a_perf_buffer_counts_what_it_loses(lab):
    text = """
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    struct event { u64 number; };
    struct {
        __uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
        __type(key, u32);
        __type(value, struct event);
    } buffer SEC(".maps");
    SEC("tp/syscalls/sys_enter_getppid") int send(void *ctx)
    {
        struct event e = { .number = 7 };
        bpf_perf_event_output(ctx, &buffer, BPF_F_CURRENT_CPU, &e, sizeof(e));
        return 0;
    }
    char LICENSE[] SEC("license") = "GPL";"""
    with lab.load(text) as obj, obj.events(pages=1) as events, obj.programs["send"].attach(), bl.live(events) as live:
        lab.sh("python3 -c 'import os; [os.getppid() for _ in range(20000)]'")
        until(lambda: len(live.frame) + live.lost >= 20000, "all are taken or lost")
    assert live.gaps["lost"].sum() == live.lost
    assert {"number", "cpu", "time_ns"} <= set(live.frame.columns)


@pytest.mark.parametrize("options, error, text", [
    ({"value": "size", "unit": "ns"}, TypeError, "no column 'size'; it has time_ns, number, comm"),
    ({"value": "comm", "unit": "ns"}, TypeError, "column 'comm' holds no numbers; by='comm'"),
    ({"value": "number"}, ValueError, "say the unit of 'number'"),
    ({"by": "nobody"}, TypeError, "no column 'nobody'"),
    ({"view": "histogram"}, ValueError, "need value="),
    ({"window": 0}, ValueError, "more than 0"),
])  # fmt: skip
def test_misuse(load, options, error, text):
    with pytest.raises(error, match=text):
        bl.live(load().events(), **options)


# -- a histogram that the kernel counts


SLOTS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
    __type(key, u32);
    __type(value, u64);
    __uint(max_entries, 32);
} slots SEC(".maps");
struct of { u32 who, slot; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, struct of);
    __type(value, u64);
    __uint(max_entries, 64);
} by_who SEC(".maps");
SEC("syscall") int count(u32 *number)
{
    u32 slot = *number;
    struct of key = { slot % 2, slot };
    u64 one = 1, *times = bpf_map_lookup_elem(&slots, &slot);

    if (times)
        (*times)++;
    times = bpf_map_lookup_elem(&by_who, &key);
    if (times)
        (*times)++;
    else
        bpf_map_update_elem(&by_who, &key, &one, BPF_ANY);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture
def counting(lab):
    with lab.load(SLOTS) as obj:
        yield obj


def hit(obj, *slots):
    for slot in slots:
        obj.programs["count"].test_run(ctx=slot.to_bytes(4, "little"))


def test_a_map_of_slots_is_followed(counting):
    hit(counting, 3, 3)
    with bl.live(counting.maps["slots"], unit="us") as live:
        hit(counting, 0, 3, 4)
        until(lambda: live._follower.count == 3, "what came since")
    picture = live._follower.picture()
    # bucket 1 + slot: 2**slot to 2**(slot+1) - 1; the totals have what was there before, the heat has not
    assert {n: int(picture.totals[0, n]) for n in np.flatnonzero(picture.totals[0])} == {1: 1, 4: 3, 5: 1}
    assert {int(n): int(picture.heat[n].sum()) for n in np.flatnonzero(picture.heat.sum(axis=1))} == {1: 1, 4: 1, 5: 1}
    assert live.frame["count"].tolist() == [1, 0, 0, 3, 1] and live.lost == 0 and live._last["count"] == 3


def test_several_histograms_of_one_map(counting):
    with bl.live(counting.maps["by_who"], unit="us", by="who", step=10) as live:
        hit(counting, 2, 2, 3)
        until(lambda: live._follower.count == 3, "what came")
    picture = live._follower.picture()
    assert sorted(picture.groups) == ["0", "1"] and picture.totals[:, 2:4].sum() == 3
    assert live.frame.groupby("who")["count"].sum().to_dict() == {"0": 2, "1": 1}


def test_a_map_that_is_emptied_meanwhile(counting):
    slots = counting.maps["slots"]
    with bl.live(slots, unit="us") as live:
        hit(counting, 5, 5)
        until(lambda: live._follower.count == 2, "two")
        slots[5] = [0] * len(slots[5])
        until(lambda: live._follower._before["events"][6] == 0, "the look at the empty map")
        hit(counting, 5)
        until(lambda: live._follower.count == 3, "the third")


def test_maps_that_are_no_histogram(lab, counting):
    with pytest.raises(ValueError, match="say the unit of what map 'slots' counts"):
        bl.live(counting.maps["slots"])
    m = lab.create_map("hash", "u32", "u64", 8)
    with pytest.raises(TypeError, match="only an array of slots is a histogram"):
        bl.live(m, unit="ns")
    m.close()
    m = lab.create_map("array", "u32", "u64", 100)
    with pytest.raises(TypeError, match="has 100 slots, more than 65"):
        bl.live(m, unit="ns")
    m.close()


def test_it_ends_with_its_map(counting):
    live = bl.live(counting.maps["slots"], unit="us")
    counting.close()
    assert live.wait(10) and live._follower.ending


# -- what a saved notebook keeps of it

SVG = "{http://www.w3.org/2000/svg}"


def drawn(live, view):
    live.view = view
    return ET.fromstring(live._svg())


def texts(root):
    return [text.text for text in root.iter(SVG + "text")]


def test_the_stored_picture_has_what_was_seen(load):
    obj = load("4096")
    with bl.live(obj.events(), "number", by="comm", unit="ns", title="a <bursty> one") as live:
        burst(obj, 50)
        until(lambda: len(live.frame) == 50, "the first")
        burst(obj, 5000)
        until(lambda: len(live.frame) + live.lost == 5050, "the rest is taken or lost")
    rate = drawn(live, "rate")
    assert {"a <bursty> one", "even", "odd", "lost", "events a second"} <= set(texts(rate))
    assert f"{live.lost:,} lost, stopped" in rate.get("aria-label")
    paths = {path.get("fill"): path.get("d") for path in rate.iter(SVG + "path") if path.get("fill")}
    # boxes that were lost stand on those that came: nothing is drawn outside of the axes
    assert live_picture.BAD in paths and len(paths) == 3
    tops = [float(y) for d in paths.values() for y in re.findall(r"M[\d.]+ ([\d.]+)h", d)]
    assert min(tops) >= live_picture.TOP - 0.1 and max(tops) <= live_picture.BOTTOM
    counts = [int(text.replace(",", "")) for text in texts(drawn(live, "histogram")) if re.fullmatch(r"[\d,]+", text)]
    assert sum(counts) == len(live.frame)
    assert {"0 ns", "2 ns", "64 ns"} <= set(texts(drawn(live, "histogram")))
    cells = [r for r in drawn(live, "heat map").iter(SVG + "rect") if r.get("fill") == live_picture.MAIN]
    assert len(cells) == np.count_nonzero(live._follower.picture().heat)


def test_the_stored_picture_of_nothing(load):
    with bl.live(load().events(), "number", unit="ns") as live:
        pass
    for view in ("rate", "histogram", "heat map"):
        assert "0 events" in drawn(live, view).get("aria-label")


def test_a_saved_notebook_has_the_end_of_it(machine):
    """As nbclient stores it, and with it `./lab run --update`: the output of the cell that showed it is written again."""
    cells = [
        f"import bpflab as bl; lab = bl.Lab({machine!r}, quiet=True); obj = lab.load({TEXT.replace('SIZE', '1 << 20')!r})",
        "live = bl.live(obj.events(), by='comm')\nlive",
        "obj.programs['burst'].test_run(ctx=(700).to_bytes(4, 'little'))\nwhile len(live.frame) < 700: pass",
        "live.stop(); lab.close()",
        "live",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60).execute()
    for cell in (1, 4):
        widget, end = notebook.cells[cell].outputs
        assert "application/vnd.jupyter.widget-view+json" in widget.data and widget.data["text/plain"] == "live: events of ring"
        assert "live: 700 events in" in end.data["text/plain"] and "stopped" in end.data["text/plain"]
        (png,) = re.findall(r'<img alt="live: 700 events.*stopped" src="data:image/png;base64,(.*)">', end.data["text/html"])
        assert base64.b64decode(png).startswith(b"\x89PNG")
