"""What numbers in headers mean: EtherTypes, IP protocols, ICMP types, options.

From include/uapi/linux/if_ether.h, in.h, icmp.h, icmpv6.h and the IANA registries they follow.
"""

from __future__ import annotations

ETHERTYPES = {
    **{0x0800: "IPv4", 0x0806: "ARP", 0x86DD: "IPv6", 0x8100: "VLAN", 0x88A8: "VLAN", 0x9100: "VLAN"},
    **{0x6558: "Ethernet", 0x8847: "MPLS", 0x8864: "PPPoE", 0x88CC: "LLDP", 0x88F7: "PTP", 0x8899: "Realtek"},
}
VLAN_TYPES = (0x8100, 0x88A8, 0x9100)

PROTOCOLS = {
    **{1: "ICMP", 2: "IGMP", 4: "IPv4 in IP", 6: "TCP", 17: "UDP", 41: "IPv6 in IP", 47: "GRE", 50: "ESP", 51: "AH"},
    **{58: "ICMPv6", 89: "OSPF", 103: "PIM", 112: "VRRP", 132: "SCTP", 136: "UDP-Lite", 137: "MPLS in IP"},
}
# IPv6 extension headers, which stand where a protocol may stand
EXTENSIONS = {0: "hop-by-hop options", 43: "routing", 44: "fragment", 60: "destination options", 135: "mobility"}
NEXT_HEADERS = {**PROTOCOLS, **EXTENSIONS, 59: "nothing"}

ICMP_TYPES = {
    **{0: "echo reply", 3: "destination unreachable", 4: "source quench", 5: "redirect", 8: "echo request"},
    **{9: "router advertisement", 10: "router solicitation", 11: "time exceeded", 12: "parameter problem"},
    **{13: "timestamp request", 14: "timestamp reply"},
}
ICMP_ERRORS = (3, 4, 5, 11, 12)  # they quote the packet they are about
UNREACHABLE = {
    **{0: "network", 1: "host", 2: "protocol", 3: "port", 4: "fragmentation needed", 5: "source route failed"},
    **{9: "network prohibited", 10: "host prohibited", 13: "prohibited by a filter"},
}
ICMP6_TYPES = {
    **{1: "destination unreachable", 2: "packet too big", 3: "time exceeded", 4: "parameter problem", 128: "echo request"},
    **{129: "echo reply", 130: "listener query", 131: "listener report", 132: "listener done", 133: "router solicitation"},
    **{134: "router advertisement", 135: "neighbour solicitation", 136: "neighbour advertisement", 137: "redirect"},
    143: "listener report, version 2",
}
ICMP6_ERRORS = (1, 2, 3, 4)

TCP_FLAGS = "FIN SYN RST PSH ACK URG ECE CWR".split()
TCP_OPTIONS = {
    **{2: "MSS", 3: "window scale", 4: "SACK permitted", 5: "SACK", 8: "timestamps", 19: "MD5 signature"},
    **{28: "user timeout", 29: "authentication", 30: "MPTCP", 34: "fast open"},
}
IPV4_OPTIONS = {
    **{0x07: "record route", 0x44: "timestamp", 0x82: "security", 0x83: "loose source route", 0x88: "stream id"},
    **{0x89: "strict source route", 0x94: "router alert"},
}
SOURCE_ROUTES = (0x83, 0x89)
IPV6_OPTIONS = {0: "pad", 1: "pad", 5: "router alert", 0xC2: "jumbo payload"}
ARP_OPERATIONS = {1: "request", 2: "reply", 3: "reverse request", 4: "reverse reply"}
