"""Descriptors of processes, files and folders: keys of storage maps, values of cgroup arrays."""

import os

from .serve import quick


@quick
def pidfd(pid):
    """A descriptor that stands for a process (pidfd_open(2))."""
    return os.pidfd_open(pid)


@quick
def open_path(path):
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)


@quick
def close(fd):
    os.close(fd)
