"""Tries of map types, of helpers that need maps, and of the commands of bpf(2)."""

import ctypes
import mmap
import os
import struct

from .libbpf import lib
from .syscalls import (
    ENABLE_STATS,
    LINK_CREATE,
    MAP_DELETE_ELEM,
    MAP_FREEZE,
    MAP_LOOKUP_BATCH,
    MAP_UPDATE_ELEM,
    OBJ_PIN,
    Attr,
    bpf,
    info,
    libc,
)
from .tiny import (
    BTF_KIND_STRUCT,
    EXIT,
    Btf,
    Failed,
    call,
    counts,
    errno_words,
    feature,
    insn,
    mov,
    mov_reg,
    returns,
    step,
    wide,
)
from .tries_network import wait_for
from .tries_sockets import connected

XDP, STRUCT_OPS = 6, 27
NO_PREALLOC, MMAPABLE = 1, 1 << 10

# type number, key size, value size, entries, flags; in the order of enum bpf_map_type
_PLAIN = {
    "hash": (1, 4, 8, 1, 0),
    "array": (2, 4, 8, 1, 0),
    "prog_array": (3, 4, 4, 1, 0),
    "perf_event_array": (4, 4, 4, 1, 0),
    "percpu_hash": (5, 4, 8, 1, 0),
    "percpu_array": (6, 4, 8, 1, 0),
    "stack_trace": (7, 4, 8 * 127, 1, 0),
    "cgroup_array": (8, 4, 4, 1, 0),
    "lru_hash": (9, 4, 8, 8, 0),
    "lru_percpu_hash": (10, 4, 8, 8, 0),
    "lpm_trie": (11, 8, 8, 1, NO_PREALLOC),
    "devmap": (14, 4, 4, 1, 0),
    "sockmap": (15, 4, 4, 1, 0),
    "cpumap": (16, 4, 4, 1, 0),
    "xskmap": (17, 4, 4, 1, 0),
    "sockhash": (18, 4, 4, 1, 0),
    "cgroup_storage": (19, 16, 8, 0, 0),
    "reuseport_sockarray": (20, 4, 8, 1, 0),
    "percpu_cgroup_storage": (21, 16, 8, 0, 0),
    "queue": (22, 0, 8, 1, 0),
    "stack": (23, 0, 8, 1, 0),
    "devmap_hash": (25, 4, 4, 1, 0),
    "ringbuf": (27, 0, 0, mmap.PAGESIZE, 0),
    "bloom_filter": (30, 0, 8, 1, 0),
    "user_ringbuf": (31, 0, 0, mmap.PAGESIZE, 0),
    "arena": (33, 0, 0, 1, MMAPABLE),
}
_STORAGE = {"sk_storage": 24, "inode_storage": 28, "task_storage": 29, "cgrp_storage": 32}
_NESTED = {"array_of_maps": 12, "hash_of_maps": 13}


def _register():
    for name, shape in _PLAIN.items():
        feature(f"map {name}", "map type", "created one")(lambda t, shape=shape: t.map(*shape))
    for name, number in _STORAGE.items():
        feature(f"map {name}", "map type", "created one")(lambda t, number=number: _storage(t, number))
    for name, number in _NESTED.items():
        feature(f"map {name}", "map type", "created one for arrays")(
            lambda t, number=number: t.map(number, 4, 4, inner=t.map(2))
        )


def _storage(t, number):
    btf = Btf()
    integer = btf.integer("int", 4)
    t.map(number, 4, 4, 0, NO_PREALLOC, btf=t.btf(btf), btf_key=integer, btf_value=integer)


_register()


# -- struct_ops


