# hint: IPv6 is not seen: tcp[...] is of IPv4 only; in IPv6 the next header is ip6[6], and the TCP header begins at ip6[40]: its flags are ip6[40 + 13]
def answer(port):
    return f"tcp dst port {port} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
