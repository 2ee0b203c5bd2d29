"""Which file lay where in the memory of which process, and when: for addresses of user stacks.

A process may be over before anybody asks. So the kernel tells of each exec, fork and executable mapping while a
profile runs (the records of a perf event that counts nothing), and a copy of every /proc/PID/maps is taken at its start.
"""

import ctypes
import itertools
import mmap
import os
import select
import struct
import threading

from . import elf
from .serve import quick
from .syscalls import perf_event_open

PAGES = 128  # of each CPU's ring
RECORD_LOST, RECORD_COMM, RECORD_FORK, RECORD_MMAP2 = 2, 3, 7, 10
MISC_EXEC, MISC_BUILD_ID = 1 << 13, 1 << 14
IOC_ENABLE = 0x2400
DELETED = " (deleted)"
PERF_MAP_MOST = 64 << 20  # bytes of a /tmp/perf-PID.map
_numbers = itertools.count(1)
_open = {}


def _attr():
    """struct perf_event_attr: a dummy event that reports mmap2, comm, comm_exec, task, with TID and TIME of each."""
    # disabled, mmap, comm, task, sample_id_all, mmap2, comm_exec, use_clockid, build_id
    flags = sum(1 << bit for bit in (0, 8, 9, 13, 18, 23, 24, 25, 34))
    attr = bytearray(struct.pack("IIQQQQQ", 1, 112, 9, 0, (1 << 1) | (1 << 2), 0, flags).ljust(112, b"\0"))
    struct.pack_into("i", attr, 92, 1)  # CLOCK_MONOTONIC, bpf_ktime_get_ns's clock
    return bytes(attr)


class Space:
    """Executable mappings of a process between two execs."""

    __slots__ = ("since", "rows")

    def __init__(self, since, rows):
        self.since, self.rows = since, rows


