"""Bytes -> Python value."""

from __future__ import annotations

import math
import struct
from collections import namedtuple
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .dtype import bitfield, native, truth
from .layout import Field, guard, identifier

if TYPE_CHECKING:
    from .types import Type

Decoder = Callable[[bytes, int], Any]


def decode(t: Type, data) -> Any:
    data = bytes(data)
    size = t.size
    if len(data) not in (size, (size + 7) // 8 * 8):  # per-CPU values are rounded up to 8 bytes
        raise ValueError(f"{t!r} cannot be read from {len(data)} bytes; give {size}")
    return guard(t, lambda: decoder(t))(data, 0)


def decoder(t: Type) -> Decoder:
    """A function that reads the type from a buffer at an offset. Made once for each type."""
    made = t.__dict__.get("_decoder")
    if made is None:
        made = t.__dict__["_decoder"] = _make(t)
    return made


def scalar_code(t: Type) -> str:
    """The letter of the struct module for a number, "" if there is none."""
    r = t.resolved
    dt = t.dtype  # refuses what has no size
    if r.kind not in ("int", "enum", "enum64", "ptr", "float") or dt.subdtype or dt.kind == "V":
        return ""
    return {"b1": "?", "f2": "e", "f4": "f", "f8": "d"}.get(dt.str[1:]) or _CODES[dt.str[1:]]


_CODES = {"u1": "B", "i1": "b", "u2": "H", "i2": "h", "u4": "I", "i4": "i", "u8": "Q", "i8": "q"}


def _make(t: Type) -> Decoder:
    r, size = t.resolved, t.size
    code = scalar_code(t)
    if code:
        unpack = struct.Struct(t.order + code).unpack_from
        if t.encoding == "bool" and code != "?":
            return lambda buf, at: bool(unpack(buf, at)[0])
        return lambda buf, at: unpack(buf, at)[0]
    if t.is_text:
        return lambda buf, at: text(buf[at : at + size])
    if r.kind == "array":
        return _make_array(r)
    if r.kind in ("struct", "union"):
        return _make_record(t)
    if r.kind == "int":
        order, signed = "little" if t.order == "<" else "big", t.encoding == "signed"
        return lambda buf, at: int.from_bytes(buf[at : at + size], order, signed=signed)
    return lambda buf, at: bytes(buf[at : at + size])  # long double: Python has no such number


def _make_array(r: Type) -> Decoder:
    element, n, step = r.target, r.nelems, r.target.size
    code = scalar_code(element)
    if code and not (element.encoding == "bool" and code != "?"):
        unpack = struct.Struct(f"{element.order}{n}{code}").unpack_from
        return lambda buf, at: list(unpack(buf, at))
    one = decoder(element)
    return lambda buf, at: [one(buf, at + i * step) for i in range(n)]


def _make_record(t: Type) -> Decoder:
    make = t.record._make
    parts = [field_decoder(f, t.btf.order) for f in t.visible]
    return lambda buf, at: make([one(buf, at) for one in parts])


def field_decoder(f: Field, order: str) -> Decoder:
    """As `decoder`, for a field of the struct that starts at the offset."""
    if f.bits:
        return _bitfield(f, order)
    one, offset = decoder(f.type), f.offset
    return lambda buf, at: one(buf, at + offset)


def _bitfield(f: Field, order: str) -> Decoder:
    (first, n), shift, mask = f.window, f.shift(order), (1 << f.bits) - 1
    name, top = "little" if order == "<" else "big", 1 << (f.bits - 1)
    if f.type.encoding == "bool":
        return lambda buf, at: bool(int.from_bytes(buf[at + first : at + first + n], name) >> shift & mask)
    if f.type.encoding == "signed":
        return lambda buf, at: ((int.from_bytes(buf[at + first : at + first + n], name) >> shift & mask) ^ top) - top
    return lambda buf, at: int.from_bytes(buf[at + first : at + first + n], name) >> shift & mask


def decode_all(t: Type, array: np.ndarray) -> list:
    """As `decode`, for each value of an array (of any shape, flattened). Works column by column."""
    r, own = t.resolved, t.dtype.shape
    n = math.prod(array.shape[: array.ndim - len(own)])
    array = array.reshape(n, *own)
    if scalar_code(t):
        return (truth(array) if t.encoding == "bool" else native(array)).tolist()
    if t.is_text and t.size:
        return [text(one) for one in array.tolist()]
    if r.kind in ("struct", "union") and t.visible:
        parts = []
        for f in t.visible:
            part = array[f.name]
            parts.append(bitfield(f, part, t.btf.order).tolist() if f.bits else decode_all(f.type, part))
        return list(map(t.record._make, zip(*parts, strict=True)))
    if r.kind == "array" and not t.is_text:
        flat = decode_all(r.target, array) if r.nelems else []
        return [flat[i * r.nelems : (i + 1) * r.nelems] for i in range(n)]
    read = decoder(t)
    return [read(row.tobytes(), 0) for row in array]


def text(data: bytes) -> str:
    """The text of a char array: up to the first NUL. Bytes that are no UTF-8 survive a round trip."""
    return bytes(data).partition(b"\0")[0].decode("utf-8", "surrogateescape")


def record(t: Type) -> type:
    r = t.resolved
    if r is not t and r.name:
        return r.record
    if r.kind not in ("struct", "union"):
        raise TypeError(f"{t!r} is no struct or union, so it has no record")
    # rename=True: a member called `in` or `_pad` is reached by position, as _0, _1, ...
    return namedtuple(identifier(t.name, "anonymous"), [f.name for f in t.visible], rename=True)
