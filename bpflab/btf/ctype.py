"""C scalar text, NumPy dtypes and sizes -> Type."""

from __future__ import annotations

import re
from difflib import get_close_matches

import numpy as np

from .build import ORDER, Builder
from .parse import Btf
from .types import ORDERS, Type

# name in C -> (name in BTF, size, encoding); sizes of the LP64 model, which BPF has
_INTEGERS = {
    "char": ("char", 1, "signed"),
    "signed char": ("signed char", 1, "signed"),
    "unsigned char": ("unsigned char", 1, "unsigned"),
    "short": ("short", 2, "signed"),
    "unsigned short": ("unsigned short", 2, "unsigned"),
    "int": ("int", 4, "signed"),
    "unsigned int": ("unsigned int", 4, "unsigned"),
    "long": ("long", 8, "signed"),
    "unsigned long": ("unsigned long", 8, "unsigned"),
    "long long": ("long long", 8, "signed"),
    "unsigned long long": ("unsigned long long", 8, "unsigned"),
    "__int128": ("__int128", 16, "signed"),
    "unsigned __int128": ("unsigned __int128", 16, "unsigned"),
    "_Bool": ("_Bool", 1, "bool"),
}
_BY_SIZE = {1: "char", 2: "short", 4: "int", 8: "long long"}
_FLOATS = {"float": 4, "double": 8}
_SAME = {"bool": "_Bool", "unsigned": "unsigned int", "signed": "int"}

# typedef -> what it names
_TYPEDEFS = {"size_t": "unsigned long", "ssize_t": "long", "pid_t": "int", "dev_t": "unsigned int"}
for _size, _plain in _BY_SIZE.items():
    for _name in (f"u{8 * _size}", f"__u{8 * _size}", f"uint{8 * _size}_t"):
        _TYPEDEFS[_name] = f"unsigned {_plain}"
    for _name in (f"s{8 * _size}", f"__s{8 * _size}", f"int{8 * _size}_t"):
        _TYPEDEFS[_name] = "signed char" if _size == 1 else _plain
for _name in ORDERS:
    _TYPEDEFS[_name] = f"__u{_name[4:]}"

_WORDS = {"short int": "short", "long int": "long", "long long int": "long long", "signed": ""}


def ctype(spec: str | int | np.dtype | Type, name: str = "record") -> Type:
    """The C type that a text, a NumPy dtype or a size stands for.

    Parameters
    ----------
    spec : str, int, numpy.dtype or Type
        C text of a scalar or an array of scalars: "u32", "__u64", "unsigned long", "bool", "__be32", "char[16]",
        "u8[6]". A NumPy dtype, structured too, with its offsets. An int is a number of bytes: an array of u8. A
        `Type` is returned as it is.
    name : str
        What a struct made of a structured dtype is called.

    Raises
    ------
    TypeError, ValueError
        C has no such type; the message says what to give.
    """
    if isinstance(spec, Type):
        return spec
    builder = Builder()
    made = add(builder, spec, name)
    return Btf(builder.blob()).type(made)


def add(builder: Builder, spec: str | int | np.dtype | Type, name: str) -> int:
    """Add what `spec` stands for; the id of it."""
    if isinstance(spec, Type):
        return builder.copy(spec)
    if isinstance(spec, str):
        return _add_text(builder, spec)
    if isinstance(spec, (int, np.integer)) and not isinstance(spec, bool):
        if not 0 < spec < 1 << 29:
            raise ValueError(f"{spec} bytes make no type; give a size from 1 byte up")
        return builder.array(_add_scalar(builder, "u8"), int(spec))
    try:
        if spec is None:  # NumPy's default, a double
            raise TypeError
        dtype = np.dtype(spec)
    except TypeError:
        hint = "give C text such as 'u32', a NumPy dtype, a Type, or a size in bytes"
        raise TypeError(f"{spec!r} names no C type; {hint}") from None
    return _add_dtype(builder, dtype, name)


