"""Many packets as a DataFrame: each row says what the dissector says of the same packet."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_seeds import PACKETS, SEEDS, any_packet

from bpflab.packet import dissect, to_frame

COLUMNS = ["length", "protocol", "source", "destination", "source_port", "destination_port", "vlan", "note"]


def row(data: bytes) -> dict:
    (found,) = to_frame([data]).to_dict("records")
    return found


def test_the_seeds():
    frame = to_frame(PACKETS.values()).set_axis(list(PACKETS))
    assert list(frame) == COLUMNS
    assert frame.protocol.to_dict() == {
        **{"tcp": "TCP", "udp": "UDP", "padded": "UDP", "ip options": "UDP", "vlan": "TCP", "two vlans": "UDP", "arp": "ARP reply", "ping": "ICMP"},
        **{"unreachable": "ICMP", "ping6": "ICMPv6", "neighbour": "ICMPv6", "too big": "ICMPv6", "extensions": "UDP", "routed": "TCP"},
        **{"first fragment": "UDP", "later fragment": "UDP", "later fragment 6": "TCP", "gre": "GRE", "ipip": "IPv4 in IP", "6in4": "IPv6 in IP"},
        **{"vxlan": "UDP", "ah": "AH", "igmp": "IGMP", "sctp": "SCTP", "llc": "802.3", "unknown": "0x88b5"},
    }
    assert frame.vlan.dropna().to_dict() == {"vlan": 42, "two vlans": 7}
    assert frame.note[frame.note != ""].to_dict() == {name: "fragment" for name in ("first fragment", "later fragment", "later fragment 6")}
    assert frame.loc["tcp"].tolist() == [len(PACKETS["tcp"]), "TCP", "192.0.2.1", "198.51.100.2", 40000, 80, pd.NA, ""]
    assert frame.loc["arp", ["source", "destination"]].tolist() == ["192.0.2.1", "192.0.2.9"]
    assert frame.loc["unknown", ["source", "destination"]].tolist() == ["02:00:00:00:00:01", "02:00:00:00:00:02"]
    assert frame.loc["extensions", ["source", "source_port"]].tolist() == ["2001:db8::1", 11]
    assert frame.loc["later fragment 6"].source_port is pd.NA


def expected(data: bytes) -> dict:
    """The same of one packet, from its fields."""
    packet = dissect(data)
    names = [layer.name for layer in packet.layers]
    found = {"source": "", "destination": "", "source_port": None, "destination_port": None}
    found["vlan"] = packet["VLAN tag"].value & 0xFFF if "VLAN tag" in packet and packet["VLAN tag"].value is not None else None
    outer = next((name for name in names if name in ("IPv4", "IPv6", "ARP")), "")
    if outer.startswith("IP") and f"{outer} destination" in packet and packet[f"{outer} destination"].value is not None:
        found |= {place: packet[f"{outer} {place}"].said for place in ("source", "destination")}
        after = [name for name in names[names.index(outer) + 1 :] if not name.startswith("IPv6 ")]
        if after and after[0] in ("TCP", "UDP", "SCTP"):
            for port in ("source port", "destination port"):
                field = packet[f"{after[0]} {port}"] if f"{after[0]} {port}" in packet else None
                found[port.replace(" ", "_")] = field.value if field else None
    return found


@settings(max_examples=500, deadline=None)
@given(st.lists(any_packet, max_size=6))
def test_a_row_says_what_the_dissector_says(packets):
    frame = to_frame(packets)
    assert len(frame) == len(packets) and frame.length.tolist() == list(map(len, packets))
    for data, found in zip(packets, frame.to_dict("records")):
        want = expected(data)
        packet = dissect(data)
        if any(layer.name in ("ARP", "LLC") for layer in packet.layers) or not any(layer.name.startswith("IPv") for layer in packet.layers):
            continue
        assert {name: (None if pd.isna(found[name]) else found[name]) for name in want} == want, (data.hex(), packet)
        headers = [layer for layer in packet.layers if layer.name in ("Ethernet", "IPv4", "IPv6", "TCP", "UDP")]
        if any("cut short" in note and "option" not in note for layer in headers[:2] for note in layer.notes):
            assert "cut short" in found["note"]


def test_the_total_length_ends_the_packet():
    data = bytearray(PACKETS["tcp"])
    data[16:18] = (22).to_bytes(2, "big")
    found = row(bytes(data))
    assert (found["source_port"], found["note"]) == (40000, "cut short") and pd.isna(found["destination_port"])
    data = bytearray(PACKETS["ping6"])
    data[18:20], data[20] = (1).to_bytes(2, "big"), 17
    assert pd.isna(row(bytes(data))["source_port"])


def test_all_bits_of_a_tag():
    data = bytearray(PACKETS["vlan"])
    data[14:16] = b"\xff\xff"
    assert row(bytes(data))["vlan"] == 4095


def test_rows_do_not_depend_on_their_neighbours():
    packets = [*PACKETS.values(), b"", b"\1", bytes(70)] * 3
    np.random.default_rng(1).shuffle(packets)
    together = to_frame(packets)
    alone = pd.concat([to_frame([p]) for p in packets], ignore_index=True)
    pd.testing.assert_frame_equal(together, alone)


def test_one_buffer_for_all():
    each = [PACKETS["tcp"], PACKETS["arp"], PACKETS["udp"]]
    buffer, starts = b"head", []
    for data in each:
        starts.append(len(buffer))
        buffer += data + b"gap"
    lengths = [len(data) for data in each]
    pd.testing.assert_frame_equal(to_frame(memoryview(buffer), starts, lengths), to_frame(each))
    # what a capture cut short stays cut short, whatever comes behind it in the buffer
    assert to_frame(buffer, starts, [40, 20, lengths[2]]).note.tolist() == ["cut short", "cut short", ""]


@pytest.mark.parametrize("starts, lengths", [([0], [100]), ([-1], [5]), ([5], [-1]), ([90], [11])])
def test_out_of_the_buffer(starts, lengths):
    with pytest.raises(ValueError, match="packet 0 would be bytes"):
        to_frame(bytes(99), starts, lengths)


def test_wrong_use():
    with pytest.raises(TypeError, match="not one bytes"):
        to_frame(PACKETS["tcp"])
    with pytest.raises(TypeError, match="belong together"):
        to_frame(bytes(9), [0])
    with pytest.raises(TypeError, match="a packet is bytes, not int"):
        to_frame([1, 2])
    with pytest.raises(ValueError, match="same length"):
        to_frame(bytes(9), [0], [1, 2])
    with pytest.raises(ValueError, match="link="):
        to_frame([], link="wifi")


def test_nothing_and_other_forms():
    assert list(to_frame([])) == COLUMNS and len(to_frame([])) == 0
    assert row(b"")["note"] == "cut short"
    pd.testing.assert_frame_equal(to_frame([SEEDS["tcp"], PACKETS["udp"].hex()]), to_frame([PACKETS["tcp"], PACKETS["udp"]]))
    ip = to_frame([PACKETS["tcp"][14:], PACKETS["ping6"][14:], b"\x99"], link="ip")
    assert ip.protocol.tolist() == ["TCP", "ICMPv6", ""] and ip.source_port.tolist()[0] == 40000
