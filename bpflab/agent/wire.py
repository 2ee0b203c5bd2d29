"""A wire between two namespaces: taken down, slowed, made lossy. All of it goes with the namespaces."""

import ctypes
import errno
import os
import struct
import subprocess

from . import net, ownership
from .links import create_dev, detach
from .netns import in_netns
from .serve import Refused
from .syscalls import PROG_LOAD, Attr, bpf
from .tiny import EXIT, call, insn, mov

TCX_EGRESS = 47  # enum bpf_attach_type
BPF_PROG_TYPE_SCHED_CLS, TC_ACT_SHOT, TCX_NEXT = 3, 2, -1
GET_PRANDOM_U32 = 7
_losing = {}  # (host, interface) -> number of the link


def down(host, device):
    net.batch(host, [f"link set {device} down"])


def up(plan, device):
    """An interface as `net.create` made it."""
    lines = net.lines_of(plan, device, "replace")
    net.batch(plan["name"], lines)
    in_netns(net.path_of(plan["name"]), net.set_up, device, net.NOTICE)


def _tc(host, *words):
    return subprocess.run(["tc", "-n", host, "qdisc", *words], capture_output=True, text=True, env=ownership.environment())


def impair(ends, delay, loss):
    """Set delay (ms) and loss (percent) of what both ends send; 0 and 0 takes it away.

    Returns
    -------
    str
        "netem" or "tcx program".
    """
    for end in ends:
        number = _losing.pop(tuple(end), None)
        if number:
            detach(number)
    if not delay and not loss:
        for host, device in ends:
            if "netem" in _tc(host, "show", "dev", device).stdout:
                _tc(host, "del", "dev", device, "root")
        return ""
    words = (["delay", f"{delay:.3f}ms"] if delay else []) + (["loss", f"{loss:.4f}%"] if loss else [])
    for host, device in ends:
        done = _tc(host, "replace", "dev", device, "root", "netem", *words)
        if done.returncode:
            said = done.stderr.strip().splitlines()
            said = said[0].removeprefix("Error: ") if said else "tc failed"
            if delay or "unknown" not in said.lower() and "no such file" not in said.lower():
                raise Refused("NoNetem", said, errno.EOPNOTSUPP)
            return _lose(ends, loss, said)
    return "netem"


def forget(hosts):
    """Of hosts that are about to go: a link would outlive its interface, and its program with it."""
    for key in [key for key in _losing if key[0] in hosts]:
        detach(_losing.pop(key))


def _lose(ends, loss, said):
    """A program that drops by chance where the host sends."""
    limit = min(int(loss / 100 * (1 << 32)), (1 << 32) - 1)
    signed = struct.unpack("i", struct.pack("I", limit))[0]
    code = b"".join(
        (
            call(GET_PRANDOM_U32),
            insn(0xB4, 1, imm=signed),  # w1 = limit
            insn(0x2D, 0, 1, off=2),  # if r0 > r1 goto next
            mov(0, TC_ACT_SHOT),
            EXIT,
            mov(0, TCX_NEXT),
            EXIT,
        )
    )
    text = ctypes.create_string_buffer(code, len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    # prog_type, insn_cnt, insns, license, log_level.., kern_version, prog_flags, prog_name
    attr = Attr("IIQQIIQII16s", BPF_PROG_TYPE_SCHED_CLS, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence), 0, 0, 0, 0, 0, b"lose")
    program = bpf(PROG_LOAD, attr)
    try:
        for host, device in ends:
            _losing[host, device] = create_dev(program, net.path_of(host), device, TCX_EGRESS)["link"]
    except OSError as error:
        raise Refused("NoNetem", f"{said}, and no tcx either", error.errno) from None
    finally:
        os.close(program)
    return "tcx program"
