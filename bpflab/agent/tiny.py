"""Tiny programs and what they attach to, for finding out what a kernel can do by doing it.

Instructions are written out by hand (Documentation/bpf/standardization/instruction-set.rst), so that nothing
here needs a compiler. A `Trial` owns everything that it makes and gives it back at its end.
"""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct
import threading

from .libbpf import lib, listening
from .syscalls import (
    LINK_CREATE,
    MAP_CREATE,
    MAP_LOOKUP_ELEM,
    PROG_LOAD,
    PROG_TEST_RUN,
    RAW_TRACEPOINT_OPEN,
    Attr,
    bpf,
    btf_load,
    libc,
    perf_event_open,
)

ENOTSUPP = 524
PERF_IOC_ENABLE, PERF_IOC_SET_BPF = 0x2400, 0x40042408
BTF_KIND_STRUCT, BTF_KIND_TYPEDEF, BTF_KIND_FUNC = 4, 8, 12


catalogue = {}  # feature -> (kind, how, function, place)


def feature(name, kind, how, place=""):
    """Register a function that tries a feature; `place` "net" gives it a network namespace to spoil."""

    def register(function):
        catalogue[name] = (kind, how, function, place)
        return function

    return register


class Failed(Exception):
    """A feature is not there; the text is what was seen."""


def insn(code, dst=0, src=0, off=0, imm=0):
    """One struct bpf_insn."""
    return struct.pack("<BBhi", code, dst | src << 4, off, imm)


def mov(dst, imm):
    return insn(0xB7, dst, imm=imm)


def mov_reg(dst, src):
    return insn(0xBF, dst, src)


def call(helper):
    """A helper by its number in enum bpf_func_id."""
    return insn(0x85, imm=helper)


def wide(dst, kind, imm, high=0):
    """ld_imm64: kind 1 is a map by descriptor, 2 its first value, 4 a function of the program."""
    return insn(0x18, dst, kind, imm=imm) + insn(0, imm=high)


EXIT = insn(0x95)


def returns(number):
    """`return number;`"""
    return mov(0, number) + EXIT


def counts(counter, number=0):
    """`counter++; return number;`, with the counter the first value of an array."""
    return wide(1, 2, counter) + mov(2, 1) + insn(0xDB, 1, 2) + returns(number)


def errno_words(number):
    name = "ENOTSUPP" if number == ENOTSUPP else errno.errorcode.get(number, f"errno {number}")
    return f"{name}, {'not supported by the kernel' if number == ENOTSUPP else os.strerror(number).lower()}"


@contextlib.contextmanager
def step(what):
    """Name the step that an error of the kernel belongs to."""
    try:
        yield
    except OSError as error:
        raise Failed(f"{what} failed: {errno_words(error.errno)}") from None


