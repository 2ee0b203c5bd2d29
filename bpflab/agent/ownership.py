"""What the lab owns, and how all of it ends with the agent.

Programs, maps, links and sockets are descriptors of this process. Pins, named
network namespaces and tracefs live in mounts of a mount namespace of our own.
Both end with the process, by the kernel's hand. What is left (cgroups,
qdiscs on the machine's own interfaces, processes that were started) is
recorded in /run/bpflab, and undone at the end, or by a watcher after kill -9.
"""

import contextlib
import ctypes
import itertools
import marshal
import os
import signal
import struct
import sys
import threading

from .syscalls import (
    CLONE_NEWNS,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_REC,
    MS_SLAVE,
    PROG_LOAD,
    Attr,
    bpf,
    libc,
    mount,
    possible_cpus,
    unshare,
)

RECORDS = "/run/bpflab"
NETNS = "/run/netns"  # where ip-netns(8) keeps its names
lab = None
_lock = threading.Lock()
_watcher = None
_record = None
_numbers = itertools.count(1)
_named = False


def begin():
    """Become the owner: namespace, mounts, and one program really loaded.

    Returns
    -------
    dict
        What the notebook needs to know of the machine.
    """
    global lab
    with open("/proc/self/stat") as file:
        started = file.read().rpartition(")")[2].split()[19]
    lab = f"bpflab-{os.getpid()}-{started}"
    if os.getpgrp() != os.getpid():  # under sshd it leads a session already
        os.setsid()  # an interrupt of the notebook is not one of the agent
    signal.signal(signal.SIGINT, lambda *_: None)  # a handler, unlike SIG_IGN, is not inherited by commands
    libc.prctl(15, b"bpflab-agent", 0, 0, 0)  # PR_SET_NAME
    uname = os.uname()
    about = {
        "lab": lab,
        "kernel": uname.release,
        "arch": uname.machine,
        "node": uname.nodename,
        "ncpus": possible_cpus(),
        "pid": os.getpid(),
        "uid": os.geteuid(),
        "python": sys.version.split()[0],
        "load_errno": _try_load(),
        "swept": [],
        "mounts": "",
    }
    try:
        _own_mounts()
    except OSError as error:
        about["mounts"] = str(error)
    if os.path.isdir(RECORDS):
        from . import sweep

        about["swept"] = sweep.sweep()
    return about


def _try_load():
    """Load `r0 = 0; exit` as a socket filter; 0, or the errno that says why not."""
    instructions = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, 0, 0x95, 0, 0, 0), 16)
    licence = ctypes.create_string_buffer(b"GPL")
    try:
        fd = bpf(PROG_LOAD, Attr("IIQQ", 1, 2, ctypes.addressof(instructions), ctypes.addressof(licence)))
    except OSError as error:
        return error.errno
    os.close(fd)
    return 0


def _mounted(kind):
    with open("/proc/self/mounts") as file:
        return [line.split()[1] for line in file if line.split()[2] == kind]


def _own_mounts():
    unshare(CLONE_NEWNS)
    mount("none", "/", None, MS_REC | MS_SLAVE)
    flags = MS_NOSUID | MS_NODEV | MS_NOEXEC
    mount(lab, "/sys/fs/bpf", "bpf", flags, "mode=0700")  # the source is how sweep.py knows our processes
    if "/sys/kernel/tracing" not in _mounted("tracefs"):
        with contextlib.suppress(OSError):  # a kernel without tracefs: tracepoints will say so when asked
            mount("bpflab", "/sys/kernel/tracing", "tracefs", flags)


def cgroup2():
    """Where the cgroup v2 hierarchy is mounted; it is looked up since hybrid systems have it elsewhere."""
    found = _mounted("cgroup2")
    if found:
        return found[0]
    os.makedirs("/run/bpflab/cgroup2", exist_ok=True)
    mount("bpflab", "/run/bpflab/cgroup2", "cgroup2")
    return "/run/bpflab/cgroup2"


def watch():
    """Start the watcher, before the first thing that it would have to undo."""
    global _watcher
    with _lock:
        if _watcher:
            return
        import subprocess

        from . import sweep

        code = marshal.dumps(__loader__.code(sweep.__name__))
        _watcher = subprocess.Popen(
            [sys.executable, "-S", "-E", "-B", "-c", _WATCHER, lab, str(len(code))],
            stdin=subprocess.PIPE,
            start_new_session=True,
            cwd="/",
            env={"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")},
        )
        _watcher.stdin.write(code)
        _watcher.stdin.flush()


_WATCHER = """
import marshal, sys
space = {"__name__": "sweep"}
exec(marshal.loads(sys.stdin.buffer.read(int(sys.argv[2]))), space)
sys.stdin.buffer.read()
space["undo"](sys.argv[1])
"""


def on_end(*command):
    """Record a command that undoes what the caller is about to do; it runs when the lab ends, last one first.

    Returns
    -------
    int
        For `settled`, once it is undone.
    """
    watch()
    number = next(_numbers)
    _write([number, *command])
    return number


def settled(number):
    """What was recorded is undone: nothing of it must run at the end, when the name may be another's."""
    _write([number])


def _write(line):
    global _record
    import json

    with _lock:
        if _record is None:
            os.makedirs(RECORDS, mode=0o755, exist_ok=True)
            _record = open(f"{RECORDS}/{lab}.undo", "w")
        _record.write(json.dumps(line) + "\n")
        _record.flush()


def environment():
    """Environment of a command: ours, and the mark by which it is found at the end."""
    path = os.environ.get("PATH", "")
    for folder in ("/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if folder not in path.split(":"):
            path = f"{path}:{folder}" if path else folder
    return {**os.environ, "PATH": path, "BPFLAB_LAB": lab}


def own_netns_names():
    """A private place for the names of network namespaces, so that two labs may both have an "a"."""
    global _named
    with _lock:
        if not _named:
            os.makedirs(NETNS, exist_ok=True)
            mount("bpflab", NETNS, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=0755")
            mount("none", NETNS, None, 1 << 18)  # MS_PRIVATE
            _named = True


def end():
    """The orderly end: wait until the watcher has undone what is recorded, so that `close()` may promise it."""
    if _watcher:
        _watcher.stdin.close()
        _watcher.wait()
