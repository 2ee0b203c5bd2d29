"""What the verifier rejected, as a reader of a notebook sees it."""

from __future__ import annotations

import pytest
from lab_page import DARK, LIGHT
from playwright.sync_api import expect

PROGRAM = """%%bpf lost
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 16);
    __type(key, __u32);
    __type(value, __u64);
} counts SEC(".maps");

SEC("xdp")
int count(struct xdp_md *ctx)
{
    __u32 key = ctx->ingress_ifindex;
    __u64 *n = bpf_map_lookup_elem(&counts, &key);

    *n += 1;
    return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";"""


@pytest.fixture(scope="module", params=[LIGHT, DARK])
def themed(request, open_notebook, machine):
    notebook = open_notebook(f"import bpflab as bl\nlab = bl.Lab({machine!r})", theme=request.param, height=1100)
    notebook.page.get_by_text("lab on").wait_for()
    yield notebook
    assert notebook.outside == []
    assert notebook.errors == []


def test_the_rejected_line_and_the_cause_are_marked(themed):
    output = themed.run(PROGRAM)
    shown = output.locator(".bpflab-verifier")
    expect(shown.locator(".bv-summary")).to_contain_text(
        "bpf_map_lookup_elem() returned is used before it was compared with NULL"
    )
    lines = PROGRAM.splitlines()
    failing, cause = (
        lines.index("    *n += 1;") + 1,
        next(i for i, line in enumerate(lines, 1) if "lookup_elem" in line),
    )
    expect(shown.locator(".bv-row.bv-failing").first).to_have_text(f"{failing}    *n += 1;")
    expect(shown.locator(".bv-row.bv-cause").first).to_contain_text(f"{cause}    __u64 *n = ")
    expect(shown.locator(".bv-change .bv-add").first).to_contain_text("if (!n)")
    # text that cannot be told from its ground is no text
    for one in (
        ".bv-summary",
        ".bv-row.bv-failing",
        ".bv-row.bv-cause",
        ".bv-note.bv-failing b",
        ".bv-note.bv-cause b",
        ".bv-advice",
        ".bv-change .bv-add",
    ):
        assert contrast(shown.locator(one).first) > 4.5
    # below it one line of error, so that those who see no HTML know as well
    error = output.locator(".jp-RenderedText").last
    expect(error).to_contain_text(f"lost:{failing}: what bpf_map_lookup_elem() returned")
    assert "Traceback" not in output.inner_text() and len(error.inner_text().strip().splitlines()) == 1


def test_path_and_log_unfold(themed):
    shown = themed.run(PROGRAM).locator(".bpflab-verifier")
    path, log = shown.locator("details.bv-path"), shown.locator("details.bv-log")
    expect(path.locator("table").first).to_be_hidden()
    path.locator("summary").click()
    expect(path.get_by_text("or NULL: not compared yet").first).to_be_visible()
    expect(log.locator("pre")).to_be_hidden()
    log.locator("summary").click()
    expect(log.locator("pre")).to_contain_text("R0 invalid mem access 'map_value_or_null'")
    expect(log.locator("pre")).to_contain_text("processed ")
    # its lines stay lines, also where they are longer than the page is wide
    assert log.locator("pre").evaluate("e => [getComputedStyle(e).whiteSpace, getComputedStyle(e).borderTopWidth]") == ["pre", "1px"]


def test_on_a_narrow_page_the_path_is_scrolled_not_squeezed(themed):
    shown = themed.run(PROGRAM).locator(".bpflab-verifier")
    themed.page.set_viewport_size({"width": 620, "height": 1100})
    path = shown.locator("details.bv-path")
    path.locator("summary").click()
    expect(path.locator("table").first).to_be_visible()
    assert min(path.locator("td:last-child").evaluate_all("cells => cells.map(e => e.getBoundingClientRect().width)")) > 150
    themed.page.set_viewport_size({"width": 1280, "height": 1100})


def test_the_kernel_of_the_notebook_goes_on(themed):
    themed.run(PROGRAM)
    assert themed.execute("6 * 7") == "42"
    assert themed.execute("'lost' in globals()") == "False"


def contrast(locator) -> float:
    """WCAG's contrast of an element's text against what is behind it, 1 to 21."""
    text, ground = locator.evaluate(
        """element => {
             const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
             const paint = (colors) => { canvas.clearRect(0, 0, 1, 1);
               for (const color of colors) { canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1) }
               return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3) };
             const grounds = [];
             for (let one = element; one; one = one.parentElement) grounds.unshift(getComputedStyle(one).backgroundColor);
             return [paint([...grounds, getComputedStyle(element).color]), paint(['white', ...grounds])];
           }"""
    )

    def luminance(rgb):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in rgb]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
