# hint: a program passes all your tests that drops all UDP
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

E = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
HERE = IP(src="192.0.2.1", dst="192.0.2.2")
WITH_OPTIONS = IP(src=HERE.src, dst=HERE.dst, options=b"\x01" * 4)


def answer(port):
    data = b"12345678"
    to_port = E / HERE / UDP(sport=4000, dport=port) / data
    return {"to the port": (to_port, "XDP_DROP"), "TCP": (E / HERE / TCP(dport=port), "XDP_PASS")}
