"""Loaded programs by descriptor: what they are, run them on data, read their instructions."""

import ctypes
import os
import struct

from .serve import quick
from .syscalls import ENABLE_STATS, PROG_TEST_RUN, Attr, bpf, fill_info, info

_INFO_SIZE = 232  # struct bpf_prog_info up to attach_btf_id
_stats_fd = None


@quick
def describe(fd):
    """What `struct bpf_prog_info` says of a program."""
    raw = info(fd, _INFO_SIZE)
    n_maps = struct.unpack_from("I", raw, 52)[0]
    map_ids = []
    if n_maps:
        array = (ctypes.c_uint32 * n_maps)()
        request = ctypes.create_string_buffer(_INFO_SIZE)
        struct.pack_into("IQ", request, 52, n_maps, 0)
        struct.pack_into("Q", request, 56, ctypes.addressof(array))
        fill_info(fd, request)
        map_ids = list(array)
    u32 = lambda at: struct.unpack_from("I", raw, at)[0]  # noqa: E731
    u64 = lambda at: struct.unpack_from("Q", raw, at)[0]  # noqa: E731
    return {
        "fd": fd,
        "type": u32(0),
        "id": u32(4),
        "tag": raw[8:16].hex(),
        "jited_len": u32(16),
        "xlated_len": u32(20),
        "loaded_at_ns": u64(40),
        "name": raw[64:80].split(b"\0")[0].decode(errors="replace"),
        "map_ids": map_ids,
        "btf_id": u32(128),
        "run_time_ns": u64(192),
        "run_cnt": u64(200),
        "recursion_misses": u64(208),
        "verified_insns": u32(216),
    }


def test_run(fd, data, ctx, repeat, size_out, cpu=None, raw_tracepoint=False):
    """BPF_PROG_TEST_RUN, net/bpf/test_run.c.

    Parameters
    ----------
    cpu : int or None
        Where to run. The kernel goes to another CPU for raw tracepoints only (BPF_F_TEST_RUN_ON_CPU); for the other
        types it runs the program in the calling thread, so the thread goes there.

    Returns
    -------
    dict
        `retval` (u32), `data` and `ctx` (bytes, None when there was none), `duration_ns` per run.
    """
    data_in = ctypes.create_string_buffer(data, len(data)) if data else None
    data_out = ctypes.create_string_buffer(size_out) if size_out else None
    ctx_in = ctypes.create_string_buffer(ctx, len(ctx)) if ctx else None
    ctx_out = ctypes.create_string_buffer(len(ctx)) if ctx and data_in is not None else None
    at = lambda buffer: ctypes.addressof(buffer) if buffer is not None else 0  # noqa: E731
    attr = Attr(
        "IIIIQQIIIIQQII",
        fd,
        0,
        len(data or b""),
        size_out,
        at(data_in),
        at(data_out),
        repeat,
        0,
        len(ctx or b""),
        len(ctx or b"") if ctx_out is not None else 0,
        at(ctx_in),
        at(ctx_out),
        1 if raw_tracepoint and cpu is not None else 0,
        cpu if raw_tracepoint and cpu is not None else 0,
    )
    everywhere = os.sched_getaffinity(0)
    try:
        if cpu is not None and not raw_tracepoint:
            os.sched_setaffinity(0, {cpu})
        bpf(PROG_TEST_RUN, attr)
    finally:
        os.sched_setaffinity(0, everywhere)
    return {
        "retval": attr.get("I", 4),
        "data": data_out.raw[: attr.get("I", 12)] if data_out is not None else None,
        # a syscall program changes the context in place (bpf_prog_test_run_syscall in net/bpf/test_run.c)
        "ctx": ctx_out.raw[: attr.get("I", 44)] if ctx_out is not None else ctx_in and ctx_in.raw,
        "duration_ns": attr.get("I", 36),
    }


@quick
def enable_stats():
    """Count runs and run time of every program from now until the lab ends (BPF_ENABLE_STATS)."""
    global _stats_fd
    if _stats_fd is None:
        _stats_fd = bpf(ENABLE_STATS, Attr("I", 0))
