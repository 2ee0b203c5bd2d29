"""Packets taken apart: against scapy, on damaged ones, and on what is no packet at all."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_seeds import PACKETS, SEEDS, V4, any_packet
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether

from bpflab.errors import UnknownNameError
from bpflab.packet import dissect, packet_bytes
from bpflab.packet.reader import MAX_LAYERS

# layer of scapy -> ours, and of each field of ours the field of scapy with the same number
SAME = {
    (TCP, "TCP"): {
        **{"source port": "sport", "destination port": "dport", "sequence number": "seq", "acknowledgement number": "ack"},
        **{"flags": "flags", "window": "window", "checksum": "chksum", "urgent pointer": "urgptr"},
    },
    (UDP, "UDP"): {"source port": "sport", "destination port": "dport", "length": "len", "checksum": "chksum"},
    (IP, "IPv4"): {"TOS": "tos", "total length": "len", "identification": "id", "TTL": "ttl", "protocol": "proto", "checksum": "chksum"},
    (IPv6, "IPv6"): {"payload length": "plen", "next header": "nh", "hop limit": "hlim"},
    (ARP, "ARP"): {"operation": "op", "hardware type": "hwtype", "protocol type": "ptype"},
}


def layers(packet) -> list[str]:
    return [layer.name for layer in packet.layers]


@pytest.mark.parametrize("name", SEEDS)
def test_the_numbers_are_those_of_scapy(name):
    theirs, ours = SEEDS[name].__class__(PACKETS[name]), dissect(PACKETS[name])
    compared = 0
    for (kind, layer), names in SAME.items():
        if theirs.haslayer(kind) and layer in layers(ours):
            for mine, other in names.items():
                assert ours[f"{layer} {mine}"].value == int(getattr(theirs[kind], other)), (layer, mine)
                compared += 1
    for kind, layer in ((IP, "IPv4"), (IPv6, "IPv6")):
        if theirs.haslayer(kind):
            assert (ours[f"{layer} source"].said, ours[f"{layer} destination"].said) == (theirs[kind].src, theirs[kind].dst)
    assert compared or name in ("llc", "unknown")


@pytest.mark.parametrize("name", SEEDS)
def test_a_good_packet_has_nothing_wrong_with_it(name):
    packet = dissect(PACKETS[name])
    assert packet.notes == []
    assert "Padding" not in layers(packet)
    assert not [field for field in packet.fields if "wrong" in field.said or "broken" in field.said]


@pytest.mark.parametrize(
    "name, expected",
    [
        ("tcp", "Ethernet, IPv4, TCP, Payload"),
        ("two vlans", "Ethernet, VLAN, inner VLAN, IPv6, UDP"),
        ("arp", "Ethernet, ARP"),
        ("padded", "Ethernet, IPv4, UDP, Payload"),
        ("unreachable", "Ethernet, IPv4, ICMP, quoted IPv4, quoted UDP"),
        ("too big", "Ethernet, IPv6, ICMPv6, quoted IPv6, quoted TCP"),
        ("extensions", "Ethernet, IPv6, IPv6 hop-by-hop options, IPv6 destination options, UDP, Payload"),
        ("routed", "Ethernet, IPv6, IPv6 routing, TCP"),
        ("first fragment", "Ethernet, IPv6, IPv6 fragment, UDP, Payload"),
        ("later fragment", "Ethernet, IPv4, Payload"),
        ("later fragment 6", "Ethernet, IPv6, IPv6 fragment, Payload"),
        ("gre", "Ethernet, IPv4, GRE, inner IPv4, UDP"),
        ("ipip", "Ethernet, IPv4, inner IPv4, TCP"),
        ("6in4", "Ethernet, IPv4, IPv6, UDP"),
        ("vxlan", "Ethernet, IPv4, UDP, VXLAN, inner Ethernet, inner IPv4, inner UDP"),
        ("ah", "Ethernet, IPv4, AH, UDP"),
        ("llc", "Ethernet, LLC, Payload"),
        ("unknown", "Ethernet, Payload"),
    ],
)
def test_layers(name, expected):
    assert layers(dissect(PACKETS[name])) == expected.split(", ")


def test_words():
    packet = dissect(PACKETS["tcp"])
    assert packet["TCP flags"].said == "SYN ACK"
    assert packet["TCP option MSS"].said == "1460"
    assert packet["TCP option window scale"].said == "shift by 7"
    assert packet["TCP option timestamps"].said == "5, echoes 6"
    assert packet["Payload data"].said == "16 bytes: “GET / HTTP/1.1\\r\\n”"
    assert dissect(PACKETS["vlan"])["VLAN tag"].said == "id 42, priority 5"
    assert dissect(PACKETS["ip options"])["IPv4 option router alert"].size == 4
    assert dissect(PACKETS["gre"])["GRE key"].value == 7
    assert dissect(PACKETS["vxlan"])["VXLAN network identifier"].value == 77
    assert dissect(PACKETS["later fragment"])["Payload data"].said.startswith("a later part of UDP, without its header; 30 bytes")
    assert dissect(PACKETS["unreachable"])["ICMP code"].said == "fragmentation needed"


def test_where_a_field_is():
    packet = dissect(PACKETS["vlan"])
    field = packet["IPv4 destination"]
    assert (field.offset, field.size) == (34, 4)
    assert packet.data[34:38] == bytes([198, 51, 100, 2])
    assert "TCP" in packet and "TCP window" in packet and "UDP" not in packet
    with pytest.raises(UnknownNameError, match="did you mean 'IPv4 TTL'"):
        packet["IPv4 TLL"]


def test_checksums():
    data = bytearray(PACKETS["tcp"])
    assert dissect(data)["IPv4 checksum"].said.endswith(", right")
    right = dissect(data)["IPv4 checksum"].value
    data[22] -= 1  # the TTL
    packet = dissect(bytes(data))
    said = packet["IPv4 checksum"].said
    assert "wrong" in said and packet["TCP checksum"].said.endswith(", right")  # which does not take in the TTL
    data[24:26] = int(said.partition("should be 0x")[2][:4], 16).to_bytes(2, "big")
    assert dissect(bytes(data))["IPv4 checksum"].said.endswith(", right")
    assert dissect(bytes(data))["IPv4 checksum"].value != right
    data[-1] ^= 1
    assert "wrong" in dissect(bytes(data))["TCP checksum"].said


def test_a_checksum_of_what_is_not_all_there():
    """Nobody can tell whether it is right."""
    assert dissect(PACKETS["tcp"][:-1])["TCP checksum"].said.count(",") == 0
    part = bytearray(PACKETS["tcp"])
    part[20] |= 0x20  # more fragments
    assert dissect(bytes(part))["TCP checksum"].said.count(",") == 0
    assert dissect(PACKETS["unreachable"][:-2] + b"\1\2")["quoted UDP checksum"].said == "0x0102"


def test_a_checksum_that_is_left_to_the_device():
    whole = bytes(Ether() / V4 / UDP(sport=1, dport=2) / b"data")
    pseudo = V4.src, V4.dst
    total = sum(int.from_bytes(bytes(map(int, a.split(".")))[i : i + 2], "big") for a in pseudo for i in (0, 2)) + 17 + 12
    total = (total & 0xFFFF) + (total >> 16)
    packet = dissect(whole[:40] + total.to_bytes(2, "big") + whole[42:])
    assert packet["UDP checksum"].said.endswith("left to the device")
    assert dissect(whole[:40] + b"\0\0" + whole[42:])["UDP checksum"].said == "0x0000, none"


@pytest.mark.parametrize("size", range(len(PACKETS["tcp"])))
def test_cut_anywhere(size):
    packet = dissect(PACKETS["tcp"][:size])
    if size > 14:  # less, and it may be a frame without a payload
        assert any("cut short" in note for note in packet.notes)
    elif size < 14:
        assert any(note.startswith("Ethernet: cut short") for note in packet.notes)


@pytest.mark.parametrize(
    "change, note",
    [
        ({14: 0x42}, "IPv4: its header length of 8 bytes is less than 20"),
        ({14: 0x65}, "IPv4: its version is 6, not 4"),
        ({16: 0, 17: 0}, "IPv4: its total length is 0"),
        ({16: 0, 17: 19}, "IPv4: its total length of 19 is less than its header's 20 bytes"),
        ({16: 99}, "IPv4: cut short: its total length says 25,"),
        ({46: 0x40}, "TCP: its header length of 16 bytes is less than 20"),
        ({55: 0}, "TCP: option MSS has no length that fits"),
        ({55: 200}, "TCP: option MSS has no length that fits"),
    ],
)
def test_headers_that_lie(change, note):
    data = bytearray(PACKETS["tcp"])
    for at, value in change.items():
        data[at] = value
    assert any(found.startswith(note) for found in dissect(bytes(data)).notes), dissect(bytes(data)).notes


@pytest.mark.parametrize(
    "name, at, value, note",
    [
        ("udp", 39, 7, "UDP: its length of 7 is less than its header's 8 bytes"),
        ("udp", 38, 9, "UDP: cut short: its length says"),
        ("ah", 35, 0, "AH: its header length of 8 bytes is less than 12"),
        ("ping6", 18, 1, "IPv6: cut short: its payload length says 267 bytes, 11 are there"),
        ("llc", 12, 5, "Ethernet: its length says"),
    ],
)
def test_other_headers_that_lie(name, at, value, note):
    data = bytearray(PACKETS[name])
    data[at] = value
    assert any(found.startswith(note) for found in dissect(bytes(data)).notes), dissect(bytes(data)).notes


def test_the_total_length_ends_the_packet():
    data = bytearray(PACKETS["tcp"])
    data[16:18] = (30).to_bytes(2, "big")
    packet = dissect(bytes(data))
    assert packet.notes == ["TCP: cut short: 2 of the 4 bytes of the acknowledgement number are there (IPv4 total length 30)"]
    assert layers(packet)[-1] == "Padding"


def test_padding_of_a_short_frame():
    packet = dissect(bytes(Ether() / V4 / UDP(sport=1, dport=2) / b"x") + bytes(17))
    assert [layer.name for layer in packet.layers] == ["Ethernet", "IPv4", "UDP", "Payload", "Padding"]
    assert packet["Padding bytes"].size == 17


@pytest.mark.parametrize("size", [0, 1, 9000, 65_536])
def test_sizes(size):
    packet = dissect(bytes(size))
    assert sum(field.size for field in packet.fields) == size
    jumbo = dissect(bytes(Ether() / V4 / UDP(sport=1, dport=2) / bytes(max(size - 42, 0))) if size < 65_500 else bytes(size))
    assert jumbo.notes == [] or size == 65_536


@pytest.mark.parametrize("ethertype, layer", [(0x8100, b"\0\1\x81\0"), (0x0800, b"\x45" + bytes(7) + b"\x40\4" + bytes(10))])
def test_headers_without_end(ethertype, layer):
    packet = dissect(bytes(12) + ethertype.to_bytes(2, "big") + layer * 3000)
    assert len(packet.layers) == MAX_LAYERS + 1
    assert any(f"more than {MAX_LAYERS} headers" in note for note in packet.notes)


def covers(packet) -> bool:
    """Every byte belongs to one field, in order; each layer's fields are those of its name."""
    at = 0
    for field in packet.fields:
        if field.offset != at or not field.size:
            return False
        at += field.size
    return at == len(packet.data) and len({layer.name for layer in packet.layers}) == len(packet.layers)


