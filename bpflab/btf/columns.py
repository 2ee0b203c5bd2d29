"""Array of values -> flat columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import values
from .layout import Field

if TYPE_CHECKING:
    from .types import Type

MAX_EXPANDED = 16


def columns_of(t: Type, array: np.ndarray, prefix: str) -> dict[str, Any]:
    out: dict[str, Any] = {}
    _add(out, t, array, prefix)
    return out


def _add(out: dict[str, Any], t: Type, array: np.ndarray, name: str) -> None:
    r = t.resolved
    if r.kind in ("struct", "union"):
        for f in values.visible(t):
            path = f"{name}.{f.name}" if name else f.name
            if f.bits:
                out[path] = _bitfield(f, array[f.name], t.btf.order)
            else:
                _add(out, f.type, array[f.name], path)
        return
    if r.kind == "array" and not t.is_text:
        if _count(t) <= MAX_EXPANDED:
            for i in range(t.nelems):
                _add(out, r.target, array[:, i], f"{name}[{i}]")
        else:
            out[name or "value"] = _objects(t, array)
        return
    out[name or "value"] = _scalar(t, array)


def _scalar(t: Type, array: np.ndarray) -> Any:
    r = t.resolved
    if t.is_text:
        return _text(array)
    if r.kind in ("enum", "enum64"):
        return _enum(t, native(array))
    if t.encoding == "bool":
        return (array.view(np.uint8) if array.dtype == np.bool_ else array) != 0
    if r.kind == "int" and t.size == 16:
        high, low = (0, 1) if t.order == ">" else (1, 0)
        top = native(array[:, high])
        if t.encoding == "signed":
            top = top.view(np.int64)
        return (top.astype(object) << 64) | native(array[:, low]).astype(object)
    return native(array)


def native(array: np.ndarray) -> np.ndarray:
    """A contiguous copy in this computer's byte order."""
    return array.astype(array.dtype.newbyteorder("="), order="C")


def _count(t: Type) -> int:
    """How many columns an array opens into."""
    r = t.resolved
    if r.kind == "array" and not t.is_text:
        return r.nelems * _count(r.target)
    if r.kind in ("struct", "union"):
        return sum(_count(f.type) for f in values.visible(t))
    return 1


def _objects(t: Type, array: np.ndarray) -> np.ndarray:
    """One object a row: for numbers a row of one contiguous copy, else the list that `decode` gives."""
    out = np.empty(len(array), object)
    if values.scalar_code(_innermost(t)):
        rows = native(array)
        for i in range(len(out)):
            out[i] = rows[i]
    else:
        read = values.decoder(t)
        for i, row in enumerate(array):
            out[i] = read(row.tobytes(), 0)
    return out


def _innermost(t: Type) -> Type:
    while t.resolved.kind == "array" and not t.is_text:
        t = t.resolved.target
    return t


def _bitfield(f: Field, window: np.ndarray, order: str) -> np.ndarray:
    """Put the window's bytes together as one number and take the bits out."""
    n, shift = f.window[1], f.shift(order)
    work = np.uint8 if n == 1 else np.uint64
    value: Any = work(0)
    for i in range(n):
        byte = (window if n == 1 else window[:, i]).astype(work)
        up = 8 * (i if order == "<" else n - 1 - i) - shift
        value = value | (byte << work(up) if up >= 0 else byte >> work(-up))
    value = value & work((1 << f.bits) - 1 & (0xFF if n == 1 else 0xFFFFFFFFFFFFFFFF))
    if f.type.encoding == "bool":
        return value != 0
    dtype = np.dtype(f"{'i' if f.type.encoding == 'signed' else 'u'}{f.type.size}")
    value = value.astype(np.uint64)
    if f.type.encoding == "signed":
        top = np.uint64(1 << (f.bits - 1))
        value = ((value ^ top) - top).view(np.int64)
    value = value.astype(dtype)
    return _enum(f.type, value) if f.type.enumerators else value


def _enum(t: Type, numbers: np.ndarray) -> Any:
    """A Categorical: names where the enum has them, numbers as text where not."""
    import pandas as pd  # takes half a second, and only frames need it

    names: dict[int, str] = {}
    for name, value in t.enumerators.items():
        names.setdefault(value, name)  # of several names for one value, the first
    known = np.array(sorted(names), dtype=object).astype(numbers.dtype) if names else np.empty(0, numbers.dtype)
    at = np.searchsorted(known, numbers)
    found = known[np.minimum(at, len(known) - 1)] == numbers if len(known) else np.zeros(len(numbers), bool)
    categories = [names[v] for v in known.tolist()]
    if not found.all():
        foreign, which = np.unique(numbers[~found], return_inverse=True)
        at[~found] = len(categories) + which
        categories += map(str, foreign.tolist())
    return pd.Categorical.from_codes(at, categories)


def _text(array: np.ndarray) -> np.ndarray:
    """Text of char arrays. Every distinct content is decoded once: real data repeats names a lot."""
    import pandas as pd

    n, size = len(array), array.dtype.itemsize
    if array.ndim > 1 or not n:  # char[0]
        return np.full(n, "", object)
    words = -(-size // 8)
    padded = np.zeros((n, words * 8), np.uint8)
    padded[:, :size] = np.ascontiguousarray(array).view(np.uint8).reshape(n, size)
    codes = np.zeros(n, np.intp)
    for word in padded.view(np.uint64).T:
        part, seen = pd.factorize(word)
        codes, _ = pd.factorize(codes * len(seen) + part)
    # factorize numbers the contents in the order of their first row
    first = np.zeros(codes.max() + 1, np.intp)
    first[codes[::-1]] = np.arange(n - 1, -1, -1)
    texts = [bytes(row).partition(b"\0")[0].decode("utf-8", "backslashreplace") for row in padded[first]]
    return np.array(texts, object)[codes]
