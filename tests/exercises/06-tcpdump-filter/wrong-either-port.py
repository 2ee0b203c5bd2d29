# hint: somebody's connection to another port is seen, since it comes from a port of the same number: ask for the destination (dst port)
def answer(port):
    return f"tcp port {port} and tcp[tcpflags] & tcp-syn != 0 and tcp[tcpflags] & tcp-ack == 0"
