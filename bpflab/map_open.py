"""Maps that no object of ours brings: created from Python, pinned, or known by their id."""

from __future__ import annotations

import errno
import re
from typing import TYPE_CHECKING, Any

from . import kinds
from .btf import Btf, Type, build, ctype
from .errors import BpfError, NotSupportedError
from .machines import AgentError
from .map import Map

if TYPE_CHECKING:
    from .lab import Lab


def create(lab: Lab, type: str, key=None, value=None, max_entries: int = 1, *, name="map", flags=0, inner=None) -> Map:
    """See `Lab.create_map`."""
    if not re.fullmatch(r"[\w.]*", name, re.ASCII):  # bpf_obj_name_cpy, kernel/bpf/syscall.c
        raise ValueError(f"a map cannot be named {name!r}; use letters, digits, '_' and '.', of which the kernel keeps 15")
    number = kinds.number_of(kinds.MAP_TYPES, type, "map type")
    kind = kinds.MAP_TYPES[number]
    key_type = None if key is None else ctype(key, "key")
    value_type = None if value is None else ctype(value, "value")
    spec: dict[str, Any] = {
        "type": number,
        "key_size": key_type.size if key_type else 0,
        "value_size": value_type.size if value_type else 0,
        "max_entries": max_entries,
        "flags": flags | (kinds.BPF_F_NO_PREALLOC if kind == "lpm_trie" else 0),
        "name": name,
    }
    if kind in ("array_of_maps", "hash_of_maps"):
        if inner is None:
            raise TypeError(f"a {kind} needs inner=, a map of the kind that it will hold")
        spec["inner_fd"] = inner.fd
        value_type = ctype("u32")
        spec["value_size"] = 4
    elif key_type and value_type and _may_have_btf(kind, key_type):
        spec["btf"], spec["btf_key_type_id"], spec["btf_value_type_id"] = build(key_type, value_type)
    try:
        about = lab.ask("maps.create", spec)
    except AgentError as error:
        number = error.payload["errno"]
        what = (
            f"{kind} map '{name}' with key {key!r}, value {value!r}, max_entries {max_entries}, flags {flags:#x} "
            f"was refused ({error}); {_HINTS.get(kind, 'check sizes and flags against the type')}"
        )
        if number == errno.EOPNOTSUPP:
            raise NotSupportedError(f"{kind} maps", lab.where, str(error), number) from None
        raise BpfError(what, number) from None
    return Map(lab, about, key_type, value_type)


def _may_have_btf(kind: str, key: Type) -> bool:
    """Whether the kernel takes types for this map; it refuses some that it would take as bare bytes."""
    if kind == "lpm_trie":  # trie_check_btf, kernel/bpf/lpm_trie.c
        return key.resolved.kind == "struct"
    if kind in ("array", "percpu_array"):  # array_map_check_btf, kernel/bpf/arraymap.c
        return key.resolved.kind == "int" and key.size == 4
    return kind in _WITH_BTF


# kernel/bpf/*.c: map_check_btf exists for these; the others refuse types with ENOTSUPP
_WITH_BTF = {
    *("hash", "percpu_hash", "lru_hash", "lru_percpu_hash"),
    *("sk_storage", "inode_storage", "task_storage", "cgrp_storage", "cgroup_storage", "percpu_cgroup_storage"),
}
_HINTS = {
    "queue": "a queue has no key: key=None",
    "stack": "a stack has no key: key=None",
    "bloom_filter": "a bloom filter has no key: key=None",
    "ringbuf": "a ring buffer has neither key nor value, and max_entries is its size: a power of 2, at least a page",
    "user_ringbuf": "a ring buffer has neither key nor value, and max_entries is its size: a power of 2, at least a page",
    "array": "an array's key is u32",
    "percpu_array": "an array's key is u32",
    "lpm_trie": "its key is a u32 prefix length and the data behind it",
}


def described(lab: Lab, about: dict) -> Map:
    """A map that the agent has opened, with the types that the kernel keeps for it."""
    key = value = None
    if about["btf_id"]:
        btf = Btf(lab.call("its BTF cannot be read", "maps.btf", about["btf_id"]))
        kind = kinds.name_of(kinds.MAP_TYPES, about["type"])
        key = btf.type(about["btf_key_type_id"]) if about["btf_key_type_id"] else None
        if about["btf_value_type_id"] and kind not in kinds.FD_VALUE_MAPS:
            value = btf.type(about["btf_value_type_id"])
    return Map(lab, about, key, value)
