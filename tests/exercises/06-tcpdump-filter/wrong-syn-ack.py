# hint: answers, which have SYN and ACK, are seen: of the two flags tcp-syn and tcp-ack, mask both, only the first may be set
def answer(port):
    return f"tcp dst port {port} and tcp[tcpflags] & tcp-syn != 0"
