"""Ring buffers and perf buffers through their mapped memory (kernel/bpf/ringbuf.c, perf_event_open(2)).

The agent copies whole stretches and never looks at an event in Python where
all records are of one size. What the notebook gets is raw: it has the types.
"""

import array
import ctypes
import errno
import itertools
import mmap
import os
import select
import struct
import threading
import time

from . import bulk, planes
from .serve import Refused, quick
from .syscalls import MAP_UPDATE_ELEM, Attr, bpf, info, perf_event_open

BUSY, DISCARD = 1 << 31, 1 << 30  # BPF_RINGBUF_BUSY_BIT, BPF_RINGBUF_DISCARD_BIT
_numbers = itertools.count(1)
_open = {}
_lock = threading.Lock()  # two that read one ring at once, or two rings of one map, would take the same events


class Ring:
    """BPF_MAP_TYPE_RINGBUF: one page with the consumer's position, one with the producer's, the data mapped twice."""

    def __init__(self, fd):
        self.fd = fd
        self.size = struct.unpack_from("I", info(fd, 24), 16)[0]
        page = mmap.PAGESIZE
        self._consumer = mmap.mmap(fd, page)
        self._producer = mmap.mmap(fd, page + 2 * self.size, prot=mmap.PROT_READ, offset=page)
        self.consumer = memoryview(self._consumer).cast("Q")
        self.producer = memoryview(self._producer)[:8].cast("Q")
        self.data = memoryview(self._producer)[page:]
        self.words = self.data.cast("I")
        self.poll = select.epoll()
        self.poll.register(fd, select.EPOLLIN)

    def ready(self, most):
        """(bytes that are complete, length if all records have one, offsets and lengths otherwise, discarded).

        Only records that their producer has committed count: a reserved one holds back what is behind it. Of more than
        `most` bytes the first.
        """
        start, total = self.consumer[0], min(self.producer[0] - self.consumer[0], most)
        if not total:
            return 0, 0, None, 0
        at = start % self.size
        length = self.words[at // 4]
        if length < DISCARD:
            stride = (length + 8 + 7) & ~7
            alike = self._alike(at, total // stride, stride, length) * stride
            if alike * 2 > total:  # up to one that a producer is still writing, say
                return alike, length, None, 0
        return self._walk(at, total)

    def _alike(self, at, count, stride, length):
        """How many of the first `count` headers say this length and nothing else.

        Byte by byte with a step, which CPython does ten times faster than a strided memoryview of words, and in no
        case with Python code for each event.
        """
        start = mmap.PAGESIZE + at
        for i, value in enumerate(struct.pack("I", length)):
            column = self._producer[start + i : start + count * stride : stride]
            if column.count(value) < count:
                count -= len(column.lstrip(bytes([value])))
        return count

    def _walk(self, at, total):
        places, position, discarded = array.array("I"), 0, 0
        words = self.words
        while position < total:
            head = words[(at + position) // 4]
            if head & BUSY:
                break
            length = head & ~DISCARD
            if head & DISCARD:
                discarded += 1
            else:
                places.extend((position + 8, length))
            position += (length + 8 + 7) & ~7
        return position, 0, places.tobytes(), discarded

    def drain(self, target, most):
        room = self.size if target else bulk.CHUNK
        total, length, places, discarded = self.ready(room if most is None else min(most, room))
        if not total:
            return None
        at = self.consumer[0] % self.size
        left = self.producer[0] - self.consumer[0] - total
        reply = {"bytes": total, "length": length, "places": places, "discarded": discarded, "left": left}
        if total <= bulk.SMALL:
            reply["data"] = bytes(self.data[at : at + total])
        else:
            with bulk.open_target(target, total, full=True) as area:
                if area.view is None:
                    memoryview(area.memory)[:total] = self.data[at : at + total]
                else:
                    reply["data"] = self._packed(at, total, length) or bytes(self.data[at : at + total])
        self.consumer[0] += total
        return [reply]

    def _packed(self, at, total, length):
        if not length:
            return None
        stride = (length + 8 + 7) & ~7
        return planes.pack(self._producer, mmap.PAGESIZE + at, total // stride, stride, 8, length)

    def wait(self, seconds):
        self.poll.poll(seconds)

    def settle(self, seconds):
        """Let events gather for a while, unless they fill the buffer.

        A reader that has always just caught up is woken by every event, and that costs the programs that send them.
        """
        end = time.monotonic() + seconds
        while 0 < self.producer[0] - self.consumer[0] < self.size // 16 and time.monotonic() < end:
            time.sleep(0.001)

    def close(self):
        self.poll.close()
        for view in (self.consumer, self.producer, self.words, self.data):
            view.release()
        self._consumer.close()
        self._producer.close()


PERF_FORMAT_LOST = 1 << 4  # since 6.0: reading the descriptor tells what did not fit, also after the last record


def _output(read_format):
    """struct perf_event_attr: PERF_TYPE_SOFTWARE, PERF_COUNT_SW_BPF_OUTPUT, PERF_SAMPLE_TIME | PERF_SAMPLE_RAW."""
    return struct.pack("IIQQQQQI", 1, 112, 10, 1, (1 << 2) | (1 << 10), read_format, 0, 1).ljust(112, b"\0")


PERF_IOC_ENABLE = 0x2400


class PerfBuffer:
    """BPF_MAP_TYPE_PERF_EVENT_ARRAY: one ring for each CPU, records as perf_event_open(2) describes them."""

    def __init__(self, map_fd, pages, cpus):
        import fcntl

        page = mmap.PAGESIZE
        self.size = pages * page
        self.fds, self.maps, self.heads, self.data = [], [], [], []
        self.poll = select.epoll()
        try:
            for cpu in cpus:
                fd = self._event(cpu)
                self.fds.append(fd)
                memory = mmap.mmap(fd, page + self.size)
                self.maps.append(memory)
                # struct perf_event_mmap_page: data_head and data_tail at 1024
                self.heads.append(memoryview(memory)[1024:1040].cast("Q"))
                self.data.append(memoryview(memory)[page:])
                fcntl.ioctl(fd, PERF_IOC_ENABLE, 0)
                pair = ctypes.create_string_buffer(struct.pack("II", cpu, fd))
                address = ctypes.addressof(pair)
                bpf(MAP_UPDATE_ELEM, Attr("IQQQ", map_fd, address, address + 4, 0))
                self.poll.register(fd, select.EPOLLIN)
        except BaseException:
            self.close()
            raise
        self.cpus = cpus

    counts_lost = True

    def _event(self, cpu):
        if self.counts_lost:
            try:
                return perf_event_open(_output(PERF_FORMAT_LOST), -1, cpu)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                self.counts_lost = False
        return perf_event_open(_output(0), -1, cpu)

    def lost(self):
        """Events that did not fit until now; None where the kernel tells it only with the next one that does."""
        if not self.counts_lost:
            return None
        return sum(struct.unpack("QQ", os.read(fd, 16))[1] for fd in self.fds)

    def drain(self, target, most):
        replies = []
        for cpu, heads, data in zip(self.cpus, self.heads, self.data):
            head, tail = heads
            total = head - tail
            if not total:
                continue
            at = tail % self.size
            end = at + total
            raw = bytes(data[at:end]) if end <= self.size else bytes(data[at:]) + bytes(data[: end - self.size])
            heads[1] = head
            replies.append({"cpu": cpu, "bytes": total, "data": raw})
        return replies or None

    def wait(self, seconds):
        self.poll.poll(seconds)

    def settle(self, seconds):
        pass  # the kernel wakes its reader by the number of events, not for each

    def close(self):
        self.poll.close()
        for view in (*self.heads, *self.data):
            view.release()
        for memory in self.maps:
            memory.close()
        for fd in self.fds:
            os.close(fd)


def open_ring(fd):
    return _keep(Ring(fd))


def open_perf(fd, pages, cpus):
    try:
        return _keep(PerfBuffer(fd, pages, cpus))
    except OSError as error:
        if error.errno == errno.EPERM:
            # a process without CAP_IPC_LOCK may lock perf_event_mlock_kb; root has the capability in its own namespace
            raise Refused("OSError", "the perf buffer does not fit into the memory that may be locked", errno.EPERM) from None
        raise


def _keep(ring):
    number = next(_numbers)
    _open[number] = ring
    return {"ring": number, "size": ring.size}


def drain(number, target, seconds, most=None, settle=0):
    """What has come since the last time, waiting at most `seconds` for the first of it, and `settle` for more.

    Parameters
    ----------
    most : int or None
        Bytes of a ring buffer to take at most.

    Returns
    -------
    list of dict or None
        `bytes`, `data` (absent when it is in the target; a list when `planes.pack` made columns of the records, without
        their headers); of a ring buffer also `length` (of every record, 0 when they differ), `places` (u32 pairs of
        offset and length), `discarded`, and `left` (bytes that wait for the next time); of a perf buffer `cpu`.
    """
    if settle:
        _get(number).settle(settle)
    with _lock:
        found = _get(number).drain(target, most)
    if found is None and seconds:
        _get(number).wait(seconds)
        if settle:
            _get(number).settle(settle)
        with _lock:
            found = _get(number).drain(target, most)
    return found


def _get(number):
    try:
        return _open[number]
    except KeyError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


@quick
def lost(number):
    """Events that a perf buffer had no room for; None where the kernel does not say."""
    return _open[number].lost()


@quick
def close_ring(number):
    with _lock:
        ring = _open.pop(number, None)
        if ring:
            ring.close()


@quick
def positions(fd):
    """Bytes that a ring buffer's consumer and its producers have gone through since it was made; nothing is read."""
    found = []
    for offset in (0, mmap.PAGESIZE):
        with mmap.mmap(fd, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=offset) as page:
            found.append(struct.unpack_from("Q", page)[0])
    return found


class UserRing:
    """BPF_MAP_TYPE_USER_RINGBUF: the same layout, with us as the producer."""

    def __init__(self, fd):
        page = mmap.PAGESIZE
        self.size = struct.unpack_from("I", info(fd, 24), 16)[0]
        self._consumer = mmap.mmap(fd, page, prot=mmap.PROT_READ)
        self._producer = mmap.mmap(fd, page + 2 * self.size, offset=page)
        self.consumer = memoryview(self._consumer).cast("Q")
        self.producer = memoryview(self._producer)[:8].cast("Q")
        self.data = memoryview(self._producer)[page:]

    def close(self):
        for view in (self.consumer, self.producer, self.data):
            view.release()
        self._consumer.close()
        self._producer.close()


def open_user_ring(fd):
    return _keep(UserRing(fd))


@quick
def submit(number, record):
    """Write one record; False when there is no room."""
    ring = _get(number)
    need = (len(record) + 8 + 7) & ~7
    if need > ring.size - (ring.producer[0] - ring.consumer[0]):
        return False
    at = ring.producer[0] % ring.size
    ring.data[at + 8 : at + 8 + len(record)] = record
    ring.data[at : at + 8] = struct.pack("II", len(record), 0)
    ring.producer[0] += need  # last: from here on the kernel may read it
    return True
