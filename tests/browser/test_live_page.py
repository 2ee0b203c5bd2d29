"""Events drawn live in a real JupyterLab: while the workload runs, with a stop button, lost ones as gaps."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

SETUP = """import bpflab as bl
lab = bl.Lab(MACHINE)
TEXT = '''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 time_ns; u64 size; char comm[16]; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, SIZE);
    __type(value, struct event);
} ring SEC(".maps");
u64 lost;
SEC("tp/syscalls/sys_enter_write") int count(struct trace_event_raw_sys_enter *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&ring, sizeof(*e), 0);
    if (!e) {
        __sync_fetch_and_add(&lost, 1);
        return 0;
    }
    e->time_ns = bpf_ktime_get_ns();
    e->size = ctx->args[2];
    bpf_get_current_comm(e->comm, sizeof(e->comm));
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
'''
obj = lab.load(TEXT.replace("SIZE", "1 << 20"))
small = lab.load(TEXT.replace("SIZE", "4096"))
link = obj.programs["count"].attach()"""
WRITER = "dd if=/dev/zero of=/dev/null bs={size} count={count} 2>/dev/null"


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(SETUP.replace("MACHINE", repr(machine)), width=1200)
    notebook.page.get_by_text("lab on").wait_for()
    notebook.execute("link")
    yield notebook
    notebook.execute("lab.close()")


@pytest.fixture
def show(notebook):
    def show_one(code):
        return Live(notebook.run(f"live = {code}\nlive"))

    yield show_one
    notebook.execute("live.stop()")
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


class Live:
    """What a reader sees and does."""

    def __init__(self, output):
        self.root = output.locator(".bpflab-live")
        self.root.wait_for()
        self.state = self.root.get_by_role("status")
        self.stop = self.root.get_by_role("button", name="■ Stop")
        self.canvas = self.root.locator("canvas")

    def count(self):
        return int(self.root.get_attribute("data-count") or 0)

    def ink(self):
        """Colours of the canvas that are neither empty nor nearly grey, and how many pixels have one."""
        return self.canvas.evaluate(
            """c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0;
                 for (let i = 0; i < d.length; i += 4)
                   if (d[i + 3] > 40 && Math.max(d[i], d[i + 1], d[i + 2]) - Math.min(d[i], d[i + 1], d[i + 2]) > 60) n++;
                 return n }"""
        )


@pytest.mark.here
def test_it_draws_while_a_cell_runs_and_stops_by_its_button(notebook, show, tmp_path):
    enough = tmp_path / "enough"
    live = show("bl.live(obj.events(), by='comm')")
    busy = f"until [ -e {enough} ]; do {WRITER.format(size=100, count=50)}; sleep 0.02; done"
    notebook.run(f"lab.sh({busy!r}, timeout=300)", wait=False)
    try:
        notebook.page.wait_for_function("() => +document.querySelector('.bpflab-live').dataset.count > 500")
        first = live.count()
        notebook.page.wait_for_function("first => +document.querySelector('.bpflab-live').dataset.count > first + 500", arg=first)
        assert live.ink() > 50
        expect(live.root.locator(".bl-legend")).to_contain_text("dd")
        live.stop.click()
        expect(live.state).to_contain_text("stopped")
        expect(live.stop).to_be_hidden()
        # the cell is still at work: the stop did not wait for it
        assert notebook.page.locator(".jp-InputPrompt", has_text="[*]").count() == 1
    finally:  # or the cell would keep the kernel from all tests that come
        enough.touch()
    expect(notebook.page.locator(".jp-InputPrompt", has_text="[*]")).to_have_count(0)
    shown = live.count()
    assert notebook.execute("print(len(live.frame), live.running)").split() == [str(shown), "False"]


def test_a_wait_of_ten_seconds_ends_with_the_button(notebook, show):
    live = show("bl.live(obj.events(), seconds=600)")
    output = notebook.run("live.wait(); print('waited', len(live.frame) > 0)", wait=False)
    notebook.page.wait_for_function("() => +document.querySelector('.bpflab-live').dataset.count > 0")
    live.stop.click()
    expect(output).to_contain_text("waited True")


@pytest.mark.parametrize("waits", ["live.wait()", "lab.sh('sleep 600', timeout=700)"])
def test_an_interrupted_cell(notebook, show, waits):
    """The stop button of JupyterLab, while the view asks for pictures: a wait ends what it waits for, another cell nothing."""
    live = show("bl.live(obj.events(), seconds=600)")
    output = notebook.run(waits, wait=False)
    notebook.page.wait_for_function("() => +document.querySelector('.bpflab-live').dataset.count > 0")
    notebook.command("notebook:interrupt-kernel")
    expect(output).to_contain_text("KeyboardInterrupt")
    if waits == "live.wait()":
        expect(live.state).to_contain_text("stopped")
    else:
        assert notebook.execute("print(live.running)").strip() == "True"


def test_lost_events_are_drawn(notebook, show):
    notebook.execute("link.detach()")
    live = show("bl.live(small.events())")
    notebook.execute(f"with small.programs['count'].attach(): lab.sh({WRITER.format(size=1, count=200000)!r})")
    notebook.execute("live.stop()")
    expect(live.state).to_contain_text("lost: ")
    lost = int(notebook.execute("print(live.lost)"))
    assert lost > 1000
    expect(live.root.locator(".bl-lost")).to_have_text(f"lost: {lost:,}")
    expect(live.root.locator(".bl-legend")).to_contain_text("lost")
    assert live.ink() > 500
    notebook.execute("link = obj.programs['count'].attach()")


def test_histogram_and_heat_map(notebook, show):
    live = show("bl.live(obj.events(), 'size', by='comm', unit='bytes')")
    expect(live.root).to_have_attribute("data-drawn", "histogram")
    notebook.execute(f"lab.sh({WRITER.format(size=3000, count=5000)!r})")
    notebook.page.wait_for_function("() => +document.querySelector('.bpflab-live').dataset.count > 5000")
    live.root.get_by_role("button", name="heat map").click()
    expect(live.root).to_have_attribute("data-drawn", "heat map")
    assert live.ink() > 20
    live.canvas.focus()
    live.canvas.press("ArrowRight")
    expect(live.root).to_have_attribute("data-drawn", "rate")
    live.canvas.press("ArrowLeft")
    live.canvas.press("ArrowLeft")
    expect(live.root).to_have_attribute("data-drawn", "histogram")
    notebook.execute("live.stop()")
    expect(live.state).to_contain_text("stopped")
    # what is under the pointer, of the bucket from 2 KiB that holds the writes of 3000 bytes
    box = live.canvas.bounding_box()
    found = set()
    for y in range(20, 280, 6):
        for x in range(80, int(box["width"]) - 20, 60):
            notebook.page.mouse.move(box["x"] + x, box["y"] + y)
            if live.root.locator(".bl-tip").is_visible():
                found.add(live.root.locator(".bl-tip").inner_text())
    assert any(text.startswith("dd\n2 KiB to 4 KiB: 5,000") for text in found), found


def test_a_histogram_that_the_kernel_counts(notebook, show):
    notebook.execute("slots = lab.create_map('array', 'u32', 'u64', 32, name='sizes')")
    live = show("bl.live(slots, unit='bytes')")
    expect(live.root.get_by_role("heading")).to_have_text("sizes")
    notebook.execute("slots[10] = 7; slots[12] = 3")
    expect(live.state).to_contain_text("10 events")
    live.root.get_by_role("button", name="heat map").click()
    expect(live.root).to_have_attribute("data-drawn", "heat map")
    assert live.ink() > 20
    live.stop.click()
    expect(live.state).to_contain_text("stopped")
    assert notebook.execute("print(live.frame.to_dict('list'))").strip() == "{'low': [1024, 2048, 4096], 'high': [2047, 4095, 8191], 'count': [7, 0, 3]}"


def test_its_end_is_stored_with_the_notebook(notebook, show):
    """Below the widget, and hidden as long as that is there."""
    live = show("bl.live(obj.events(), 'size', by='comm', unit='bytes', seconds=1)")
    expect(live.state).to_contain_text("complete")
    stored = notebook.page.wait_for_function(
        """() => { const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
                   return cells.at(-1).toJSON().outputs.find(one => one.data['text/html']?.includes('<img'))?.data }"""
    ).json_value()
    assert "complete" in stored["text/plain"] and "complete" in stored["text/html"]
    image = notebook.page.locator(".bpflab-live-end img")
    expect(image).to_be_hidden()
    expect(notebook.page.locator(".bpflab-live")).to_have_count(1)
    # a notebook that was closed and opened again has no widget any more
    live.root.evaluate("e => e.remove()")
    expect(image).to_be_visible()
    assert image.evaluate("e => e.naturalWidth") == 760


def test_a_later_view_has_the_end_of_it(notebook, show):
    live = show("bl.live(obj.events(), by='comm', seconds=1)")
    expect(live.state).to_contain_text("complete")
    again = Live(notebook.run("live"))
    expect(again.state).to_have_text(live.state.inner_text())
    assert again.count() == live.count()


def test_it_is_readable_in_both_themes(notebook, show):
    live = show("bl.live(obj.events(), 'size', by='comm', unit='bytes', seconds=1)")
    expect(live.state).to_contain_text("complete")
    contrast.check(notebook, live.root, (LIGHT, DARK))
    notebook.page.set_viewport_size({"width": 620, "height": 900})
    assert live.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    notebook.page.set_viewport_size({"width": 1200, "height": 900})
