"""Filters of the clsact qdisc, the way before tcx links (kernel 6.6).

They are no bpf_link: the kernel keeps them when their owner dies. On an
interface in a namespace of the lab they go with the namespace; on any other
the removal is recorded for the watcher.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import subprocess
from ctypes import c_int, c_size_t, c_uint32

from . import ownership
from .libbpf import lib, listening, must
from .netns import ifindex, in_netns


class Hook(ctypes.Structure):
    """struct bpf_tc_hook"""

    _fields_ = [("sz", c_size_t), ("ifindex", c_int), ("attach_point", c_int), ("parent", c_uint32)]


class Opts(ctypes.Structure):
    """struct bpf_tc_opts"""

    _fields_ = [
        ("sz", c_size_t),
        ("prog_fd", c_int),
        ("flags", c_uint32),
        ("prog_id", c_uint32),
        ("handle", c_uint32),
        ("priority", c_uint32),
    ]


INGRESS, EGRESS = 1, 2

# A clsact made by a lab carries this file, so that the last lab on the interface removes it and nobody removes
# another's. The filters of a lab go by number.
_REMOVE = """
exec 9>$0/lock && flock 9
tc filter del dev $1 $2 pref $3 handle $4 bpf
[ -e $0/clsact.$1 ] && [ -z "$(tc filter show dev $1 ingress; tc filter show dev $1 egress)" ] || exit 0
tc qdisc del dev $1 clsact
rm $0/clsact.$1
"""


@contextlib.contextmanager
def _lock():
    """One lab at a time makes or removes a clsact: the other's must not go between its making and its filter."""
    os.makedirs(ownership.RECORDS, exist_ok=True)
    with open(f"{ownership.RECORDS}/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def make(index):
    """A clsact on an interface of the calling thread's namespace; one that is there already will do."""
    made = lib.bpf_tc_hook_create(ctypes.byref(Hook(ctypes.sizeof(Hook), index, INGRESS, 0)))
    if made not in (0, -errno.EEXIST):
        raise OSError(-made, os.strerror(-made))


def attach(prog_fd, netns, device, ingress):
    """Attach and return the function that undoes it, for the namespace of the calling thread."""
    hook = Hook(ctypes.sizeof(Hook), ifindex(device), INGRESS if ingress else EGRESS, 0)
    opts = Opts(ctypes.sizeof(Opts), prog_fd)
    where = "ingress" if ingress else "egress"
    with _lock(), listening() as said:
        made = lib.bpf_tc_hook_create(ctypes.byref(hook))
        if made not in (0, -errno.EEXIST):
            must(made, f"clsact on {device}", said)
        if made == 0 and not netns:
            open(f"{ownership.RECORDS}/clsact.{device}", "w").close()
        must(lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(opts)), f"tc {where} of {device}", said)
    if netns:
        return lambda: in_netns(netns, _detach, hook, opts)
    words = (ownership.RECORDS, device, where, str(opts.priority), hex(opts.handle))
    number = ownership.on_end("/bin/sh", "-c", _REMOVE, *words)

    def undo():
        subprocess.run(["/bin/sh", "-c", _REMOVE, *words], env=ownership.environment(), capture_output=True)
        ownership.settled(number)

    return undo


def _detach(hook, opts):
    # what identifies the filter; libbpf refuses the rest
    which = Opts(ctypes.sizeof(Opts), handle=opts.handle, priority=opts.priority)
    with listening():
        result = lib.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(which))
    if result < 0:
        raise OSError(-result, os.strerror(-result))
