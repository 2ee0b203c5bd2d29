"""Blobs: looking things up, and what happens to damaged ones."""

import random
import struct

import pytest
from btf_support import ALL_CONSTRUCTS, compiled, sections, vmlinux

from bpflab.btf import Btf, build, map_def, map_types
from bpflab.btf.build import Builder
from bpflab.errors import ObjectError, UnknownNameError

MAPS = """
typedef unsigned int u32; typedef unsigned long long u64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, val) int (*name)[val]
#define __type(name, val) typeof(val) *name
#define __array(name, val) typeof(val) *name[]
struct flow { u32 a; u64 b; };
struct inner { __uint(type, 1); __uint(max_entries, 8); __type(key, u32); __type(value, struct flow); } one SEC(".maps");
struct { __uint(type, 1); __uint(max_entries, 1024); __uint(map_flags, 1 << 5); __type(key, struct flow); __type(value, u64); }
    flows SEC(".maps");
struct { __uint(type, 27); __uint(max_entries, 4096); __type(value, struct flow); } ring SEC(".maps");
struct { __uint(type, 12); __uint(max_entries, 2); __uint(key_size, 4); __array(values, struct inner); } outer SEC(".maps") =
    { .values = { &one } };
struct { __uint(type, 3); __uint(max_entries, 2); __type(key, u32); __array(values, int (void *)); } tail SEC(".maps");
u64 lost = 0; const volatile u32 limit = 9; static int hits = 3; int *use(void) { hits++; return &hits; }
u32 not_a_map = 1;
"""


def test_find():
    btf = vmlinux()
    assert btf.find("task_struct") is btf.find("struct task_struct") is btf.find("task_struct", "struct")
    assert btf.find("u32").kind == "typedef" and btf.find("unsigned int").kind == "int"
    assert btf.find("bpf_map_type").kind == btf.find("enum bpf_map_type").kind == "enum"
    assert btf.find("vfs_read").kind == "func"
    assert btf.type(0).kind == "void"
    assert btf.type(btf.find("sk_buff").id) is btf.find("sk_buff")


@pytest.mark.parametrize(
    "name,kind,text",
    [
        ("task_strukt", None, "no type named 'task_strukt' in this BTF; did you mean 'task_struct'"),
        ("struct task_strukt", None, "no struct named 'task_strukt' in this BTF; did you mean 'task_struct'"),
        ("vfs_raed", "func", "no func named 'vfs_raed' in this BTF; did you mean 'vfs_read'"),
        ("task_struct", "union", "no union named 'task_struct'"),
        ("", None, "no type named ''"),
        ("int", "strcut", "no BTF kind named 'strcut'; did you mean 'struct'"),
    ],
)
def test_find_offers_near_names(name, kind, text):
    with pytest.raises(UnknownNameError) as e:
        vmlinux().find(name, kind)
    assert str(e.value).startswith(text)


def test_ids():
    btf = compiled("int it;")
    assert [t.id for t in btf.types()] == list(range(1, len(btf) + 1))
    assert [t.name for t in btf.types("var")] == ["it"]
    for wrong in (-1, len(btf) + 1):
        with pytest.raises(ObjectError, match=f"type id {wrong} is not in this BTF"):
            btf.type(wrong)


