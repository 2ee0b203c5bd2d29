"""Memory that the notebook shares with the agent of its own machine, for bulk data.

Fresh pages are what costs most: on a virtual machine the first touch of 32 MB takes longer than copying them ten
times. So a buffer is used again as soon as no array looks into it.
"""

from __future__ import annotations

import mmap
import os
import threading
import weakref

import numpy as np

KEPT = 2  # buffers that wait for their next use
LARGEST = 256 << 20  # bytes; a larger one is given back at once


class Buffers:
    """The buffers of one connection."""

    def __init__(self):
        self._free: list[tuple[int, mmap.mmap]] = []
        self._lock = threading.Lock()
        self._closed = False

    def take(self, size: int) -> tuple[str, memoryview]:
        """A buffer of at least `size` bytes.

        Returns
        -------
        str, memoryview
            The path under which root finds it, and the memory. It is used again when nothing refers to the memory.
        """
        fd, memory = self._find(size) or self._make(size)
        array = np.frombuffer(memory, np.uint8)
        weakref.finalize(array, self._give_back, fd, memory).atexit = False
        return f"/proc/{os.getpid()}/fd/{fd}", memoryview(array)

    def _find(self, size: int):
        with self._lock:
            for i, (_, memory) in enumerate(self._free):
                if len(memory) >= size:
                    return self._free.pop(i)
        return None

    def _make(self, size: int):
        fd = os.memfd_create("bpflab", os.MFD_CLOEXEC)
        os.truncate(fd, size)  # pages come with their first use
        return fd, mmap.mmap(fd, size)

    def _give_back(self, fd: int, memory: mmap.mmap) -> None:
        with self._lock:
            if not self._closed and len(memory) <= LARGEST:
                self._free.append((fd, memory))
                if len(self._free) <= KEPT:
                    return
                fd, memory = self._free.pop(0)
        os.close(fd)  # the mapping goes when Python forgets it

    def close(self) -> None:
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for fd, _ in free:
            os.close(fd)
