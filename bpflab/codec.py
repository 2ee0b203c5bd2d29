"""Keys and values of a map as bytes and back: what each map type takes besides plain values of its C types."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from . import kinds, lpm
from .btf import Type, ctype


class Codec:
    """The types of a map, and what its kind makes of them.

    Attributes
    ----------
    key_type, value_type : bpflab.btf.Type or None
    ncpus : int or None
        Values for each key, of a per-CPU map.
    stride : int
        Bytes from one CPU's value to the next: the kernel rounds them up to 8 (kernel/bpf/syscall.c).
    copied : int
        Bytes that the kernel copies for one key's value or values.
    """

    def __init__(self, name: str, kind: str, about: dict, key_type: Type | None, value_type: Type | None, ncpus: int):
        self._name, self._kind = name, kind
        self._key_size, self._value_size = about["key_size"], about["value_size"]
        self.key_type = key_type or _plain(self._key_size)
        self.value_type = value_type or _plain(self._value_size)
        self.ncpus = ncpus if kind in kinds.PERCPU_MAPS else None
        self.stride = (self._value_size + 7) // 8 * 8 if self.ncpus else self._value_size
        self.copied = self.stride * (self.ncpus or 1)

    def refuse_keyless(self, doing: str) -> None:
        """Raise TypeError where the map has no keys, with the way to use it."""
        if self._kind in kinds.KEYLESS_MAPS:
            raise TypeError(f"map '{self._name}' is a {self._kind}, which has no keys: use push, pop and peek to {doing} it")
        if self._kind in kinds.RING_MAPS or self._kind == "arena":
            raise TypeError(
                f"map '{self._name}' is a {self._kind}, which has no keys: read events with obj.events('{self._name}')"
            )

    def key(self, key: Any) -> bytes:
        """A prefix such as "10.0.0.0/8" for an LPM trie; a socket, cgroup or process for a storage map."""
        self.refuse_keyless("change")
        what = f"key of map '{self._name}'"
        if self._kind == "lpm_trie" and isinstance(key, str):
            key = lpm.parse(key, self._key_size, what)
        elif self._kind in kinds.FD_KEY_MAPS and hasattr(key, "fd"):
            key = key.fd
        return self.key_type.encode(key, what)

    def value(self, value: Any) -> bytes:
        """A program, map, socket or cgroup where the map holds such; one value for each CPU where it keeps as many."""
        what = f"value of map '{self._name}'"
        if self._kind in kinds.FD_VALUE_MAPS and hasattr(value, "fd"):
            value = value.fd
        elif self._kind in ("devmap", "devmap_hash", "cpumap"):
            value = self._with_program(value)
        if not self.ncpus:
            return self.value_type.encode(value, what)
        if isinstance(value, (list, tuple, np.ndarray)) and len(value) == self.ncpus:
            parts = (self.value_type.encode(v, f"{what}, CPU {i}") for i, v in enumerate(value))
            return b"".join(part.ljust(self.stride, b"\0") for part in parts)
        raise TypeError(
            f"{what} is kept once for each of {self.ncpus} CPUs: give a list of {self.ncpus} values, not {value!r}"
        )

    def _with_program(self, value: Any):
        """struct bpf_devmap_val and bpf_cpumap_val: a number, and a program that runs there."""
        pair = isinstance(value, (tuple, list)) and not hasattr(value, "ifindex")  # a Device is a tuple too
        number, program = value if pair else (value, None)
        number = getattr(number, "ifindex", number)
        if self._value_size == 4:
            return number
        return np.array([number, program.fd if program else 0], "i4").tobytes()

    def decode(self, data: bytes) -> Any:
        if not self.ncpus:
            return self.value_type.decode(data)
        return [self.value_type.decode(data[i : i + self._value_size]) for i in range(0, len(data), self.stride)]

    def arrays(self, keys, values, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Typed views of packed keys and values; values of a per-CPU map have the shape (count, ncpus)."""
        typed = self.key_type.array(keys, count)
        if not self.ncpus:
            return typed, self.value_type.array(values, count)
        each = self.value_type.array(values, count * self.ncpus, self.stride)
        return typed, each.reshape(count, self.ncpus, *each.shape[1:])

    def columns(self, keys: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        """Columns for a DataFrame, see `Map.to_frame`."""
        if self._kind == "lpm_trie" and self._key_size in (8, 20):
            out = {"prefix": lpm.texts(keys)}
        else:
            out = dict(self.key_type.columns(keys, _prefix(self.key_type, "key")))
        if self.ncpus:
            for cpu in range(self.ncpus):
                found = self.value_type.columns(values[:, cpu], _prefix(self.value_type, "value"))
                out |= {(f"cpu{cpu}" if name == "value" else f"{name}.cpu{cpu}"): column for name, column in found.items()}
            return out
        found = self.value_type.columns(values, _prefix(self.value_type, "value"))
        clash = out.keys() & found.keys()
        return out | {(f"value.{name}" if name in clash else name): column for name, column in found.items()}

    def pack_keys(self, keys: Any) -> tuple[bytes, int]:
        return self._pack(keys, self.key_type, self.key)

    def pack_values(self, values: Any) -> tuple[bytes, int]:
        return self._pack(values, self.value_type, self.value)

    def _pack(self, many: Any, kind: Type, encode) -> tuple[bytes, int]:
        """Many keys or values as (bytes, count); arrays of the right dtype as they are, the rest one by one."""
        if not isinstance(many, Iterable) or np.ndim(many) == 0 and isinstance(many, np.ndarray):
            raise TypeError(f"map '{self._name}': a batch is an array or a list of keys and one of values, not {many!r}")
        if isinstance(many, np.ndarray) and many.ndim == 1 and not self.ncpus:
            if many.dtype == kind.dtype:
                return np.ascontiguousarray(many).tobytes(), len(many)
            if many.dtype.kind in "iu" and kind.dtype.kind in "iu" and len(many):
                bounds = np.iinfo(kind.dtype)
                if bounds.min <= int(many.min()) and int(many.max()) <= bounds.max:
                    return many.astype(kind.dtype).tobytes(), len(many)
        packed = [encode(one) for one in many]
        return b"".join(packed), len(packed)


def _plain(size: int) -> Type | None:
    """A type for bytes nobody described: a number where the size is one's."""
    if not size:
        return None
    return ctype({1: "u8", 2: "u16", 4: "u32", 8: "u64"}.get(size, size))


def _prefix(kind: Type, name: str) -> str:
    return "" if kind.resolved.kind in ("struct", "union") else name
