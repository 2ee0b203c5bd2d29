"""Where the members of a struct really lie."""

from __future__ import annotations

import re
from collections.abc import Callable
from keyword import iskeyword
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import ObjectError

if TYPE_CHECKING:
    from .types import Member, Type

# Structs that the kernel keeps for itself inside map values (kernel/bpf/btf.c, btf_get_field_type): a lookup gives
# zeros in their place, an update leaves them alone.
KERNEL_OWN = frozenset({
    "bpf_spin_lock", "bpf_res_spin_lock", "bpf_timer", "bpf_wq", "bpf_task_work", "bpf_list_head", "bpf_list_node",
    "bpf_rb_root", "bpf_rb_node", "bpf_refcount",
})  # fmt: skip


class Field(NamedTuple):
    """A member as C code reaches it, with its place in the outermost struct."""

    name: str
    type: Type
    offset_bits: int
    bits: int  # size of a bitfield, else 0

    @property
    def offset(self) -> int:
        return self.offset_bits // 8

    @property
    def window(self) -> tuple[int, int]:
        """First byte and number of bytes that hold any bit of the bitfield."""
        first = self.offset_bits // 8
        return first, (self.offset_bits + self.bits + 7) // 8 - first

    @property
    def hidden(self) -> bool:
        """Whether the kernel keeps the content to itself."""
        return self.type.resolved.kind == "struct" and self.type.resolved.name in KERNEL_OWN

    def shift(self, order: str) -> int:
        """How far the window, read as one number, must go right to put the bitfield at its end.

        Bits count from the lowest on little endian machines, from the highest on big endian ones.
        """
        first, n = self.window
        skipped = self.offset_bits - 8 * first
        return skipped if order == "<" else 8 * n - skipped - self.bits


def fields(t: Type) -> list[Field]:
    """The fields of a struct or union, anonymous members opened."""
    out = _open(t, 0)
    seen: set[str] = set()
    for i, f in enumerate(out):
        end = f.offset_bits + (f.bits or 8 * f.type.size)
        if end > 8 * t.size or (not f.bits and f.offset_bits % 8):
            raise ObjectError(f"member '{f.name}' does not lie inside its {t.kind} '{t.name}'; the BTF is damaged")
        # C forbids two members of one name, and a bare name for a number; foreign BTF may hold either.
        name = f.name or f"anonymous{i}"
        while name in seen:
            name += "_"
        seen.add(name)
        out[i] = f._replace(name=name)
    return out


def _open(t: Type, base: int) -> list[Field]:
    out = []
    for m in t.members:
        inner, place = m.type.resolved, base + m.offset_bits
        if not m.name and inner.kind in ("struct", "union"):
            out += _open(inner, place)
            continue
        bits = m.bitfield_size
        if not bits and inner.kind == "int":
            # Before kind_flag existed, a bitfield was an int type with fewer bits than its bytes hold.
            skip, size = inner.int_bits
            if size and (size < 8 * inner.size or skip):
                place, bits = place + skip, size
            elif place % 8:
                bits = size
        if bits > 64:
            raise ObjectError(f"bitfield '{m.name}' claims {bits} bits, more than 64; the BTF is damaged")
        out.append(Field(m.name, m.type, place, bits))
    return out


def packed(t: Type) -> bool:
    """Whether the compiler would not have laid the type out like this on its own."""
    if t.kind not in ("struct", "union"):
        return t.kind in ("enum", "enum64") and t.size < 4
    if t.size % max((m.type.alignment for m in t.members), default=1):
        return True
    return any(_crosses(m) if m.bitfield_size else m.offset_bits % (8 * m.type.alignment) for m in t.members)


def _crosses(m: Member) -> bool:
    """Whether a bitfield begins in one number of its type and ends in the next."""
    unit = 8 * m.type.size or 1
    return m.offset_bits // unit != (m.offset_bits + m.bitfield_size - 1) // unit


def alignment(t: Type) -> int:
    """The alignment that C gives a type, in bytes."""
    r = t.resolved
    if r.kind in ("struct", "union"):
        return 1 if r.packed else max((m.type.alignment for m in r.members), default=1)
    return r.target.alignment if r.kind == "array" else min(r.size, 16) or 1


def gaps(t: Type, m: Member, end: int) -> list[int]:
    """Sizes of the nameless bitfields that push a bitfield from bit `end`, where it would go, to where it is.

    BTF leaves out what has no name, such as `int : 5;` and `int : 0;`.
    """
    unit = 8 * m.type.size
    if not m.bitfield_size or not unit or t.kind == "union":
        return []
    out = []
    while end < m.offset_bits:
        if not t.packed and end // unit != (end + m.bitfield_size - 1) // unit and -end % unit == m.offset_bits - end:
            break  # the compiler goes to the next number on its own
        out.append(min(unit - end % unit, m.offset_bits - end))
        end += out[-1]
    return out


def guard(t: Type, make: Callable[[], Any]) -> Any:
    """Run `make`, which follows types into each other; damaged BTF may lead round in a circle."""
    try:
        return make()
    except RecursionError:
        raise ObjectError(f"type id {t.id} of this BTF contains itself; it is damaged") from None


def identifier(name: str, otherwise: str) -> str:
    """A name that Python takes for a class."""
    name = re.sub(r"\W", "_", name) or otherwise
    return name + "_" if iskeyword(name) else name if name.isidentifier() else "_" + name
