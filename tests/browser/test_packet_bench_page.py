"""The packet bench as a reader of a notebook sees it."""

from __future__ import annotations

import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect
from test_rejection import contrast

PACKET = "020000000002 020000000001 0800 4500002100010000 4011 8e8f c0000201 c6336407 0035 0009 000d 0000 68656c6c6f"
SETUP = f"""import bpflab as bl
lab = bl.Lab({{machine!r}})
packet = "{PACKET}"
obj = lab.load('''
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
SEC("xdp") int hop(struct xdp_md *ctx)
{{{{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 34 > end)
        return XDP_DROP;
    data[22]--;
    return XDP_TX;
}}}}
char LICENSE[] SEC("license") = "GPL";
''')
hop = obj.programs["hop"]"""


@pytest.fixture(scope="module", params=[LIGHT, DARK])
def themed(request, open_notebook, machine):
    notebook = open_notebook(SETUP.format(machine=machine), theme=request.param, width=1300)
    notebook.page.get_by_text("lab on").wait_for()
    yield notebook
    assert notebook.outside == []
    assert notebook.errors == []


def view(notebook, code: str):
    shown = notebook.run(code).locator(".bpflab-packet")
    shown.wait_for()
    return shown


def test_what_changed_is_lit_and_open(themed):
    shown = view(themed, "hop.bench(packet)")
    expect(shown.locator(".pk-verdict")).to_have_text("XDP_TX")
    expect(shown.locator(".pk-head")).to_contain_text("packet of 47 bytes; 1 byte differs")
    expect(shown.locator(".pk-note")).to_have_text("IPv4 checksum is not right any more: 0x8e8f, wrong: should be 0x8f8f")
    assert shown.locator("details[open] > summary > b").all_inner_texts() == ["IPv4"]
    assert shown.locator("tr.pk-changed td").all_inner_texts() == ["22", "TTL", "64", "63"]
    # JupyterLab's own tables are striped, and right
    name = shown.locator("tr.pk-changed td").nth(1)
    assert name.evaluate("e => [getComputedStyle(e).textAlign, getComputedStyle(e.parentElement).backgroundColor]") == ["left", "rgba(0, 0, 0, 0)"]
    lit = shown.locator(".pk-hex .pk-lit")
    assert lit.all_inner_texts() == ["40", "3f"]
    assert lit.last.get_attribute("title") == "22: IPv4 TTL = 63"
    for one in (".pk-head .pk-soft >> nth=0", ".pk-verdict", ".pk-badge", ".pk-note", "summary .pk-soft >> nth=0", "td.pk-lit", ".pk-hex i.pk-lit >> nth=0", ".pk-hex .pk-soft >> nth=0"):
        assert contrast(shown.locator(one)) > 4.5, one


def test_layers_unfold(themed):
    shown = view(themed, "hop.bench(packet)")
    port = shown.locator("details", has_text="UDP").last.get_by_text("destination port")
    expect(port).to_be_hidden()
    shown.locator("summary", has_text="53 → 9").click()
    expect(port).to_be_visible()


def test_a_drop_and_a_packet(themed):
    shown = view(themed, "hop.bench(bytes(20))")
    expect(shown.locator(".pk-verdict.pk-drop")).to_have_text("XDP_DROP")
    assert contrast(shown.locator(".pk-verdict")) > 4.5
    expect(shown.locator(".pk-head")).to_contain_text("the packet is unchanged")
    packet = view(themed, "bl.packet.dissect(packet)")
    assert packet.locator("details[open]").count() == packet.locator("details").count() == 4
    expect(packet.get_by_text("5 bytes: “hello”").last).to_be_visible()


def test_nothing_hangs_out_of_a_narrow_page(themed):
    shown = view(themed, "hop.bench(packet)")
    themed.page.set_viewport_size({"width": 640, "height": 900})
    assert shown.evaluate("e => e.scrollWidth <= e.clientWidth + 1")
    themed.page.set_viewport_size({"width": 1300, "height": 900})
