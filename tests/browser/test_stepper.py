"""The stepper in a real JupyterLab: forward, back, run to here, and what lights up."""

import contrast
import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect
from waiting import until

PACKET = "ffffffffffff0200000000010800450000210001000040110000" "0a0000010a00000200350009000d000068656c6c6f"
SETUP = f"""import bpflab as bl
lab = bl.Lab({{machine!r}})
packet = bytes.fromhex("{PACKET}")
obj = lab.load('''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {{{{ __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 4); }}}} counts SEC(".maps");
SEC("xdp") int count(struct xdp_md *ctx)
{{{{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    __u32 key = 1;
    __u64 *times;
    if (data + 34 > end)
        return 0;
    times = bpf_map_lookup_elem(&counts, &key);
    if (times)
        *times += data[23];
    return 2;
}}}}
char LICENSE[] SEC("license") = "GPL";
''')"""


@pytest.fixture(scope="module")
def notebook(open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), width=1300)
    notebook.page.get_by_text("lab on").wait_for()
    return notebook


@pytest.fixture
def show(notebook):
    def show_one(code):
        return Stepper(notebook.run(f"s = {code}\ns"))

    yield show_one
    notebook.delete_cells()
    assert notebook.errors == []
    assert notebook.outside == []


class Stepper:
    """What a reader sees and does."""

    def __init__(self, output):
        self.root = output.locator(".bpflab-stepper")
        self.root.wait_for()
        self.said = self.root.get_by_role("status")
        self.current = self.root.locator("li[aria-current=step]")
        self.lit = self.root.locator(".bm-read")

    def press(self, name):
        self.root.get_by_role("button", name=name, exact=True).click()

    def register(self, name):
        return self.root.locator(f'[data-register="{name}"] dd')

    def row(self, pc):
        return self.root.locator(f'li[data-pc="{pc}"]')


def test_a_filter_forward_and_back(notebook, show):
    stepper = show("bl.step('udp port 53', packet)")
    expect(stepper.root.locator(".bm-verdict")).to_have_text("returns 262144: let 262144 bytes through")
    expect(stepper.root.locator(".bm-kernel")).to_have_text("kernel: 47 of 47 bytes came through, the same")
    # before the first instruction: what it is about to read is lit, and has its name
    expect(stepper.current).to_have_attribute("data-pc", "0")
    assert stepper.lit.all_inner_texts() == ["08", "00"]
    expect(stepper.said).to_contain_text("Ethernet EtherType = IPv4")
    assert stepper.lit.first.get_attribute("title") == "offset 12: Ethernet EtherType = IPv4"
    expect(stepper.register("A")).to_have_text("0")
    stepper.press("one instruction forward")
    expect(stepper.current).to_have_attribute("data-pc", "1")
    expect(stepper.register("A")).to_have_text("2048 0x800")
    expect(stepper.said).to_contain_text("is false: goes on at 8")
    # the jump that is about to be taken
    expect(stepper.row(8)).to_have_class("bm-click bm-to")
    assert stepper.root.locator(".bm-arrow path").count() == 1
    stepper.press("one instruction back")
    expect(stepper.current).to_have_attribute("data-pc", "0")
    expect(stepper.register("A")).to_have_text("0")
    stepper.press("to the end")
    expect(stepper.said).to_contain_text("the end: returns 262144")
    assert stepper.current.count() == 0
    until(lambda: notebook.execute("print(s.position)").strip() == "11", "the kernel knows of the end")


def test_run_to_here_with_mouse_and_keys(notebook, show):
    stepper = show("bl.step('udp port 53', packet)")
    stepper.row(14).click()
    expect(stepper.current).to_have_attribute("data-pc", "14")
    expect(stepper.register("X")).to_have_text("20 0x14")
    assert stepper.lit.all_inner_texts() == ["00", "35"]
    expect(stepper.said).to_contain_text("UDP source port = 53")
    stepper.row(9).focus()
    stepper.row(9).press("Enter")
    expect(stepper.current).to_have_attribute("data-pc", "9")
    stepper.row(9).press("ArrowRight")
    expect(stepper.current).to_have_attribute("data-pc", "10")
    stepper.row(9).press("Home")
    expect(stepper.current).to_have_attribute("data-pc", "0")
    # where the run does not come there is nothing to run to
    assert stepper.row(16).get_attribute("role") is None
    # a key's message waits in the page while an earlier one is under way; what the cell says must come after it
    until(lambda: notebook.execute("s.position") == "0", "the kernel knows of the key")
    notebook.execute("s.position = 3")
    expect(stepper.current).to_have_attribute("data-pc", "9")
    stepper.root.get_by_role("slider").fill("5")
    expect(stepper.root).to_have_attribute("data-position", "5")


def test_an_ebpf_program(notebook, show):
    stepper = show("bl.step(obj.programs['count'], packet)")
    expect(stepper.root.locator(".bm-verdict")).to_have_text("returns 2, XDP_PASS")
    expect(stepper.root.locator(".bm-kernel")).to_have_text("kernel: 2, the same")
    expect(stepper.root.get_by_text("times = bpf_map_lookup_elem(&counts, &key);")).to_be_visible()
    expect(stepper.register("r1")).to_have_text("context")
    lookup = stepper.root.locator("li.bm-click", has_text="call bpf_map_lookup_elem")
    lookup.click()
    expect(stepper.said).to_contain_text("found counts[1]")
    stepper.press("one instruction forward")
    expect(stepper.register("r0")).to_have_text("counts[1]")
    load = stepper.root.locator("li.bm-click", has_text="= *(u8 *)(r")
    load.click()
    assert stepper.lit.all_inner_texts() == ["11"]
    expect(stepper.said).to_contain_text("IPv4 protocol = UDP")
    stepper.press("to the end")
    value = stepper.root.locator('[data-region="counts[1]"] i').all_inner_texts()
    assert "".join(value) == "1100000000000000"
    stepper.press("to the start")
    value = stepper.root.locator('[data-region="counts[1]"] i').all_inner_texts()
    assert "".join(value) == "0000000000000000"


@pytest.mark.parametrize("size, rows", [(0, 0), (65536, 9)])
def test_packets_without_bytes_and_with_many(notebook, show, size, rows):
    stepper = show(f"bl.step('len > 3 and ether[60000] = 0', bytes({size}))")
    stepper.press("one instruction forward")
    stepper.press("to the end")
    expect(stepper.said).to_contain_text("the end")
    packet = stepper.root.locator('[data-region="packet"]')
    assert packet.locator(".bm-at").count() == rows
    assert packet.locator(".bm-left").all_inner_texts() == (["… 59,872 bytes not shown", "… 5,520 bytes not shown"] if size else [])


def test_of_a_long_packet_xdp_reaches_the_beginning(notebook, show):
    stepper = show("bl.step(obj.programs['count'], bytes(65536))")
    expect(stepper.root.get_by_role("heading", name="packet")).to_have_text("packet · the first 3,520 of 65,536 bytes")


def test_it_is_readable_in_both_themes(notebook, show):
    for code in ("bl.step('udp port 53', packet)", "bl.step(obj.programs['count'], packet)"):
        stepper = show(code)
        stepper.press("one instruction forward")
        contrast.check(notebook, stepper.root, (LIGHT, DARK))


def test_a_narrow_page(notebook, show):
    stepper = show("bl.step('udp port 53', packet)")
    notebook.page.set_viewport_size({"width": 700, "height": 900})
    expect(stepper.root).to_have_class("bpflab-machine bpflab-stepper bm-narrow")
    assert stepper.root.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    notebook.page.set_viewport_size({"width": 1300, "height": 900})
