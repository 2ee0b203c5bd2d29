# hint: a program passes all your tests that drops all UDP
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

E = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:0b")
I = IP(src="192.0.2.1", dst="192.0.2.2")


def answer(port):
    data = b"12345678"
    to_port = E / I / UDP(sport=4000, dport=port) / data
    return {"to the port": (to_port, "XDP_DROP"), "TCP": (E / I / TCP(dport=port), "XDP_PASS")}
