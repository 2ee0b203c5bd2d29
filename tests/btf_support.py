"""What the BTF tests share: C compiled by clang for BPF, whose own view of the layout is the judge."""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from elftools.elf.elffile import ELFFile

from bpflab.btf import Btf

VMLINUX = Path("/sys/kernel/btf/vmlinux")


@functools.cache
def vmlinux() -> Btf:
    return Btf(VMLINUX.read_bytes())


@functools.cache
def bpftool() -> str:
    # a user's PATH need not have /usr/sbin
    return shutil.which("bpftool", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin") or "bpftool"


@functools.cache
def vmlinux_h() -> str:
    command = [bpftool(), "btf", "dump", "file", str(VMLINUX), "format", "c"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@functools.cache
def sections(source: str, target: str = "bpf") -> dict[str, bytes]:
    """Compile C and return the sections of the object. target: "bpf" or "bpfeb" (big endian)."""
    with tempfile.TemporaryDirectory() as folder:
        c, o = Path(folder, "case.c"), Path(folder, "case.o")
        c.write_text(source)
        subprocess.run(["clang", "-target", target, "-g", "-O1", "-c", c, "-o", o], check=True)
        elf = ELFFile(io.BytesIO(o.read_bytes()))
        return {s.name: s.data() for s in elf.iter_sections()}


def compiled(source: str, target: str = "bpf") -> Btf:
    return Btf(sections(source, target)[".BTF"])


def numbers(source: str, expressions: list[str], target: str = "bpf") -> list[int]:
    """What clang takes each constant expression for, in the words of `source`."""
    out = []
    for start in range(0, len(expressions), 500):
        part = ", ".join(expressions[start : start + 500])
        table = f'\nunsigned long long answers[] __attribute__((section(".answers"))) = {{ {part} }};\n'
        data = sections(source + "\n#define offsetof __builtin_offsetof" + table, target)[".answers"]
        order = "little" if target == "bpf" else "big"
        out += [int.from_bytes(data[i : i + 8], order) for i in range(0, len(data), 8)]
    return out


ALL_CONSTRUCTS = """
typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;
typedef __u64 __be64;
typedef _Bool bool;

enum color { RED, GREEN = 5, BLUE };
typedef enum { SMALL = 1, LARGE = 70000 } width;

struct pair { __u16 left; __u64 right; };
struct declared;
typedef int (*callback)(struct pair *, const char *name, ...);
typedef struct { char text[6]; __u8 mac[6]; } label;

union number { __u32 whole; __u16 halves[2]; __u8 bytes[4]; };

struct __attribute__((packed)) tight { __u8 one; __u32 four; __u16 two : 9; __u64 wide : 55; };

struct bits {
    __u32 low : 3;
    __u32 middle : 11;
    int signed_one : 5;
    enum color tint : 3;
    bool flag : 1;
    __u64 long_one : 37;
    __u8 : 0;
    __u8 after : 2;
};

struct all {
    signed char sc;
    short s;
    int i;
    long l;
    bool yes;
    float f;
    double d;
    __int128 huge;
    unsigned __int128 uhuge;
    __u64 big;
    __be16 port;
    __be32 addr;
    __be64 be;
    char comm[16];
    __u8 octets[3];
    short grid[2][3];
    label labels[2];
    enum color color;
    width width;
    struct pair nested;
    struct { __u32 inner; struct { __u8 deep; }; };
    union { __u32 as_int; struct { __u16 lo; __u16 hi; }; };
    union number number;
    struct bits bits;
    struct tight tight;
    void *pointer;
    const volatile struct declared *incomplete;
    callback call;
    const char *const *names;
    int (*table)[4];
    char tail[];
};
"""

FIELDS_OF_ALL = (
    "sc s i l yes f d huge uhuge big port addr be comm octets grid labels color width nested inner deep as_int lo hi "
    "number bits tight pointer incomplete call names table tail"
).split()

VALUE_OF_ALL = """
struct all value __attribute__((section(".value"))) = {
    .sc = -3, .s = -300, .i = -70000, .l = -(1L << 40), .yes = 1, .f = 1.5f, .d = -2.25,
    .huge = -((__int128)1 << 100), .uhuge = (unsigned __int128)7 << 120, .big = 0xfedcba9876543210ull,
#ifdef BIG
    .port = 80, .addr = 0x0a000001, .be = 0x0102030405060708,
#else
    .port = __builtin_bswap16(80), .addr = __builtin_bswap32(0x0a000001), .be = __builtin_bswap64(0x0102030405060708),
#endif
    .comm = "bash", .octets = { 1, 2, 255 }, .grid = { { 1, -2, 3 }, { 4, 5, -6 } },
    .labels = { { "ab", { 1, 2, 3, 4, 5, 6 } }, { "abcdef", { 255 } } },
    .color = GREEN, .width = LARGE, .nested = { 9, 1ull << 63 }, .inner = 11, .deep = 12,
    .as_int = 0x00020001, .number = { .whole = 0x01020304 },
    .bits = { 5, 1025, -7, BLUE, 1, 0x1234567890, 3 }, .tight = { 1, 0xdeadbeef, 300, 0x55aa55aa55aa5 },
    .pointer = (void *)0x1122334455667788, .tail = {},
};
"""


def value_of_all(btf: Btf) -> dict:
    """VALUE_OF_ALL in Python; the members not in it are zero."""
    little = btf.order == "<"
    return {
        "sc": -3, "s": -300, "i": -70000, "l": -(1 << 40), "yes": True, "f": 1.5, "d": -2.25,
        "huge": -(1 << 100), "uhuge": 7 << 120, "big": 0xFEDCBA9876543210,
        "port": 80, "addr": 0x0A000001, "be": 0x0102030405060708,
        "comm": "bash", "octets": [1, 2, 255], "grid": [[1, -2, 3], [4, 5, -6]],
        "labels": [("ab", [1, 2, 3, 4, 5, 6]), ("abcdef", [255, 0, 0, 0, 0, 0])],
        "color": 5, "width": 70000, "nested": (9, 1 << 63), "inner": 11, "deep": 12,
        "as_int": 0x20001, "lo": 1 if little else 2, "hi": 2 if little else 1,
        "number": (0x01020304, [0x0304, 0x0102] if little else [0x0102, 0x0304], [4, 3, 2, 1] if little else [1, 2, 3, 4]),
        "bits": (5, 1025, -7, 6, True, 0x1234567890, 3), "tight": (1, 0xDEADBEEF, 300, 0x55AA55AA55AA5),
        "pointer": 0x1122334455667788, "incomplete": 0, "call": 0, "names": 0, "table": 0, "tail": "",
    }  # fmt: skip
