"""Cells that trace one place: the C of a program, and the Python that attaches it and reads what it sends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from .. import elf
from .formats import Field, Format

if TYPE_CHECKING:
    from ..btf import Type
    from .catalog import Catalog, Place

_WORD = re.compile(r"\W+")
_C_WORDS = {"auto", "break", "case", "char", "const", "continue", "default", "do", "double", "else", "enum", "extern", "float",
            "for", "goto", "if", "inline", "int", "long", "register", "return", "short", "signed", "sizeof", "static", "struct",
            "switch", "typedef", "union", "unsigned", "void", "volatile", "while", "bool", "true", "false"}  # fmt: skip
_TAKEN = _C_WORDS | {"e", "ctx", "events", "lost", "time_ns", "pid", "comm"}  # what the program has of its own
TEXT = 64  # bytes of a text that are sent

_HEAD = """\
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
"""
_TAIL = """
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


class Recipe(NamedTuple):
    """Two cells: `program` begins with %%bpf, `read` attaches it and shows what came."""

    program: str
    read: str


def recipe(catalog: Catalog, place: Place) -> Recipe:
    """Cells for a place, ready to run."""
    return {
        "tracepoint": _tracepoint,
        "kernel function": _kernel_function,
        "user function": _user_function,
        "USDT": _usdt,
        "perf event": _perf_event,
    }[place.kind](catalog, place)


def _name(place: Place) -> str:
    return "on_" + _WORD.sub("_", place.name).strip("_")[:40]


def _object(place: Place) -> str:
    """A Python name for the object."""
    name = _WORD.sub("_", place.name.removeprefix("sys_enter_").removeprefix("sys_exit_")).strip("_").lower()
    return _word(f"{name or 'place'}_events"[-40:])


def _word(name: str) -> str:
    """A name that C and Python take: some tracepoints begin with a digit (9p_client_req)."""
    return f"t{name}" if name[0].isdigit() else name


class _Program:
    """A program in the making: members of its event, what fills them."""

    def __init__(self, place: Place, includes: str = ""):
        self.place = place
        self.includes = includes
        self.members: list[tuple[str, str]] = []  # declaration, statement that fills it
        self.names: set[str] = set()

    def add(self, name: str, declared: str, fills: str) -> None:
        if name not in self.names:
            self.names.add(name)
            self.members.append((declared, fills))

    def common(self) -> None:
        """Who and when, unless the place itself has something of that name to say."""
        own, self.members = self.members, []
        self.add("time_ns", "u64 time_ns;", "e->time_ns = bpf_ktime_get_ns();")
        self.add("pid", "u32 pid;", "e->pid = bpf_get_current_pid_tgid() >> 32;")
        self.add("comm", "char comm[16];", "bpf_get_current_comm(e->comm, sizeof(e->comm));")
        self.members += own

    def text(self, section: str, head: str, before: str = "") -> str:
        members = "".join(f"    {declared}\n" for declared, _ in self.members)
        fills = "".join(f"    {fill}\n" for _, fill in self.members if fill)
        return (
            f"%%bpf {_object(self.place)}\n{_HEAD}{self.includes}\nstruct event {{\n{members}}};\n"
            "struct {\n    __uint(type, BPF_MAP_TYPE_RINGBUF);\n    __uint(max_entries, 1 << 20);\n"
            "    __type(value, struct event);\n} events SEC(\".maps\");\n__u64 lost;\n"
            f"{before}\nSEC(\"{section}\")\nint {head}\n{{\n"
            "    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);\n\n    if (!e) {\n"
            "        __sync_fetch_and_add(&lost, 1);\n        return 0;\n    }\n"
            f"{fills}{_TAIL}"
        )

    def cells(self, section: str, head: str, attach: str, before: str = "") -> Recipe:
        name = _object(self.place)
        read = (
            f'program = {name}.programs["{_name(self.place)}"]\n'
            f"with {name}.events() as events, program.{attach}:\n"
            "    frame = events.read(seconds=2)\n"
            'print("lost:", events.lost)\nframe'
        )
        return Recipe(self.text(section, head, before), read)


# -- tracepoints


def _tracepoint(catalog: Catalog, place: Place) -> Recipe:
    program = _Program(place)
    found = catalog.formats([place])[0]
    arguments = _word(_WORD.sub("_", place.name)) + "_args"
    for field in found.fields:
        _add_field(program, field, place)
    program.common()
    before = f"\n/* what the kernel's format file says of {place.where}:{place.name} */\n{_struct(arguments, found)}"
    head = f"{_name(place)}(struct {arguments} *ctx)"
    return program.cells(f"tp/{place.where}/{place.name}", head, "attach()", before)


def _integer(size: int, signed: bool) -> str:
    return f"{'s' if signed else 'u'}{8 * size}"


def _struct(name: str, found: Format) -> str:
    """The record as C: members at the offsets of the format, what is between them as padding."""
    lines, end = ["    char common[8];"], 8
    for field in found.fields:
        declared, alignment = _declared(field)
        if declared is None or field.offset % alignment or field.offset < end:
            continue
        if field.offset > end:
            lines.append(f"    char pad_{end}[{field.offset - end}];")
        lines.append(f"    {declared};")
        end = field.offset + field.size
    return f"struct {name} {{\n" + "\n".join(lines) + "\n};\n"


def _declared(field: Field) -> tuple[str | None, int]:
    """How the record declares a field, and its alignment; None for what is of no size that C has a number for."""
    if field.name in _C_WORDS:
        return None, 1
    if field.type.startswith("char[") and field.size:
        return f"char {field.name}[{field.size}]", 1
    if field.size in (1, 2, 4, 8):
        return f"{_integer(field.size, field.signed)} {field.name}", field.size
    return None, 1


