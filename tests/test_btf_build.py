"""BTF made here: the kernel must take it, and bpftool must print it."""

import ctypes
import json
import os
import struct
import subprocess
from contextlib import contextmanager

import numpy as np
import pytest
from btf_support import ALL_CONSTRUCTS, bpftool, compiled, vmlinux

from bpflab.agent import syscalls
from bpflab.btf import Btf, Type, build, ctype

HASH, ARRAY, LPM_TRIE = 1, 2, 11
NO_PREALLOC = 1


@contextmanager
def loaded(blob):
    """BPF_BTF_LOAD; the verifier's log when the kernel says no."""
    data, log = ctypes.create_string_buffer(blob, len(blob)), ctypes.create_string_buffer(1 << 16)
    attr = syscalls.Attr("QQIII", ctypes.addressof(data), ctypes.addressof(log), len(blob), len(log), 1)
    try:
        fd = syscalls.bpf(syscalls.BTF_LOAD, attr)
    except OSError as e:
        raise AssertionError(f"{e}\n{log.value.decode()}") from None
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def kernel_map(key, value, kind=HASH, flags=0):
    """A map of 4 entries made with the BTF that `build` gives: (descriptor, key type, value type)."""
    blob, key_id, value_id = build(key, value)
    types = Btf(blob)
    k, v = types.type(key_id), types.type(value_id)
    with loaded(blob) as btf_fd:
        attr = syscalls.Attr("7I16s6I", kind, k.size, v.size, 4, flags, 0, 0, b"t", 0, btf_fd, key_id, value_id, 0, 0)
        fd = syscalls.bpf(syscalls.MAP_CREATE, attr)
        try:
            yield fd, k, v
        finally:
            os.close(fd)


def put(fd, key, value):
    k, v = ctypes.create_string_buffer(key, len(key)), ctypes.create_string_buffer(value, len(value))
    syscalls.bpf(syscalls.MAP_UPDATE_ELEM, syscalls.Attr("IIQQQ", fd, 0, ctypes.addressof(k), ctypes.addressof(v), 0))


def dump(fd):
    """What bpftool prints of the map: formatted by the kernel's types, so by ours."""
    info = open(f"/proc/self/fdinfo/{fd}").read()
    number = next(line.split()[1] for line in info.splitlines() if line.startswith("map_id"))
    out = subprocess.run([bpftool(), "-j", "map", "dump", "id", number], check=True, capture_output=True, text=True)
    return [(e["formatted"]["key"], e["formatted"]["value"]) for e in json.loads(out.stdout)]


FLOW = np.dtype(
    [("saddr", ">u4"), ("port", "u2"), ("ok", "?"), ("mac", "u1", (6,)), ("in", [("a", "i4"), ("b", "u8")]), ("comm", "S8")],
    align=True,
)  # fmt: skip


def test_bpftool_prints_a_map_made_from_a_dtype_with_its_types():
    with kernel_map("u32", FLOW) as (fd, key, value):
        assert value.dtype == FLOW
        put(fd, key.encode(7), value.encode((1, 80, True, [1, 2, 3, 4, 5, 6], (-5, 1 << 60), "bash")))
        want = {"saddr": 1 << 24, "port": 80, "ok": True, "mac": [1, 2, 3, 4, 5, 6], "in": {"a": -5, "b": 1 << 60},
                "comm": "bash"}  # fmt: skip
        [(got_key, got)] = dump(fd)
        assert got_key == 7
        got["comm"] = "".join(got["comm"]) if isinstance(got["comm"], list) else got["comm"]
        assert got == want


@pytest.mark.parametrize(
    "key,value",
    [
        ("u32", "u64"), ("int", "char[16]"), ("__be32", "bool"), ("u8[6]", "s8"), (16, 3), ("unsigned __int128", "double"),
        ("char[4][2]", "float"), (np.dtype("S5"), np.dtype(">u8")), (np.uint64, np.dtype((np.int16, (2, 3)))),
        ("unsigned long", np.dtype("V7")), ("size_t", "uint8_t"),
    ],
)  # fmt: skip
def test_the_kernel_takes_scalars_and_arrays(key, value):
    with kernel_map(key, value) as (fd, k, v):
        put(fd, bytes(k.size), bytes(v.size))
        if "float" not in {k.resolved.kind, v.resolved.kind}:  # which bpftool 7.1 prints as broken JSON
            assert len(dump(fd)) == 1


@pytest.mark.parametrize(
    "name", ["iphdr", "tcphdr", "sockaddr_in6", "in6_addr", "bpf_sock_ops", "timespec64", "tcp_ca_state"]
)
def test_the_kernel_takes_copies_of_its_own_types(name):
    mine = vmlinux().find(name)
    with kernel_map(mine, mine) as (fd, k, v):
        assert k.c == mine.c and v.dtype == mine.dtype
        put(fd, bytes(k.size), bytes(v.size))
        assert len(dump(fd)) == 1


def test_the_kernel_takes_a_copy_of_every_construct():
    t = compiled(ALL_CONSTRUCTS.replace("char tail[];", "") + "struct all it;").find("struct all")
    with kernel_map(t, t) as (_, k, _v):
        assert k.dtype == t.dtype and [f[2:] for f in k.fields] == [f[2:] for f in t.fields]


