"""The memory of a stepped program: named regions at addresses of their own.

The addresses are not the kernel's. They fit 32 bits, because the programs' contexts hold pointers in 32-bit fields (the kernel
rewrites those loads, convert_ctx_accesses in kernel/bpf/verifier.c).
"""

from __future__ import annotations

import bisect

CONTEXT, PACKET, STACK, MAPS, OTHER = 0x10000000, 0x20000000, 0x30000000, 0x40000000, 0x50000000
STACK_SIZE = 512  # MAX_BPF_STACK, for each function that is active


def place(region: str, offset: int) -> str:
    """Where something stands, in words: "packet + 14"; of a stack as r10 counts it: "stack - 4"."""
    if region.startswith("stack"):
        return f"{region} - {STACK_SIZE - offset}" if offset != STACK_SIZE else f"{region}'s end"
    return f"{region} + {offset}" if offset else region


class Fault(Exception):
    """An access that no region holds; a program that the verifier accepted makes none."""


class Region:
    """A named piece of memory.

    Attributes
    ----------
    name : str
        "packet", "stack", "counts[0]".
    base : int
        Its first address.
    data : bytearray
    first : bytes
        What it held when it came to be.
    """

    def __init__(self, name: str, base: int, data: bytes):
        self.name, self.base = name, base
        self.data, self.first = bytearray(data), bytes(data)

    @property
    def end(self) -> int:
        return self.base + len(self.data)


class Memory:
    """Regions, by address and by name."""

    def __init__(self):
        self.regions: list[Region] = []
        self._bases: list[int] = []
        self._free = {CONTEXT: CONTEXT, PACKET: PACKET, STACK: STACK, MAPS: MAPS, OTHER: OTHER}

    def add(self, name: str, area: int, data: bytes) -> Region:
        """Make a region in one of the areas (`CONTEXT`, `PACKET`, ...)."""
        again = sum(region.name.partition(" (")[0] == name for region in self.regions)
        region = Region(f"{name} ({again + 1})" if again else name, self._free[area], data)
        # a gap behind it, so that no access beyond its end lands in the next one
        self._free[area] += (len(data) + 0x1FF) & ~0xFF
        at = bisect.bisect(self._bases, region.base)
        self._bases.insert(at, region.base)
        self.regions.insert(at, region)
        return region

    def find(self, address: int, size: int = 0) -> tuple[Region, int]:
        """The region that holds `size` bytes at an address, and the offset in it.

        Raises
        ------
        Fault
        """
        at = bisect.bisect(self._bases, address) - 1
        if at >= 0 and address + size <= self.regions[at].end:
            return self.regions[at], address - self.regions[at].base
        raise Fault(f"{size} bytes at 0x{address:x} are no memory of this program")

    def name(self, value: int) -> str | None:
        """A pointer in words ("packet + 14"), or None for a number that is none."""
        try:
            region, offset = self.find(value)
        except Fault:
            return None
        return place(region.name, offset)

    def read(self, address: int, size: int) -> bytes:
        region, offset = self.find(address, size)
        return bytes(region.data[offset : offset + size])