def _add_field(program: _Program, field: Field, place: Place) -> None:
    name, (declared, alignment) = field.name, _declared(field)
    if declared is None or field.offset % alignment or name in ("__syscall_nr", "time_ns"):
        return
    if field.text_at:
        start = "(char *)ctx" if field.type.startswith("__data_loc") else f"(char *)(&ctx->{name} + 1)"
        fill = f"bpf_probe_read_kernel_str(e->{name}, sizeof(e->{name}), {start} + (ctx->{name} & 0xffff));"
        program.add(name, f"char {name}[{TEXT}];", fill)
    elif field.type.startswith(("__data_loc", "__rel_loc")):
        return
    elif field.type.startswith("char["):
        size = min(field.size, TEXT)
        program.add(name, f"char {name}[{size}];", f"bpf_probe_read_kernel(e->{name}, sizeof(e->{name}), ctx->{name});")
    elif place.where == "syscalls" and field.type.replace("const ", "").replace(" ", "") == "char*":
        fill = f"bpf_probe_read_user_str(e->{name}, sizeof(e->{name}), (void *)ctx->{name});"
        program.add(name, f"char {name}[{TEXT}];", fill)
    else:
        # system calls keep an int in 8 bytes; the type says how much of it counts
        kind = _syscall_type(field) if place.where == "syscalls" else _integer(field.size, field.signed)
        program.add(name, f"{kind} {name};", f"e->{name} = ctx->{name};")


def _syscall_type(field: Field) -> str:
    plain = field.type.replace("const ", "").strip()
    if plain in ("int", "pid_t", "clockid_t", "key_t", "timer_t", "mqd_t", "key_serial_t"):
        return "s32"
    if plain in ("unsigned int", "unsigned", "umode_t", "uid_t", "gid_t", "u32"):
        return "u32"
    return "s64" if plain in ("long", "off_t", "loff_t") else "u64"


# -- functions


def _kernel_function(catalog: Catalog, place: Place) -> Recipe:
    program = _Program(place, '#include <bpf/bpf_tracing.h>\n')
    kind = catalog.function_type(place.name)
    params = []
    for number, (name, one) in enumerate(kind.params[:5] if kind else ()):
        if not one.id:  # "..."
            break
        argument = name if name and name not in _TAKEN else f"arg{number}"
        declared, member = _parameter(one, argument)
        if declared is None:
            break  # a struct by value takes registers in a way of its own; what follows it is not where it seems
        params.append(declared)
        program.add(argument, f"{member} {argument};", f"e->{argument} = {'(u64)' if member == 'u64' else ''}{argument};")
    program.common()
    head = f"BPF_KPROBE({', '.join([_name(place), *params])})"
    section = f"kprobe/{place.name}"
    return program.cells(section, head, "attach()")


def _parameter(one: Type, name: str) -> tuple[str | None, str]:
    """How a parameter is declared, and the type that carries it in an event."""
    found = one.resolved
    if found.kind == "ptr":
        to = found.target
        plain = to.resolved.kind in ("struct", "union", "fwd") and to.resolved.name
        if plain:
            return f"{'union' if to.resolved.is_union else 'struct'} {to.resolved.name} *{name}", "u64"
        return f"void *{name}", "u64"
    if found.kind in ("int", "enum", "enum64") and found.size in (1, 2, 4, 8):
        carried = _integer(found.size, found.encoding == "signed")
        return f"{carried} {name}", carried
    return None, ""


_GO = ("ax", "bx", "cx")  # where Go's own calling convention has the first arguments (amd64)


def _user_function(catalog: Catalog, place: Place) -> Recipe:
    program = _Program(place, '#include <bpf/bpf_tracing.h>\n')
    go = elf.binary(catalog.lab, place.where).go
    names = [f"arg{number}" for number in range(3)]
    for number, name in enumerate(names):
        program.add(name, f"u64 {name};", f"e->{name} = {f'ctx->{_GO[number]}' if go else name};")
    program.common()
    head = f"{_name(place)}(struct pt_regs *ctx)" if go else f"BPF_KPROBE({_name(place)}, {', '.join(f'u64 {n}' for n in names)})"
    return program.cells("uprobe", head, f'attach_uprobe("{place.where}", "{place.name}")')


def _usdt(catalog: Catalog, place: Place) -> Recipe:
    program = _Program(place, "#include <bpf/usdt.bpf.h>\n")
    first = next(one for one in elf.binary(catalog.lab, place.where).usdt if f"{one.provider}:{one.name}" == place.name)
    names = [f"arg{number}" for number in range(len(first.arguments[:12]))]
    for name, argument in zip(names, first.arguments):
        size = argument.partition("@")[0]
        carried = _integer(int(size.strip("-")), size.startswith("-")) if size.strip("-") in "1248" else "u64"
        program.add(name, f"{carried} {name};", f"e->{name} = {name};")
    program.common()
    head = f"BPF_USDT({', '.join([_name(place), *(f'long {name}' for name in names)])})"
    provider, _, name = place.name.partition(":")
    return program.cells("usdt", head, f'attach_usdt("{place.where}", "{provider}", "{name}")')


def _perf_event(catalog: Catalog, place: Place) -> Recipe:
    program = _Program(place)
    program.add("cpu", "u32 cpu;", "e->cpu = bpf_get_smp_processor_id();")
    program.common()
    head = f"{_name(place)}(struct bpf_perf_event_data *ctx)"
    how = "frequency=99" if place.name.endswith("clock") or place.where == "hardware" else "period=1"
    return program.cells("perf_event", head, f'attach_perf_event("{place.name}", {how})')
