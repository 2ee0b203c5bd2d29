"""User ring buffers: records that go from here to a program, the other way round than events."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .errors import BpfError

if TYPE_CHECKING:
    from .map import Map


class UserRing:
    """The writing end of a user ring buffer; a program reads it with `bpf_user_ringbuf_drain`."""

    def __init__(self, source: Map):
        if source.type != "user_ringbuf":
            raise TypeError(f"map '{source.name}' is a {source.type}; only a user_ringbuf takes records from user space")
        self._map, self._lab = source, source._lab
        self.closed = False
        self._number = self._lab.call(f"map '{source.name}' does not open", "rings.open_user_ring", source.fd)["ring"]

    def submit(self, value: Any) -> None:
        declared = self._map.definition and self._map.definition.value
        if isinstance(value, (bytes, bytearray, memoryview)):
            record = bytes(value)
        elif declared is not None:
            record = declared.encode(value, f"record of map '{self._map.name}'")
        else:
            raise TypeError(
                f"nothing says what the records of map '{self._map.name}' are; write __type(value, struct record) into its "
                "definition, or give bytes"
            )
        if not self._lab.call(f"map '{self._map.name}' takes no record", "rings.submit", self._number, record):
            raise BpfError(
                f"map '{self._map.name}' is full; it holds {self._map.max_entries} bytes until a program drains it", errno.ENOSPC
            )

    def close(self) -> None:
        self.closed = True
        if self._lab.alive:
            self._lab.ask("rings.close_ring", self._number)
