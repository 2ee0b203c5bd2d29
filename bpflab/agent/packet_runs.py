"""BPF_PROG_TEST_RUN of one program on many packets."""

import ctypes
import struct
from array import array

from .syscalls import PROG_TEST_RUN, Attr, bpf

_ROOM = 256 + 4096  # bytes by which a program may make a packet longer
_CTX_ROOM = 1024  # struct __sk_buff grows with the kernel
# union bpf_attr from data_size_in to ctx_size_out, and what it says afterwards: retval, data_size_in, data_size_out
_REQUEST = struct.Struct("IIQQIIII")
_REQUEST_AT, _RETVAL_AT, _DURATION_AT, _CTX_SIZE_AT = 8, 4, 36, 44
_RETVAL_SIZES = struct.Struct("III")


def run(fd, joined, sizes, repeat, ctx, xdp, seen_from):
    """Run a program once on each packet, and then, where `repeat` is more than 1, so many times for the clock.

    Parameters
    ----------
    joined : bytes
        All packets, one behind the other: a list of them takes longer to travel than the runs take.
    sizes : bytes
        Of each, as int32.
    ctx : bytes
        The context before. Of struct xdp_md, `data_end` is set for each packet.
    xdp : bool
        Whether it is one.
    seen_from : int
        Where the part begins that the program sees: the test run clears what is before.

    Returns
    -------
    numbers : bytes
        Five int64 for each packet: errno; return value; nanoseconds of one run; bytes of the packet after, -1 when it is the same as before;
        which of the contexts.
    data : bytes
        The packets after that are not the same, one behind the other.
    contexts : list of bytes
        The different contexts after.
    """
    sizes = array("i", sizes)
    room = max(sizes, default=0) + _ROOM
    data_out = ctypes.create_string_buffer(room)
    ctx_in = ctypes.create_string_buffer(ctx, len(ctx))
    ctx_out = ctypes.create_string_buffer(_CTX_ROOM)
    data_in = ctypes.create_string_buffer(joined, max(len(joined), 1))
    out, start = ctypes.addressof(data_out), ctypes.addressof(data_in)
    attr = Attr("I36xII", fd, len(ctx), 0)
    attr.set("QQII", 48, ctypes.addressof(ctx_in), ctypes.addressof(ctx_out), 0, 0)
    numbers, after, contexts = array("q"), [], {}
    buffer, request, answer, at = attr.buffer, _REQUEST.pack_into, _RETVAL_SIZES.unpack_from, 0
    for size in sizes:
        if xdp:
            struct.pack_into("I", ctx_in, 4, size)
        place = start + at
        request(buffer, _REQUEST_AT, size, room, place, out, 1, 0, len(ctx), _CTX_ROOM)
        try:
            bpf(PROG_TEST_RUN, attr)
            retval, _, length = answer(buffer, _RETVAL_AT)
            data = ctypes.string_at(out, length)
            context = ctypes.string_at(ctx_out, attr.get("I", _CTX_SIZE_AT))
            if repeat > 1:  # what so many runs make of the packet does not matter, and may not fit
                request(buffer, _REQUEST_AT, size, 0, place, 0, repeat, 0, len(ctx), _CTX_ROOM)
                bpf(PROG_TEST_RUN, attr)
        except OSError as error:
            numbers.extend((error.errno, 0, 0, -1, 0))
        else:
            same = length == size and data[seen_from:] == joined[at + seen_from : at + size]
            if not same:
                after.append(data)
            which = contexts.setdefault(context, len(contexts))
            numbers.extend((0, retval, attr.get("I", _DURATION_AT), -1 if same else length, which))
        at += size
    return numbers.tobytes(), b"".join(after), list(contexts)