@settings(max_examples=600, deadline=None)
@given(any_packet, st.sampled_from(["ethernet", "ip"]))
def test_any_bytes_are_covered_once(data, link):
    packet = dissect(data, link)
    assert covers(packet)
    assert b"".join(data[f.offset : f.offset + f.size] for f in packet.fields) == data
    for field in packet.fields:
        if field.value is not None:
            assert field.value.to_bytes(field.size, "big") == data[field.offset : field.offset + field.size]


# -- what is given for a packet


def test_forms_of_a_packet():
    data = PACKETS["udp"]
    spaced = data.hex(" ", 2)
    for form in (data, bytearray(data), memoryview(data), data.hex(), data.hex(":"), spaced, spaced.upper(), SEEDS["udp"], dissect(data)):
        assert packet_bytes(form) == data
    assert packet_bytes("") == b""
    assert packet_bytes("0xff 0x01") == b"\xff\x01"
    assert packet_bytes("0000 0001\n0203") == b"\0\0\0\1\2\3"


@pytest.mark.parametrize("size", [1, 15, 16, 17, 50])
def test_hex_dumps(size):
    """As tools print them, text that looks like hex in their last column."""
    data = b"abcd ef01 | 0x12  :" * 3
    data = data[:size]
    rows = [(at, data[at : at + 16]) for at in range(0, len(data), 16)]
    text = lambda part: part.decode()  # noqa: E731
    dumps = {
        "tcpdump -xx": [f"\t0x{at:04x}:  {part.hex(' ', -2)}" for at, part in rows],
        "tcpdump -XX": [f"\t0x{at:04x}:  {part.hex(' ', -2):<39}  {text(part)}" for at, part in rows],
        "xxd": [f"{at:08x}: {part.hex(' ', -2):<39}  {text(part)}" for at, part in rows],
        "hexdump -C": [f"{at:08x}  {part[:8].hex(' '):<23}  {part[8:].hex(' '):<23}  |{text(part)}|" for at, part in rows],
        "tshark -x": [f"{at:04x}  {part.hex(' '):<47}   {text(part)}" for at, part in rows],
        "wireshark": [f"{at:04x}   {part.hex(' ')}" for at, part in rows],
    }
    for tool, lines in dumps.items():
        assert packet_bytes("\n".join(lines)) == data, tool
        assert packet_bytes("\n" + "\n".join(lines) + "\n\n") == data, tool


