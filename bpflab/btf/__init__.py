"""BTF, the kernel's type information: bytes -> types -> NumPy dtypes, Python values, DataFrame columns and C text.

    parse    Btf: finds the types of a blob, looks names up
    types    Type and Member: one type, and what can be done with it
    layout   where the members of a struct really lie; bitfields
    dtype    Type -> NumPy dtype
    values   Python value <-> bytes
    columns  array of structs -> flat columns
    c        Type -> C declaration
    maps     the definitions libbpf's `.maps` section holds
    build    makes BTF: for maps that are created from Python
    ctype    C scalar text, NumPy dtypes and sizes -> Type

The format is described in the kernel's Documentation/bpf/btf.rst and include/uapi/linux/btf.h.
Nothing here talks to a kernel.
"""

from .build import build
from .ctype import ctype
from .maps import MapDef, map_def, map_types
from .parse import Btf
from .types import Member, Type

__all__ = ["Btf", "MapDef", "Member", "Type", "build", "ctype", "map_def", "map_types"]
