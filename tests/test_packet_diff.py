"""Two packets beside each other: which bytes, which fields; as text and as HTML."""

from __future__ import annotations

import html.parser
import re

import numpy as np
import pytest
from hypothesis import given, settings
from packet_seeds import ETHER, PACKETS, V4, any_packet
from scapy.layers.inet import IP, TCP
from scapy.layers.l2 import Dot1Q

from bpflab.packet import compare, dissect
from bpflab.packet import html as packet_html
from bpflab.packet import text as packet_text
from bpflab.packet.diff import changed_bytes

PLAIN = bytes(ETHER / V4 / TCP(sport=1, dport=80) / b"hello")
TAGGED = bytes(ETHER / Dot1Q(vlan=9) / V4 / TCP(sport=1, dport=80) / b"hello")
TUNNELLED = bytes(ETHER / IP(src="10.0.0.1", dst="10.0.0.2") / V4 / TCP(sport=1, dport=80) / b"hello")


def diff(a: bytes, b: bytes):
    return compare(dissect(a), dissect(b))


def rows(d, state=None) -> list[str]:
    return [f"{row.layer} {row.name}" for row in d.rows() if row.state == (state or row.state)]


def test_the_same():
    d = diff(PLAIN, PLAIN)
    assert not d and d.changed == 0
    assert set(rows(d)) == set(rows(d, "same"))
    assert packet_text.size_words(d) == "the packet is unchanged"


def test_a_changed_field():
    data = bytearray(PLAIN)
    data[22] -= 1
    d = diff(PLAIN, bytes(data))
    assert d.changed == 1 and np.flatnonzero(d.marked_after).tolist() == [22]
    assert rows(d, "changed") == ["IPv4 TTL"]
    text = packet_text.of_diff(d, "expected", "got")
    assert re.search(r"22 +TTL +expected 64; got 63", text)
    # the byte has its mark under it
    lines = text.splitlines()
    line = next(i for i, line in enumerate(lines) if line.startswith("got"))
    assert lines[line + 1].index("^^") == lines[line].index(" 3f ") + 1


@pytest.mark.parametrize("a, b, at, grown, new", [(PLAIN, TAGGED, 12, 4, "VLAN tag"), (PLAIN, TUNNELLED, 14, 20, "IPv4 TTL")], ids=["tag", "tunnel"])
def test_a_header_put_in_and_taken_out(a, b, at, grown, new):
    d = diff(a, b)
    assert (d.at, d.grown, d.changed) == (at, grown, grown)
    assert new in rows(d, "new") and not rows(d, "changed") and not rows(d, "gone")
    back = diff(b, a)
    assert (back.at, back.grown, back.changed) == (at, -grown, grown)
    assert new in rows(back, "gone") and not rows(back, "changed") and not rows(back, "new")
    # what is inside is said to be the same, whatever it is called now
    assert any(row.before and row.before.title == "TCP window" and row.state == "same" for row in d.rows())


def test_room_at_the_ends():
    at_the_tail = diff(PLAIN, PLAIN + bytes(6))
    assert (at_the_tail.at, at_the_tail.grown) == (len(PLAIN), 6)
    cut = diff(PLAIN, PLAIN[:-5])
    assert (cut.at, cut.changed) == (len(PLAIN) - 5, 5)
    at_the_head = diff(PLAIN, b"\xaa" * 8 + PLAIN)
    assert (at_the_head.at, at_the_head.changed) == (0, 8)


def test_bytes_where_words_are_the_same():
    a, b = bytes(60), bytes(range(60))
    changed = diff(bytes(14) + b"\x01" * 30, bytes(14) + b"\x01" * 16 + b"\x02" * 14)
    assert "01 01" in packet_text.of_diff(changed)
    assert diff(a, b).changed == 59


def test_long_differences_are_counted_not_printed():
    text = packet_text.of_diff(diff(bytes(9000), b"\1" * 9000))
    assert len(text.splitlines()) < 60 and "rows of 16 bytes more" in text


@settings(max_examples=400, deadline=None)
@given(any_packet, any_packet)
def test_any_two(a, b):
    d = diff(a, b)
    assert bool(d) == any(row.state != "same" for row in d.rows())  # which `assert_packet` relies on
    assert len(d.marked_before) == len(a) and len(d.marked_after) == len(b)
    # what is not marked is the same, in order
    assert bytes(x for x, m in zip(a, d.marked_before) if not m) == bytes(x for x, m in zip(b, d.marked_after) if not m)
    assert bool(d) == (a != b)
    assert changed_bytes(a, b) == d.changed
    found = d.rows()
    assert [r.before for r in found if r.before] == d.before.fields
    assert [r.after for r in found if r.after] == d.after.fields
    assert all((r.state == "same") == (a[r.before.offset :][: r.before.size] == b[r.after.offset :][: r.after.size]) for r in found if r.before and r.after)
    packet_text.of_diff(d)
    well_formed(packet_html.frame(packet_html.of_diff(d)))


class _Nesting(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.text, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.open.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def well_formed(page: str) -> str:
    """The page's text; every element is closed, nothing is fetched."""
    parser = _Nesting()
    parser.feed(page)
    parser.close()
    assert parser.open == [] and parser.links == [] and "http" not in page and "url(" not in page
    return "".join(parser.text)


@pytest.mark.parametrize("name", PACKETS)
def test_views_have_every_field(name):
    packet = dissect(PACKETS[name])
    text, shown = repr(packet), well_formed(packet._repr_html_())
    for field in packet.fields:
        assert field.said in text and field.said in shown


def test_html_lights_what_differs():
    page = packet_html.of_diff(diff(PLAIN, TAGGED))
    lit = re.findall(r"<i title=\"([^\"]*)\" class=pk-lit>([^<]*)</i>", page)
    assert " ".join(data for _, data in lit) == "81 00 00 09"
    assert [title for title, _ in lit] == ["12: Ethernet EtherType = VLAN", "14: VLAN tag = id 9"]
    assert re.findall(r"pk-(new|gone|changed)\"", page)


def test_a_diff_shows_itself():
    d = diff(PLAIN, TAGGED)
    assert repr(d).startswith("4 bytes differ, 4 put in at byte 12\nEthernet\n")
    assert "4 bytes differ, 4 put in at byte 12" in well_formed(d._repr_html_())
    assert repr(diff(PLAIN, PLAIN)) == "the packet is unchanged"


def test_html_of_a_payload_with_markup():
    page = dissect(bytes(ETHER / V4 / TCP() / b"<script>alert('x')</script>"))._repr_html_()
    assert "<script>" not in page
    assert "<script>alert('x')" in well_formed(page)


def test_html_of_a_jumbo_is_short():
    data = bytearray(65_536)
    page = packet_html.of_diff(diff(bytes(data), bytes(data[:-1]) + b"\1"))
    assert len(page) < 20_000
    assert "fff0" in well_formed(page)  # the row that differs
