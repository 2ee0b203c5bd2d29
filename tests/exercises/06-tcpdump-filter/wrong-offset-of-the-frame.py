# hint: a knock whose IP header has options is not seen: tcp[...] counts from the TCP header, wherever that begins; an offset of the frame does not
def answer(port):
    return f"tcp dst port {port} and ether[47] & (tcp-syn|tcp-ack) == tcp-syn"
