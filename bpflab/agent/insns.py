"""Instructions: what the kernel keeps of a program, what libbpf gave it, and what the kernel itself says of a filter or program."""

import contextlib
import ctypes
import os
import socket
import struct

from . import objects
from .libbpf import lib, listening
from .programs import test_run
from .serve import Refused, quick
from .syscalls import PROG_LOAD, Attr, bpf, btf_bytes, fill_info, info

_INFO_SIZE = 232  # struct bpf_prog_info up to attach_btf_id
# what has arrays: name -> (offset of the count, offset of the pointer, bytes of an element or where they stand)
_ARRAYS = {
    "jited": (16, 24, 1),
    "xlated": (20, 32, 1),
    "ksyms": (104, 112, 8),
    "func_lens": (108, 120, 4),
    "func_info": (144, 136, "132"),
    "line_info": (148, 152, "172"),
    "jited_line_info": (168, 160, "176"),
}
_SO_ATTACH_FILTER = 26  # include/uapi/asm-generic/socket.h
_LOG_SIZE = 4 << 20

_logs = {}  # handle of an object -> program's name -> buffer


@quick
def dump(fd):
    """Every array of `struct bpf_prog_info`.

    Returns
    -------
    dict
        bytes by name; an array that the kernel does not show is empty. `<name>_size` is the size of an element; `btf` the
        program's BTF; `jited_hidden` says that there is machine code which the kernel keeps to itself (bpf_dump_raw_ok).
    """
    first = info(fd, _INFO_SIZE)
    request, arrays, sizes = ctypes.create_string_buffer(_INFO_SIZE), {}, {}
    for name, (count_at, pointer_at, size) in _ARRAYS.items():
        if isinstance(size, str):
            size = struct.unpack_from("I", first, int(size))[0]
            struct.pack_into("I", request, int(_ARRAYS[name][2]), size)
        count = struct.unpack_from("I", first, count_at)[0]
        if count and size:
            arrays[name], sizes[name] = ctypes.create_string_buffer(count * size), size
            struct.pack_into("I", request, count_at, count)
            struct.pack_into("Q", request, pointer_at, ctypes.addressof(arrays[name]))
    fill_info(fd, request)
    found = {}
    for name, (_, pointer_at, _) in _ARRAYS.items():
        shown = name in arrays and struct.unpack_from("Q", request, pointer_at)[0]
        found[name] = arrays[name].raw if shown else b""
        found[f"{name}_size"] = sizes.get(name, 0)
    btf_id = struct.unpack_from("I", first, 128)[0]
    found["btf"] = btf_bytes(btf_id) if btf_id else b""
    found["jited_hidden"] = bool(struct.unpack_from("I", first, 16)[0]) and not found["jited"]
    return found


@quick
def given(handle, name):
    """The instructions of a program as libbpf gave them to the kernel: relocated, with the functions it calls behind it."""
    opened = objects.get(handle)
    if not isinstance(opened, objects.Opened):  # another owner's pointers are none of libbpf's
        raise Refused("Library", "libbpf did not load this program")
    if not hasattr(lib, "_has_insns"):
        lib.bpf_program__insns.restype, lib.bpf_program__insns.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
        lib.bpf_program__insn_cnt.restype, lib.bpf_program__insn_cnt.argtypes = ctypes.c_size_t, [ctypes.c_void_p]
        lib._has_insns = True
    program = opened.programs[name]
    return ctypes.string_at(lib.bpf_program__insns(program), 8 * lib.bpf_program__insn_cnt(program))


def keep_logs(handle):
    """From now on keep the verifier's log of every program of an object that is opened and not loaded."""
    opened = objects.get(handle)
    buffers = _logs[handle] = {}
    for function, types in (("set_log_level", [ctypes.c_uint32]), ("set_log_buf", [ctypes.c_void_p, ctypes.c_size_t])):
        getattr(lib, f"bpf_program__{function}").argtypes = [ctypes.c_void_p, *types]
    with listening():
        for name, pointer in opened.programs.items():
            buffers[name] = ctypes.create_string_buffer(_LOG_SIZE)
            lib.bpf_program__set_log_level(pointer, 2)
            lib.bpf_program__set_log_buf(pointer, ctypes.addressof(buffers[name]), _LOG_SIZE)


def logs(handle):
    """What `keep_logs` kept; the object must not be loaded again.

    Returns
    -------
    dict
        text by program.
    """
    return {name: buffer.value.decode(errors="replace") for name, buffer in _logs.pop(handle, {}).items()}


def load(kind, code):
    """Load instructions as they are.

    Returns
    -------
    int
        A descriptor.

    Raises
    ------
    Refused
        The verifier's log is in it.
    """
    at = ctypes.addressof
    code_buffer, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)

    def attempt(level):
        return Attr("IIQQIIQII16s", kind, len(code) // 8, at(code_buffer), at(licence), level, len(log) * level, at(log) * level, 0, 0, b"bpflab_step")

    try:
        return bpf(PROG_LOAD, attempt(0))
    except OSError as error:
        with contextlib.suppress(OSError):
            os.close(bpf(PROG_LOAD, attempt(1)))
        text = log.value.decode(errors="replace")
        raise Refused("Load", "the program does not load", error.errno, log=text) from None


def verdicts(kind, codes, packets):
    """Load programs one after the other and run each on every packet (BPF_PROG_TEST_RUN).

    Returns
    -------
    list
        For each program a list of (return value or -errno, data afterwards), or the verifier's log as text when it was refused.
    """
    found = []
    for code in codes:
        try:
            fd = load(kind, code)
        except Refused as error:
            found.append(error.payload["log"] or os.strerror(error.payload["errno"]))
            continue
        try:
            found.append([_run(fd, packet) for packet in packets])
        finally:
            os.close(fd)
    return found


def _run(fd, packet):
    try:
        reply = test_run(fd, packet, None, 1, len(packet) + 512)
    except OSError as error:
        return -error.errno, b""
    return reply["retval"], reply["data"]


def classic(filters, packets):
    """Attach classic filters (SO_ATTACH_FILTER) to a datagram socket, and send it packets.

    Returns
    -------
    list
        For each filter -errno when it was refused, else for each packet the bytes that came through, -1 for none. The socket
        gets no more than the packet has, so of a larger return value this is all that shows.
    """
    found = []
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setblocking(False)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        for code in filters:
            program = ctypes.create_string_buffer(code, len(code))
            try:
                receiver.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HxxxxxxP", len(code) // 8 & 0xFFFF, ctypes.addressof(program)))
            except OSError as error:
                found.append(-error.errno)
                continue
            found.append([_through(sender, receiver, packet) for packet in packets])
    return found


def _through(sender, receiver, packet):
    sender.send(packet)
    try:
        return receiver.recv_into(bytearray(1), 1, socket.MSG_TRUNC)
    except BlockingIOError:
        return -1
