"""100,000 entries of a hash map to a DataFrame."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np

from ..lab import Lab
from ..map import Map
from . import Measure
from .programs import bcc_script, c_program, seconds

ENTRIES = 100_000
KEY = np.dtype([("saddr", "u4"), ("daddr", "u4"), ("sport", "u2"), ("dport", "u2"), ("proto", "u4"), ("zone", "u4")])
VALUE = np.dtype([("packets", "u8"), ("bytes", "u8")])
ROUNDS = 7


def filled(lab: Lab) -> Map:
    """A map with all entries; the keys look random."""
    keys, values = np.zeros(ENTRIES, KEY), np.zeros(ENTRIES, VALUE)
    keys["saddr"] = np.arange(ENTRIES) * 2654435761 % 2**32
    keys["dport"] = 443
    values["packets"] = np.arange(ENTRIES)
    values["bytes"] = values["packets"] * 1500
    m = lab.create_map("hash", KEY, VALUE, ENTRIES, name="flows")
    m.update_batch(keys, values)
    return m


def read(m: Map) -> float:
    """Seconds until all entries are in a DataFrame."""
    start = time.perf_counter()
    frame = m.to_frame()
    taken = time.perf_counter() - start
    assert len(frame) == ENTRIES and int(frame.packets.sum()) == ENTRIES * (ENTRIES - 1) // 2
    return taken


def _pairs(other) -> Iterator[tuple[float, float, int]]:
    with Lab("local", quiet=True) as lab:
        m = filled(lab)
        m.pin("flows")
        for _ in range(ROUNDS):
            yield read(m), other(lab), 0


def _items() -> Iterator[tuple[float, float, int]]:
    return _pairs(lambda lab: bcc_script(lab, "bcc_map.py", "items", "/sys/fs/bpf/flows")[0])


def _items_batch() -> Iterator[tuple[float, float, int]]:
    return _pairs(lambda lab: bcc_script(lab, "bcc_map.py", "batch", "/sys/fs/bpf/flows")[0])


def _bare() -> Iterator[tuple[float, float, int]]:
    program = c_program("map_batch.c")
    return _pairs(lambda lab: seconds(lab, [program, "/sys/fs/bpf/flows", str(ENTRIES)])[0])


NAME = "hash map of 100,000 entries to a DataFrame"
MEASURES = [
    Measure(NAME, "bcc items() to a DataFrame", 15, _items),
    Measure(NAME, "bcc items_lookup_batch() to a DataFrame", 5, _items_batch),
    Measure(NAME, "bare bpf_map_lookup_batch in C", 1 / 3, _bare),
]
