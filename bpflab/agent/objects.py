"""Object files: open (nothing reaches the kernel yet), load, close."""

import ctypes
import errno
import itertools
import mmap
import re

from . import maps
from .libbpf import OpenOpts, lib, listening, must
from .programs import describe as describe_program
from .serve import Refused

_numbers = itertools.count(1)
_objects = {}
_LOG_SIZE = 16 << 20  # the kernel's own limit is 16 MB less one page, UINT_MAX >> 8 in older ones
_LOG_STATS = 4  # BPF_LOG_STATS, include/linux/bpf_verifier.h: messages, but not the instructions
_STATISTICS = re.compile(r"^processed \d+ insns", re.M)


class Opened:
    """An object that libbpf holds, with its programs and maps by name."""

    def __init__(self, data, name, log_level=0):
        self.data, self.name = data, name
        self.log = mmap.mmap(-1, _LOG_SIZE)
        self._pin = (ctypes.c_char * _LOG_SIZE).from_buffer(self.log)
        options = OpenOpts(ctypes.sizeof(OpenOpts), name.encode())
        options.kernel_log_buf, options.kernel_log_size = ctypes.addressof(self._pin), _LOG_SIZE - mmap.PAGESIZE
        options.kernel_log_level = log_level
        self.pointer = None
        with listening() as said:
            self.pointer = must(lib.bpf_object__open_mem(data, len(data), options), "the object does not open", said)
        self.programs = dict(self._each(lib.bpf_object__next_program, lib.bpf_program__name))
        self.maps = dict(self._each(lib.bpf_object__next_map, lib.bpf_map__name))

    def _each(self, following, name):
        item = following(self.pointer, None)
        while item:
            yield name(item).decode(), item
            item = following(self.pointer, item)

    def btf(self):
        size = ctypes.c_uint32()
        btf = lib.bpf_object__btf(self.pointer)
        return ctypes.string_at(lib.btf__raw_data(btf, size), size.value) if btf else b""

    def initial_value(self, pointer):
        size = ctypes.c_size_t()
        address = lib.bpf_map__initial_value(pointer, size)
        return ctypes.string_at(address, size.value) if address else b""

    def verifier_log(self):
        end = self.log.find(b"\0")
        return self.log[:end].decode(errors="replace")

    def close(self):
        if self.pointer:
            with listening():
                lib.bpf_object__close(self.pointer)
            self.pointer = None
            del self._pin
            self.log.close()


def get(handle):
    try:
        return _objects[handle]
    except KeyError:
        raise Refused("Closed", "the object was closed; load it again") from None


def keep(opened):
    """Own something that has `programs` and `close()`, under a number."""
    handle = next(_numbers)
    _objects[handle] = opened
    return handle


def open_object(data, name):
    """Open an ELF object from memory.

    Returns
    -------
    dict
        `handle`, `btf` (bytes of its own BTF), `maps` and `programs`: lists of dicts.
    """
    opened = Opened(data, name)
    return {
        "handle": keep(opened),
        "btf": opened.btf(),
        "maps": [
            {
                "name": key,
                "type": lib.bpf_map__type(pointer),
                "internal": lib.bpf_map__is_internal(pointer),
                "value_size": lib.bpf_map__value_size(pointer),
                "initial": opened.initial_value(pointer) if lib.bpf_map__is_internal(pointer) else b"",
            }
            for key, pointer in opened.maps.items()
        ],
        "programs": [
            {
                "name": key,
                "section": lib.bpf_program__section_name(pointer).decode(),
                "type": lib.bpf_program__type(pointer),
                "attach_type": lib.bpf_program__expected_attach_type(pointer),
            }
            for key, pointer in opened.programs.items()
        ],
    }


def load(handle, settings):
    """Load an opened object into the kernel.

    Parameters
    ----------
    settings : dict
        `initial`: bytes of global data by map name; `value_size`, `max_entries`: by map name; `programs`: the names
        to load, None for all; `replaces`: (descriptor of a program, function of it) by name of a freplace program.

    Returns
    -------
    dict
        `maps` and `programs`: what the kernel says of each, by name.
    """
    opened = get(handle)
    with listening() as said:
        _prepare(opened, settings, said)
        said.clear()
        result = lib.bpf_object__load(opened.pointer)
        if result < 0:
            _refuse(opened, settings, -result, list(said))
    reply = {"maps": {}, "programs": {}}
    for name, pointer in opened.maps.items():
        fd = lib.bpf_map__fd(pointer)
        if fd >= 0:
            reply["maps"][name] = maps.describe(fd)
    for name, pointer in opened.programs.items():
        fd = lib.bpf_program__fd(pointer)
        if fd >= 0:
            reply["programs"][name] = describe_program(fd)
    return reply


def _prepare(opened, settings, said):
    for name, data in settings.get("initial", {}).items():
        must(lib.bpf_map__set_initial_value(opened.maps[name], data, len(data)), f"global data of {name}", said)
    for name, size in settings.get("value_size", {}).items():
        must(lib.bpf_map__set_value_size(opened.maps[name], size), f"value size of map {name}", said)
    for name, count in settings.get("max_entries", {}).items():
        must(lib.bpf_map__set_max_entries(opened.maps[name], count), f"max_entries of map {name}", said)
    for name, (fd, function) in settings.get("replaces", {}).items():
        result = lib.bpf_program__set_attach_target(opened.programs[name], fd, function.encode())
        must(result, f"function {function} that program {name} replaces", said)
    wanted = settings.get("programs")
    for name, pointer in opened.programs.items():
        if wanted is not None and name not in wanted:
            lib.bpf_program__set_autoload(pointer, False)


def _refuse(opened, settings, number, said):
    failed = None
    for line in said:
        match = re.search(r"prog '([^']+)': (?:BPF program load failed|failed to load)", line)
        if match:
            failed = match[1]
            break
    log = opened.verifier_log() if failed else ""
    if failed and number == errno.ENOSPC and not _STATISTICS.search(log, max(len(log) - 300, 0)):
        log += "\n" + _verdict(opened, settings)
    lines = [line.removeprefix("libbpf: ") for line in said]
    raise Refused("Load", "the object does not load", number, program=failed or "", log=log, said=lines)


def _verdict(opened, settings):
    """The end of a log that was too long: kernels before 6.4 keep its beginning, and the reason stands at the end."""
    short = Opened(opened.data, opened.name, _LOG_STATS)
    try:
        with listening() as said:
            _prepare(short, settings, said)
            return short.verifier_log() if lib.bpf_object__load(short.pointer) < 0 else ""
    finally:
        short.close()


def close(handle):
    opened = _objects.pop(handle, None)
    if opened:
        opened.close()
