"""Maps: a typed view of what the agent owns."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from . import kinds
from .btf import Type, c
from .codec import Codec
from .entries import Entries
from .errors import BpfError
from .machines import AgentError
from .refusal import pin_refused, refused

if TYPE_CHECKING:
    from .lab import Lab
    from .link import Link


class Map(Entries):
    """A BPF map.

    Get one from `obj.maps["name"]`, `Lab.create_map` or `Lab.pinned`. Reading and writing one entry is a bpf(2)
    call on the lab machine; `to_frame` and `to_numpy` read all of them in batches.

    Attributes
    ----------
    name, type : str
        As the kernel has them; the type in lower case ("lru_hash").
    id, max_entries, flags : int
        Of `struct bpf_map_info`; flags are the BPF_F_ bits of the map's creation.
    key_type, value_type : bpflab.btf.Type or None
        None where the map has no such part (a queue has no keys, a ring buffer neither).
    ncpus : int or None
        For a per-CPU map how many values a key has; else None.
    """

    def __init__(self, lab: Lab, about: dict, key_type: Type | None = None, value_type: Type | None = None):
        self._lab = lab
        self._fd = about["fd"]
        self.id = about["id"]
        self.type = kinds.name_of(kinds.MAP_TYPES, about["type"])
        self.max_entries = about["max_entries"]
        self.flags = about["flags"]
        self.name = about["name"]
        self.key_size, self.value_size = about["key_size"], about["value_size"]
        self._codec = Codec(self.name, self.type, about, key_type, value_type, lab.ncpus)
        self.key_type, self.value_type, self.ncpus = self._codec.key_type, self._codec.value_type, self._codec.ncpus
        self.pins: list[str] = []
        self.closed = False
        self.definition = None  # bpflab.btf.MapDef, where the object's BTF has one
        self._object = None
        self._rings: list = []
        self._links: list = []
        self._inner: dict[int, Map] = {}

    def _ask(self, name: str, *arguments, doing: str, key=...):
        fd = self.fd
        try:
            return self._lab.ask(name, fd, *arguments)
        except AgentError as error:
            raise refused(self, error, doing, key) from None

    # -- one entry

    def _lookup(self, key: Any) -> bytes | None:
        return self._ask("maps.lookup", self._codec.key(key), self._codec.copied, doing="not read", key=key)

    def __getitem__(self, key: Any) -> Any:
        """Value of a key; of a per-CPU map a list with one value per CPU.

        Raises
        ------
        KeyError
            The map has no such key.
        """
        data = self._lookup(key)
        if data is None:
            raise KeyError(key)
        return self._codec.decode(data)

    def get(self, key: Any, default: Any = None) -> Any:
        data = self._lookup(key)
        return default if data is None else self._codec.decode(data)

    def __contains__(self, key: Any) -> bool:
        if self.type == "bloom_filter":
            value = self.value_type.encode(key, f"value of map '{self.name}'")
            return self._ask("maps.peek", value, self.value_size, doing="not read") is not None
        return self._lookup(key) is not None

    def __setitem__(self, key: Any, value: Any) -> None:
        self.update(key, value)

    def update(self, key: Any, value: Any, flags: str | int = "any") -> None:
        """Write one entry (BPF_MAP_UPDATE_ELEM).

        Parameters
        ----------
        flags : str or int
            "any" (insert or replace), "noexist" (only insert), "exist" (only replace), or BPF_ flag bits.

        Raises
        ------
        BpfError
            The map is full or frozen, or the flags do not hold; errno says which.
        TypeError, ValueError, OverflowError
            Key or value is not of the map's type.
        """
        bits = kinds.update_flags(flags)
        packed = self._codec.key(key), self._codec.value(value)
        device = value[0] if isinstance(value, tuple) and value and not hasattr(value, "ifindex") else value
        netns = getattr(device, "netns", "") if self.type.startswith("devmap") else ""
        if netns:
            try:
                self._lab.ask("maps.update_in", netns, self.fd, *packed, bits)
            except AgentError as error:
                raise refused(self, error, "not written", key) from None
            return
        self._ask("maps.update", *packed, bits, doing="not written", key=key)

    def __delitem__(self, key: Any) -> None:
        if not self._ask("maps.delete", self._codec.key(key), doing="not deleted", key=key):
            raise KeyError(key)

    def pop(self, key: Any = ..., default: Any = ...) -> Any:
        """Look up and delete in one step (BPF_MAP_LOOKUP_AND_DELETE_ELEM).

        A queue or stack takes no key and hands out its next element.

        Raises
        ------
        KeyError
            There is no such key, or the queue is empty, and no default was given.
        """
        if self.type in ("queue", "stack"):
            packed = b""
        elif key is ...:
            raise TypeError(f"map '{self.name}' is a {self.type}: pop(key) needs a key")
        else:
            packed = self._codec.key(key)
        data = self._ask("maps.take", packed, self._codec.copied, doing="not taken", key=key)
        if data is not None:
            return self._codec.decode(data)
        if default is not ...:
            return default
        raise KeyError(f"map '{self.name}' is empty" if key is ... else key)

    def push(self, value: Any, replace: bool = False) -> None:
        """Append to a queue or stack, or add to a bloom filter.

        Parameters
        ----------
        replace : bool
            When it is full, drop the oldest element for the new one (BPF_EXIST, kernel/bpf/queue_stack_maps.c).

        Raises
        ------
        BpfError
            It is full (E2BIG).
        """
        if self.type not in kinds.KEYLESS_MAPS:
            raise TypeError(f"map '{self.name}' is a {self.type}: write it with map[key] = value")
        self._ask("maps.update", b"", self._codec.value(value), 2 if replace else 0, doing="not pushed")

    def peek(self) -> Any:
        """What `pop` of a queue or stack would hand out, without taking it; None when it is empty."""
        if self.type not in ("queue", "stack"):
            raise TypeError(f"map '{self.name}' is a {self.type}: only a queue or a stack can be peeked at")
        data = self._ask("maps.peek", b"", self.value_size, doing="not read")
        return None if data is None else self._codec.decode(data)

    def next_key(self, key: Any = None) -> Any:
        """The key after `key`, or the first; None at the end (BPF_MAP_GET_NEXT_KEY)."""
        packed = b"" if key is None else self._codec.key(key)
        data = self._ask("maps.next_key", packed, self.key_size, doing="not read", key=key)
        return None if data is None else self.key_type.decode(data)

    # -- the map itself

    @property
    def fd(self) -> int:
        """The agent's descriptor. Of use as the value of a map of maps.

        Raises
        ------
        BpfError
            The map is closed.
        """
        self._refuse_closed()
        return self._fd

    def _refuse_closed(self) -> None:
        if self.closed:
            how = "closed with its object; load it again" if self._object else "closed; create or open it again"
            raise BpfError(f"map '{self.name}' was {how}", errno.EBADF)

    @property
    def frozen(self) -> bool:
        return not self.closed and self._lab.ask("maps.describe", self._fd)["frozen"]

    @property
    def memory(self) -> int:
        """Bytes of kernel memory the map is charged for (fdinfo, `memlock`)."""
        return self._ask("maps.memory", doing="not described")

    def freeze(self) -> None:
        """Forbid user space to write it, for good (BPF_MAP_FREEZE). Programs still may."""
        self._ask("maps.freeze", doing="not frozen")

    def pin(self, path: str) -> str:
        """Give it a name in the BPF filesystem, which keeps it alive without any process.

        Parameters
        ----------
        path : str
            Below /sys/fs/bpf, or a bare name. The lab's bpffs is its own and goes with it.

        Returns
        -------
        str
            The whole path.
        """
        path = self._lab.pin_path(path)
        try:
            self._lab.ask("maps.pin", self.fd, path)
        except AgentError as error:
            raise pin_refused(self, error, path) from None
        self.pins.append(path)
        return path

    def unpin(self, path: str | None = None) -> None:
        """Remove a pin, or all pins made by this object."""
        for one in [self._lab.pin_path(path)] if path else list(self.pins):
            self._lab.unpin(one)
            if one in self.pins:
                self.pins.remove(one)

    def inner(self, key: Any) -> Map:
        """The map that a map of maps holds at a key.

        Raises
        ------
        KeyError
            Nothing is there.
        """
        if self.type not in ("array_of_maps", "hash_of_maps"):
            raise TypeError(f"map '{self.name}' is a {self.type}, which holds no maps")
        number = self[key]
        held = self._inner.get(number)
        if held is None or held.closed:
            held = self._inner[number] = self._lab.map_by_id(number)
        return held

    def attach(self) -> Link:
        """Put a struct_ops map to work: the kernel calls its functions where it is asked for by name.

        Returns
        -------
        Link

        Raises
        ------
        TypeError
            It is no struct_ops map.
        NotSupportedError
            The kernel does not let BPF implement this struct.
        """
        from . import struct_ops

        return struct_ops.attach(self)

    def events(self, type: str | Type | None = None, **options):
        """The events of a ring buffer or perf event array, see `bpflab.events.Events`."""
        from .events import open_events

        return open_events(self, type, **options)

    def submit(self, record: Any) -> None:
        """Send a record to programs through a user ring buffer.

        Parameters
        ----------
        record : bytes or anything of the type in the map's definition
            Of `__type(value, struct record)`.

        Raises
        ------
        BpfError
            There is no room until a program drains it (ENOSPC).
        """
        from .user_ring import UserRing

        self._refuse_closed()
        writer = next((ring for ring in self._rings if isinstance(ring, UserRing)), None)
        if writer is None:
            writer = UserRing(self)
            self._rings.append(writer)
        writer.submit(record)

    def _close_rings(self) -> None:
        for ring in self._rings:
            ring.close()

    def close(self) -> None:
        """Give up the descriptor; the map lives on as long as a program, a pin or another map holds it."""
        if self.closed:
            return
        self._close_rings()
        self.closed = True
        if self._object is None and self._lab.alive:  # the descriptor of an object's map is libbpf's
            self._lab.ask("maps.close", self._fd)

    def __repr__(self) -> str:
        parts = [f"{self.type} map '{self.name}'"]
        if self.key_type:
            parts.append(f"{c.short(self.key_type)} -> {c.short(self.value_type)}")
        elif self.value_type:
            parts.append(f"of {c.short(self.value_type)}")
        parts.append(f"max_entries {self.max_entries:,}")
        return f"<{', '.join(parts)}{', closed' if self.closed else ''}>"
