"""Type -> NumPy dtype, and arrays over buffers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ObjectError
from .layout import Field

if TYPE_CHECKING:
    from .types import Type


def dtype_of(t: Type) -> np.dtype:
    r, order = t.resolved, t.order
    match r.kind:
        case "int" | "enum" | "enum64":
            return _integer(t)
        case "ptr":
            return np.dtype(order + "u8")
        case "float":
            # 12 and 16 bytes: long double, whose 80-bit form NumPy has on x86 only
            return np.dtype(f"{order}f{r.size}") if r.size in (2, 4, 8) else np.dtype(f"V{r.size}")
        case "array" if t.is_text:
            return np.dtype(f"S{r.nelems}") if r.nelems else np.dtype(("S1", (0,)))
        case "array":
            element = r.target.dtype
            return np.dtype((element.base, (r.nelems, *element.shape)))
        case "struct" | "union":
            return _record(r)
        case "var":
            return r.target.dtype
        case "fwd":
            raise TypeError(f"{r.name} is declared in this BTF but not defined, so its layout is not known")
        case _:
            raise TypeError(f"{r.kind} {r.name}".strip() + " has no size, so nothing can be read as one")


def _integer(t: Type) -> np.dtype:
    size, order = t.size, t.order
    if t.encoding == "bool" and size == 1:
        return np.dtype(np.bool_)
    if size == 16:
        return np.dtype((order + "u8", (2,)))
    if size not in (1, 2, 4, 8):
        raise ObjectError(f"type {t.name or t.id} of this BTF is a number of {size} bytes; it is damaged")
    return np.dtype(f"{order}{'i' if t.encoding == 'signed' else 'u'}{size}")


def _record(r: Type) -> np.dtype:
    names, formats, offsets = [], [], []
    for f in r.fields:
        names.append(f.name)
        if f.bits:
            first, n = f.window
            formats.append(np.dtype("u1") if n == 1 else np.dtype(("u1", (n,))))
            offsets.append(first)
        else:
            formats.append(f.type.dtype)
            offsets.append(f.offset)
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": r.size})


def native(array: np.ndarray) -> np.ndarray:
    """A contiguous copy in this computer's byte order."""
    return array.astype(array.dtype.newbyteorder("="), order="C")


def truth(array: np.ndarray) -> np.ndarray:
    """Bools of numbers. NumPy trusts that a bool holds 0 or 1; memory may hold anything."""
    return (array.view(np.uint8) if array.dtype == np.bool_ else array) != 0


def bitfield(f: Field, window: np.ndarray, order: str) -> np.ndarray:
    """The numbers of a bitfield: put its bytes together as one number and take the bits out."""
    n, shift = f.window[1], f.shift(order)
    work = np.uint8 if n == 1 else np.uint64
    value: Any = work(0)
    for i in range(n):
        byte = (window if n == 1 else window[..., i]).astype(work)
        up = 8 * (i if order == "<" else n - 1 - i) - shift
        value = value | (byte << work(up) if up >= 0 else byte >> work(-up))
    value = value & work((1 << f.bits) - 1)
    if f.type.encoding == "bool":
        return value != 0
    if f.type.encoding == "signed":
        top = np.uint64(1 << (f.bits - 1))
        value = ((value.astype(np.uint64) ^ top) - top).view(np.int64)
    return value.astype(f"{'i' if f.type.encoding == 'signed' else 'u'}{f.type.size}")


def array(t: Type, buffer, count: int, stride: int | None) -> np.ndarray:
    size = t.size
    stride = size if stride is None else stride
    if stride < size:
        raise ValueError(f"stride {stride} is less than the {size} bytes of {t!r}; values would overlap")
    need = (count - 1) * stride + size if count else 0
    have = memoryview(buffer).nbytes
    if have < need:
        raise ValueError(f"{count} values of {t!r}, {stride} bytes apart, take {need} bytes; the buffer has {have}")
    # A dtype that is itself an array would change the shape; as the only member of a struct it keeps its place.
    one = np.dtype({"names": ["v"], "formats": [t.dtype], "offsets": [0], "itemsize": size})
    return np.ndarray((count,), one, buffer, 0, (stride,))["v"]