class Watch:
    """The records of all CPUs, read as they come."""

    def __init__(self, cpus, pid):
        self.fds, self.rings = [], []
        self.lost = 0
        self.spaces = {}  # pid -> [Space]
        self.roots = {}  # (mount namespace, device, inode) of a root folder -> descriptor of it
        self.held = []  # descriptors of mount namespaces
        self.root_of = {}  # pid -> such a key
        self.symbols = {}  # (device, inode, size, time) of a file -> elf.Symbols
        self.poll = select.poll()
        self.lock = threading.Lock()
        self.wake_read, self.wake = os.pipe()
        self.poll.register(self.wake_read, select.POLLIN)
        try:
            for cpu in cpus:
                fd = perf_event_open(_attr(), -1, cpu)
                self.fds.append(fd)
                self.rings.append(mmap.mmap(fd, (PAGES + 1) * mmap.PAGESIZE))
                self.poll.register(fd, select.POLLIN)
            for fd in self.fds:
                _enable(fd)
            self._snapshot(pid)
        except BaseException:
            self.close()
            raise
        self.thread = threading.Thread(target=self._run, name="mappings", daemon=True)
        self.thread.start()

    def _snapshot(self, pid):
        for name in [str(pid)] if pid else os.listdir("/proc"):
            if name.isdigit():
                self._note_root(int(name))
                if rows := _maps(int(name)):
                    self.spaces[int(name)] = [Space(0, rows)]

    def _note_root(self, pid):
        try:
            key = os.readlink(f"/proc/{pid}/ns/mnt"), *_identity(f"/proc/{pid}/root/")
            if key not in self.roots:
                # with the namespace itself held, what is mounted there stays when its last process ends
                self.held.append(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
                self.roots[key] = os.open(f"/proc/{pid}/root", os.O_PATH | os.O_CLOEXEC | os.O_DIRECTORY)
            self.root_of[pid] = key
        except OSError:
            pass  # a kernel thread, or over

    # -- records

    def _run(self):
        while True:
            ready = self.poll.poll(100)
            if any(fd == self.wake_read for fd, _ in ready):
                return
            with self.lock:
                self._drain()

    def _drain(self):
        records = []
        for ring in self.rings:
            head, tail = struct.unpack_from("QQ", ring, 1024)  # struct perf_event_mmap_page: data_head, data_tail
            size = PAGES * mmap.PAGESIZE
            at, end = tail % size, tail % size + head - tail
            first = mmap.PAGESIZE
            data = ring[first + at : first + min(end, size)] + ring[first : first + max(0, end - size)]
            struct.pack_into("Q", ring, 1032, head)
            at = 0
            while at + 8 <= len(data):
                kind, misc, length = struct.unpack_from("IHH", data, at)
                if not length:
                    break
                records.append((kind, misc, data[at + 8 : at + length]))
                at += length
        # each CPU has a ring of its own; the time that closes a record puts them in one order
        for kind, misc, body in sorted(records, key=lambda record: record[2][-8:][::-1]):
            self._apply(kind, misc, body)

    def _apply(self, kind, misc, body):
        when = struct.unpack_from("Q", body, len(body) - 8)[0]
        if kind == RECORD_LOST:
            self.lost += struct.unpack_from("QQ", body)[1]
        elif kind == RECORD_MMAP2:
            pid, _, start, size, offset = struct.unpack_from("IIQQQ", body)
            identity = body[36:56][: body[32]].hex() if misc & MISC_BUILD_ID else struct.unpack_from("IIQ", body, 32)
            path = body[64 : body.find(b"\0", 64)].decode(errors="surrogateescape")
            spaces = self.spaces.setdefault(pid, [Space(when, [])])
            spaces[-1].rows.append((start, start + size, offset, "" if path == "//anon" else path, identity))
        elif kind == RECORD_COMM and misc & MISC_EXEC:
            pid = struct.unpack_from("I", body)[0]
            self.spaces.setdefault(pid, []).append(Space(when, []))
            self._note_root(pid)
        elif kind == RECORD_FORK:
            pid, parent = struct.unpack_from("II", body)
            if pid != parent:  # a process, not a thread
                rows = self.spaces[parent][-1].rows if parent in self.spaces else []
                self.spaces[pid] = [Space(when, list(rows))]
                if parent in self.root_of:
                    self.root_of[pid] = self.root_of[parent]

    def stop(self):
        """Read what is left, and hear no more."""
        if self.wake:
            os.write(self.wake, b"!")
            self.thread.join()
            with self.lock:
                self._drain()
            self._release()

    def _release(self):
        for ring in self.rings:
            ring.close()
        for fd in (*self.fds, self.wake, self.wake_read):
            os.close(fd)
        self.rings, self.fds, self.wake = [], [], 0

    def close(self):
        if self.wake:
            if hasattr(self, "thread"):
                self.stop()
            else:
                self._release()
        for fd in (*self.roots.values(), *self.held):
            os.close(fd)
        self.roots, self.held = {}, []

    # -- what is known of a process

    def spaces_of(self, pid):
        """Its `Space`s in order; the last one completed by what /proc says now, if the process lives."""
        spaces = self.spaces.get(pid, [])
        now = _maps(pid)
        if now and spaces:
            spaces[-1].rows = [*spaces[-1].rows, *now]
        elif now:
            spaces = [Space(0, now)]
        return spaces

    def find(self, pid, row):
        """A descriptor of the file of a mapping, or why there is none; and the root folder that the process sees."""
        start, end, _, path, identity = row
        root = self.roots.get(self.root_of.get(pid))
        below = f"/proc/self/fd/{root}" if root is not None else f"/proc/{pid}/root"
        exact = f"/proc/{pid}/map_files/{start:x}-{end:x}"  # that very file, be it deleted; as long as the process lives
        for place in (exact, below + path.removesuffix(DELETED)):
            try:
                fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            except OSError:
                continue
            if place is exact or _same(fd, identity):
                return fd, below
            os.close(fd)
        return "its file was replaced or deleted, and the process is over", below


def _enable(fd):
    import fcntl

    fcntl.ioctl(fd, IOC_ENABLE, 0)


def _identity(path):
    found = os.stat(path)
    return found.st_dev, found.st_ino


def _same(fd, identity):
    """Whether an open file is the one that was mapped: by build id, or by device and inode."""
    if isinstance(identity, str):
        try:
            return elf.mapped(fd).build_id == identity
        except elf.BadElf:
            return False
    found = os.fstat(fd)
    # overlay and btrfs show another device in mappings than in stat(2); the inode then has to do
    return found.st_ino == identity[2]


def _maps(pid):
    """Executable lines of /proc/PID/maps as rows: start, end, offset, path, (major, minor, inode)."""
    try:
        with open(f"/proc/{pid}/maps", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        part = line.rstrip("\n").split(None, 5)
        if "x" not in part[1]:
            continue
        start, _, end = part[0].partition("-")
        major, _, minor = part[3].partition(":")
        path = part[5].replace("\\012", "\n") if len(part) > 5 else ""
        rows.append((int(start, 16), int(end, 16), int(part[2], 16), path, (int(major, 16), int(minor, 16), int(part[4]))))
    return rows


def watch(cpus, pid):
    """Begin to follow mappings: of all processes, or (pid not 0) of one. The number is for the other functions."""
    number = next(_numbers)
    _open[number] = Watch(cpus, pid)
    return number


def stop(number):
    """End the records; how many of them had no room."""
    found = _open[number]
    found.stop()
    return found.lost


def spaces(number, pids):
    """Mappings of processes.

    Returns
    -------
    dict
        By pid: list of [since_ns, rows], a row being [start, end, offset, path].
    """
    found = _open[number]
    return {
        pid: [[space.since, [[*row[:3], _shown(row[3])] for row in space.rows]] for space in found.spaces_of(pid)]
        for pid in pids
    }


def _shown(path):
    """A path as text that can travel: one may hold any bytes."""
    return os.fsencode(path).decode(errors="backslashreplace")


def symbols(number, pid, start, end, path, known, far):
    """Symbol tables of the file that a process has, or had, mapped at start.

    Parameters
    ----------
    known : list of list
        Keys of files that the notebook has read before.

    Returns
    -------
    dict
        `key`, what the file is known by, and, where it is not known yet, `elf.Symbols.describe`; or `missing`, why it
        cannot be read.
    """
    found = _open[number]
    if path == "[vdso]":
        return _describe(found, ["vdso"], lambda: elf.Symbols(elf.Elf(_vdso()), path, []), known, far)
    row = next((r for space in found.spaces.get(pid, []) for r in space.rows if r[0] == start and _shown(r[3]) == path), None)
    row = row or next((r for r in _maps(pid) if r[0] == start and _shown(r[3]) == path), None)
    if row is None:
        return {"missing": "the process is over"}
    fd, root = found.find(pid, row)
    if isinstance(fd, str):
        return {"missing": fd}
    try:
        about = os.fstat(fd)
        key = [about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns]
        # the debug files of the process's own root first: a container's libc is not ours
        return _describe(found, key, lambda: elf.Symbols(elf.mapped(fd), row[3].removesuffix(DELETED), [root, ""]), known, far)
    except elf.BadElf as error:
        return {"missing": str(error)}
    finally:
        os.close(fd)


def _describe(found, key, read, known, far):
    handle = tuple(key)
    if handle not in found.symbols:
        found.symbols[handle] = read()
    return {"key": key} | ({} if key in known else found.symbols[handle].describe(far))


def names(number, wanted):
    """Names by (key, table, places in its strings), demangled; and whether there was a tool to demangle with."""
    found = _open[number]
    lists = [found.symbols[tuple(key)].names(table, places) for key, table, places in wanted]
    return demangle(lists)


def demangle(lists):
    plain = elf.demangled(itertools.chain(*lists))
    table = plain or {}
    return [[table.get(name, name) for name in one] for one in lists], plain is not None


def perf_map(number, pid):
    """Text of the map that an interpreter or a JIT compiler wrote of its own code; b"" without one."""
    found = _open[number]
    inner = pid
    try:
        with open(f"/proc/{pid}/status") as file:
            inner = next((int(line.split()[-1]) for line in file if line.startswith("NSpid:")), pid)
    except OSError:
        pass
    root = found.roots.get(found.root_of.get(pid))
    for folder in (f"/proc/{pid}/root", f"/proc/self/fd/{root}", ""):
        try:
            fd = os.open(f"{folder}/tmp/perf-{inner}.map", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
        except OSError:
            continue
        with open(fd, "rb") as file:
            return file.read(PERF_MAP_MOST)
    return b""


@quick
def close(number):
    found = _open.pop(number, None)
    if found:
        found.close()


def _vdso():
    """The vDSO's bytes: the kernel gives every process of this architecture the same."""
    with open("/proc/self/maps") as file:
        line = next(line for line in file if line.rstrip().endswith("[vdso]"))
    start, end = (int(part, 16) for part in line.split()[0].split("-"))
    return ctypes.string_at(start, end - start)
