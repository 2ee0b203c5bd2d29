"""One BTF type, and what can be done with it."""

from __future__ import annotations

import struct
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import ObjectError
from . import c, columns, dtype, encode, layout, values

if TYPE_CHECKING:
    from .parse import Btf

# enum of include/uapi/linux/btf.h, BTF_KIND_UNKN (void) first
KINDS = (
    "void", "int", "ptr", "array", "struct", "union", "enum", "fwd", "typedef", "volatile", "const", "restrict",
    "func", "func_proto", "var", "datasec", "float", "decl_tag", "type_tag", "enum64",
)  # fmt: skip
STRIPPED = ("typedef", "volatile", "const", "restrict", "type_tag")
POINTER_SIZE = 8
MAX_SIZE = (1 << 31) - 1

# Typedefs that say in which byte order a number lies in memory (include/uapi/linux/types.h).
ORDERS = {"__be16": ">", "__be32": ">", "__be64": ">", "__le16": "<", "__le32": "<", "__le64": "<"}


class Member(NamedTuple):
    """A member of a struct or union as its declaration has it."""

    name: str  # "" where the member is an anonymous struct or union
    type: Type
    offset_bits: int
    bitfield_size: int  # in bits; 0 when it is no bitfield

    @property
    def offset(self) -> int:
        """Offset in bytes."""
        return self.offset_bits // 8

    def __repr__(self) -> str:
        bits = f", {self.bitfield_size} bits" if self.bitfield_size else ""
        at = f"{self.offset}" if self.offset_bits % 8 == 0 else f"{self.offset} + {self.offset_bits % 8} bits"
        return f"<member {c.declare(self.type, self.name).strip()} at {at}{bits}>"


