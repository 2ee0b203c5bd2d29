"""Memory that the notebook shares with the agent of its own machine, for bulk data.

Fresh pages are what costs most: on a virtual machine the first touch of 32 MB takes longer than copying them ten
times. So a buffer is used again as soon as no array looks into it.
"""

from __future__ import annotations

import mmap
import os
import weakref

import numpy as np

KEPT = 2  # buffers that wait for their next use
LARGEST = 256 << 20  # bytes; a larger one is given back at once


_forks: list[None] = []  # one for each; a list's append is atomic
os.register_at_fork(after_in_parent=lambda: _forks.append(None))


class Buffers:
    """The buffers of one connection.

    Without a lock: garbage collection gives buffers back in whatever thread and line it happens, which may be one of
    these. Each step on the list of free ones is one that Python does as a whole.
    """

    def __init__(self):
        self._free: list[tuple[int, mmap.mmap]] = []
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
        weakref.finalize(array, self._give_back, fd, memory, len(_forks)).atexit = False
        return f"/proc/{os.getpid()}/fd/{fd}", memoryview(array)

    def _find(self, size: int):
        for _ in range(len(self._free)):
            try:
                one = self._free.pop(0)
            except IndexError:
                break
            if len(one[1]) >= size:
                return one
            self._free.append(one)
        return None

    def _make(self, size: int):
        fd = os.memfd_create("bpflab", os.MFD_CLOEXEC)
        os.truncate(fd, size)  # pages come with their first use
        return fd, mmap.mmap(fd, size)

    def _give_back(self, fd: int, memory: mmap.mmap, forks: int) -> None:
        # a process forked meanwhile has arrays in the same pages, and must not see them change
        if self._closed or len(memory) > LARGEST or forks != len(_forks):
            os.close(fd)  # the mapping goes when Python forgets it
            return
        self._free.append((fd, memory))
        self._shrink(KEPT)

    def _shrink(self, kept: int) -> None:
        while len(self._free) > kept:
            try:
                fd, _ = self._free.pop(0)
            except IndexError:
                return
            os.close(fd)

    def close(self) -> None:
        self._closed = True
        self._shrink(0)
