def answer(port):
    four = f"tcp dst port {port} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
    six = f"ip6[6] == 6 and dst port {port} and ip6[53] & (tcp-syn|tcp-ack) == tcp-syn"
    return f"({four}) or ({six})"
