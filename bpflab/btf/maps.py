"""The map definitions of libbpf's `.maps` section.

A definition is a struct variable whose members' types carry the settings: `__uint(max_entries, 64)` declares
`int (*max_entries)[64]`, `__type(key, u32)` declares `u32 *key`, `__array(values, struct inner)` declares
`struct inner *values[]` (tools/lib/bpf/bpf_helpers.h, parse_btf_map_def in tools/lib/bpf/libbpf.c).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import ObjectError
from .parse import Btf
from .types import Type


@dataclass(frozen=True)
class MapDef:
    """What a `.maps` variable says.

    Attributes
    ----------
    name : str
        Name of the map; "" for the inner definition of a map of maps.
    key, value : Type or None
        From `__type(key, ...)` and `__type(value, ...)`. None if the definition gives a size only, or nothing.
    settings : dict of str to int
        `__uint` and `__ulong` members: "type", "max_entries", "key_size", "map_flags", "pinning", ...
    inner : MapDef or None
        For a map of maps, the definition of the maps it holds.
    """

    name: str
    key: Type | None
    value: Type | None
    settings: dict[str, int] = field(default_factory=dict)
    inner: MapDef | None = None


def map_types(btf: Btf, var_name: str) -> tuple[Type | None, Type | None]:
    """Key and value type of a map that libbpf's `.maps` section defines, as (key, value).

    Raises
    ------
    UnknownNameError
        No variable has that name.
    """
    found = map_def(btf, var_name)
    return found.key, found.value


def map_def(btf: Btf, var_name: str) -> MapDef:
    """The whole definition of such a map.

    Raises
    ------
    UnknownNameError
        No variable has that name.
    ObjectError
        The variable is no map definition.
    """
    var = btf.find(var_name, "var")
    if var.resolved.kind != "var" or var.target.resolved.kind != "struct":
        raise ObjectError(f"variable '{var_name}' is no map definition, which is a struct; see bpf_helpers.h of libbpf")
    return _read(var.name, var.target.resolved)


def _read(name: str, struct: Type) -> MapDef:
    types: dict[str, Type] = {}
    settings: dict[str, int] = {}
    inner = None
    for m in struct.members:
        kind = m.type.resolved
        if m.name in ("key", "value") and kind.kind == "ptr":
            types[m.name] = kind.target
        elif m.name == "values" and kind.kind == "array":
            held = kind.target.resolved
            held = held.target.resolved if held.kind == "ptr" else held
            if held.kind == "struct":  # a program array holds functions here
                inner = _read("", held)
        elif kind.kind == "ptr" and kind.target.resolved.kind == "array":
            settings[m.name] = kind.target.nelems
        elif kind.kind in ("enum", "enum64") and kind.enumerators:
            settings[m.name] = next(iter(kind.enumerators.values()))
    return MapDef(name, types.get("key"), types.get("value"), settings, inner)