def test_a_blob_that_continues_another():
    """What a kernel module's BTF does: ids and names go on where vmlinux ends."""
    base = vmlinux()
    iphdr = base.find("iphdr")
    strings = b"\0mine\0head\0"
    name = len(base.data[base._str_start :])  # strings of the base come first
    types = struct.pack("=6I", name + 1, 4 << 24 | 1, 20, name + 6, iphdr.id, 0)
    blob = struct.pack("=HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings
    module = Btf(blob, base)
    assert len(module) == len(base) + 1
    mine = module.find("struct mine")
    assert mine.id == len(base) + 1 and mine.members[0].type is iphdr and mine.dtype["head"] == iphdr.dtype
    assert module.find("task_struct") is base.find("task_struct") and list(module.types()) == [mine]
    with pytest.raises(UnknownNameError):
        module.find("task_strukt")
    big = compiled("int it;", "bpfeb")
    with pytest.raises(ObjectError, match="differ in byte order"):
        Btf(blob, big)


def test_data_sections():
    btf = compiled(MAPS)
    assert set(btf.datasec(".maps")) == {"flows", "ring", "outer", "one", "tail"}
    assert btf.datasec(".bss")["lost"][0].name == "u64"
    assert btf.datasec(".rodata")["limit"][0].resolved.size == 4
    assert set(btf.datasec(".data")) == {"hits", "not_a_map"}
    with pytest.raises(UnknownNameError, match="no datasec named '.map'.*did you mean '.maps'"):
        btf.datasec(".map")


def test_map_definitions():
    btf = compiled(MAPS)
    key, value = map_types(btf, "flows")
    assert (key.name, value.name) == ("flow", "u64")
    assert map_def(btf, "flows").settings == {"type": 1, "max_entries": 1024, "map_flags": 32}
    ring = map_def(btf, "ring")
    assert ring.key is None and ring.value.size == 16
    outer = map_def(btf, "outer")
    assert (outer.key, outer.value, outer.settings["key_size"]) == (None, None, 4)
    assert outer.inner.value.name == "flow" and outer.inner.settings["max_entries"] == 8
    assert map_def(btf, "tail").inner is None and map_types(btf, "tail")[0].name == "u32"
    with pytest.raises(UnknownNameError, match="did you mean 'flows'"):
        map_types(btf, "flow")
    with pytest.raises(ObjectError, match="'not_a_map' is no map definition"):
        map_types(btf, "not_a_map")


@pytest.mark.parametrize("target", ["bpf", "bpfeb"])
def test_every_cut_of_a_blob_is_refused(target):
    whole = sections(ALL_CONSTRUCTS + "struct all it;", target)[".BTF"]
    for end in range(len(whole)):
        with pytest.raises(ObjectError):
            Btf(whole[:end])
    Btf(whole)


def test_a_cut_kernel_is_refused():
    whole = vmlinux().data
    for end in (0, 3, 23, 24, 1000, len(whole) // 2, len(whole) - 1):
        with pytest.raises(ObjectError):
            Btf(whole[:end])


@pytest.mark.parametrize(
    "data,text",
    [
        (b"", "0 bytes are too few for BTF"),
        (
            b"\x7fELF" + bytes(60),
            "not BTF: it starts with 7f 45 4c 46 where 9f eb is due; give the bytes of an object's .BTF",
        ),
        (struct.pack("<HBBIIIII", 0xEB9F, 2, 0, 24, 0, 0, 0, 0), "BTF version 2 is unknown"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 48, 48, 1), "cut short: 24 of 73 bytes are there"),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 24, 0, 0, 0, 1) + b"x", "do not end with a NUL"),
        (
            struct.pack("<HBBIIIIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1, 0, 25 << 24, 0) + b"\0",
            "type 1 .* unknown kind \\(25\\)",
        ),
        (
            struct.pack("<HBBIIIIIIII", 0xEB9F, 1, 0, 24, 0, 12, 12, 1, 0, 4 << 24 | 9, 0) + b"\0",
            "last type .* cut short",
        ),
        (struct.pack("<HBBIIIII", 0xEB9F, 1, 0, 8, 0, 0, 0, 0), "header of this BTF makes no sense"),
    ],
)
def test_foreign_bytes(data, text):
    with pytest.raises(ObjectError, match=text):
        Btf(data)


def test_an_empty_blob_has_no_types():
    blob, _, _ = build(None, None)
    assert len(Btf(blob)) == 0 and list(Btf(blob).types()) == []
    with pytest.raises(UnknownNameError, match="there is none"):
        Btf(blob).find("x")


def test_types_that_go_round_in_circles():
    made = Builder()
    loop = made.add("typedef", "a", 2)
    made.add("typedef", "b", loop)
    inside = made.record("struct", "s", 8, [("s", 3, 0, 0)])
    made.add("array", "", 0, 4, 4, 2)
    made.record("struct", "t", 8, [("", 5, 0, 0)])
    made.add("const", "", 6)
    btf = Btf(made.blob())
    for id in (loop, inside, 4, 5, 6):
        with pytest.raises(ObjectError, match="damaged"):
            btf.type(id).dtype  # noqa: B018
        assert repr(btf.type(id))


def walk(btf):
    """Ask for everything. A type without size is no damage; everything else must come out as ObjectError."""
    for id in range(len(btf) + 1):
        for ask in ("name", "size", "target", "resolved", "members", "fields", "enumerators", "params", "variables",
                    "dtype", "c", "encoding", "__repr__"):  # fmt: skip
            try:
                got = getattr(btf.type(id), ask)
                got = got() if ask == "__repr__" else got
            except ObjectError:
                pass
            except TypeError:
                assert ask == "dtype"


def test_damaged_blobs_end_in_object_errors():
    blobs = [sections(source)[".BTF"] for source in (ALL_CONSTRUCTS + "struct all it;", MAPS)]
    luck = random.Random(3)
    refused = 0
    for _ in range(150):
        data = bytearray(luck.choice(blobs))
        for _ in range(luck.randint(1, 4)):
            data[luck.randrange(24, len(data))] = luck.choice([0, 1, 4, 0xFF, luck.randrange(256)])
        try:
            btf = Btf(bytes(data))
        except ObjectError:
            refused += 1
            continue
        walk(btf)
    assert 0 < refused < 150