def _add_text(builder: Builder, text: str) -> int:
    match = re.fullmatch(r"\s*([\w\s]+?)\s*((?:\[\s*\w+\s*\]\s*)*)", text)
    if not match:
        raise ValueError(f"'{text}' is no C scalar or array of them; give such as 'u32' or 'char[16]'")
    try:
        sizes = [int(n, 0) for n in re.findall(r"\w+", match[2])]
    except ValueError:
        raise ValueError(f"'{text}' has an array size that is no number; give such as 'char[16]'") from None
    if not all(0 < n < 1 << 29 for n in sizes):
        raise ValueError(f"'{text}' has an array of no elements or too many; give a size from 1 up")
    made = _add_scalar(builder, match[1])
    for n in reversed(sizes):
        made = builder.array(made, n)
    return made


def _normal(text: str) -> str:
    """One spelling of an integer type: C allows `long unsigned int` for `unsigned long`."""
    words = [w for w in text.split() if w not in ("const", "volatile")]
    joined = " ".join(words)
    if joined in _INTEGERS or joined in _TYPEDEFS or joined in _FLOATS:
        return joined
    if words and set(words) <= {"unsigned", "signed", "char", "short", "int", "long", "__int128"}:
        sign = "unsigned " if "unsigned" in words else "signed " if "signed" in words and "char" in words else ""
        core = [w for w in words if w not in ("unsigned", "signed")]
        if len(core) > 1 and "int" in core:
            core.remove("int")
        return sign + (" ".join(core) or "int")
    return _SAME.get(joined, joined)


def _add_scalar(builder: Builder, text: str) -> int:
    name = _normal(text)
    if name in _INTEGERS:
        return builder.integer(*_INTEGERS[name])
    if name in _FLOATS:
        return builder.once("float", name, _FLOATS[name])
    if name in _TYPEDEFS:
        return builder.once("typedef", name, _add_scalar(builder, _TYPEDEFS[name]))
    if name.split(" ")[0] in ("struct", "union", "enum"):
        raise ValueError(f"'{text}' is not known here; give a NumPy dtype, or a Type of a loaded object's BTF")
    near = get_close_matches(name, [*_INTEGERS, *_TYPEDEFS, *_FLOATS, "bool"], 3, 0.5)
    tail = f"did you mean {' or '.join(map(repr, near))}?" if near else "give such as 'u32', 'int' or 'char[16]'"
    raise ValueError(f"no C type named '{text}'; {tail}")


def _add_dtype(builder: Builder, dtype: np.dtype, name: str) -> int:
    if dtype.subdtype:
        element, shape = dtype.subdtype
        made = _add_dtype(builder, element, name)
        for n in reversed(shape):
            made = builder.array(made, n)
        return made
    if dtype.names is not None:
        return _add_record(builder, dtype, name)
    size, swapped = dtype.itemsize, not dtype.isnative
    if dtype.kind == "b":
        return _add_scalar(builder, "_Bool")
    if dtype.kind in "iu" and swapped:
        return _add_scalar(builder, f"__{'be' if ORDER == '<' else 'le'}{8 * size}")
    if dtype.kind in "iu":
        return _add_scalar(builder, f"__{'s' if dtype.kind == 'i' else 'u'}{8 * size}")
    if dtype.kind == "f" and size in (4, 8) and not swapped:
        return _add_scalar(builder, "float" if size == 4 else "double")
    if dtype.kind in "SV" and size:
        return builder.array(_add_scalar(builder, "char" if dtype.kind == "S" else "u8"), size)
    hint = {"U": "; text is 'S16', or C text 'char[16]'", "S": "; give the length, as in 'S16'"}.get(dtype.kind, "")
    raise TypeError(f"C has no type for the NumPy dtype {dtype}{hint or '; give numbers, bool, S or V'}")


def _add_record(builder: Builder, dtype: np.dtype, name: str) -> int:
    members = []
    for field in dtype.names:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", field):
            raise ValueError(f"the dtype's field '{field}' is no name in C; rename it")
        inner, offset = dtype.fields[field][:2]
        members.append((field, _add_dtype(builder, inner, field), 8 * offset, 0))
    members.sort(key=lambda m: m[2])  # the kernel wants them in the order of their offsets
    if not members or not dtype.itemsize:
        raise ValueError("a dtype without fields makes no type; give it at least one")
    return builder.record("struct", name, dtype.itemsize, members)