def test_a_dump_with_a_line_missing():
    lines = [f"{at:04x}  {PACKETS['udp'][at : at + 16].hex(' ')}" for at in (0, 16, 32)]
    with pytest.raises(ValueError, match="a line for offset 0x0020 behind 16 bytes"):
        packet_bytes("\n".join([lines[0], lines[2]]))


def test_bytes_of_numpy():
    import numpy as np

    assert packet_bytes(np.frombuffer(PACKETS["udp"], np.uint8)) == PACKETS["udp"]
    with pytest.raises(TypeError, match="a packet is bytes, not ndarray"):
        packet_bytes(np.arange(3))


@pytest.mark.parametrize(
    "wrong, kind, said",
    [
        (5, TypeError, "a packet is bytes, not int; give bytes"),
        (None, TypeError, "a packet is bytes, not NoneType"),
        (["ff"], TypeError, "a packet is bytes, not list"),
        ("hello", ValueError, "has 'h' in it"),
        ("fff", ValueError, "has 3 digits"),
    ],
)
def test_what_is_no_packet(wrong, kind, said):
    with pytest.raises(kind, match=said):
        dissect(wrong)


def test_another_link():
    with pytest.raises(ValueError, match="link='ethernet' or link='ip'"):
        dissect(b"", "wifi")