class Btf:
    """BTF of a tiny program: functions without arguments, or with a context; enough for callbacks and freplace."""

    def __init__(self):
        self.strings, self.types, self.count = b"\0", b"", 0

    def add(self, kind, name, word, *tail, vlen=0):
        words = (self._string(name), kind << 24 | vlen, word, *tail)
        self.types += struct.pack(f"{len(words)}I", *words)
        self.count += 1
        return self.count

    def _string(self, text):
        if not text:
            return 0
        self.strings += text.encode() + b"\0"
        return len(self.strings) - len(text) - 1

    def integer(self, name, size):
        return self.add(1, name, size, 8 * size)

    def record(self, name, size, *members):
        """A struct of (name, type, offset in bytes)."""
        tail = [word for name_, kind, offset in members for word in (self._string(name_), kind, 8 * offset)]
        return self.add(4, name, size, *tail, vlen=len(members))

    def function(self, name, returned, *arguments, static=False):
        tail = [word for kind in arguments for word in (self._string("ctx"), kind)]
        proto = self.add(13, "", returned, *tail, vlen=len(arguments))
        return self.add(12, name, proto, vlen=0 if static else 1)

    def blob(self):
        head = struct.pack("HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self.types), len(self.types), len(self.strings))
        return head + self.types + self.strings


class Trial(contextlib.ExitStack):
    """What one trial makes: descriptors are closed at the end, in the reverse order."""

    def __init__(self, kernel):
        super().__init__()
        self.kernel = kernel

    def own(self, fd):
        self.callback(os.close, fd)
        return fd

    # -- maps

    def map(self, kind, key=4, value=8, entries=1, flags=0, **more):
        attr = Attr(
            "5III16s5IQ",
            *(kind, key, value, entries, flags, more.get("inner", 0), 0, b"bpflab_try", 0),
            *(more.get("btf", 0), more.get("btf_key", 0), more.get("btf_value", 0), more.get("vmlinux_value", 0)),
            more.get("extra", 0),
        )
        with step("BPF_MAP_CREATE"):
            return self.own(bpf(MAP_CREATE, attr))

    def counter(self):
        return self.map(2)

    def count(self, counter):
        key, value = ctypes.c_uint32(), ctypes.c_uint64()
        bpf(MAP_LOOKUP_ELEM, Attr("IQQQ", counter, ctypes.addressof(key), ctypes.addressof(value), 0))
        return value.value

    def expect(self, counter, event):
        if not self.count(counter):
            raise Failed(f"it attached, but did not run when {event}")

    # -- programs

    def load(self, kind, code, attach=0, btf_id=0, flags=0, ifindex=0, target=0, btf=0, functions=()):
        """BPF_PROG_LOAD; `functions` are (instruction, BTF type id)."""
        code_buffer, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
        infos = b"".join(struct.pack("II", *one) for one in functions)
        info_buffer = ctypes.create_string_buffer(infos, len(infos) or 1)
        log = ctypes.create_string_buffer(1 << 14)
        at = ctypes.addressof

        def attempt(level):
            return Attr(
                "IIQQIIQII16sIIIIQIIQIII",
                *(kind, len(code) // 8, at(code_buffer), at(licence)),
                *(level, len(log) if level else 0, at(log) if level else 0, 0, flags, b"bpflab_try", ifindex, attach),
                *(btf, 8 if functions else 0, at(info_buffer) if functions else 0, len(functions)),
                *(0, 0, 0, btf_id, target),
            )

        try:
            return self.own(bpf(PROG_LOAD, attempt(0)))
        except OSError as error:
            with contextlib.suppress(OSError):
                os.close(bpf(PROG_LOAD, attempt(1)))
            said = [
                line for line in log.value.decode(errors="replace").splitlines() if not line.startswith("processed ")
            ]
            told = f'the verifier said "{said[-1]}"' if said else "with an empty verifier log"
            raise Failed(f"BPF_PROG_LOAD failed: {errno_words(error.errno)}, {told}") from None

    def run(self, prog, data=bytes(64), ctx=None):
        """BPF_PROG_TEST_RUN; the return value."""
        buffer = ctypes.create_string_buffer(data, len(data)) if data else None
        ctx_buffer = ctypes.create_string_buffer(ctx, len(ctx)) if ctx else None
        at = lambda one: ctypes.addressof(one) if one is not None else 0  # noqa: E731
        attr = Attr(
            "IIIIQQIIIIQQ", prog, 0, len(data or b""), 0, at(buffer), 0, 0, 0, len(ctx or b""), 0, at(ctx_buffer), 0
        )
        with step("BPF_PROG_TEST_RUN"):
            bpf(PROG_TEST_RUN, attr)
        return attr.get("I", 4)

    def functions(self, count):
        """BTF of `count` functions `int f(void)`, all but the first static; its descriptor and the type ids."""
        btf = Btf()
        number = btf.integer("int", 4)
        ids = [btf.function(f"f{i}", number, static=i > 0) for i in range(count)]
        return self.btf(btf), ids

    def btf(self, btf):
        with step("BPF_BTF_LOAD"):
            return self.own(btf_load(btf.blob()))

    # -- attach

    def link(self, prog, target, attach, layout="", *more, flags=0):
        """BPF_LINK_CREATE; `more` stands behind the flags, at offset 16."""
        with step("BPF_LINK_CREATE"):
            return self.own(bpf(LINK_CREATE, Attr("4I" + layout, prog, target, attach, flags, *more)))

    def raw_tracepoint(self, prog, name=""):
        """BPF_RAW_TRACEPOINT_OPEN; without a name for what the program says by its BTF id."""
        buffer = ctypes.create_string_buffer(name.encode())
        with step("BPF_RAW_TRACEPOINT_OPEN"):
            return self.own(bpf(RAW_TRACEPOINT_OPEN, Attr("QI", ctypes.addressof(buffer) if name else 0, prog)))

    def perf_event(self, prog, kind, config=0, config1=0, config2=0, period=1, pid=-1, cpu=0):
        """perf_event_open(2) with the program on it."""
        # struct perf_event_attr: type, size, config, sample_period, ..., config1 at 56, config2 at 64
        attr = struct.pack("IIQQQQQIIQQ", kind, 112, config, period, 0, 0, 0, 0, 0, config1, config2).ljust(112, b"\0")
        with step("perf_event_open"):
            fd = self.own(perf_event_open(attr, pid, cpu))
        with step("PERF_EVENT_IOC_SET_BPF"):
            fcntl.ioctl(fd, PERF_IOC_SET_BPF, prog)
        with step("PERF_EVENT_IOC_ENABLE"):
            fcntl.ioctl(fd, PERF_IOC_ENABLE, 0)
        return fd

    def pmu(self, name):
        """Number of a kind of perf events that the kernel lists in sysfs."""
        path = f"/sys/bus/event_source/devices/{name}/type"
        try:
            with open(path) as file:
                return int(file.read())
        except OSError:
            raise Failed(f"this kernel was built without {name}s: there is no {path}") from None

    def kernel_type(self, name, kind):
        """Id of a type in the kernel's BTF."""
        find = lib.btf__find_by_name_kind
        find.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32]
        number = find(self.kernel.btf(), name.encode(), kind)
        if number < 0:
            raise Failed(f"the kernel's BTF has no '{name}'")
        return number


class Kernel:
    """The kernel's BTF, read by libbpf when it is first needed, for several trials."""

    def __init__(self):
        self._pointer, self._lock = None, threading.Lock()

    def btf(self):
        with self._lock:
            if not self._pointer:
                lib.btf__load_vmlinux_btf.restype = ctypes.c_void_p
                with listening():
                    self._pointer = lib.btf__load_vmlinux_btf()
                if not self._pointer:
                    raise Failed("the kernel's BTF cannot be read: " + errno_words(ctypes.get_errno()))
            return self._pointer

    def close(self):
        if self._pointer:
            lib.btf__free.argtypes, lib.btf__free.restype = [ctypes.c_void_p], None
            lib.btf__free(self._pointer)
            self._pointer = None


def switch():
    """Have the scheduler switch to something else, and come back."""
    for microseconds in (200, 1000, 5000):  # on a slow guest the time may be over before it has gone to sleep
        libc.usleep(microseconds)
