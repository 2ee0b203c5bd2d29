# hint: of IPv6 connections to other ports are seen: say the port of both versions
def answer(port):
    return f"dst port {port} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn or ip6[53] & (tcp-syn|tcp-ack) == tcp-syn"
