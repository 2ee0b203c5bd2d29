"""The system's libbpf through ctypes: the functions that bpflab needs, and what libbpf prints.

libbpf opens objects, relocates them (CO-RE), creates maps and attaches
tracing programs. Newer things than Debian 12's libbpf 1.1 go through raw
bpf(2), see links.py.
"""

import contextlib
import ctypes
import os
import threading
from ctypes import POINTER, Structure, c_bool, c_char_p, c_int, c_size_t, c_uint32, c_uint64, c_void_p

from .serve import Refused
from .syscalls import libc


class OpenOpts(Structure):
    """struct bpf_object_open_opts"""

    _fields_ = [
        ("sz", c_size_t),
        ("object_name", c_char_p),
        ("relaxed_maps", c_bool),
        ("pin_root_path", c_char_p),
        ("attach_prog_fd", c_uint32),  # removed in 1.0, but its place is kept
        ("kconfig", c_char_p),
        ("btf_custom_path", c_char_p),
        ("kernel_log_buf", c_void_p),
        ("kernel_log_size", c_size_t),
        ("kernel_log_level", c_uint32),
    ]


class KprobeOpts(Structure):
    """struct bpf_kprobe_opts, as of libbpf 1.0"""

    _fields_ = [("sz", c_size_t), ("bpf_cookie", c_uint64), ("offset", c_size_t), ("retprobe", c_bool)]


class UprobeOpts(Structure):
    """struct bpf_uprobe_opts, as of libbpf 1.0"""

    _fields_ = [
        ("sz", c_size_t),
        ("ref_ctr_offset", c_size_t),
        ("bpf_cookie", c_uint64),
        ("retprobe", c_bool),
        ("func_name", c_char_p),
    ]


def _open():
    try:
        library = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise Refused("NotSupported", f"libbpf.so.1 does not load ({error}); install it: apt install libbpf1") from None
    for name, result, arguments in (
        ("libbpf_version_string", c_char_p, []),
        ("bpf_object__open_mem", c_void_p, [c_char_p, c_size_t, POINTER(OpenOpts)]),
        ("bpf_object__load", c_int, [c_void_p]),
        ("bpf_object__close", None, [c_void_p]),
        ("bpf_object__btf", c_void_p, [c_void_p]),
        ("btf__raw_data", c_void_p, [c_void_p, POINTER(c_uint32)]),
        ("bpf_object__next_program", c_void_p, [c_void_p, c_void_p]),
        ("bpf_object__next_map", c_void_p, [c_void_p, c_void_p]),
        ("bpf_program__name", c_char_p, [c_void_p]),
        ("bpf_program__section_name", c_char_p, [c_void_p]),
        ("bpf_program__type", c_int, [c_void_p]),
        ("bpf_program__expected_attach_type", c_int, [c_void_p]),
        ("bpf_program__set_autoload", c_int, [c_void_p, c_bool]),
        ("bpf_program__set_attach_target", c_int, [c_void_p, c_int, c_char_p]),
        ("bpf_program__fd", c_int, [c_void_p]),
        ("bpf_program__attach", c_void_p, [c_void_p]),
        ("bpf_program__attach_kprobe_opts", c_void_p, [c_void_p, c_char_p, POINTER(KprobeOpts)]),
        (
            "bpf_program__attach_uprobe_opts",
            c_void_p,
            [c_void_p, c_int, c_char_p, c_size_t, POINTER(UprobeOpts)],
        ),
        ("bpf_program__attach_usdt", c_void_p, [c_void_p, c_int, c_char_p, c_char_p, c_char_p, c_void_p]),
        ("bpf_program__attach_tracepoint", c_void_p, [c_void_p, c_char_p, c_char_p]),
        ("bpf_program__attach_perf_event", c_void_p, [c_void_p, c_int]),
        ("bpf_map__name", c_char_p, [c_void_p]),
        ("bpf_map__fd", c_int, [c_void_p]),
        ("bpf_map__type", c_int, [c_void_p]),
        ("bpf_map__is_internal", c_bool, [c_void_p]),
        ("bpf_map__key_size", c_uint32, [c_void_p]),
        ("bpf_map__value_size", c_uint32, [c_void_p]),
        ("bpf_map__set_value_size", c_int, [c_void_p, c_uint32]),
        ("bpf_map__set_max_entries", c_int, [c_void_p, c_uint32]),
        ("bpf_map__max_entries", c_uint32, [c_void_p]),
        ("bpf_map__initial_value", c_void_p, [c_void_p, POINTER(c_size_t)]),
        ("bpf_map__set_initial_value", c_int, [c_void_p, c_char_p, c_size_t]),
        ("bpf_map__attach_struct_ops", c_void_p, [c_void_p]),
        ("bpf_tc_hook_create", c_int, [c_void_p]),
        ("bpf_tc_hook_destroy", c_int, [c_void_p]),
        ("bpf_tc_attach", c_int, [c_void_p, c_void_p]),
        ("bpf_tc_detach", c_int, [c_void_p, c_void_p]),
        ("bpf_link__fd", c_int, [c_void_p]),
        ("bpf_link__destroy", c_int, [c_void_p]),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


_said = []
_lock = threading.RLock()


@ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)
def _print(level, text, arguments):
    line = ctypes.create_string_buffer(4096)
    libc.vsnprintf(line, c_size_t(4096), text, c_void_p(arguments))
    if level < 2:  # LIBBPF_WARN, LIBBPF_INFO
        _said.append(line.value.decode(errors="replace").rstrip())
    return 0


lib = _open()
lib.libbpf_set_print(_print)


@contextlib.contextmanager
def listening():
    """Hold libbpf for one operation; the list that is given fills with the lines it prints."""
    with _lock:
        _said.clear()
        lib.libbpf_set_print(_print)  # each time: libbcc is linked with the same libbpf, and sets a silent one of its own
        yield _said


def must(result, what, said):
    """A pointer or a non-negative number, or a Refused error with what libbpf said."""
    if result is None or result < 0:
        number = ctypes.get_errno() if result is None else -result
        lines = [line.removeprefix("libbpf: ") for line in said]
        raise Refused("Libbpf", f"{what}: {os.strerror(number)}", number, said=lines)
    return result


def version():
    return lib.libbpf_version_string().decode()
