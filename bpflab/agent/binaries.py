"""Programs and libraries as files: their ELF sections, which a process has mapped, and bytes of their code."""

import errno
import os
import re
import struct
import subprocess

from . import ownership
from .serve import Refused

_LIMIT = 256 << 20  # bytes that are handed out in one answer


def describe(path, wanted):
    """What an ELF file consists of.

    Parameters
    ----------
    wanted : list of str
        Names of sections whose bytes are wanted; those that it has not are left out.

    Returns
    -------
    dict
        `type`, `machine`, `identity` (changes with the file), `loads` (a tuple of offset, address, bytes in the file and
        flags for each PT_LOAD), `sections` (name -> address, offset, size, link), `data` (name -> bytes).
    """
    with open(path, "rb") as file:
        head = file.read(64)
        if head[:4] != b"\x7fELF" or len(head) < 64 or head[4] != 2:
            raise Refused("NoElf", "it is no 64-bit ELF file", errno.ENOEXEC)
        kind, machine = struct.unpack_from("HH", head, 16)
        phoff, shoff = struct.unpack_from("QQ", head, 32)
        phsize, phnum, shsize, shnum, shstr = struct.unpack_from("5H", head, 54)
        stat = os.fstat(file.fileno())
        loads = []
        for raw in _records(file, phoff, phsize, phnum):
            p_type, flags, offset, address, _, size = struct.unpack_from("IIQQQQ", raw)
            if p_type == 1:  # PT_LOAD
                loads.append((offset, address, size, flags))
        headers = [struct.unpack_from("IIQQQQI", raw) for raw in _records(file, shoff, shsize, shnum)]
        sections, data = {}, {}
        if headers and shstr < len(headers):
            names = _at(file, headers[shstr][4], headers[shstr][5])
            for name_at, section_type, _, address, offset, size, link in headers:
                name = names[name_at : names.find(b"\0", name_at)].decode(errors="replace")
                sections[name] = (address, offset, size, link)
                if name in wanted and section_type != 8 and size <= _LIMIT:  # SHT_NOBITS: the bytes are in another file
                    data[name] = _at(file, offset, size)
        identity = f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"
        return {"type": kind, "machine": machine, "identity": identity, "loads": loads, "sections": sections, "data": data}


def _records(file, start, size, count):
    raw = _at(file, start, size * count)
    return [raw[at : at + size] for at in range(0, len(raw) - size + 1, size)] if size else []


def _at(file, offset, size):
    file.seek(offset)
    return file.read(size)


def identity(path):
    stat = os.stat(path)
    return f"{stat.st_dev}:{stat.st_ino}:{stat.st_size}:{stat.st_mtime_ns}"


def read(path, ranges):
    """Bytes at (offset, size) pairs of a file."""
    with open(path, "rb") as file:
        return [_at(file, offset, min(size, _LIMIT)) for offset, size in ranges]


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


def demangled(names):
    """Names as C++ and Rust write them (c++filt); themselves where there is no c++filt or it does not know them."""
    try:
        done = subprocess.run(
            ["c++filt"], input="\n".join(names), capture_output=True, text=True, errors="replace", env=ownership.environment()
        )
    except FileNotFoundError:
        return names
    shown = done.stdout.split("\n")[: len(names)]
    return shown if len(shown) == len(names) else names


def alive(pid):
    return os.path.isdir(f"/proc/{pid}")
