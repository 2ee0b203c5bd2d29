# hint: a client that offers congestion notification is not seen: its SYN has the flags ECE and CWR too, so mask the two that you ask for, with &, before you compare
def answer(port):
    return f"tcp dst port {port} and tcp[tcpflags] == tcp-syn"
