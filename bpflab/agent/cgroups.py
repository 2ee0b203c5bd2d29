"""Control groups (cgroup v2) of the lab's own, below one folder that carries its name."""

import contextlib
import errno
import os
import time

from . import ownership
from .serve import quick

_started = False

# cgroup.kill ends every process below (since 5.14); a dying one may hold its group for a moment longer
_REMOVE = (
    'test -d "$0" || exit 1; echo 1 > "$0/cgroup.kill"; n=0; '
    'while ! find "$0" -depth -type d -exec rmdir {} + && [ $n -lt 200 ]; do n=$((n+1)); sleep 0.01; done'
)


def create(name):
    """Make a group.

    Returns
    -------
    dict
        `path`, `id` (the kernel's, as bpf_get_current_cgroup_id gives it), `fd`.
    """
    global _started
    root = os.path.join(ownership.cgroup2(), ownership.lab)
    if not _started:
        ownership.on_end("/bin/sh", "-c", _REMOVE, root)
        _started = True
    os.makedirs(root, exist_ok=True)
    path = os.path.join(root, name)
    os.mkdir(path)
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    # kernfs: the 64-bit id of a node is its inode number on 64-bit machines (include/linux/kernfs.h)
    return {"path": path, "id": os.fstat(fd).st_ino, "fd": fd}


@quick
def processes(path):
    """Pids in a group."""
    with open(os.path.join(path, "cgroup.procs")) as file:
        return [int(line) for line in file]


def await_entry(path, pid):
    """Wait until a process that was started to step into a group has done so, or has ended."""
    deadline = time.monotonic() + 2
    while pid not in processes(path) and time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.001)


def add(path, pid):
    with open(os.path.join(path, "cgroup.procs"), "w") as file:
        file.write(str(pid))


def remove(path):
    """Remove a group and those below it, with their processes."""
    with contextlib.suppress(FileNotFoundError), open(os.path.join(path, "cgroup.kill"), "w") as file:
        file.write("1")
    deadline = time.monotonic() + 2
    while os.path.isdir(path):
        try:
            for folder, _, _ in os.walk(path, topdown=False):
                os.rmdir(folder)
        except OSError as error:
            if error.errno not in (errno.EBUSY, errno.ENOENT) or time.monotonic() > deadline:
                raise
            time.sleep(0.002)
