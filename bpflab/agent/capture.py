"""Packets captured through a mapped TPACKET_V3 ring (Documentation/networking/packet_mmap.rst): whole blocks are copied, no packet is looked at."""

import contextlib
import ctypes
import itertools
import mmap
import select
import socket
import struct
import threading
import time

from . import bulk
from .netns import ifindex, in_netns
from .serve import quick
from .syscalls import check, libc

SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10  # include/uapi/linux/if_packet.h
TPACKET_V3, TP_STATUS_USER = 2, 1
SO_ATTACH_FILTER = 26
ETH_P_ALL = 3
BLOCK, BLOCKS, FRAME = 1 << 20, 32, 2048  # FRAME is only asked for: blocks of this version are filled without gaps
RETIRE_MS = 10  # after which a block that is not full is handed over
QUIET_S = 0.005  # without a packet: what was sent has arrived
MOST_BYTES = 512 << 20

_numbers = itertools.count(1)
_open = {}


def _attach_filter(sock, rows):
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *row) for row in rows), 8 * len(rows))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", len(rows), ctypes.addressof(code)))


class Capture:
    def __init__(self, netns, device, rows, most):
        self.most, self.parts, self.bytes, self.packets = most, [], 0, 0
        self.seen = self.lost = self.dropped = 0
        self.changed = threading.Condition()
        self.ended = False
        in_netns(netns, self._open, device, rows)
        self.start = time.time()
        self.wake, self._waker = socket.socketpair()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _open(self, device, rows):
        index = ifindex(device) if device else 0
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        try:
            self.sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
            # struct tpacket_req3
            request = struct.pack("7I", BLOCK, BLOCKS, FRAME, BLOCK // FRAME * BLOCKS, RETIRE_MS, 0, 0)
            self.sock.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
            if rows:
                _attach_filter(self.sock, rows)
            self.ring = mmap.mmap(self.sock.fileno(), BLOCK * BLOCKS)
            # bound last, so that nothing slips by the filter; Python's bind() knows no interface 0, which stands for all
            address = struct.pack("=H", socket.AF_PACKET) + struct.pack("!H", ETH_P_ALL) + struct.pack("=iHBB8s", index, 0, 0, 0, b"")
            check(libc.bind(self.sock.fileno(), address, len(address)), "bind")
        except BaseException:
            self.sock.close()
            raise

    def _run(self):
        poll = select.poll()
        poll.register(self.sock, select.POLLIN | select.POLLERR)
        poll.register(self.wake, select.POLLIN)
        words, place = memoryview(self.ring).cast("I"), 0
        while True:
            at = place * BLOCK // 4
            # struct tpacket_block_desc: version, offset_to_priv, block_status, num_pkts, offset_to_first_pkt, blk_len
            if not words[at + 2] & TP_STATUS_USER:
                if any(fd == self.wake.fileno() for fd, _ in poll.poll()):
                    break
                continue
            self._take(words[at + 3], place * BLOCK + words[at + 4], place * BLOCK + words[at + 5])
            words[at + 2] = 0  # TP_STATUS_KERNEL: it may be filled again
            place = (place + 1) % BLOCKS
        words.release()

    def _take(self, count, first, end):
        with self.changed:
            if self.packets >= self.most or self.bytes + end - first > MOST_BYTES:
                self.lost += count
            else:
                self.parts.append((count, self.ring[first:end]))
                self.bytes += end - first
            self.packets += count
            self.changed.notify_all()

    def statistics(self):
        """Packets that came, and of those the dropped ones; the kernel counts both from 0 after each call."""
        came, dropped, _ = struct.unpack("3I", self.sock.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        self.seen += came
        self.lost += dropped
        self.dropped += dropped
        return came

    def wait(self, count, timeout):
        with self.changed:
            self.changed.wait_for(lambda: self.packets >= count, timeout)
            return self.packets

    def stop(self):
        """Await what is on its way, and end."""
        if self.ended:
            return
        self.ended = True
        deadline = time.monotonic() + 0.5
        while self.statistics() and time.monotonic() < deadline:
            time.sleep(QUIET_S)
        _attach_filter(self.sock, [(6, 0, 0, 0)])  # ret 0: nothing more
        self.statistics()
        self.wait(self.seen - self.dropped, 2)
        self._waker.send(b"x")
        self.thread.join()
        self.whole = b"".join(data for _, data in self.parts)
        self.parts = [(count, len(data)) for count, data in self.parts]
        self.ring.close()
        for sock in (self.sock, self.wake, self._waker):
            sock.close()


def start(netns, device, rows, most):
    """Begin on an interface ("": all of the namespace); `rows` is a classic filter, (code, jt, jf, k) each.

    Returns
    -------
    int
    """
    number = next(_numbers)
    _open[number] = Capture(netns, device, rows, most)
    return number


def wait(number, count, timeout):
    """How many packets there are, once there are `count` or `timeout` seconds have passed."""
    return _open[number].wait(count, timeout)


def stop(number):
    """End it.

    Returns
    -------
    dict
        `bytes`, and `parts`: (packets, bytes) of each stretch; `lost`; `start`, seconds since 1970.
    """
    capture = _open[number]
    capture.stop()
    return {"bytes": capture.bytes, "parts": capture.parts, "lost": capture.lost, "start": capture.start}


def take(number, target, start, size):
    """Bytes `start` to `start + size` of all stretches, through shared memory where there is some."""
    whole = memoryview(_open[number].whole)[start : start + size]
    with bulk.open_target(target, size, full=True) as area:
        if area.view is not None:
            return bytes(whole)
        memoryview(area.memory)[:size] = whole
    return None


@quick
def close(number):
    capture = _open.pop(number, None)
    if capture and not capture.ended:
        with contextlib.suppress(OSError):
            capture.stop()
