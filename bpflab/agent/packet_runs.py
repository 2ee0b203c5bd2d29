"""BPF_PROG_TEST_RUN of one program on many packets."""

import ctypes
import struct

from .syscalls import PROG_TEST_RUN, Attr, bpf

_ROOM = 256 + 4096  # bytes by which a program may make a packet longer
_CTX_ROOM = 1024  # struct __sk_buff grows with the kernel
# places in union bpf_attr
_RETVAL, _SIZE_IN, _SIZE_OUT, _DATA_IN, _DATA_OUT, _REPEAT, _DURATION, _CTX_SIZE_OUT = 4, 8, 12, 16, 24, 32, 36, 44


def run(fd, packets, repeat, ctx, xdp, seen_from):
    """Run a program once on each packet, and then, where `repeat` is more than 1, so many times for the clock.

    Parameters
    ----------
    packets : list of bytes
    ctx : bytes
        The context before. Of struct xdp_md, `data_end` is set for each packet.
    xdp : bool
        Whether it is one.
    seen_from : int
        Where the part begins that the program sees: the test run clears what is before.

    Returns
    -------
    list of tuple
        For each: 0, return value, nanoseconds of one run, the data after, the context after; data is None when it is the same as before. Or
        the errno alone.
    """
    room = max(map(len, packets), default=0) + _ROOM
    data_out = ctypes.create_string_buffer(room)
    ctx_in = ctypes.create_string_buffer(ctx, len(ctx))
    ctx_out = ctypes.create_string_buffer(_CTX_ROOM)
    out, context_out = ctypes.addressof(data_out), ctypes.addressof(ctx_out)
    # one buffer for all packets: making one for each takes longer than a run does
    joined = b"".join(packets)
    data_in = ctypes.create_string_buffer(joined, max(len(joined), 1))
    place = ctypes.addressof(data_in)
    attr = Attr("IIIIQQIIIIQQII", fd, 0, 0, 0, 0, out, 1, 0, len(ctx), 0, ctypes.addressof(ctx_in), context_out, 0, 0)
    found = []
    for packet in packets:
        size = len(packet)
        if xdp:
            struct.pack_into("I", ctx_in, 4, size)
        attr.set("I", _SIZE_IN, size)
        attr.set("Q", _DATA_IN, place)
        attr.set("Q", _DATA_OUT, out)
        attr.set("I", _REPEAT, 1)
        attr.set("I", _SIZE_OUT, room)
        attr.set("I", _CTX_SIZE_OUT, _CTX_ROOM)
        place += size
        try:
            bpf(PROG_TEST_RUN, attr)
            retval, after = attr.get("I", _RETVAL), ctypes.string_at(out, attr.get("I", _SIZE_OUT))
            context = ctypes.string_at(context_out, attr.get("I", _CTX_SIZE_OUT))
            if repeat > 1:
                attr.set("I", _REPEAT, repeat)
                attr.set("Q", _DATA_OUT, 0)  # what so many runs make of the packet does not matter, and may not fit
                attr.set("I", _SIZE_OUT, 0)
                attr.set("I", _CTX_SIZE_OUT, _CTX_ROOM)
                bpf(PROG_TEST_RUN, attr)
        except OSError as error:
            found.append((error.errno,))
            continue
        same = len(after) == size and after[seen_from:] == packet[seen_from:]
        found.append((0, retval, attr.get("I", _DURATION), None if same else after, context))
    return found
