"""Types, offsets and sizes against clang and bpftool."""

import json
import subprocess

import pytest
from btf_support import ALL_CONSTRUCTS, FIELDS_OF_ALL, VMLINUX, bpftool, compiled, numbers, vmlinux, vmlinux_h

from bpflab.btf import ctype

# None with an enum of one byte (struct inode): bpftool before 7.2 declares those without their size.
KERNEL_STRUCTS = (
    "task_struct", "sk_buff", "iphdr", "tcphdr", "udphdr", "ethhdr", "ipv6hdr", "sock", "inet_sock", "file", "dentry", "cgroup",
    "net_device", "mm_struct", "bpf_map", "bpf_prog", "bpf_attr", "__sk_buff", "xdp_md", "bpf_sock_ops", "sched_entity",
)  # fmt: skip


@pytest.mark.parametrize("target", ["bpf", "bpfeb"])
def test_every_construct_lies_where_clang_puts_it(target):
    t = compiled(ALL_CONSTRUCTS + "struct all it;", target).find("struct all")
    offsets = numbers(ALL_CONSTRUCTS, [f"offsetof(struct all, {f})" for f in FIELDS_OF_ALL], target)
    assert [f.name for f in t.fields] == FIELDS_OF_ALL
    assert [f.offset for f in t.fields] == offsets
    assert [t.dtype.fields[f][1] for f in FIELDS_OF_ALL] == offsets
    assert [t.size, t.dtype.itemsize] == numbers(ALL_CONSTRUCTS, ["sizeof(struct all)"] * 2, target)


@pytest.mark.parametrize("target,order", [("bpf", "<"), ("bpfeb", ">")])
def test_dtypes_of_every_construct(target, order):
    got = compiled(ALL_CONSTRUCTS + "struct all it;", target).find("struct all").dtype
    want = {
        "sc": "i1", "s": "i2", "i": "i4", "l": "i8", "yes": "?", "f": "f4", "d": "f8", "huge": "(2,)u8", "big": "u8",
        "comm": "S16", "octets": "(3,)u1", "grid": "(2,3)i2", "color": "u4", "width": "u4", "pointer": "u8", "call": "u8",
    }  # fmt: skip
    for field, text in want.items():
        assert got[field].newbyteorder(order) == got[field], field
        assert got[field].newbyteorder("=") == text, field
    assert [got[f].str for f in ("port", "addr", "be")] == [">u2", ">u4", ">u8"]  # whatever the machine is
    assert got["tail"].itemsize == 0


def test_every_type_of_this_kernel_against_bpftool():
    text = subprocess.run([bpftool(), "-j", "btf", "dump", "file", VMLINUX], check=True, capture_output=True).stdout
    theirs = json.loads(text)["types"]
    btf = vmlinux()
    assert len(btf) == len(theirs)
    for t in theirs:
        ours, kind = btf.type(t["id"]), t["kind"].lower()
        assert (ours.kind, ours.name) == (kind, "" if t["name"] == "(anon)" else t["name"]), t
        if "type_id" in t:
            assert ours.target.id == t["type_id"], t
        if "ret_type_id" in t:
            assert ours.target.id == t["ret_type_id"], t
        if "size" in t:
            assert ours.size == t["size"], t
        if kind in ("struct", "union"):
            want = [(m["name"], m["type_id"], m["bits_offset"], m.get("bitfield_size", 0)) for m in t["members"]]
            got = [(m.name or "(anon)", m.type.id, m.offset_bits, m.bitfield_size) for m in ours.members]
            assert got == want, t
        elif kind in ("enum", "enum64"):
            assert list(ours.enumerators) == [v["name"] for v in t["values"]]
        elif kind == "func_proto":
            got = [(n or "(anon)", p.id) for n, p in ours.params]
            assert got == [(p["name"], p["type_id"]) for p in t["params"]]
        elif kind == "array":
            assert (ours.target.id, ours.nelems) == (t["type_id"], t["nr_elems"])
        elif kind == "datasec":
            assert [(v.id, o, s) for v, o, s in ours.variables] == [
                (v["type_id"], v["offset"], v["size"]) for v in t["vars"]
            ]


def test_kernel_structs_against_clang():
    """Also what bpftool's listing leaves open: where members of anonymous members lie."""
    expressions, want = [], []
    for name in KERNEL_STRUCTS:
        t = vmlinux().find(name)
        assert t.kind in ("struct", "union")
        expressions.append(f"sizeof({t.kind} {name})")
        want.append(t.dtype.itemsize)
        for f in t.fields:
            if not f.bits:
                expressions.append(f"offsetof({t.kind} {name}, {f.name})")
                want.append(t.dtype.fields[f.name][1])
    assert len(want) > 1000
    assert numbers(vmlinux_h(), expressions) == want


def test_every_struct_of_this_kernel_has_a_dtype():
    count = 0
    for kind in ("struct", "union"):
        for t in vmlinux().types(kind):
            assert t.dtype.itemsize == t.size
            count += 1
    assert count > 5000


def test_a_typedef_passes_on_what_it_names():
    t = ctype("__be32")
    assert (t.kind, t.size, t.order, t.encoding) == ("typedef", 4, ">", "unsigned")
    assert t.resolved.kind == "int" and t.resolved.order != ">"
    assert ctype("__be32[4]").dtype.base.str == ">u4"
    qualified = compiled("const volatile int it = 3; typedef const char *text; text t;")
    assert qualified.find("it", "var").target.resolved.name == "int"
    assert qualified.find("text").resolved.kind == "ptr"


def test_what_has_no_size_says_so():
    btf = compiled("struct gone; struct gone *it; int f(int a) { return a; }")
    for t, word in [(btf.find("gone"), "not defined"), (btf.find("f"), "no size"), (btf.type(0), "void has no size")]:
        assert t.size == 0
        with pytest.raises(TypeError, match=word):
            t.dtype  # noqa: B018
        with pytest.raises(TypeError, match=word):
            t.encode(1)


def test_tags_and_64_bit_enums():
    source = """
    struct tagged { int a; } __attribute__((btf_decl_tag("mine")));
    struct tagged it;
    int __attribute__((btf_type_tag("user"))) *p;
    """
    btf = compiled(source)
    tag = btf.find("mine", "decl_tag")
    assert tag.target.name == "tagged"
    pointed = btf.find("p", "var").target.target
    assert (pointed.kind, pointed.name, pointed.resolved.name, pointed.dtype.str[1:]) == (
        "type_tag",
        "user",
        "int",
        "i4",
    )
    wide = [t for t in vmlinux().types("enum64") if t.name]
    assert wide and all(t.dtype.itemsize == 8 for t in wide)
    assert any(t.enumerators.get("BPF_F_INDEX_MASK") == 0xFFFFFFFF for t in vmlinux().types("enum64"))
