"""A small service over UDP, and one who asks it: `serve`, or `ask ADDRESS`. It thinks about every question, whoever asks."""

import socket
import sys
import time
import zlib

PORT, LONG = 5300, bytes(400_000)


def serve():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.bind(("", PORT))
        print("ready", flush=True)
        while True:
            question, who = mine.recvfrom(2048)
            zlib.crc32(LONG)  # the thinking
            if question.startswith(b"?"):
                mine.sendto(b"!" + question[1:], who)


def ask(address):
    """50 questions a second; prints the time by its clock, when each was asked, and 1 if the answer came within 50 ms."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mine:
        mine.connect((address, PORT))
        mine.settimeout(0.05)
        print("ready", time.monotonic(), flush=True)
        number = 0
        while True:
            number, asked, answered = number + 1, time.monotonic(), 0
            try:
                mine.send(b"?%d" % number)
                while mine.recv(100) != b"!%d" % number:
                    pass  # an answer that comes too late
                answered = 1
            except OSError:
                pass
            print(asked, answered, flush=True)
            time.sleep(max(0, asked + 0.02 - time.monotonic()))


serve() if sys.argv[1] == "serve" else ask(sys.argv[2])