def test_other_map_types():
    with kernel_map("u32", FLOW, ARRAY) as (fd, _, _):
        assert len(dump(fd)) == 4
    prefix = np.dtype([("prefixlen", "u4"), ("addr", ">u4")])
    with kernel_map(prefix, "u64", LPM_TRIE, NO_PREALLOC) as (fd, key, value):
        put(fd, key.encode((8, "10.0.0.0")), value.encode(5))
        assert dump(fd) == [({"prefixlen": 8, "addr": 10}, 5)]
    blob, key_id, value_id = build(None, "u32")
    with loaded(blob):
        assert key_id == 0 and Btf(blob).type(value_id).name == "u32"


def test_a_spin_lock_stays_one():
    source = "struct bpf_spin_lock { unsigned val; }; struct v { struct bpf_spin_lock lock; int n; }; struct v it;"
    with kernel_map("u32", compiled(source).find("struct v"), ARRAY) as (fd, _, _):
        assert json.dumps(dump(fd)[0][1]) == '{"lock": {"val": 0}, "n": 0}'


def test_pointers_keep_only_the_name_of_what_they_lead_to():
    source = "struct deep { int x; }; struct v { struct deep *p; int (*f)(int); struct v *next; }; struct v it;"
    blob, _, value = build("u32", compiled(source).find("struct v"))
    with loaded(blob):
        copy = Btf(blob).type(value)
        assert copy.size == 24 and [m.type.target.kind for m in copy.members] == ["fwd", "void", "fwd"]


TEXTS = {
    "u8": ("u1", 1), "__s16": ("i2", 2), "uint32_t": ("u4", 4), "int": ("i4", 4), "unsigned": ("u4", 4), "long": ("i8", 8),
    "long unsigned int": ("u8", 8), "unsigned long long": ("u8", 8), "short int": ("i2", 2), "const char": ("i1", 1),
    "unsigned char": ("u1", 1), "signed": ("i4", 4), "bool": ("?", 1), "_Bool": ("?", 1), "double": ("f8", 8), "pid_t": ("i4", 4),
    "size_t": ("u8", 8), "__be16": (">u2", 2), "u64 [ 3 ]": ("(3,)u8", 24), "int[2][0x2]": ("(2,2)i4", 16), "char[3]": ("S3", 3),
    " u32 ": ("u4", 4), "signed char": ("i1", 1), "long long int": ("i8", 8), "int[3]": ("(3,)i4", 12),
}  # fmt: skip


@pytest.mark.parametrize("text", TEXTS)
def test_c_text(text):
    t = ctype(text)
    assert (t.dtype, t.size) == (np.dtype(TEXTS[text][0]), TEXTS[text][1])


def test_c_text_means_what_clang_means():
    for text in TEXTS:
        base, _, array = text.partition("[")
        if base.strip().startswith(("u8", "u32", "u64", "__", "uint", "size_t", "pid_t", "bool")):
            continue
        theirs = compiled(f"{base} it{'[' if array else ''}{array};").find("it", "var").target
        assert ctype(text).dtype == theirs.dtype, text


@pytest.mark.parametrize(
    "spec,error,text",
    [
        ("u23", ValueError, "no C type named 'u23'; did you mean 'u32'"),
        (
            "struct flow",
            ValueError,
            "'struct flow' is not known here; give a NumPy dtype, or a Type of a loaded object's BTF",
        ),
        ("", ValueError, "no C scalar"),
        ("u32 *", ValueError, "'u32 \\*' is no C scalar or array of them"),
        ("char[]", ValueError, "no C scalar"),
        ("char[n]", ValueError, "array size that is no number"),
        ("u8[0]", ValueError, "no elements or too many"),
        (0, ValueError, "0 bytes make no type"),
        (-4, ValueError, "-4 bytes make no type"),
        (True, TypeError, "True names no C type"),
        (3.5, TypeError, "names no C type; give C text"),
        (None, TypeError, "None names no C type"),
        (np.dtype("U4"), TypeError, "no type for the NumPy dtype <U4; text is 'S16'"),
        (np.dtype("S"), TypeError, "give the length, as in 'S16'"),
        (np.dtype("O"), TypeError, "no type for the NumPy dtype object"),
        (np.dtype("f2"), TypeError, "float16"),
        (np.dtype("M8[ns]"), TypeError, "datetime64"),
        (np.dtype([("a b", "u4")]), ValueError, "field 'a b' is no name in C"),
        (np.dtype([]), ValueError, "without fields"),
    ],
)
def test_what_is_no_c_type(spec, error, text):
    with pytest.raises(error, match=text):
        ctype(spec)


def test_types_and_builtin_classes():
    t = vmlinux().find("int")
    assert ctype(t) is t and isinstance(ctype(8), Type) and ctype(8).dtype == np.dtype("(8,)u1")
    assert ctype(np.uint32).dtype == np.dtype("u4") and ctype(bool).dtype == np.dtype("?")
    assert ctype(np.dtype([("a", "u4")]), "flow").name == "flow"
    with pytest.raises(TypeError, match="has no size"):
        build("u32", vmlinux().find("vfs_read", "func"))


def test_overlapping_and_unordered_fields():
    dtype = np.dtype({"names": ["b", "a"], "formats": ["u2", "u4"], "offsets": [4, 0], "itemsize": 8})
    with kernel_map("u32", dtype) as (_, _, v):
        assert [(f.name, f.offset) for f in v.fields] == [("a", 0), ("b", 4)]


def test_the_header_is_as_the_kernel_wants_it():
    blob, _, _ = build("u32", "u64")
    magic, version, flags, length = struct.unpack_from("=HBBI", blob)
    assert (magic, version, flags, length) == (0xEB9F, 1, 0, 24)
