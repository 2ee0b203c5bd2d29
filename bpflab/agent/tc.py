"""Filters of the clsact qdisc, the way before tcx links (kernel 6.6).

They are no bpf_link: the kernel keeps them when their owner dies. On an
interface in a namespace of the lab they go with the namespace; on any other
the removal is recorded for the watcher.
"""

import ctypes
import errno
import os
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


def attach(prog_fd, netns, device, ingress):
    """Attach and return the function that undoes it, for the namespace of the calling thread."""
    hook = Hook(ctypes.sizeof(Hook), ifindex(device), INGRESS if ingress else EGRESS, 0)
    opts = Opts(ctypes.sizeof(Opts), prog_fd)
    where = "ingress" if ingress else "egress"
    with listening() as said:
        result = lib.bpf_tc_hook_create(ctypes.byref(hook))
        made = result == 0
        if result not in (0, -errno.EEXIST):
            must(result, f"clsact on {device}", said)
        if made and not netns:
            ownership.on_end("tc", "qdisc", "del", "dev", device, "clsact")
        must(lib.bpf_tc_attach(ctypes.byref(hook), ctypes.byref(opts)), f"tc {where} of {device}", said)
    if not made and not netns:
        ownership.on_end(
            *("tc", "filter", "del", "dev", device, where, "pref", str(opts.priority)),
            *("handle", hex(opts.handle), "bpf"),
        )

    def undo():
        in_netns(netns, detach)

    def detach():
        # what identifies the filter; libbpf refuses the rest
        which = Opts(ctypes.sizeof(Opts), handle=opts.handle, priority=opts.priority)
        with listening():
            result = lib.bpf_tc_detach(ctypes.byref(hook), ctypes.byref(which))
            if made:
                hook.attach_point = INGRESS | EGRESS
                lib.bpf_tc_hook_destroy(ctypes.byref(hook))
        if result < 0:
            raise OSError(-result, os.strerror(-result))

    return undo
