"""Median time, in us, until 64 bytes come back from an echo server: ADDRESS PORT."""

import socket
import statistics
import sys
import time

times = []
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as peer:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for _ in range(2000):
        start = time.perf_counter()
        peer.sendall(bytes(64))
        missing = 64
        while missing:
            missing -= len(peer.recv(missing))
        times.append(time.perf_counter() - start)
print(round(statistics.median(times) * 1e6, 1))
