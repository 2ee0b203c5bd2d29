"""Tries of what traces: each attaches a program that counts, causes the event, and looks at the count."""

import ctypes
import gc
import os
import struct
import sys

from .syscalls import ITER_CREATE, Attr, bpf, libc
from .tiny import (
    BTF_KIND_FUNC,
    BTF_KIND_TYPEDEF,
    EXIT,
    Btf,
    Failed,
    call,
    counts,
    feature,
    insn,
    mov,
    mov_reg,
    returns,
    step,
    switch,
)

KPROBE, TRACEPOINT, XDP, PERF_EVENT, RAW_TRACEPOINT, RAW_TRACEPOINT_WRITABLE = 2, 5, 6, 7, 17, 24
TRACING, EXT, LSM, SYSCALL = 26, 28, 29, 31
# enum bpf_attach_type
TRACE_RAW_TP, TRACE_FENTRY, TRACE_FEXIT, MODIFY_RETURN, LSM_MAC, TRACE_ITER = 23, 24, 25, 26, 27, 28
TRACE_KPROBE_MULTI, TRACE_UPROBE_MULTI = 42, 48
SLEEPABLE = 1 << 4


@feature("tracepoint", "attach", "attached to sched:sched_switch, and counted a switch")
def tracepoint(t):
    path = "/sys/kernel/tracing/events/sched/sched_switch/id"
    try:
        with open(path) as file:
            number = int(file.read())
    except OSError:
        raise Failed(f"there is no {path}") from None
    counter = t.counter()
    # one CPU only: stay on it for the switch
    with _on_one_cpu() as cpu:
        t.perf_event(t.load(TRACEPOINT, counts(counter)), 2, number, cpu=cpu)
        switch()
    t.expect(counter, "a switch happened")


class _on_one_cpu:
    def __enter__(self):
        self.before = os.sched_getaffinity(0)
        cpu = min(self.before)
        os.sched_setaffinity(0, {cpu})
        return cpu

    def __exit__(self, *_):
        os.sched_setaffinity(0, self.before)


@feature("raw_tp", "attach", "attached to sched_switch, and counted a switch")
def raw_tp(t):
    counter = t.counter()
    t.raw_tracepoint(t.load(RAW_TRACEPOINT, counts(counter)), "sched_switch")
    switch()
    t.expect(counter, "a switch happened")


@feature("raw_tp.w", "attach", "attached to bpf_test_finish, which lets it write, and counted a test run")
def raw_tp_writable(t):
    counter = t.counter()
    t.raw_tracepoint(t.load(RAW_TRACEPOINT_WRITABLE, counts(counter)), "bpf_test_finish")
    t.run(t.load(XDP, returns(2)))
    t.expect(counter, "a test run ended")


@feature("tp_btf", "attach", "attached to sched_switch by its BTF type, and counted a switch")
def tp_btf(t):
    counter = t.counter()
    number = t.kernel_type("btf_trace_sched_switch", BTF_KIND_TYPEDEF)
    t.raw_tracepoint(t.load(TRACING, counts(counter), TRACE_RAW_TP, number))
    switch()
    t.expect(counter, "a switch happened")


@feature("perf_event", "attach", "attached to the software event cpu-clock, and counted a sample")
def perf_event(t):
    counter = t.counter()
    with _on_one_cpu() as cpu:
        t.perf_event(t.load(PERF_EVENT, counts(counter)), 1, 0, period=10_000, cpu=cpu)
        for _ in range(1000):  # cpu-clock is a timer: some samples come while this CPU works
            if t.count(counter):
                break
            sum(range(1000))
    t.expect(counter, "the CPU worked")


@feature("hardware perf events", "attach", "opened the event cpu-cycles")
def hardware(t):
    t.perf_event(t.load(PERF_EVENT, returns(0)), 0, 0, period=1_000_000)


# -- kernel functions

_OPENS = ("do_sys_openat2", "do_sys_open")  # what open(2) calls


def _try_names(attach):
    """Attach to the first function that this kernel has."""
    for name in _OPENS:
        try:
            return attach(ctypes.create_string_buffer(name.encode()))
        except Failed as error:
            last = error
    raise last


def _open_something():
    os.close(os.open("/dev/null", os.O_RDONLY))


def _kprobe(t, config):
    kind = t.pmu("kprobe")
    counter = t.counter()
    prog = t.load(KPROBE, counts(counter))
    with _on_one_cpu() as cpu:
        _try_names(lambda name: t.perf_event(prog, kind, config, ctypes.addressof(name), 0, cpu=cpu))
        _open_something()
    t.expect(counter, "a file was opened")