class Type:
    """A C type.

    Get one from `Btf.find`, `Btf.type`, `ctype`, or a map's `key_type` and `value_type`.

    Attributes
    ----------
    id : int
        Its id in `btf`.
    kind : str
        "int", "ptr", "array", "struct", "union", "enum", "enum64", "typedef", "const", "func", ...
    name : str
        "" when it has none.
    size : int
        In bytes, typedefs followed; 0 for what has no size (void, functions, a struct that is only declared).
    """

    def __init__(self, btf: Btf, id: int, name_off: int, info: int, word: int):
        self.btf = btf
        self.id = id
        self.kind = KINDS[info >> 24 & 0x1F]
        self._name_off = name_off
        self._vlen = info & 0xFFFF
        self._flag = bool(info >> 31)
        self._word = word  # "size" or "type", by kind

    @cached_property
    def name(self) -> str:
        return "void" if self.id == 0 else self.btf.string(self._name_off)

    def _tail(self, each: str, count: int) -> list[tuple[int, ...]]:
        """The words after struct btf_type, `count` times `each`."""
        one = struct.Struct(self.btf.order + each)
        start = self.btf._place(self.id) + 12
        return list(one.iter_unpack(self.btf.data[start : start + one.size * count]))

    @cached_property
    def target(self) -> Type | None:
        """What a pointer points to, a typedef names, an array is made of, a function returns; else None."""
        if self.kind == "array":
            return self.btf.type(self._tail("III", 1)[0][0])
        if self.kind in STRIPPED or self.kind in ("ptr", "func", "func_proto", "var", "decl_tag"):
            return self.btf.type(self._word)
        return None

    @cached_property
    def resolved(self) -> Type:
        """The type without typedef, const, volatile, restrict and type tags."""
        at, seen = self, 0
        while at.kind in STRIPPED:
            at, seen = at.target, seen + 1
            if seen > 64:
                raise ObjectError(f"type id {self.id} of this BTF names itself without end; it is damaged")
        return at

    @cached_property
    def order(self) -> str:
        """Byte order of the number in memory, "<" or ">": the BTF's own, but ">" for `__be32` and its like."""
        self.resolved  # noqa: B018  refuses an endless chain
        at = self
        while at.kind in STRIPPED:
            if at.kind == "typedef" and at.name in ORDERS:
                return ORDERS[at.name]
            at = at.target
        return self.btf.order

    @cached_property
    def size(self) -> int:
        size = layout.guard(self, self._size)
        if max(size, self.nelems) > MAX_SIZE:
            raise ObjectError(f"type id {self.id} of this BTF claims {size} bytes; it is damaged")
        return size

    def _size(self) -> int:
        if self.kind in ("int", "struct", "union", "enum", "enum64", "float", "datasec"):
            return self._word
        if self.kind == "ptr":
            return POINTER_SIZE
        if self.kind == "array":
            return self.nelems * self.target.size
        if self.kind in STRIPPED:
            return self.resolved.size
        return self.target.size if self.kind == "var" else 0

    @cached_property
    def nelems(self) -> int:
        """Number of elements of an array (typedefs followed); 0 for other types."""
        array = self.resolved
        return array._tail("III", 1)[0][2] if array.kind == "array" else 0

    @cached_property
    def members(self) -> list[Member]:
        """Members of a struct or union, in order (typedefs followed)."""
        r = self.resolved
        if r is not self:
            return r.members
        if self.kind not in ("struct", "union"):
            return []
        out = []
        for name, type_id, place in self._tail("III", self._vlen):
            # BTF_INFO kind_flag: the top byte of the offset is then the size of the bitfield
            bits, place = (place >> 24, place & 0xFFFFFF) if self._flag else (0, place)
            out.append(Member(self.btf.string(name), self.btf.type(type_id), place, bits))
        return out

    @cached_property
    def fields(self) -> list[layout.Field]:
        """Members as C code reaches them: those of anonymous members stand among the others."""
        return layout.guard(self, lambda: layout.fields(self.resolved))

    @cached_property
    def visible(self) -> list[layout.Field]:
        """The fields that mean something to a reader: what the kernel keeps for itself is left out."""
        return [f for f in self.fields if not f.hidden]

    @cached_property
    def overlaps(self) -> bool:
        """Whether members share bytes: a union, or a struct with an anonymous one in it."""
        ends = [f.offset_bits + (f.bits or 8 * f.type.size) for f in self.fields]
        return any(f.offset_bits < end for f, end in zip(self.fields[1:], ends, strict=False))

    @cached_property
    def enumerators(self) -> dict[str, int]:
        """Names of an enum and their values (typedefs followed); empty for other types."""
        r = self.resolved
        if r is not self:
            return r.enumerators
        if self.kind == "enum":
            return {self.btf.string(n): v for n, v in self._tail("Ii" if self._flag else "II", self._vlen)}
        if self.kind == "enum64":
            tail = self._tail("Iii" if self._flag else "III", self._vlen)
            return {self.btf.string(n): (high << 32) + (low & 0xFFFFFFFF) for n, low, high in tail}
        return {}

    @cached_property
    def params(self) -> list[tuple[str, Type]]:
        """Parameters of a function, as (name, type). A last one of type void stands for "..."."""
        proto = self.target if self.kind == "func" else self
        if proto.kind != "func_proto":
            return []
        return [(self.btf.string(n), self.btf.type(t)) for n, t in proto._tail("II", proto._vlen)]

    @cached_property
    def variables(self) -> list[tuple[Type, int, int]]:
        """Variables of a data section, as (variable, offset, size)."""
        if self.kind != "datasec":
            return []
        found = [(self.btf.type(t), offset, size) for t, offset, size in self._tail("III", self._vlen)]
        for t, _, _ in found:
            if t.kind not in ("var", "func"):
                raise ObjectError(f"section {self.name} of this BTF holds a {t.kind}, not a variable; it is damaged")
        return found

    @cached_property
    def encoding(self) -> str:
        """Of an int (typedefs followed): "bool", "signed" or "unsigned"; of an enum the latter two; else ""."""
        r = self.resolved
        if r.kind in ("enum", "enum64"):
            return "signed" if r._flag else "unsigned"
        if r.kind != "int":
            return ""
        bits = r._tail("I", 1)[0][0] >> 24 & 0x0F  # BTF_INT_ENCODING
        return "bool" if bits & 4 else "signed" if bits & 1 else "unsigned"

    @cached_property
    def int_bits(self) -> tuple[int, int]:
        """Of an int: (offset, size) in bits. Differs from the whole only in BTF of old compilers, for bitfields."""
        word = self.resolved._tail("I", 1)[0][0]
        return word >> 16 & 0xFF, word & 0xFF

    @cached_property
    def alignment(self) -> int:
        """The alignment that C gives the type, in bytes. An `aligned` attribute is not in BTF."""
        return layout.guard(self, lambda: layout.alignment(self))

    @cached_property
    def packed(self) -> bool:
        """Whether a struct, union or enum was declared with the `packed` attribute, as far as its layout tells."""
        return layout.guard(self, lambda: layout.packed(self))

    @property
    def is_union(self) -> bool:
        """Whether it is a union, or the mere declaration of one."""
        return self.kind == "union" or self.kind == "fwd" and self._flag

    @property
    def is_text(self) -> bool:
        """Whether it is an array of plain `char`, which holds text. `unsigned char` and `__u8` hold numbers."""
        r = self.resolved
        return r.kind == "array" and r.target.resolved.kind == "int" and r.target.resolved.name == "char"

    @cached_property
    def dtype(self) -> np.dtype:
        """The NumPy dtype with the offsets and the size that the type has in memory.

        A bitfield is there as the bytes it lies in; `columns` and `decode` take the bits out.

        Raises
        ------
        TypeError
            The type has no size (void, a function, a struct that is only declared).
        """
        self.size  # noqa: B018  refuses what no dtype could hold
        return layout.guard(self, lambda: dtype.dtype_of(self))

    @cached_property
    def record(self) -> type:
        """The namedtuple class that `decode` makes of a struct or union."""
        return values.record(self)

    def encode(self, value: Any, what: str = "value") -> bytes:
        """The bytes of a Python value.

        Parameters
        ----------
        value : object
            For an integer, enum or pointer an int (for an enum a name of it too); for `__be32` also "10.0.0.1" or an
            `ipaddress` object; for `char[N]` text of at most N bytes; for an array a sequence of N values (`u8[4]`
            and `u8[16]` take an IP address, `u8[6]` a MAC address as text too). For a struct a dict (what is left
            out is zero, as in C), a tuple of all members, or a bare value if there is one member. For a union a dict
            of the member meant, or a bare value for the first. Bytes of the exact size are taken for anything.
        what : str
            Named in error messages: "key of map 'flows'".

        Raises
        ------
        TypeError, ValueError, OverflowError
            The value does not fit; the text names `what`, the member, the C type and the range.
        """
        return encode.encode(self, value, what)

    def decode(self, data: bytes) -> Any:
        """The Python value of bytes.

        Returns
        -------
        object
            int, bool, float; str for `char[N]` (up to its NUL); list for other arrays; a namedtuple for a struct
            and, with every member, for a union. `__be32` and its like give the number meant: port 80 reads as 80.
        """
        return values.decode(self, data)

    def decode_all(self, array: np.ndarray) -> list:
        """The Python value of every element of an array of this type's dtype: `decode`, many times faster."""
        return values.decode_all(self, array)

    def array(self, buffer, count: int, stride: int | None = None) -> np.ndarray:
        """View `count` values that lie in a buffer, `stride` bytes apart, without copying.

        Returns
        -------
        numpy.ndarray
            Shape (count,), of this type's dtype; (count, n) if the type is itself an array of n numbers.
        """
        return dtype.array(self, buffer, count, stride)

    def columns(self, array: np.ndarray, prefix: str = "") -> dict[str, Any]:
        """Flat columns of an array of values, ready for a DataFrame.

        Parameters
        ----------
        array : numpy.ndarray
            Of this type's dtype, as `array` gives it: one value a row, rows any distance apart.
        prefix : str
            The name of the only column of a number or text ("value" if empty). With a struct it is put, with a
            dot, before the members' names.

        Returns
        -------
        dict
            name -> column. Nested members are called "a.b". Arrays of up to 16 numbers become "a[0]", "a[1]", ...;
            longer ones one object column of small arrays. Enums are pandas Categoricals, with a number where the
            enum has no name for the value. Text is str. Numbers are contiguous copies in this computer's byte order.
            Spin locks, timers and their like are left out: the kernel shows them as zero.
        """
        return columns.columns_of(self, array, prefix)

    @property
    def c(self) -> str:
        """The C declaration. A str that shows itself as text in a notebook."""
        return layout.guard(self, lambda: c.text(self))

    def __repr__(self) -> str:
        try:
            return f"<{layout.guard(self, lambda: c.summary(self))}>"
        except ObjectError as e:
            return f"<{self.kind}: {e}>"