class _Struct:
    """Members of a struct in the kernel's BTF, read in libbpf's memory (struct btf_type, btf_member)."""

    def __init__(self, kernel, number):
        lib.btf__type_by_id.restype, lib.btf__type_by_id.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_uint32]
        lib.btf__name_by_offset.restype = ctypes.c_char_p
        lib.btf__name_by_offset.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
        address = lib.btf__type_by_id(kernel, number)
        _, kind, self.size = struct.unpack("III", ctypes.string_at(address, 12))
        raw = ctypes.string_at(address + 12, 12 * (kind & 0xFFFF))
        self.members = {}  # name -> (index, offset in bytes)
        for index, (name, _, offset) in enumerate(struct.iter_unpack("III", raw)):
            self.members[lib.btf__name_by_offset(kernel, name).decode()] = (index, (offset & 0xFFFFFF) // 8)


@feature("map struct_ops", "map type", "created one for TCP congestion control")
def struct_ops_map(t):
    value = t.kernel_type("bpf_struct_ops_tcp_congestion_ops", BTF_KIND_STRUCT)
    # some BTF of the program has to come along, though the value is of the kernel's
    t.map(26, 4, _Struct(t.kernel.btf(), value).size, btf=t.functions(1)[0], vmlinux_value=value)


@feature("struct_ops", "attach", "gave a TCP connection a congestion control of its own, and counted what it was asked", "net")
def struct_ops(t):
    counter = t.counter()
    operations = t.kernel_type("tcp_congestion_ops", BTF_KIND_STRUCT)
    outer = t.kernel_type("bpf_struct_ops_tcp_congestion_ops", BTF_KIND_STRUCT)
    kernel = t.kernel.btf()
    members, whole = _Struct(kernel, operations).members, _Struct(kernel, outer)
    value = bytearray(whole.size)
    data = whole.members["data"][1]
    for name in ("ssthresh", "undo_cwnd", "cong_avoid"):
        index, offset = members[name]
        code = counts(counter) if name == "cong_avoid" else returns(2)
        prog = t.load(STRUCT_OPS, code, index, operations)
        struct.pack_into("Q", value, data + offset, prog)
    name = f"bpflab{os.getpid()}".encode()
    struct.pack_into("15s", value, data + members["name"][1], name)
    key, buffer = ctypes.c_uint32(), ctypes.create_string_buffer(bytes(value), len(value))
    own = t.functions(1)[0]
    try:
        ops = t.map(26, 4, whole.size, flags=1 << 13, btf=own, vmlinux_value=outer)  # BPF_F_LINK
    except Failed:  # before links (Linux 6.4) giving the programs to the map registers them
        ops, linked = t.map(26, 4, whole.size, btf=own, vmlinux_value=outer), False
    else:
        linked = True
    with step("giving the programs to the map"):
        bpf(MAP_UPDATE_ELEM, Attr("IQQQ", ops, ctypes.addressof(key), ctypes.addressof(buffer), 0))
    if linked:
        with step("BPF_LINK_CREATE"):
            t.own(bpf(LINK_CREATE, Attr("4I", ops, 0, 44, 0)))
    else:
        t.callback(bpf, MAP_DELETE_ELEM, Attr("IQ", ops, ctypes.addressof(key)))
    near, _ = connected(t, name)
    near.send(b"x")
    wait_for(t, counter, "what it sent was acknowledged")


# -- helpers


@feature("ringbuf", "helper", "ran a program that sends a record, and saw the record")
def ringbuf(t):
    ring = t.map(*_PLAIN["ringbuf"])
    store = insn(0x7A, 10, off=-8, imm=7)
    code = store + wide(1, 1, ring) + mov_reg(2, 10) + insn(0x07, 2, imm=-8) + mov(3, 8) + mov(4, 0) + call(130) + EXIT
    if t.run(t.load(XDP, code)):
        raise Failed("bpf_ringbuf_output returned an error")
    with mmap.mmap(ring, mmap.PAGESIZE, prot=mmap.PROT_READ, offset=mmap.PAGESIZE) as producer:
        if struct.unpack_from("Q", producer)[0] != 16:
            raise Failed("it ran, but no record came")


@feature("tail call", "helper", "ran a program that jumps to another")
def tail_call(t):
    programs = t.map(3, 4, 4)
    _put(programs, t.load(XDP, returns(2)))
    code = wide(2, 1, programs) + mov(3, 0) + call(12) + returns(1)
    if t.run(t.load(XDP, code)) != 2:
        raise Failed("it ran, but did not jump")


def _put(map_fd, number):
    key, value = ctypes.c_uint32(0), ctypes.c_uint32(number)
    with step("BPF_MAP_UPDATE_ELEM"):
        bpf(MAP_UPDATE_ELEM, Attr("IQQQ", map_fd, ctypes.addressof(key), ctypes.addressof(value), 0))


@feature("bpf_loop", "helper", "ran a program that calls a function of its own 3 times")
def bpf_loop(t):
    btf, ids = t.functions(2)
    head = mov(1, 3)
    tail = mov(3, 0) + mov(4, 0) + call(181) + EXIT
    main = head + wide(2, 4, len(tail) // 8 + 1) + tail  # the distance to the callback, which stands behind
    callback = returns(0)
    prog = t.load(XDP, main + callback, btf=btf, functions=[(0, ids[0]), (len(main) // 8, ids[1])])
    if t.run(prog) != 3:
        raise Failed("it ran, but not 3 times")


def _special_value(t, name):
    """An array whose value holds a struct that the kernel knows; also the BTF's descriptor and two functions of it."""
    btf = Btf()
    integer, word = btf.integer("int", 4), btf.integer("long long", 8)
    if name == "bpf_timer":
        size, members = 16, (("a", word, 0), ("b", word, 8))
    else:
        size, members = 4, (("val", integer, 0),)
    value = btf.record("value", size + 8, ("special", btf.record(name, size, *members), 0), ("rest", word, size))
    functions = [btf.function(f"f{i}", integer, static=i > 0) for i in range(2)]
    fd = t.btf(btf)
    return t.map(2, 4, size + 8, btf=fd, btf_key=integer, btf_value=value), fd, functions


_LOOKUP = insn(0x62, 10, off=-4, imm=0) + mov_reg(2, 10) + insn(0x07, 2, imm=-4)


def _first(map_fd):
    """r6 = &map[0], or return."""
    return _LOOKUP + wide(1, 1, map_fd) + call(1) + insn(0x55, 0, off=1) + EXIT + mov_reg(6, 0)


@feature("spin_lock", "helper", "ran a program that takes and gives back a lock in a map")
def spin_lock(t):
    locked, fd, functions = _special_value(t, "bpf_spin_lock")
    code = _first(locked) + mov_reg(1, 6) + call(93) + mov_reg(1, 6) + call(94) + returns(5)
    if t.run(t.load(XDP, code, btf=fd, functions=[(0, functions[0])])) != 5:
        raise Failed("it ran, but found no lock")


@feature("timer", "helper", "ran a program that starts a timer in a map, and saw it fire")
def timer(t):
    timers, fd, functions = _special_value(t, "bpf_timer")
    counter = t.counter()
    head = _first(timers) + mov_reg(1, 6) + wide(2, 1, timers) + mov(3, 1) + call(169) + mov_reg(1, 6)
    tail = call(170) + mov_reg(1, 6) + mov(2, 0) + mov(3, 0) + call(171) + returns(5)
    main = head + wide(2, 4, len(tail) // 8 + 1) + tail
    callback = wide(1, 2, counter) + mov(2, 1) + insn(0xDB, 1, 2) + returns(0)
    prog = t.load(XDP, main + callback, btf=fd, functions=[(0, functions[0]), (len(main) // 8, functions[1])])
    if t.run(prog) != 5:
        raise Failed("it ran, but found no timer")
    for _ in range(200):
        if t.count(counter):
            return
        libc.usleep(100)
    t.expect(counter, "the timer was due")


# -- commands and settings


@feature("test_run", "command", "ran a program on a packet by BPF_PROG_TEST_RUN, and saw its return value")
def test_run(t):
    if t.run(t.load(XDP, returns(2))) != 2:
        raise Failed("it ran, but returned another value")


@feature("BTF", "command", "found a type in /sys/kernel/btf/vmlinux, and loaded BTF of its own")
def btf(t):
    t.kernel_type("task_struct", BTF_KIND_STRUCT)
    t.functions(1)


@feature("batch", "command", "read a hash map by BPF_MAP_LOOKUP_BATCH")
def batch(t):
    numbers = t.map(1, 4, 4)
    _put(numbers, 7)
    out, keys, values = (ctypes.c_uint32 * 4)(), (ctypes.c_uint32 * 1)(), (ctypes.c_uint32 * 1)()
    at = ctypes.addressof
    # in_batch, out_batch, keys, values, count, map_fd, elem_flags, flags
    attr = Attr("QQQQIIQQ", 0, at(out), at(keys), at(values), 1, numbers, 0, 0)
    try:
        bpf(MAP_LOOKUP_BATCH, attr)
    except OSError as error:
        if error.errno != 2:  # ENOENT: read to the end
            raise Failed(f"BPF_MAP_LOOKUP_BATCH failed: {errno_words(error.errno)}") from None
    if values[0] != 7:
        raise Failed("it read, but not what was written")


@feature("freeze", "command", "froze a map, and was refused to write it")
def freeze(t):
    frozen = t.map(2, 4, 4)
    with step("BPF_MAP_FREEZE"):
        bpf(MAP_FREEZE, Attr("I", frozen))
    try:
        _put(frozen, 1)
    except Failed:
        return
    raise Failed("it was frozen, and could be written")


@feature("pin", "command", "pinned a map to /sys/fs/bpf, and removed the pin")
def pin(t):
    path = f"/sys/fs/bpf/try-{os.urandom(4).hex()}"
    name = ctypes.create_string_buffer(path.encode())
    with step("BPF_OBJ_PIN"):
        bpf(OBJ_PIN, Attr("QI", ctypes.addressof(name), t.map(2)))
    os.unlink(path)


@feature("statistics", "command", "switched run-time statistics on by BPF_ENABLE_STATS")
def statistics(t):
    with step("BPF_ENABLE_STATS"):
        t.own(bpf(ENABLE_STATS, Attr("I", 0)))


@feature("JIT", "setting", "loaded a program, and asked for the length of its native code")
def jit(t):
    if not struct.unpack_from("I", info(t.load(XDP, returns(2)), 24), 16)[0]:
        raise Failed("the program has no native code: net.core.bpf_jit_enable is 0, or the kernel has no JIT")


@feature("kernel addresses", "setting", "read /proc/kallsyms")
def kernel_addresses(t):
    with open("/proc/kallsyms") as file:
        if int(next(file).split()[0], 16) == 0 and int(file.readlines(4096)[-1].split()[0], 16) == 0:
            raise Failed("all addresses are 0: the sysctl kernel.kptr_restrict hides them")


@feature("tracefs", "setting", "looked for the events in /sys/kernel/tracing")
def tracefs(t):
    if not os.path.isdir("/sys/kernel/tracing/events"):
        raise Failed("there is no /sys/kernel/tracing/events")


@feature("unprivileged BPF", "setting", "read the sysctl kernel.unprivileged_bpf_disabled")
def unprivileged(t):
    with open("/proc/sys/kernel/unprivileged_bpf_disabled") as file:
        number = file.read().strip()
    if number != "0":
        raise Failed(f"it is {number}: only root, or CAP_BPF, may load programs")