@feature("kprobe", "attach", "attached to the entry of do_sys_openat2, and counted an open")
def kprobe(t):
    _kprobe(t, 0)


@feature("kretprobe", "attach", "attached to the return of do_sys_openat2, and counted an open")
def kretprobe(t):
    _kprobe(t, 1)


@feature("kprobe.multi", "attach", "attached to do_sys_openat2 by a multi-link, and counted an open")
def kprobe_multi(t):
    counter = t.counter()
    prog = t.load(KPROBE, counts(counter), TRACE_KPROBE_MULTI)

    def attach(name):
        names = (ctypes.c_uint64 * 1)(ctypes.addressof(name))
        t.link(prog, 0, TRACE_KPROBE_MULTI, "IIQQQ", 0, 1, ctypes.addressof(names), 0, 0)

    _try_names(attach)
    _open_something()
    t.expect(counter, "a file was opened")


def _on_function(t, attach, name, cause, kind=TRACING):
    counter = t.counter()
    prog = t.load(kind, counts(counter), attach, t.kernel_type(name, BTF_KIND_FUNC))
    t.raw_tracepoint(prog)
    cause(prog, counter)
    t.expect(counter, f"{name} was called")


@feature("fentry", "attach", "attached to the entry of bpf_fentry_test1, and counted a call")
def fentry(t):
    # a function that the kernel has for test runs of such programs (net/bpf/test_run.c)
    _on_function(t, TRACE_FENTRY, "bpf_fentry_test1", lambda prog, _: t.run(prog, data=b""))


@feature("fexit", "attach", "attached to the return of bpf_fentry_test1, and counted a call")
def fexit(t):
    _on_function(t, TRACE_FEXIT, "bpf_fentry_test1", lambda prog, _: t.run(prog, data=b""))


@feature("fmod_ret", "attach", "attached to security_bpf, and counted a call of bpf(2)")
def fmod_ret(t):
    # besides the security hooks only functions marked for error injection may be modified, and not every kernel has those
    _on_function(t, MODIFY_RETURN, "security_bpf", lambda _, counter: t.count(counter))


@feature("lsm", "attach", "attached to the hook of bpf(2), and counted a call")
def lsm(t):
    try:
        _on_function(t, LSM_MAC, "bpf_lsm_bpf", lambda _, counter: t.count(counter), LSM)
    except Failed as error:
        if "did not run" in str(error):
            raise Failed(f"{error}: 'bpf' is not among the lsm= that this kernel started with") from None
        raise


@feature("freplace", "attach", "replaced a function of an XDP program, and saw the other return value")
def freplace(t):
    btf = Btf()
    number = btf.integer("int", 4)
    context = btf.add(2, "", btf.record("xdp_md", 0))
    main = btf.function("main", number, context)
    function = btf.function("part", number, context)
    fd = t.btf(btf)
    body = insn(0x85, src=1, imm=1) + EXIT + returns(1)  # main calls part
    infos = [(0, main), (2, function)]
    target = t.load(6, body, btf=fd, functions=infos)
    extension = t.load(EXT, returns(2), btf_id=function, target=target, btf=fd, functions=[(0, function)])
    t.raw_tracepoint(extension)
    if t.run(target) != 2:
        raise Failed("it attached, but the function was not replaced")


@feature("override_return", "helper", "loaded a kprobe program that calls bpf_override_return")
def override_return(t):
    t.pmu("kprobe")
    t.load(KPROBE, mov(2, 0) + call(58) + returns(0))


# -- user space


def _place(address):
    """(file, offset in it) of a mapped address of this process."""
    with open("/proc/self/maps") as file:
        for line in file:
            span, _, offset, _, _, *path = line.split(maxsplit=5)
            start, end = (int(part, 16) for part in span.split("-"))
            if start <= address < end:
                name = path[0].strip()
                if not os.path.exists(name):  # as in a container, whose files the kernel names from outside
                    name = f"/proc/self/map_files/{start:x}-{end:x}"
                return name.encode(), address - start + int(offset, 16)
    raise Failed("the C library is not mapped from a file")


def _getppid():
    return _place(ctypes.cast(libc.getppid, ctypes.c_void_p).value)


def _uprobe(t, retprobe, place, event, what, semaphore=0):
    path, offset = place
    name = ctypes.create_string_buffer(path)
    counter = t.counter()
    prog = t.load(KPROBE, counts(counter))
    config = int(retprobe) | semaphore << 32
    t.perf_event(prog, t.pmu("uprobe"), config, ctypes.addressof(name), offset, pid=os.getpid(), cpu=-1)
    event()
    t.expect(counter, what)


