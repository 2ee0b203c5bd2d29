# hint: packets of connections that stand already are seen: of the flags, tcp[tcpflags], look for tcp-syn
def answer(port):
    return f"tcp dst port {port}"
