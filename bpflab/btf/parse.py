"""Finds the types in a BTF blob.

Only the places of the types are worked out when a `Btf` is made; a type, its name and its members are read
when somebody asks. So the BTF of a whole kernel (126,000 types, 5 MB) is ready in a few hundredths of a second.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from ..errors import ObjectError, UnknownNameError
from .types import KINDS, Type

MAGIC = 0xEB9F
HEADER = "HBBIIIII"  # struct btf_header: magic, version, flags, hdr_len, type_off, type_len, str_off, str_len
NEXT_STEP = "give the bytes of an object's .BTF section, or of /sys/kernel/btf/vmlinux"

# Words of 4 bytes that follow struct btf_type: some kinds have a fixed number, some so many for each of vlen.
_FIXED = {"int": 1, "array": 3, "var": 1, "decl_tag": 1}
_EACH = {"struct": 3, "union": 3, "enum": 2, "func_proto": 2, "datasec": 3, "enum64": 3}
_FIXED_WORDS = np.array([3 + _FIXED.get(k, 0) for k in KINDS] + [0] * (32 - len(KINDS)), dtype=np.int64)
_EACH_WORDS = np.array([_EACH.get(k, 0) for k in KINDS] + [0] * (32 - len(KINDS)), dtype=np.int64)

# Where one name belongs to several types, the first kind here is the one meant.
_PREFERENCE = ("struct", "union", "enum", "enum64", "typedef", "int", "float", "datasec", "var", "func", "fwd")


class Btf:
    """The types of one program, kernel or module.

    Parameters
    ----------
    data : bytes
        A raw BTF blob: the content of an ELF `.BTF` section, of a file in /sys/kernel/btf, or what
        `BPF_OBJ_GET_INFO_BY_FD` of a BTF object returns.
    base : Btf, optional
        The BTF that `data` continues. A kernel module's BTF continues that of vmlinux.

    Raises
    ------
    ObjectError
        The bytes are not BTF, or are cut short.

    Notes
    -----
    `len(btf)` is the number of types, those of `base` included; their ids are 1 to `len(btf)`. Id 0 is `void`.
    """

    def __init__(self, data: bytes, base: Btf | None = None):
        self.data = data = bytes(data)
        self.base = base
        self.order, type_start, type_len, self._str_start, str_len = _header(data)
        if base is not None and base.order != self.order:
            raise ObjectError("this BTF and its base differ in byte order; take both from the same kernel")
        self._first_id = 1 if base is None else len(base) + 1
        self._first_str = 0 if base is None else base._end_str
        self._end_str = self._first_str + str_len
        self._words = np.frombuffer(data, self.order + "u4", type_len // 4, type_start)
        self._type_start = type_start
        self._starts = _scan(self._words)
        self._types: dict[int, Type] = {}
        self._head = struct.Struct(self.order + "III").unpack_from

    def __len__(self) -> int:
        return self._first_id + len(self._starts) - 1

    def __repr__(self) -> str:
        order = "little" if self.order == "<" else "big"
        base = "" if self.base is None else f", {len(self.base):,} of them in its base"
        return f"<BTF: {len(self):,} types{base}, {order} endian>"

    def type(self, id: int) -> Type:
        """The type with this id.

        Raises
        ------
        ObjectError
            The BTF has no such id.
        """
        found = self._types.get(id)
        if found is not None:
            return found
        if 0 < id < self._first_id:
            return self.base.type(id)
        if not 0 <= id <= len(self):
            raise ObjectError(f"type id {id} is not in this BTF, which has the ids 0 to {len(self)}; it may be damaged")
        head = (0, 0, 0) if id == 0 else self._head(self.data, self._place(id))
        return self._types.setdefault(id, Type(self, id, *head))

    def types(self, kind: str | None = None) -> Iterator[Type]:
        """Every type of this blob in the order of the ids, `base` left out; of one kind ("struct") when it is named."""
        if kind is None:
            ids = range(self._first_id, len(self) + 1)
        else:
            ids = (np.flatnonzero(self._kinds == _kind_number(kind)) + self._first_id).tolist()
        return map(self.type, ids)

    def find(self, name: str, kind: str | None = None) -> Type:
        """The type with this name.

        Parameters
        ----------
        name : str
            "task_struct", also "struct task_struct".
        kind : str, optional
            "struct", "union", "enum" (finds a 64-bit one too), "typedef", "int", "func", ... Without it a struct is
            preferred to a typedef, and a typedef to a function of the same name.

        Raises
        ------
        UnknownNameError
            There is none; the message names near ones.
        """
        words = name.split(" ", 1)
        if len(words) == 2 and words[0] in ("struct", "union", "enum"):
            kind, name = kind or words[0], words[1].strip()
        kinds = _PREFERENCE if kind is None else ("enum", "enum64") if kind == "enum" else (kind,)
        for k in kinds:
            _kind_number(k)
        ids = self._named(name)
        for k in kinds:
            for id in ids:
                if self.type(id).kind == k:
                    return self.type(id)
        if self.base is not None:
            try:
                return self.base.find(name, kind)
            except UnknownNameError:
                pass
        raise UnknownNameError(kind or "type", name, self._near(name, kinds), "this BTF")

    def datasec(self, name: str) -> dict[str, tuple[Type, int, int]]:
        """The variables of a data section.

        Parameters
        ----------
        name : str
            ".maps", ".data", ".bss", ".rodata", ".ksyms", "license", ...

        Returns
        -------
        dict
            variable name -> (type of the variable, offset in the section in bytes, size in bytes).
            In an object file that no linker or libbpf has touched, clang leaves every offset 0.

        Raises
        ------
        UnknownNameError
            The BTF has no such section.
        """
        section = self.find(name, "datasec")
        return {var.name: (var.target, offset, size) for var, offset, size in section.variables}

    def string(self, offset: int) -> str:
        """The text at an offset of the string section."""
        if offset < self._first_str:
            return self.base.string(offset)
        start = self._str_start + offset - self._first_str
        if offset >= self._end_str:
            raise ObjectError(f"a name of this BTF lies outside its strings (offset {offset}); it is damaged")
        # _header() made sure that the section ends with a NUL
        return self.data[start : self.data.index(b"\0", start)].decode("utf-8", "replace")

    def _place(self, id: int) -> int:
        return self._type_start + 4 * int(self._starts[id - self._first_id])

    @cached_property
    def _kinds(self) -> np.ndarray:
        return self._words[self._starts + 1] >> 24 & 0x1F

    @cached_property
    def _names(self) -> np.ndarray:
        """Where the name of each type is in the strings."""
        return self._words[self._starts]

    def _named(self, name: str) -> list[int]:
        """Ids of the types of this blob that have exactly this name."""
        if not name:
            return []
        # A name may be the tail of a longer string, so look for every place that reads as the name.
        needle, places = name.encode("utf-8", "replace") + b"\0", []
        start, end = self._str_start, self._str_start + self._end_str - self._first_str
        at = self.data.find(needle, start, end)
        while at >= 0:
            places.append(at - start + self._first_str)
            at = self.data.find(needle, at + 1, end)
        return (np.flatnonzero(np.isin(self._names, places)) + self._first_id).tolist()

    def _near(self, name: str, kinds: tuple[str, ...]) -> set[str]:
        """Names worth comparing with one that was not found: a kernel has too many to compare all."""
        wanted = np.isin(self._kinds, [KINDS.index(k) for k in kinds])
        names = {self.string(offset) for offset in set(self._names[wanted].tolist())} - {""}
        if len(names) > 500:
            low = set(name.lower())
            names = {n for n in names if abs(len(n) - len(name)) < 3 and len(low - set(n.lower())) < 3}
        return names


def _kind_number(kind: str) -> int:
    try:
        return KINDS.index(kind)
    except ValueError:
        raise UnknownNameError("BTF kind", kind, KINDS) from None


def _header(data: bytes) -> tuple[str, int, int, int, int]:
    """Byte order, start and length of the types, start and length of the strings."""
    if len(data) < 24:
        raise ObjectError(f"{len(data)} bytes are too few for BTF, whose header alone takes 24; {NEXT_STEP}")
    order = {b"\x9f\xeb": "<", b"\xeb\x9f": ">"}.get(data[:2])
    if order is None:
        raise ObjectError(f"not BTF: it starts with {data[:4].hex(' ')} where 9f eb is due; {NEXT_STEP}")
    _, version, _, header, type_off, type_len, str_off, str_len = struct.unpack_from(order + HEADER, data)
    if version != 1:
        raise ObjectError(f"BTF version {version} is unknown, only version 1 is; {NEXT_STEP}")
    type_start, str_start = header + type_off, header + str_off
    end = max(type_start + type_len, str_start + str_len)
    if header < 24 or type_off % 4 or type_len % 4:
        raise ObjectError(f"the header of this BTF makes no sense; {NEXT_STEP}")
    if end > len(data):
        raise ObjectError(f"this BTF is cut short: {len(data)} of {end} bytes are there; {NEXT_STEP}")
    if str_len and data[str_start + str_len - 1]:
        raise ObjectError(f"the strings of this BTF do not end with a NUL byte, it is damaged; {NEXT_STEP}")
    return order, type_start, type_len, str_start, str_len


def _scan(words: np.ndarray) -> np.ndarray:
    """Word index at which each type starts.

    A type's length hangs on its kind and on how many members it has, so the next type is known only from the one
    before. NumPy works out "where would the next one start" for every word as if a type began there; what remains
    for Python is to follow the chain.
    """
    n = len(words)
    if n < 3:
        if n:
            raise ObjectError(f"the types of this BTF are cut short; {NEXT_STEP}")
        return np.empty(0, np.intp)
    info = words[1:].astype(np.int64)
    kind = info >> 24 & 0x1F
    step = _FIXED_WORDS[kind] + (info & 0xFFFF) * _EACH_WORDS[kind]
    following = (np.arange(n - 1) + step).tolist()
    starts = []
    at = 0
    try:
        while at < n:
            starts.append(at)
            step = following[at] - at
            if not step:
                raise ObjectError(f"type {len(starts)} of this BTF has an unknown kind ({int(kind[at])}); {NEXT_STEP}")
            at += step
    except IndexError:
        at = -1
    if at != n or n - starts[-1] < 3:
        raise ObjectError(f"the last type of this BTF is cut short; {NEXT_STEP}")
    return np.array(starts, np.intp)