@feature("uprobe", "attach", "attached to the entry of the C library's getppid, and counted a call")
def uprobe(t):
    _uprobe(t, False, _getppid(), libc.getppid, "getppid was called")


@feature("uretprobe", "attach", "attached to the return of the C library's getppid, and counted a call")
def uretprobe(t):
    _uprobe(t, True, _getppid(), libc.getppid, "getppid was called")


@feature("uprobe.multi", "attach", "attached to the C library's getppid by a multi-link, and counted a call")
def uprobe_multi(t):
    path, offset = _getppid()
    name, offsets = ctypes.create_string_buffer(path), (ctypes.c_uint64 * 1)(offset)
    counter = t.counter()
    prog = t.load(KPROBE, counts(counter), TRACE_UPROBE_MULTI)
    at = ctypes.addressof
    # path, offsets, ref_ctr_offsets, cookies, cnt, flags, pid
    t.link(prog, 0, TRACE_UPROBE_MULTI, "QQQQIII", at(name), at(offsets), 0, 0, 1, 0, os.getpid())
    libc.getppid()
    t.expect(counter, "getppid was called")


@feature("usdt", "attach", "attached to python:gc__start of the agent's own Python, and counted a collection")
def usdt(t):
    path = os.path.realpath(sys.executable)
    found = _usdt_note(path, b"python", b"gc__start")
    if found is None:
        t.pmu("uprobe")
        raise Failed(f"{path} has no USDT probes to try it with")
    address, semaphore = found
    _uprobe(t, False, (path.encode(), address), gc.collect, "Python collected garbage", semaphore)


def _usdt_note(path, provider, name):
    """(offset of the instruction, offset of the semaphore) of a probe in an ELF file's section .note.stapsdt."""
    with open(path, "rb") as file:
        data = file.read()
    table, size, count, _ = *struct.unpack_from("Q", data, 40), *struct.unpack_from("HHH", data, 58)
    sections = [struct.unpack_from("IIQQQQIIQQ", data, table + i * size) for i in range(count)]

    def offset_of(address):
        # name, type, flags, addr, offset, size, ...
        for _, kind, flags, start, offset, length, *_ in sections:
            if flags & 2 and kind != 8 and start <= address < start + length:
                return address - start + offset
        return 0

    for _, kind, _, _, offset, length, *_ in sections:
        if kind != 7:  # SHT_NOTE
            continue
        position = offset
        while position < offset + length:
            owner, described, _ = struct.unpack_from("III", data, position)
            begin = position + 12 + (owner + 3) // 4 * 4
            if data[position + 12 : position + 12 + owner] == b"stapsdt\0":
                address, _, semaphore = struct.unpack_from("QQQ", data, begin)
                if data[begin + 24 : begin + described].split(b"\0")[:2] == [provider, name]:
                    return offset_of(address), offset_of(semaphore) if semaphore else 0
            position = begin + (described + 3) // 4 * 4
    return None


# -- run by hand


@feature("iter", "attach", "read an iterator over tasks, and counted them")
def iterator(t):
    counter = t.counter()
    prog = t.load(TRACING, counts(counter), TRACE_ITER, t.kernel_type("bpf_iter_task", BTF_KIND_FUNC))
    link = t.link(prog, 0, TRACE_ITER)
    with step("BPF_ITER_CREATE"):
        fd = t.own(bpf(ITER_CREATE, Attr("II", link, 0)))
    with step("reading the iterator"):
        os.read(fd, 4096)
    t.expect(counter, "it was read")


@feature("syscall", "attach", "ran a program that may make system calls, and saw its return value")
def syscall(t):
    if t.run(t.load(SYSCALL, returns(7), flags=SLEEPABLE), data=b"") != 7:
        raise Failed("it ran, but returned another value")


@feature("bpf_trace_printk", "helper", "loaded a program that calls it")
def trace_printk(t):
    store = insn(0x7A, 10, off=-8, imm=0)  # *(u64 *)(r10 - 8) = 0
    t.load(RAW_TRACEPOINT, store + mov_reg(1, 10) + insn(0x07, 1, imm=-8) + mov(2, 8) + call(6) + returns(0))


@feature("kfunc", "helper", "loaded a program that calls the kernel function bpf_rcu_read_lock")
def kfunc(t):
    calls = [t.kernel_type(name, BTF_KIND_FUNC) for name in ("bpf_rcu_read_lock", "bpf_rcu_read_unlock")]
    code = b"".join(insn(0x85, src=2, imm=number) for number in calls)
    t.load(SYSCALL, code + returns(0), flags=SLEEPABLE)
