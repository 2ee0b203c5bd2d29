"""Exercise 06-tcx: three programs in a row."""

import random
import time

from ..errors import NotSupportedError
from ..object import Object
from . import Hint, call
from .segments import port

SECTION = "6.7"
TASK = "three programs in a row, each in its place"

_THEIRS = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
__u64 seen;
SEC("tc") int theirs(struct __sk_buff *skb) { __sync_fetch_and_add(&seen, 1); return 0; /* TCX_PASS */ }
char LICENSE[] SEC("license") = "GPL";
"""


def check(lab, answer):
    if missing := lab.missing("tcx"):
        raise NotSupportedError("tcx", lab.where, missing, remedy="take a kernel of 6.6 or later: bl.Lab('vm:6.12')")
    wrong, right = port(), port()
    while right == wrong:
        right = port()
    unwanted, wanted, pings = (random.randrange(3, 12) for _ in range(3))
    with lab.netlab("a", "b") as net, lab.load(_THEIRS) as theirs:
        dev = net["b"].dev
        theirs.programs["theirs"].attach_tcx(dev)
        obj = call(answer, lab, dev, wrong)
        _check_shape(obj)
        places = _places(net, obj)
        arrived = _send(net, wrong, right, unwanted, wanted, pings)
        passed, seen = obj.globals["passed"], theirs.globals["seen"]
        row = ", ".join(name for place, name in _row(net) if place == "tcx ingress")
    detail = (
        f"sent: {unwanted} packets to port {wrong}, {wanted} to another, {pings} pings; 'meter' counted {passed}, 'theirs' {seen}; "
        f"{arrived[0]} and {arrived[1]} packets arrived; tcx ingress: {row}"
    )
    good = wanted + pings
    if (passed, seen, arrived) == (good, good, (0, wanted)):
        return
    raise _diagnose(passed, seen, arrived, places, row, unwanted, good, detail)


def _check_shape(obj):
    if not isinstance(obj, Object):
        raise Hint(
            f"the answer returned {type(obj).__name__}: return the loaded object, so that its counter can be read"
        )
    for name in ("guard", "meter"):
        if name not in obj.programs:
            raise Hint(f"the object has no program '{name}'")
    if "passed" not in obj.globals:
        raise Hint("the object has no global variable 'passed'")


def _row(net):
    """(place, program) of all that is attached to host b's interface, as the kernel has it."""
    frame = net.attached()
    frame = frame[frame.host == "b"]
    return list(zip(frame["place"], frame["name"]))


def _places(net, obj):
    return {name: [place for place, program in _row(net) if program == name] for name in obj.programs}


def _send(net, wrong, right, unwanted, wanted, pings):
    """How many packets of either port arrived."""
    with net["b"].udp_server(wrong) as first, net["b"].udp_server(right) as second:
        net["a"].udp_flood("b", wrong, packets=unwanted)
        net["a"].udp_flood("b", right, packets=wanted)
        answered = net["a"].ping("b", count=pings).received
        end = time.monotonic() + 1
        while (got := tuple(int(one.log().packets.sum()) for one in (first, second))) != (
            0,
            wanted,
        ) and time.monotonic() < end:
            time.sleep(0.02)
    if answered < pings:
        raise Hint("pings do not come through any more: the answer may drop only UDP to the port that it was given")
    return got


def _diagnose(passed, seen, arrived, places, row, unwanted, good, detail):
    everything = unwanted + good
    for name in ("guard", "meter"):
        if not places[name]:
            return Hint(
                f"program '{name}' is attached nowhere any more when the answer returns: attach it, and do not detach it",
                detail,
            )
        if any("egress" in place for place in places[name]):
            return Hint(
                f"program '{name}' is attached to egress, where packets leave; what arrives comes by at ingress", detail
            )
        if "tcx ingress" not in places[name]:
            return Hint(
                f"program '{name}' is not a tcx program of this interface: filters of clsact come only after the whole row of tcx; use attach_tcx",
                detail,
            )
    if "theirs" not in row:
        return Hint("the program that was there is gone: it belongs to somebody else", detail)
    order = [name for name in row.split(", ") if name in ("guard", "meter", "theirs")]
    if order.index("theirs") == 0:
        return Hint(
            'your programs are never asked: the one that was there before them ends the row with TCX_PASS; stand in front of it, before="all"',
            detail,
        )
    if order.index("theirs") < 2:
        return Hint(
            f"program '{order[2]}' is never asked: it stands behind the one that was there, which ends the row with TCX_PASS",
            detail,
        )
    if order.index("meter") < order.index("guard"):
        return Hint(
            "'meter' counts also what 'guard' drops, for it stands in front of it: who attaches last with before=\"all\" comes first",
            detail,
        )
    if passed == 0:
        return Hint("'guard' ends the row: TCX_PASS takes the packet in at once, TCX_NEXT asks who comes next", detail)
    if seen == 0:
        return Hint(
            "'meter' ends the row: with TCX_PASS nobody behind it is asked; it has only to count, and to return TCX_NEXT",
            detail,
        )
    if passed == everything:
        return Hint(
            "'guard' drops nothing: the port to drop is in 'unwanted', and the packet has its port in network byte order, as bpf_htons gives it",
            detail,
        )
    return Hint("the counts are not those of the packets that 'guard' lets through", detail)
