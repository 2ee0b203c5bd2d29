"""C text: compiled again it must mean the same."""

import re

import pytest
from btf_support import ALL_CONSTRUCTS, FIELDS_OF_ALL, compiled, numbers, vmlinux, vmlinux_h

from bpflab.btf import ctype

NAMES = ("color", "pair", "number", "tight", "bits", "all")


def test_declarations_compile_to_the_same_layout():
    btf = compiled(ALL_CONSTRUCTS + "struct all it; struct declared { int x; }; enum color c;")
    typedefs = "\n".join(btf.find(n).c for n in ("__u8", "__u16", "__u32", "__u64", "__be16", "__be32", "__be64"))
    typedefs = "typedef _Bool bool;\n" + typedefs + "\nstruct pair;\n" + btf.find("callback").c
    text = (
        "\n".join(btf.find(n).c for n in NAMES[:-1])
        + btf.find("label").c
        + btf.find("width").c
        + btf.find("struct all").c
    )
    questions = [f"offsetof(struct all, {f})" for f in FIELDS_OF_ALL] + [f"sizeof({k} {n})" for k, n in
                 [("enum", "color"), *(("union" if n == "number" else "struct", n) for n in NAMES[1:])]]  # fmt: skip
    assert numbers(f"{typedefs}\n{text}", questions) == numbers(ALL_CONSTRUCTS, questions)
    again = compiled(f"{typedefs}\n{text}\nstruct all it; enum color c;")
    for name in NAMES:
        assert again.find(name).c == btf.find(name).c


def test_kernel_structs_compile_to_the_same_layout():
    """Bitfields, packed structs and unions as they really occur; what `aligned` attributes place is not in BTF."""
    names = ("iphdr", "tcphdr", "ipv6hdr", "sock", "sk_buff", "__sk_buff", "perf_event_attr", "bpf_insn", "sockaddr_un",
             "in6_addr", "ethhdr", "arphdr", "bpf_iter_num", "nlmsghdr", "kstat", "cred")  # fmt: skip
    theirs = [vmlinux().find(n) for n in names]
    texts = [t.c.replace(f" {t.name} ", f" my_{t.name} ", 1) + f"\n{t.kind} my_{t.name} v_{t.name};" for t in theirs]
    ours = compiled(vmlinux_h() + "\n".join(texts))
    for t in theirs:
        mine = ours.find(f"my_{t.name}")
        assert [(f.name, f.offset_bits, f.bits) for f in mine.fields] == [
            (f.name, f.offset_bits, f.bits) for f in t.fields
        ], t.name
        assert mine.size == t.size


def test_what_it_looks_like():
    source = """
    typedef unsigned int u32; struct other; enum e { A, B = 7 };
    struct flow {
        u32 saddr; char comm[16]; unsigned low : 3; int high : 5;
        union { u32 a; struct { short b, c; } parts; };
        struct other *next; const char *const names[2]; int (*call)(struct flow *, u32 n); void (*none)(void);
        u32 (*table)[4]; enum e e; volatile int v;
    };
    struct flow it;
    """
    btf = compiled(source)
    assert (
        btf.find("struct flow").c
        == """\
struct flow {
    u32 saddr;
    char comm[16];
    unsigned int low : 3;
    int high : 5;
    union {
        u32 a;
        struct {
            short b;
            short c;
        } parts;
    };
    struct other *next;
    const char *const names[2];
    int (*call)(struct flow *, u32);
    void (*none)(void);
    u32 (*table)[4];
    enum e e;
    volatile int v;
};"""
    )
    assert btf.find("enum e").c == "enum e {\n    A = 0,\n    B = 7,\n};"
    assert btf.find("u32").c == "typedef unsigned int u32;"
    assert btf.find("it", "var").c == "struct flow it;"
    assert btf.find("other", "fwd").c == "struct other;"
    assert repr(btf.find("enum e").c) == btf.find("enum e").c
    assert ctype("u8[2][3]").c == "u8[2][3]" and ctype("bool").c == "bool"


def test_functions():
    btf = compiled("struct s; int f(struct s *a, const char *b) { return 0; } void g(void) {}")
    assert btf.find("f", "func").c == "int f(struct s *a, const char *b);"
    assert btf.find("g").c == "void g(void);"
    assert [name for name, _ in btf.find("f").params] == ["a", "b"]
    assert vmlinux().find("_printk", "func").c == "int _printk(const char *fmt, ...);"


def test_task_struct_begins_as_in_the_kernel():
    text = vmlinux().find("task_struct").c
    assert text.startswith("struct task_struct {\n    struct thread_info thread_info;\n    unsigned int __state;\n")
    assert re.search(r"^    char comm\[16\];$", text, re.M) and re.search(r"^    pid_t pid;$", text, re.M)
    assert text.count("\n") < 600  # named structs are named, not spread out


def test_every_type_of_the_kernel_has_text():
    for id in range(0, len(vmlinux()), 7):
        t = vmlinux().type(id)
        assert t.c and repr(t).startswith("<")


@pytest.mark.parametrize(
    "text,want",
    [
        ("u32", "<typedef u32 = unsigned int, 4 bytes>"),
        ("char[16]", "<char[16], 16 bytes>"),
        ("bool", "<bool, 1 byte>"),
    ],
)
def test_repr(text, want):
    assert repr(ctype(text)) == want


def test_repr_of_structs():
    t = vmlinux().find("iphdr")
    assert repr(t) == ("<struct iphdr, 20 bytes: ihl, version, tos, tot_len, id, frag_off, ttl, protocol, ... (12)>")
    assert repr(t.members[1]) == "<member __u8 version at 0 + 4 bits, 4 bits>"
    assert repr(t.members[2]) == "<member __u8 tos at 1>"
    assert repr(vmlinux()).startswith("<BTF: ")
