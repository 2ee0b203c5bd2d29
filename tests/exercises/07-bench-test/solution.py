from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

E = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
HERE = IP(src="192.0.2.1", dst="192.0.2.2")
WITH_OPTIONS = IP(src=HERE.src, dst=HERE.dst, options=b"\x01" * 4)


def answer(port):
    data = b"12345678"
    to_port = E / HERE / UDP(sport=4000, dport=port) / data
    back_to_front = port >> 8 | (port & 255) << 8
    return {
        "to the port": (to_port, "XDP_DROP"),
        "to another port": (E / HERE / UDP(sport=4000, dport=port + 1) / data, "XDP_PASS"),
        "to a lower port": (E / HERE / UDP(sport=4000, dport=port - 1) / data, "XDP_PASS"),
        "to one that is like half of it": (E / HERE / UDP(sport=4000, dport=port ^ 0x0100) / data, "XDP_PASS"),
        "from the port": (E / HERE / UDP(sport=port, dport=4000) / data, "XDP_PASS"),
        "back to front": (E / HERE / UDP(sport=4000, dport=back_to_front) / data, "XDP_PASS"),
        "TCP": (E / HERE / TCP(sport=4000, dport=port) / data, "XDP_PASS"),
        "another EtherType": (Ether(src=E.src, dst=E.dst, type=0x88B5) / bytes(to_port)[14:], "XDP_PASS"),
        "with IP options": (E / WITH_OPTIONS / UDP(sport=4000, dport=port) / data, "XDP_DROP"),
        "a later fragment": (E / IP(src=HERE.src, dst=HERE.dst, proto=17, frag=8) / bytes(to_port)[34:], "XDP_PASS"),
        "cut in the UDP header": (bytes(to_port)[:40], "XDP_PASS"),
    }
