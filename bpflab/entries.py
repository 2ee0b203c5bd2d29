"""All entries of a map at once, in batches: to arrays, to a DataFrame, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from . import kinds
from .machines import AgentError, planes
from .refusal import refused

# their get_next_key is refused: kernel/bpf/bpf_*_storage.c, kernel/bpf/arraymap.c
UNLISTED = {"sk_storage", "inode_storage", "task_storage", "cgrp_storage", "perf_event_array"}
SPARE = 64  # room for entries that appear while a map is read


class Entries:
    """What a `Map` can do with all of its entries."""

    def _read(self, remove: bool = False) -> tuple[memoryview, memoryview, int, bool]:
        self._codec.refuse_keyless("read")
        if self.type in UNLISTED:
            raise TypeError(
                f"map '{self.name}' is a {self.type}: its values belong to kernel objects and cannot be listed; "
                "look one up by its descriptor, or list them with a BPF iterator"
            )
        fixed = self.type in ("array", "percpu_array")
        capacity = self.max_entries if fixed else self.max_entries + SPARE + self.max_entries // 16
        while True:
            try:
                reply, memory = self._lab.bulk(
                    capacity * (self.key_size + self._codec.copied),
                    *("maps.read", self.fd, self.key_size, self._codec.copied, capacity, ..., remove),
                )
            except AgentError as error:
                raise refused(self, error, "not emptied" if remove else "not read") from None
            count = reply["count"]
            if fixed or remove or count < capacity:
                break
            capacity *= 2  # entries came and went while it was read: with more room it may be read to its end
        if "keys" in reply:
            keys, values = (planes.whole(reply[name], count) for name in ("keys", "values"))
        else:
            keys = memory[: count * self.key_size]
            values = memory[reply["values_at"] : reply["values_at"] + count * self._codec.copied]
        return keys, values, count, reply["batch"]

    def to_numpy(self, remove: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """All entries, typed.

        Parameters
        ----------
        remove : bool
            Delete what is read, entry by entry in one step with reading where the type can (not arrays).

        Returns
        -------
        keys, values : numpy.ndarray
            n keys and n values; of a per-CPU map values have the shape (n, ncpus). The map may change meanwhile:
            each entry is whole, but the set of them is no snapshot.
        """
        keys, values, count, _ = self._read(remove)
        return self._codec.arrays(keys, values, count)

    def to_frame(self, remove: bool = False) -> pd.DataFrame:
        """All entries as a DataFrame: the key's fields, then the value's.

        A key or value that is one number is called "key" or "value"; a per-CPU map has one column for each CPU
        ("cpu0", or "packets.cpu0"), an LPM trie over addresses one "prefix".

        Returns
        -------
        pandas.DataFrame
        """
        keys, values = self.to_numpy(remove)
        return pd.DataFrame(self.columns(keys, values), copy=False)

    def columns(self, keys: np.ndarray, values: np.ndarray) -> dict[str, Any]:
        """The columns of `to_frame` for arrays that `to_numpy` gave."""
        return self._codec.columns(keys, values)

    def items(self) -> list[tuple[Any, Any]]:
        """All entries as Python values. For many entries, `to_frame` is faster by far."""
        keys, values = self.to_numpy()
        if self.ncpus:
            each = [self.value_type.decode_all(values[:, cpu]) for cpu in range(self.ncpus)]
            return list(zip(self.key_type.decode_all(keys), map(list, zip(*each))))
        return list(zip(self.key_type.decode_all(keys), self.value_type.decode_all(values)))

    def keys(self) -> list[Any]:
        return [key for key, _ in self.items()]

    def values(self) -> list[Any]:
        return [value for _, value in self.items()]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.keys())

    def __len__(self) -> int:
        """Entries there are now, counted by reading them."""
        return self._read()[2]

    def __bool__(self) -> bool:
        return True  # a map is something even when nothing is in it; `if m:` must not read a million entries

    def update_batch(self, keys: Any, values: Any, flags: str | int = "any") -> int:
        """Write many entries (BPF_MAP_UPDATE_BATCH).

        Parameters
        ----------
        keys, values : numpy.ndarray or sequence
            n keys and n values: arrays of the dtypes of `key_type` and `value_type` are taken as they are, anything
            else is encoded one by one.

        Returns
        -------
        int
            How many were written: all of them.

        Raises
        ------
        BpfError
            The kernel stopped; the text says after how many.
        """
        packed_keys, n = self._codec.pack_keys(keys)
        packed_values, m = self._codec.pack_values(values)
        if n != m:
            raise ValueError(f"map '{self.name}': {n} keys, but {m} values; give as many of both")
        if not n:
            return 0
        done, number = self._ask("maps.write", packed_keys, packed_values, n, kinds.update_flags(flags), doing="not written")
        if number:
            payload = {"errno": number, "message": "the kernel refused the next one"}
            raise refused(self, AgentError(payload), f"{done} of {n} entries written, then stopped")
        return done

    def clear(self) -> int:
        """Delete every entry; returns how many there were. Elements of an array are set to zero."""
        keys, values, count, _ = self._read()
        if not count:
            return 0
        if self.type in ("array", "percpu_array"):
            self._ask("maps.write", bytes(keys), bytes(len(values)), count, 0, doing="not cleared")
            return count
        return self._ask("maps.clear", bytes(keys), count, doing="not cleared")
