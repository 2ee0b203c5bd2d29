# hint: of IPv6 all packets to the port are seen: the flags are ip6[40 + 13]; and put what an or joins into brackets, for and binds no tighter than or
def answer(port):
    return f"tcp dst port {port} and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn or ip6 and tcp dst port {port}"
