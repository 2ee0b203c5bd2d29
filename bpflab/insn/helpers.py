"""The helpers that a stepped program may call: on local copies, so that stepping changes nothing in the kernel."""

from __future__ import annotations

import errno
import os
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .alu import signed
from .memory import MAPS, OTHER, Region

if TYPE_CHECKING:
    from .ebpf_run import Machine

_HASHES = {"hash", "lru_hash", "percpu_hash", "lru_percpu_hash"}
_ARRAYS = {"array", "percpu_array"}


class CannotStep(Exception):
    """The program does something that only the kernel can do."""


class MapCopy:
    """A map as a stepped program sees it: read from the kernel when it is first asked, changed only here.

    Parameters
    ----------
    fetch : callable
        key bytes -> value bytes or None; of a per-CPU map the values of CPU 0.
    count : callable
        () -> number of entries in the kernel's map.
    """

    def __init__(self, name: str, kind: str, key_size: int, value_size: int, max_entries: int, fetch: Callable, count: Callable):
        self.name, self.kind = name, kind
        self.key_size, self.value_size, self.max_entries = key_size, value_size, max_entries
        self._fetch, self._count = fetch, count
        self._entries: dict[bytes, Region | None] = {}
        self._added = 0

    def lookup(self, machine: Machine, key: bytes) -> Region | None:
        if self.kind not in _HASHES | _ARRAYS | {"lpm_trie"}:
            raise CannotStep(f"map '{self.name}' is a {self.kind}, whose lookups are not stepped")
        if self.kind in _ARRAYS and int.from_bytes(key, "little") >= self.max_entries:
            return None
        if key not in self._entries:
            value = self._fetch(key)
            self._entries[key] = None if value is None else self._region(machine, key, value)
        return self._entries[key]

    def _region(self, machine: Machine, key: bytes, value: bytes) -> Region:
        text = str(int.from_bytes(key, "little")) if len(key) <= 8 else key.hex()
        return machine.memory.add(f"{self.name}[{text}]", MAPS, value)

    def update(self, machine: Machine, key: bytes, value: bytes, flags: int) -> int:
        if self.kind not in _HASHES | _ARRAYS:
            raise CannotStep(f"map '{self.name}' is a {self.kind}, whose updates are not stepped")
        flags &= 3
        there = self.lookup(machine, key)
        if self.kind in _ARRAYS and there is None:
            return -errno.E2BIG
        if there is not None:
            if flags == 1:
                return -errno.EEXIST
            machine.put(there, 0, value)
            return 0
        if flags == 2:
            return -errno.ENOENT
        if "lru" not in self.kind and self._count() + self._added >= self.max_entries:
            return -errno.E2BIG
        self._added += 1
        self._entries[key] = self._region(machine, key, bytes(len(value)))
        machine.put(self._entries[key], 0, value)
        return 0

    def delete(self, machine: Machine, key: bytes) -> int:
        if self.kind in _ARRAYS:
            return -errno.EINVAL
        if self.kind not in _HASHES:
            raise CannotStep(f"map '{self.name}' is a {self.kind}, whose deletions are not stepped")
        if self.lookup(machine, key) is None:
            return -errno.ENOENT
        self._entries[key] = None
        self._added -= 1
        return 0


def _lookup(m: Machine, map_, key, *_):
    copy = m.map_at(map_)
    data = m.take(key, copy.key_size)
    found = copy.lookup(m, data)
    return (found.base, f"found {found.name}") if found else (0, f"map {copy.name} has no such key")


def _update(m: Machine, map_, key, value, flags, _):
    copy = m.map_at(map_)
    return _result(copy.update(m, m.take(key, copy.key_size), m.take(value, copy.value_size), flags))


def _delete(m: Machine, map_, key, *_):
    copy = m.map_at(map_)
    return _result(copy.delete(m, m.take(key, copy.key_size)))


def _result(number: int):
    return number, "done" if not number else f"refused: {errno.errorcode[-number]}"


def _clock(m: Machine, *_):
    return time.monotonic_ns(), "this computer's clock, now"


def _trace_printk(m: Machine, fmt, size, *values):
    text = m.take(fmt, size).split(b"\0")[0].decode(errors="replace")
    return len(text), f"prints {text!r} with {', '.join(str(signed(v)) for v in values)}"


def _packet(m: Machine) -> Region:
    if m.packet is None:
        raise CannotStep("the program sees no packet")
    return m.packet


def _skb_load_bytes(m: Machine, _, offset, to, size, *__):
    packet = _packet(m)
    offset &= 0xFFFFFFFF
    m.memory.find(to, size)
    if offset + size > len(packet.data):
        m.store(to, bytes(size))
        return _result(-errno.EFAULT)
    m.read_mark(packet, offset, size)
    m.store(to, bytes(packet.data[offset : offset + size]))
    return 0, f"copied {size} bytes of the packet from offset {offset}"


def _skb_store_bytes(m: Machine, _, offset, source, size, flags):
    packet = _packet(m)
    offset &= 0xFFFFFFFF
    if offset + size > len(packet.data):
        return _result(-errno.EFAULT)
    m.put(packet, offset, m.take(source, size))
    return 0, f"copied {size} bytes to offset {offset} of the packet"


def _comm(m: Machine, to, size, *_):
    m.memory.find(to, size)
    m.store(to, b"stepper".ljust(size, b"\0")[:size])
    return 0, "the stepper has no task; it says 'stepper'"


def _ring_reserve(m: Machine, map_, size, *_):
    copy = m.map_at(map_)
    return m.memory.add(f"event of {copy.name}", OTHER, bytes(size)).base, f"room for an event of {size} bytes"


def _ring_submit(m: Machine, address, *_):
    region, _offset = m.memory.find(address)
    return 0, f"sends {bytes(region.data).hex(' ')}"


def _ring_output(m: Machine, map_, data, size, *_):
    return 0, f"sends {m.take(data, size).hex(' ')}"


def _quiet(result: int, note: str):
    return lambda m, *_: (result, note)


# by number in enum bpf_func_id
HELPERS = {
    1: _lookup,
    2: _update,
    3: _delete,
    5: _clock,
    6: _trace_printk,
    7: lambda m, *_: (random.getrandbits(32), "a random number of the stepper's"),
    8: _quiet(0, "the stepper runs on CPU 0"),
    9: _skb_store_bytes,
    14: lambda m, *_: (os.getpid() << 32 | os.getpid(), "this Python's process"),
    15: lambda m, *_: (os.getgid() << 32 | os.getuid(), "this Python's user"),
    16: _comm,
    26: _skb_load_bytes,
    93: _quiet(0, "nobody else is here: the lock is taken"),
    94: _quiet(0, "the lock is given back"),
    125: _clock,
    130: _ring_output,
    131: _ring_reserve,
    132: _ring_submit,
    133: _quiet(0, "throws the event away"),
}
