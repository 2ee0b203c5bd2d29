"""The types that BCC tells of its maps and events, as BTF.

BCC describes keys and values as JSON, a scalar as its C name and a struct as [name, members, "struct" | "union" |
"struct_packed"], a member as [name, type], [name, type, [elements]] or [name, type, bits]; padding is spelled out as
members `__pad_N` in the packed ones. Events it describes as "name#type" for each member.
"""

from __future__ import annotations

import json
import re
from typing import Any

from .btf import Btf, Type, ctype
from .btf.build import Builder
from .btf.ctype import add as add_type

_PAD = re.compile(r"__pad_\d+$")


class Unknown(Exception):
    """A type that BCC does not describe well enough to lay it out."""


def build(tables: dict[str, dict], text: str) -> Types:
    """Types of all maps of a text, from what `bpflab.agent.bcc.compile_text` tells of them."""
    builder = Builder()
    found = {}
    for name, table in tables.items():
        about = table["about"]
        found[name] = (
            _described(builder, table["key"], about["key_size"]),
            _described(builder, table["leaf"], about["value_size"]),
            _event(builder, table["fields"], event_struct(text, name)),
        )
    return Types(Btf(builder.blob()), found)


class Types:
    """BTF of an object, and which types of it belong to which map."""

    def __init__(self, btf: Btf, found: dict[str, tuple]):
        self.btf, self._found = btf, found

    def of(self, name: str) -> tuple[Type | None, Type | None, Type | None]:
        """Key, value and event of a map; None where there is none, or BCC's words do not add up to its size."""
        return tuple(None if number is None else self.btf.type(number) for number in self._found[name])


def event_struct(text: str, name: str) -> str:
    """Name of the struct that a text sends through a buffer: by the declaration of the variable that it submits."""
    sent = re.search(rf"\b{name}\.(?:perf_submit\s*\(\s*\w+\s*,|ringbuf_output\s*\()\s*&?\s*(\w+)", text)
    sent = sent or re.search(rf"(\w+)\s*=\s*(?:\([^)]*\)\s*)?{name}\.ringbuf_reserve", text)
    declared = sent and re.search(rf"struct\s+(\w+)\s*\*?\s*{sent[1]}\s*[=;,]", text)
    return declared[1] if declared else name


def _described(builder: Builder, description: str, size: int) -> int | None:
    if not description or not size:
        return None
    try:
        number, found, _ = _add(builder, json.loads(description))
    except Unknown:
        return None
    return number if found == size else None  # an array of arrays, for one, has lost its second length


def _scalar(builder: Builder, name: str) -> tuple[int, int, int]:
    try:
        kind = ctype(name)
    except ValueError:
        raise Unknown(name) from None
    return add_type(builder, name, name), kind.size, kind.size


def _add(builder: Builder, description: Any) -> tuple[int, int, int]:
    """(type id, size, alignment) of a description."""
    if isinstance(description, str):
        return _scalar(builder, description)
    name, members, how = description
    layout = _Layout(how)
    for member in members:
        layout.member(builder, *member)
    return layout.finish(builder, name)


class _Layout:
    """Lays members out as the C compiler does on x86-64 and arm64."""

    def __init__(self, how: str):
        self.kind = "union" if how == "union" else "struct"
        self.packed = how == "struct_packed"
        self.bits, self.size, self.align = 0, 0, 1
        self.members: list[tuple[str, int, int, int]] = []

    def member(self, builder: Builder, name: str, kind: Any, extra: Any = None) -> None:
        if isinstance(extra, str):  # a nested one without a name of its own: [name, members, "union"]
            number, size, align = _add(builder, [name, kind, extra])
        else:
            number, size, align = _add(builder, kind)
        width = extra if isinstance(extra, int) else 0
        if isinstance(extra, list):
            number, size = builder.array(number, extra[0]), size * extra[0]
        self.align = max(self.align, 1 if self.packed else align)
        at = self._place(size, align, width)
        if not _PAD.match(name):
            self.members.append((name, number, at, width))

    def _place(self, size: int, align: int, width: int) -> int:
        """Offset in bits of the next member."""
        if self.kind == "union":
            self.size = max(self.size, size)
            return 0
        if width:
            unit = 8 * size
            if self.bits // unit != (self.bits + width - 1) // unit:
                self.bits = -(-self.bits // unit) * unit
            at, self.bits = self.bits, self.bits + width
        else:
            step = 8 if self.packed else 8 * align
            at = -(-self.bits // step) * step
            self.bits = at + 8 * size
        return at

    def finish(self, builder: Builder, name: str) -> tuple[int, int, int]:
        size = self.size if self.kind == "union" else -(-self.bits // 8)
        size = -(-size // self.align) * self.align
        return builder.record(self.kind, name, size, self.members), size, self.align


def _event(builder: Builder, fields: list[str], name: str) -> int | None:
    if not fields:
        return None
    layout = _Layout("struct")
    try:
        for field in fields:
            member, _, kind = field.partition("#")
            array = re.fullmatch(r"(.+?)\s*\[(\d+)\]", kind)
            layout.member(builder, member, _word(array[1] if array else kind), [int(array[2])] if array else None)
    except Unknown:
        return None
    return layout.finish(builder, name)[0]


def _word(kind: str) -> str:
    """A pointer or an enum as the number that it is."""
    kind = kind.strip()
    if kind.endswith("*"):
        return "u64"
    return "u32" if kind.startswith("enum ") else kind
