"""Array of values -> flat columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import values
from .dtype import bitfield, native, truth

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
        for f in t.visible:
            path = f"{name}.{f.name}" if name else f.name
            if f.bits:
                numbers = bitfield(f, array[f.name], t.btf.order)
                out[path] = _enum(f.type, numbers) if f.type.enumerators else numbers
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
        return truth(array)
    if r.kind == "int" and t.size == 16:
        high, low = (0, 1) if t.order == ">" else (1, 0)
        top = native(array[:, high])
        if t.encoding == "signed":
            top = top.view(np.int64)
        return (top.astype(object) << 64) | native(array[:, low]).astype(object)
    return native(array)


def _count(t: Type) -> int:
    """How many columns an array opens into."""
    r = t.resolved
    if r.kind == "array" and not t.is_text:
        return r.nelems * _count(r.target)
    if r.kind in ("struct", "union"):
        return sum(_count(f.type) for f in t.visible)
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


def _enum(t: Type, numbers: np.ndarray) -> Any:
    """A Categorical: names where the enum has them, numbers as text where not."""
    import pandas as pd  # takes half a second, and only frames need it

    names: dict[int, str] = {}
    for name, value in sorted(t.enumerators.items(), key=lambda pair: pair[1]):
        names.setdefault(value, name)  # of several names for one value, the first
    codes, seen = pd.factorize(numbers)
    for value in sorted(set(seen.tolist()) - set(names)):
        names[value] = str(value)
    place = {value: i for i, value in enumerate(names)}
    return pd.Categorical.from_codes(np.array([place[v] for v in seen.tolist()], np.intp)[codes], list(names.values()))


def _text(array: np.ndarray) -> Any:
    """Text of char arrays. Every distinct content is decoded once: real data repeats names a lot."""
    import pandas as pd

    n, size = len(array), array.dtype.itemsize
    if array.ndim > 1 or not n:  # char[0], or no rows
        return pd.array([""] * n, dtype="str")
    content = np.ascontiguousarray(array).view(np.uint8).reshape(n, size)
    if size % 8:
        padded = np.zeros((n, size + -size % 8), np.uint8)
        padded[:, :size] = content
        content = padded
    codes, first = _distinct(content.view(np.uint64))
    texts = [row.tobytes().partition(b"\0")[0].decode("utf-8", "backslashreplace") for row in content[first]]
    return pd.array(texts, dtype="str").take(codes)


MIX = [pow(0x9E3779B97F4A7C15, i, 1 << 64) for i in range(1, 1 << 7)]


def _distinct(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Number the distinct rows: (number of each row, first row of each number).

    Each row is mixed into one word, which pandas numbers by hashing. Rows that differ may mix to the same word; a
    comparison of every row with the first of its number finds out, and then the words are numbered one after another.
    """
    import pandas as pd

    words = rows.T
    mixed = words[0] if len(words) == 1 else sum(w * np.uint64(MIX[i % len(MIX)]) for i, w in enumerate(words))
    codes, seen = pd.factorize(mixed)
    first = _first(codes, len(seen))
    if len(words) > 1 and not all((w[first][codes] == w).all() for w in words):
        codes = np.zeros(len(rows), np.int64)
        for w in words:
            part, seen = pd.factorize(w)
            codes, numbers = pd.factorize(codes * len(seen) + part)
        first = _first(codes, len(numbers))
    return codes, first


def _first(codes: np.ndarray, n: int) -> np.ndarray:
    """Row of the first appearance of each code."""
    first = np.empty(n, np.intp)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return first
