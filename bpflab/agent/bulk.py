"""Where bulk data goes: straight into memory that the notebook shares, else back over the channel.

The notebook makes a memfd and names it as /proc/PID/fd/N. On the same machine
the agent maps it and lets the kernel copy right into it; on another machine
the path does not exist and the bytes travel as part of the answer.
"""

import contextlib
import ctypes
import mmap
import os

SMALL = 1 << 16  # bytes that travel with the answer in less time than a mapping takes
CHUNK = 8 << 20  # bytes of an answer that travels: more would make Ctrl-C wait, and be lost as a whole with the connection


class Area:
    """`address` to give to the kernel; `view` is None when the notebook sees the same memory."""

    def __init__(self, memory, shared):
        self.memory = memory
        self._export = (ctypes.c_char * len(memory)).from_buffer(memory)
        self.address = ctypes.addressof(self._export)
        self.view = None if shared else memoryview(memory)

    def close(self):
        if self.view is not None:
            self.view.release()
        del self._export
        self.memory.close()


@contextlib.contextmanager
def open_target(path, size, full=False):
    """Memory of `size` bytes, shared through `path` where that can be opened.

    `full` tells that all of it will be written: then its pages are had in one go, not by a fault each.
    """
    size = max(size, 1)
    populate = mmap.MAP_POPULATE if full else 0
    memory, shared = None, False
    if path:
        try:
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            pass  # another machine, or a notebook in a container: send the bytes
        else:
            try:
                if os.fstat(fd).st_size >= size:
                    memory, shared = mmap.mmap(fd, size, mmap.MAP_SHARED | populate), True
            finally:
                os.close(fd)
    area = Area(memory or mmap.mmap(-1, size), shared)
    try:
        yield area
    finally:
        area.close()
