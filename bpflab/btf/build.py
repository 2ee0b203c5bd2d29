"""Makes BTF, so that the kernel knows the types of maps that are created from Python.

The layout of each kind is described in the kernel's Documentation/bpf/btf.rst.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

from .parse import HEADER, MAGIC
from .types import KINDS, STRIPPED, Type

if TYPE_CHECKING:
    import numpy as np

ORDER = "<" if sys.byteorder == "little" else ">"


class Builder:
    """Collects types and gives the blob, in this computer's byte order."""

    def __init__(self):
        self._strings = bytearray(b"\0")
        self._places = {"": 0}
        self._types: list[bytes] = []
        self._made: dict[Any, int] = {}
        self._sources: list[Any] = []  # what is copied from stays alive, since `_made` tells blobs apart by id()

    def string(self, text: str) -> int:
        if text not in self._places:
            self._places[text] = len(self._strings)
            self._strings += text.encode() + b"\0"
        return self._places[text]

    def add(self, kind: str, name: str = "", word: int = 0, *tail: int, vlen: int = 0, flag: bool = False) -> int:
        """Append one type: struct btf_type, of whose last word `word` is the value, and the words after it."""
        info = flag << 31 | KINDS.index(kind) << 24 | vlen
        words = (self.string(name), info, word, *tail)
        self._types.append(struct.pack(f"{ORDER}{len(words)}I", *(w & 0xFFFFFFFF for w in words)))
        return len(self._types)

    def once(self, kind: str, name: str, word: int, *tail: int) -> int:
        """As `add`, but the same type is there only once."""
        key = (kind, name, word, tail)
        if key not in self._made:
            self._made[key] = self.add(kind, name, word, *tail)
        return self._made[key]

    def integer(self, name: str, size: int, encoding: str = "unsigned") -> int:
        bits = {"unsigned": 0, "signed": 1, "bool": 4}[encoding]
        return self.once("int", name, size, bits << 24 | 8 * size)

    def array(self, element: int, n: int) -> int:
        index = self.integer("__ARRAY_SIZE_TYPE__", 4)
        return self.once("array", "", 0, element, index, n)

    def record(self, kind: str, name: str, size: int, members: list[tuple[str, int, int, int]]) -> int:
        """A struct or union of (name, type id, offset in bits, size of the bitfield or 0)."""
        flag = any(bits for *_, bits in members)
        tail = []
        for member, type_id, offset, bits in members:
            tail += [self.string(member), type_id, bits << 24 | offset]
        return self.add(kind, name, size, *tail, vlen=len(members), flag=flag)

    def copy(self, t: Type) -> int:
        """Copy a type of another blob with all that its layout depends on. What pointers lead to is left behind, but for its name."""
        if t.id == 0:
            return 0
        key = (id(t.btf), t.id)
        if key not in self._made:
            self._sources.append(t.btf)
            self._made[key] = self._copy(t)
        return self._made[key]

    def _copy(self, t: Type) -> int:
        match t.kind:
            case "int":
                return self.once("int", t.name, t.size, *t._tail("I", 1)[0])
            case "float":
                return self.once("float", t.name, t.size)
            case "ptr":
                return self.once("ptr", "", self._pointed(t.target.resolved))
            case "type_tag":
                # A tag such as `kptr` would make the kernel treat the member specially.
                return self.copy(t.target)
            case "array":
                return self.array(self.copy(t.target), t.nelems)
            case "struct" | "union":
                members = [(m.name, self.copy(m.type), m.offset_bits, m.bitfield_size) for m in t.members]
                return self.record(t.kind, t.name, t.size, members)
            case "enum" | "enum64":
                tail = []
                for name, value in t.enumerators.items():
                    tail += [self.string(name), value] + ([value >> 32] if t.kind == "enum64" else [])
                return self.add(t.kind, t.name, t.size, *tail, vlen=len(t.enumerators), flag=t._flag)
            case kind if kind in STRIPPED:
                return self.once(kind, t.name, self.copy(t.target))
        raise TypeError(f"{t!r} has no size, so it cannot be the key or value of a map")

    def _pointed(self, t: Type) -> int:
        """What a copied pointer leads to: a name, where there is one."""
        if t.kind in ("struct", "union", "fwd") and t.name:
            return self.add("fwd", t.name, flag=t.is_union)
        return self.copy(t) if t.kind == "int" else 0

    def blob(self) -> bytes:
        types, strings = b"".join(self._types), bytes(self._strings)
        return struct.pack(ORDER + HEADER, MAGIC, 1, 0, 24, 0, len(types), len(types), len(strings)) + types + strings


def build(key: str | int | np.dtype | Type | None, value: str | int | np.dtype | Type | None) -> tuple[bytes, int, int]:
    """BTF for a map that is created from Python.

    Parameters
    ----------
    key, value : str, int, numpy.dtype, Type or None
        What `ctype` takes. None where the map type has none (the key of a queue).

    Returns
    -------
    blob : bytes
        For `BPF_BTF_LOAD`.
    key_type_id, value_type_id : int
        For `BPF_MAP_CREATE` (`btf_key_type_id`, `btf_value_type_id`), and for `Btf(blob).type`. 0 for None.

    Raises
    ------
    TypeError, ValueError
        What was given is no type that C has too.
    """
    from .ctype import add

    builder = Builder()
    ids = [0 if spec is None else add(builder, spec, name) for spec, name in ((key, "key"), (value, "value"))]
    return builder.blob(), *ids
