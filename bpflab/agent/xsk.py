"""AF_XDP sockets in copy mode (Documentation/networking/af_xdp.rst, include/uapi/linux/if_xdp.h).

The frames lie in one piece of memory that the kernel copies into (the UMEM).
Four rings of positions in it go back and forth: fill and receive, send and
completion. Producer and consumer of a ring are counters that only grow.
"""

import ctypes
import errno
import itertools
import mmap
import os
import select
import socket
import struct
import time

from .netns import ifindex, in_netns
from .serve import Refused, quick
from .syscalls import check, libc

AF_XDP, SOL_XDP = 44, 283
XDP_MMAP_OFFSETS, XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG = 1, 2, 3, 4
XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_STATISTICS = 5, 6, 7
XDP_COPY = 2
_PAGE_OFFSETS = {"rx": 0, "tx": 0x80000000, "fill": 0x100000000, "done": 0x180000000}

CHUNK = 4096  # bytes of a frame's place; the largest that a page holds
FRAMES = 512  # places for frames that come in, and entries of each ring
SENDING = 64  # places for frames that go out, behind the others

_numbers = itertools.count(1)
_open = {}


class Ring:
    """One ring: `layout` of an entry, and the counters of both ends in memory shared with the kernel."""

    def __init__(self, fd, name, offsets, layout, entries):
        producer, consumer, self.at, _ = offsets
        self.layout, self.size, self.entries = layout, struct.calcsize(layout), entries
        self.memory = mmap.mmap(fd, self.at + entries * self.size, offset=_PAGE_OFFSETS[name])
        self.producer = ctypes.c_uint32.from_buffer(self.memory, producer)
        self.consumer = ctypes.c_uint32.from_buffer(self.memory, consumer)

    def _place(self, position):
        return self.at + (position % self.entries) * self.size

    def put(self, *entry):
        position = self.producer.value
        if (position - self.consumer.value) & 0xFFFFFFFF == self.entries:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        struct.pack_into(self.layout, self.memory, self._place(position), *entry)
        self.producer.value = position + 1  # ctypes wraps at 32 bits, as the kernel does

    def take(self):
        """The oldest entry, or None."""
        position = self.consumer.value
        if position == self.producer.value:
            return None
        entry = struct.unpack_from(self.layout, self.memory, self._place(position))
        self.consumer.value = position + 1
        return entry

    def close(self):
        del self.producer, self.consumer
        self.memory.close()


class Socket:
    def __init__(self, device, queue):
        number = ifindex(device)
        self.fd = check(libc.socket(AF_XDP, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0), "socket")
        self.rings = []
        self.umem = mmap.mmap(-1, CHUNK * (FRAMES + SENDING))
        try:
            self._set_up(number, queue)
        except BaseException:
            self.close()
            raise

    def _set_up(self, number, queue):
        address = ctypes.addressof(ctypes.c_char.from_buffer(self.umem))
        # struct xdp_umem_reg: addr, len, chunk_size, headroom, flags, tx_metadata_len
        self._set(XDP_UMEM_REG, struct.pack("QQIIII", address, len(self.umem), CHUNK, 0, 0, 0))
        sizes = {XDP_UMEM_FILL_RING: FRAMES, XDP_RX_RING: FRAMES, XDP_TX_RING: SENDING, XDP_UMEM_COMPLETION_RING: SENDING}
        for option, entries in sizes.items():
            self._set(option, struct.pack("I", entries))
        # struct xdp_mmap_offsets: rx, tx, fr, cr, each producer, consumer, desc, flags
        places = struct.unpack("16Q", self._get(XDP_MMAP_OFFSETS, 128))
        self.rx = self._ring("rx", places[0:4], "QII", FRAMES)
        self.tx = self._ring("tx", places[4:8], "QII", SENDING)
        self.fill = self._ring("fill", places[8:12], "Q", FRAMES)
        self.done = self._ring("done", places[12:16], "Q", SENDING)
        for frame in range(FRAMES):
            self.fill.put(frame * CHUNK)
        self.free = [(FRAMES + frame) * CHUNK for frame in range(SENDING)]
        # struct sockaddr_xdp: family, flags, ifindex, queue_id, shared_umem_fd
        check(libc.bind(self.fd, struct.pack("HHIII", AF_XDP, XDP_COPY, number, queue, 0), 16), "bind")

    def _ring(self, *arguments):
        self.rings.append(Ring(self.fd, *arguments))
        return self.rings[-1]

    def _set(self, option, value):
        check(libc.setsockopt(self.fd, SOL_XDP, option, value, len(value)), "setsockopt")

    def _get(self, option, size):
        out, length = ctypes.create_string_buffer(size), ctypes.c_uint32(size)
        check(libc.getsockopt(self.fd, SOL_XDP, option, out, ctypes.byref(length)), "getsockopt")
        return out.raw[: length.value]

    def recv(self, count, timeout):
        frames = []
        deadline = time.monotonic() + timeout
        while len(frames) < count:
            entry = self.rx.take()
            if entry is None:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                    break
                continue
            address, length, _ = entry
            frames.append(self.umem[address : address + length])
            self.fill.put(address - address % CHUNK)
        return frames

    def send(self, frame, timeout):
        self._collect()
        if not self.free:
            raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))
        address = self.free.pop()
        self.umem[address : address + len(frame)] = frame
        self.tx.put(address, len(frame), 0)
        deadline = time.monotonic() + timeout
        while address not in self.free:
            if libc.sendto(self.fd, None, 0, socket.MSG_DONTWAIT, None, 0) < 0:
                number = ctypes.get_errno()
                if number not in (errno.EAGAIN, errno.EBUSY, errno.ENOBUFS):
                    raise OSError(number, os.strerror(number))
            self._collect()
            if time.monotonic() > deadline:
                raise OSError(errno.ETIMEDOUT, f"the frame was not sent within {timeout:g} s")

    def _collect(self):
        while (entry := self.done.take()) is not None:
            self.free.append(entry[0])

    def close(self):
        for ring in self.rings:
            ring.close()
        os.close(self.fd)
        self.umem.close()


def create(netns, device, queue):
    deadline = time.monotonic() + 0.2
    while True:
        try:
            sock = in_netns(netns, Socket, device, queue)
            break
        except OSError as error:
            # a queue is set free by a work item some time after close(2) (xp_release_deferred, net/xdp/xsk_buff_pool.c)
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.005)
    number = next(_numbers)
    _open[number] = sock
    return {"number": number, "fd": sock.fd}


def _get(number):
    try:
        return _open[number]
    except KeyError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


def recv(number, count, timeout):
    """Up to `count` frames, fewer when the time runs out."""
    return _get(number).recv(count, timeout)


def send(number, frame, timeout):
    if len(frame) > CHUNK:
        raise Refused("TooLong", f"a frame has at most {CHUNK} bytes", errno.EMSGSIZE)
    _get(number).send(frame, timeout)


@quick
def statistics(number):
    """struct xdp_statistics: what did not arrive, and why."""
    names = ("rx_dropped", "rx_invalid_descs", "tx_invalid_descs", "rx_ring_full", "rx_fill_ring_empty_descs", "tx_ring_empty_descs")
    data = _get(number)._get(XDP_STATISTICS, 48)
    return dict(zip(names, struct.unpack(f"{len(data) // 8}Q", data)))


@quick
def close(number):
    sock = _open.pop(number, None)
    if sock:
        sock.close()
