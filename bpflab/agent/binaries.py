"""Programs and libraries: what their files consist of, and which of them a process has mapped."""

import errno
import os
import re

from . import elf
from .serve import Refused

_LIMIT = 256 << 20  # bytes that are handed out in one answer


def describe(path, wanted):
    """What a program or library consists of.

    Parameters
    ----------
    wanted : list of str
        Names of sections whose bytes are wanted; those that it has not are left out.

    Returns
    -------
    dict
        `machine`, `loads` (as `elf.Elf.loads`), `sections` (name -> address, offset, size), `data` (name -> bytes).
    """
    with open(path, "rb") as file:
        try:
            found = elf.mapped(file.fileno())
        except elf.BadElf as error:
            raise Refused("NoElf", str(error), errno.ENOEXEC) from None
    if found.bits != 64 or found.order != "<":
        raise Refused("NoElf", "it is no 64-bit ELF file", errno.ENOEXEC)
    sections = {name: row[3:6] for name, row in found.sections}
    data = {name: bytes(found.part(name)) for name in wanted if name in sections and sections[name][2] <= _LIMIT}
    # those of a stripped file's debug half have sizes and no bytes
    data = {name: part for name, part in data.items() if part}
    return {"machine": found.machine, "loads": found.loads, "sections": sections, "data": data}


def identity(path):
    stat = os.stat(path)
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"


def read(path, ranges):
    """Bytes at (offset, size) pairs of a file."""
    with open(path, "rb") as file:
        return [os.pread(file.fileno(), min(size, _LIMIT), offset) for offset, size in ranges]


def of_process(pid, name):
    """Where we find the file that a process knows as `name`: its mount namespace may be another.

    Parameters
    ----------
    name : str
        A path as the process sees it, or a bare name of what it has mapped ("libc.so.6", "python3").

    Returns
    -------
    str or None
        A path for us, through /proc/PID/root where the process sees other files than we do. None when the process neither
        has mapped nor sees such a file.
    """
    try:
        with open(f"/proc/{pid}/maps") as file:
            mapped = re.findall(r"^\S+ \S+ \S+ \S+ \d+ +(/.*)$", file.read(), re.M)
        executable = os.readlink(f"/proc/{pid}/exe")
    except ProcessLookupError:
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    except FileNotFoundError:
        if os.path.isdir(f"/proc/{pid}"):
            return None  # a thread of the kernel has no program
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    if "/" in name:
        candidates = [name]
    else:
        candidates = [p for p in [executable, *dict.fromkeys(mapped)] if _is_called(os.path.basename(p), name)]
    for path in candidates:
        path = path.removesuffix(" (deleted)")
        theirs = f"/proc/{pid}/root{path}"
        try:
            there = os.stat(theirs)
        except OSError:
            continue
        try:
            here = os.stat(path)
        except OSError:
            return theirs
        return path if (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino) else theirs
    return None


def _is_called(file, name):
    """Whether a file's name is what a reader calls it: "libc" and "libc.so.6" both mean libc.so.6, "python3" python3.11."""
    return file == name or file.startswith((name + ".so", name + "-")) or re.fullmatch(re.escape(name) + r"[\d.]+", file)


def mapped(pid):
    """Files with code that a process has mapped, its program first, as `of_process` would find them."""
    try:
        with open(f"/proc/{pid}/maps") as file:
            found = re.findall(r"^\S+ ..x. \S+ \S+ \d+ +(/.*)$", file.read(), re.M)
    except (FileNotFoundError, ProcessLookupError):
        raise OSError(errno.ESRCH, os.strerror(errno.ESRCH)) from None
    paths = (of_process(pid, path) for path in dict.fromkeys(p.removesuffix(" (deleted)") for p in found))
    return [path for path in paths if path]


def alive(pid):
    return os.path.isdir(f"/proc/{pid}")
