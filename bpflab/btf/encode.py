"""Python value -> bytes."""

from __future__ import annotations

import ipaddress
import operator
import struct
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np

from . import c, values
from .layout import Field, guard

if TYPE_CHECKING:
    from .types import Type

ADDRESSES = (ipaddress.IPv4Address, ipaddress.IPv6Address)


class _At:
    """Where in the value we are. Put into words only when there is something to complain about."""

    __slots__ = ("outer", "step", "what")

    def __init__(self, what: str, outer: _At | None = None, step: str | int = ""):
        self.what, self.outer, self.step = what, outer, step

    def into(self, step: str | int) -> _At:
        """One member (by name) or element (by index) further in."""
        return _At(self.what, self, step)

    @property
    def path(self) -> str:
        if self.outer is None:
            return ""
        before = self.outer.path
        return f"{before}[{self.step}]" if isinstance(self.step, int) else f"{before}.{self.step}".lstrip(".")

    def says(self, t: Type, text: str) -> str:
        path = self.path
        if not path:
            return f"{self.what} is {c.short(t)}: {text}"
        noun = "element" if path.startswith("[") else "member"
        return f"{self.what}: {noun} '{path}' is {c.short(t)}: {text}"


def encode(t: Type, value: Any, what: str) -> bytes:
    guard(t, lambda: t.dtype)  # refuses what has no size, and damaged BTF, before anything is written
    buf = bytearray(t.size)
    _put(t, value, buf, 0, _At(what))
    return bytes(buf)


def _put(t: Type, value: Any, buf: bytearray, at: int, where: _At) -> None:
    r, size = t.resolved, t.size
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value)
        if t.is_text and len(value) < size:
            value = value.ljust(size, b"\0")
        if len(value) != size:
            raise ValueError(where.says(t, f"{len(value)} bytes given, {size} needed"))
        buf[at : at + size] = value
    elif t.is_text:
        buf[at : at + size] = _text(t, value, where)
    elif r.kind == "array":
        _put_array(t, value, buf, at, where)
    elif r.kind in ("struct", "union"):
        _put_record(t, value, buf, at, where)
    elif r.kind == "float":
        buf[at : at + size] = _float(t, value, where)
    else:
        number = integer(t, value, 8 * size, where)
        buf[at : at + size] = number.to_bytes(size, "little" if t.order == "<" else "big", signed=number < 0)


def shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def integer(t: Type, value: Any, bits: int, where: _At) -> int:
    kind, signed = t.resolved.kind, t.encoding == "signed"
    if kind == "ptr" and value is None:
        return 0
    if kind in ("enum", "enum64") and isinstance(value, str):
        if value not in t.enumerators:
            near = get_close_matches(value, t.enumerators, 3, 0.5) or list(t.enumerators)[:5]
            raise ValueError(where.says(t, f"it has no {value!r}, but {', '.join(near)}"))
        value = t.enumerators[value]
    elif t.size == 4 and isinstance(value, (str, ipaddress.IPv4Address)):
        value = _address(t, value, where)
    if isinstance(value, np.bool_):
        value = bool(value)
    try:
        number = operator.index(value)
    except TypeError:
        name = type(value).__name__
        raise TypeError(where.says(t, f"{shown(value)} ({name}) is not an integer; give an int")) from None
    low, high = (-1 << bits - 1, (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if t.encoding == "bool":
        high = 1
    if not low <= number <= high:
        raise OverflowError(where.says(t, f"{number} is out of range {low}..{high}"))
    return number


def _address(t: Type, value: Any, where: _At) -> int:
    """An IPv4 address for a 32-bit number. Its byte order must be plain from the type."""
    try:
        packed = ipaddress.IPv4Address(value).packed
    except ValueError as e:
        if t.order == t.btf.order:
            raise TypeError(where.says(t, f"{shown(value)} (str) is not an integer; give an int")) from None
        raise ValueError(where.says(t, f"{e}; give an address such as '10.0.0.1', or an int")) from None
    if t.order == t.btf.order:
        here = int.from_bytes(packed, "little" if t.order == "<" else "big")
        raise TypeError(where.says(t, f"an address has network byte order, which this type does not tell; declare it "
                                      f"__be32, or give {here} for the bytes as a packet has them"))  # fmt: skip
    return int.from_bytes(packed, "big")


def _float(t: Type, value: Any, where: _At) -> bytes:
    code = {2: "e", 4: "f", 8: "d"}.get(t.size)
    if code is None:
        raise TypeError(where.says(t, f"Python has no such number; give {t.size} bytes"))
    try:
        return struct.pack(t.order + code, value)
    except struct.error:
        raise TypeError(where.says(t, f"{shown(value)} ({type(value).__name__}) is not a number")) from None
    except OverflowError:
        raise OverflowError(where.says(t, f"{shown(value)} is too large")) from None


def _text(t: Type, value: Any, where: _At) -> bytes:
    if not isinstance(value, str):
        raise TypeError(where.says(t, f"{shown(value)} ({type(value).__name__}) is not text; give str or bytes"))
    data = value.encode("utf-8", "surrogateescape")
    if "\0" in value:
        raise ValueError(where.says(t, "the text holds a NUL, at which it would end; give bytes to keep what follows"))
    if len(data) > t.size:
        raise ValueError(where.says(t, f"{shown(value)} takes {len(data)} bytes, {t.size} are there"))
    return data.ljust(t.size, b"\0")


def _packed(t: Type, value: Any, where: _At) -> bytes:
    """The bytes of an IP or MAC address for an array of bytes or big endian words."""
    element = t.resolved.target
    bytewise = element.size == 1 and element.resolved.kind == "int" and element.encoding != "bool"
    known = {4: "IPv4", 16: "IPv6"}.get(t.size) if bytewise or (t.size == 16 and element.order == ">") else None
    try:
        if known:
            return getattr(ipaddress, known + "Address")(str(value)).packed
        if bytewise and t.size == 6 and isinstance(value, str):
            mac = bytes.fromhex(value.replace(":", "").replace("-", ""))
            if len(mac) == 6:
                return mac
    except ValueError:
        pass
    hint = f"; give an {known} address, bytes or {t.nelems} numbers" if known else ""
    raise ValueError(where.says(t, f"{shown(value)} does not fit it{hint or f'; give {t.nelems} values'}"))


def _put_array(t: Type, value: Any, buf: bytearray, at: int, where: _At) -> None:
    if isinstance(value, (str, *ADDRESSES)):
        buf[at : at + t.size] = _packed(t, value, where)
        return
    element, n = t.resolved.target, t.nelems
    try:
        given = list(value) if not isinstance(value, Mapping) else None
    except TypeError:
        given = None
    if given is None:
        raise TypeError(where.says(t, f"{shown(value)} ({type(value).__name__}) is no sequence; give {n} values"))
    if len(given) != n:
        raise ValueError(where.says(t, f"{len(given)} values given, {n} needed"))
    for i, one in enumerate(given):
        _put(element, one, buf, at + i * element.size, where.into(i))


def _put_record(t: Type, value: Any, buf: bytearray, at: int, where: _At) -> None:
    fields = t.visible
    given = _by_field(t, value, fields, where)
    shared = t.overlaps and _share_bytes(given)
    if shared:  # a union: the largest decides, and what says all of its bits before what does not
        given.sort(key=lambda pair: (_exact(pair[0].type), pair[0].bits or 8 * pair[0].type.size))
    for f, one in given:
        _put_field(f, one, buf, at, where.into(f.name), t.btf.order)
    if shared:
        _check_agreement(t, given, buf, at, where)


def _exact(t: Type) -> bool:
    """Whether the Python value tells every bit: text ends at its NUL, a bool of 2 reads as True, a NaN has many forms."""
    r = t.resolved
    if r.kind in ("struct", "union"):
        return all(_exact(f.type) for f in r.fields)
    if r.kind == "array":
        return not t.is_text and _exact(r.target)
    return r.kind != "float" and t.encoding != "bool"


def _put_field(f: Field, value: Any, buf: bytearray, at: int, where: _At, order: str) -> None:
    if not f.bits:
        _put(f.type, value, buf, at + f.offset, where)
        return
    number = integer(f.type, value, f.bits, where)
    first, n = f.window
    place, name, mask = slice(at + first, at + first + n), "little" if order == "<" else "big", (1 << f.bits) - 1
    shift = f.shift(order)
    before = int.from_bytes(buf[place], name)
    buf[place] = (before & ~(mask << shift) | (number & mask) << shift).to_bytes(n, name)


def _by_field(t: Type, value: Any, fields: list[Field], where: _At) -> list[tuple[Field, Any]]:
    """Which field gets which value."""
    if isinstance(value, np.void) and value.dtype.names:
        value = {name: value[name] for name in value.dtype.names}
    if type(value) is t.record:
        return list(zip(fields, value, strict=True))
    foreign = hasattr(value, "_asdict")
    if foreign or isinstance(value, Mapping):
        names = {f.name: f for f in t.fields}
        # `decode` calls a member that is no Python name by its position
        names |= {alias: f for alias, f in zip(t.record._fields, fields, strict=True) if alias not in names}
        if foreign and set(value._fields) <= set(names):
            value = value._asdict()
    if isinstance(value, Mapping):
        for name in value:
            if name not in names:
                near = get_close_matches(str(name), names, 3, 0.5) or [f.name for f in fields]
                raise ValueError(where.says(t, f"it has no member {name!r}, but {', '.join(near)}"))
        return [(names[name], one) for name, one in value.items()]
    if isinstance(value, (tuple, list)):
        if len(value) != len(fields):
            members = ", ".join(f.name for f in fields)
            raise ValueError(where.says(t, f"{len(value)} values given for its {len(fields)} members ({members})"))
        return list(zip(fields, value, strict=True))
    if fields and (len(fields) == 1 or t.resolved.kind == "union"):
        return [(fields[0], value)]
    members = ", ".join(f.name for f in fields)
    raise TypeError(where.says(t, f"{shown(value)} ({type(value).__name__}) given; give a dict or tuple of {members}"))


def _share_bytes(given: list[tuple[Field, Any]]) -> bool:
    end = -1
    for start, size in sorted((f.offset_bits, f.bits or 8 * f.type.size) for f, _ in given):
        if start < end:
            return True
        end = start + size
    return False


def _check_agreement(t: Type, given: list, buf: bytearray, at: int, where: _At) -> None:
    """Members of a union that were all given must describe the same bytes."""
    order = t.btf.order
    for f, one in given:
        alone = bytearray(t.size)
        _put_field(f, one, alone, 0, where, order)
        read = values.field_decoder(f, order)
        # repr: a NaN is not equal to itself
        if repr(read(alone, 0)) != repr(read(buf, at)):
            raise ValueError(where.says(t, f"member '{f.name}' shares its bytes with another, and the values given "
                                           f"disagree; give a dict with the one meant"))  # fmt: skip
