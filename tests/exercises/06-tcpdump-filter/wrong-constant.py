# hint: the first packet of a connection to the port that the function is given is not seen: its flags are SYN, and not ACK
def answer(port):
    return "tcp dst port 443 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn"
