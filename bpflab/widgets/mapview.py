"""One map as the explorer shows it: read, described, and changed on a reader's behalf."""

import errno
import time

import numpy as np

from .. import kinds
from ..btf import c
from ..errors import BpfError, LabError
from .addresses import parse_prefix
from .cells import Column, QueryError, Rate
from .columns import key_columns, value_columns
from .table import Table, as_bytes

ARRAYS = {"array", "percpu_array"}
QUEUES = {"queue", "stack"}
MAPS_OF_MAPS = {"array_of_maps", "hash_of_maps"}
INSERTS = {"hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "lpm_trie"}
EDITS = INSERTS | ARRAYS | {"cgroup_storage", "percpu_cgroup_storage"}
DELETES = INSERTS | MAPS_OF_MAPS | {"prog_array", "devmap", "devmap_hash", "cpumap", "sockmap", "sockhash", "xskmap"}
UNLISTED = {
    *("ringbuf", "user_ringbuf", "bloom_filter", "perf_event_array", "arena", "struct_ops"),
    *("sk_storage", "inode_storage", "task_storage", "cgrp_storage"),
}

# What a reader should know before believing the table. Sources: kernel/bpf/*.c and Documentation/bpf/map_*.rst.
NOTES = {
    "array": "Every index is there from the start, so nothing can be inserted or deleted; values can be changed.",
    "percpu_array": "Every index is there from the start, with one value for each CPU.",
    "lru_hash": "When it is full, the kernel drops the entries used least recently to make room.",
    "lru_percpu_hash": "When it is full, the kernel drops the entries used least recently to make room.",
    "lpm_trie": "A lookup takes the longest prefix that covers the address. Search for an address to see which do.",
    "queue": "First in, first out. The kernel cannot list a queue: only the next element can be looked at, and "
    "reading further would take elements out.",
    "stack": "Last in, first out. The kernel cannot list a stack: only the top can be looked at, and "
    "reading further would take elements out.",
    "bloom_filter": "A set that only answers “is this in?”: no is certain, yes is probable. It cannot be listed.",
    "prog_array": "Programs to jump to with bpf_tail_call. A slot shows the id of its program; empty slots are left out.",
    "array_of_maps": "Each slot holds a map: choose one to open it.",
    "hash_of_maps": "Each key holds a map: choose one to open it.",
    "ringbuf": "Events pass through here and are gone once read, so there is nothing to list without taking it from its "
    "reader. Read them with obj.events().",
    "user_ringbuf": "Messages from user space to a program; they cannot be listed.",
    "perf_event_array": "Each slot holds the perf buffer of one CPU, which only its reader can read: obj.events().",
    "stack_trace": "Call stacks by stack id: addresses from the innermost call outwards.",
    "cgroup_array": "Each slot holds a cgroup. The kernel does not tell user space which.",
    "devmap": "Interfaces to redirect packets to. Fill it from a cell: m[0] = device.",
    "devmap_hash": "Interfaces to redirect packets to. Fill it from a cell: m[0] = device.",
    "cpumap": "CPUs to redirect packets to; the value is the length of the CPU's queue.",
    "xskmap": "AF_XDP sockets by receive queue. The kernel does not tell user space which.",
    "sockmap": "Sockets by index; with a u64 value the kernel shows each socket's cookie.",
    "sockhash": "Sockets by key; with a u64 value the kernel shows each socket's cookie.",
    "reuseport_sockarray": "Sockets that share a port; with a u64 value the kernel shows each socket's cookie.",
    "cgroup_storage": "One value for each cgroup that a program is attached to; it comes and goes with the attachment.",
    "percpu_cgroup_storage": "One value for each CPU and each cgroup that a program is attached to.",
    "sk_storage": "Values that live in sockets and vanish with them. They can be listed by a BPF iterator only.",
    "inode_storage": "Values that live in inodes and vanish with them; they cannot be listed.",
    "task_storage": "Values that live in tasks and vanish with them; they cannot be listed.",
    "cgrp_storage": "Values that live in cgroups and vanish with them; they cannot be listed.",
    "arena": "Memory that programs and user space share; it has no entries.",
    "struct_ops": "A table of functions that programs implement for the kernel.",
}


class Refused(Exception):
    """A change was refused; the text says why, `field` (a column's id or None) where."""

    def __init__(self, message, field=None):
        super().__init__(str(message))
        self.field = field


class Ids(Column):
    """Values that are ids of maps or programs: shown with the name.

    Parameters
    ----------
    name_of : callable
        Id to name; "" when there is none.
    """

    kind = "id"

    def __init__(self, *place, name_of, opens=False, **more):
        super().__init__(*place, **more)
        self.name_of, self.opens = name_of, opens

    def text(self, array):
        return [f"{name} (id {id})" if (name := self.name_of(id)) else f"id {id}" for id in array.tolist()]

    def find(self, array, word):
        ids = np.unique(array)
        return np.isin(array, [id for id, text in zip(ids, self.text(ids), strict=True) if word.lower() in text.lower()])


class MapView:
    """A map, its table, and what may be done with it.

    Parameters
    ----------
    m : bpflab.map.Map
    """

    def __init__(self, m):
        self.map = m
        self.token = str(m.id)
        self.listed = m.type not in UNLISTED
        self.trouble = ""
        self.refreshes, self.cost, self.stale = 0, 0.0, True
        self.read_at = float("-inf")
        self._names = {}
        self._keys, self._values = {}, {}
        self.table = Table(self._columns())
        self.rates = [column for column in self.table.columns if self._counts(column)]
        if self.rates:
            self.table.rate = Rate("rate", "", "rate", None)
            self.watch(self.rates[0].id)

    def _columns(self):
        if not self.listed:
            return []
        keys, values = [], []
        if self.map.type not in QUEUES:
            keys, self._keys = key_columns(self.map.key_type, self.map.type)
        if self.map.type in MAPS_OF_MAPS or self.map.type == "prog_array":
            opens = self.map.type in MAPS_OF_MAPS
            what, name_of = ("map", self._map_name) if opens else ("program", self._program_name)
            values = [Ids("value", what, "value", lambda keys, values: values, name_of=name_of, opens=opens, c=f"{what} id")]
        else:
            values, self._values = value_columns(self.map.value_type, self.map.ncpus)
        if self.map.type in QUEUES:
            for column in values:
                column.group = "next element"
        return keys + values

    def _counts(self, column):
        """Whether a rate of this column means something: of the sum where there are CPUs."""
        leaf, cpu = self._values.get(column.id, (None, None))
        return self.map.type in EDITS and column.kind == "number" and leaf is not None and (cpu is None or cpu < 0)

    def watch(self, column):
        """Let the rate column be that of `column`, by id."""
        self.table.watch(column)
        leaf = self._values[column][0]
        self.table.rate.label = f"{leaf.name}/s" if leaf.name else "per second"

    # -- reading

    def refresh(self):
        """Read the map and compare it with the time before.

        Raises
        ------
        LabError
            The map or its lab is closed. What the kernel merely refuses to list is kept in `trouble`.
        """
        start = time.monotonic()
        self.about = self._describe()
        if self.listed:
            try:
                keys, values = self._read()
                self.trouble = ""
            except BpfError as error:
                if self.map.closed or error.errno == errno.EBADF:
                    raise
                self.trouble = str(error)
                keys, values = np.zeros(0, self.map.key_type.dtype), np.zeros(0, self.map.value_type.dtype)
            self.table.refresh(keys, values, (start + time.monotonic()) / 2)
        self.refreshes += 1
        self.stale = False
        self.read_at = time.monotonic()
        self.cost = self.read_at - start

    def _describe(self):
        if self.map.closed:
            raise BpfError(f"map '{self.map.name}' was closed with its object; load it again", errno.EBADF)
        return {"frozen": self.map.frozen, "pins": list(self.map.pins)}

    def _read(self):
        m = self.map
        if m.type in QUEUES:
            element = m.peek()
            raw = b"" if element is None else m.value_type.encode(element)
            there = int(element is not None)
            return np.zeros(there, "u1"), m.value_type.array(raw, there)
        keys, values = m.to_numpy()
        # copies: what was read lies in a buffer with room for max_entries
        return np.array(keys), np.array(values)

    def _map_name(self, id):
        if id not in self._names:
            try:
                inner = self.map._lab.map_by_id(id)
                self._names[id] = inner.name
                inner.close()
            except LabError:
                self._names[id] = ""  # it may be gone by now
        return self._names[id]

    def _program_name(self, id):
        made = getattr(self.map, "_object", None)
        return next((p.name for p in made.programs.values() if p.id == id), "") if made else ""

    # -- describing

    def page(self, query="", sort=None, desc=False, offset=0, limit=20, rate=None, **_):
        """Everything the browser needs to draw one page, as plain values."""
        table, error = self.table, None
        if rate and rate != table.rate_of.id if table.rate is not None else False:
            self.watch(rate)
        page = None
        if self.listed:
            try:
                page = table.page(query, sort, desc, offset, min(int(limit), 500))
            except QueryError as problem:
                error = str(problem)
                page = table.page("", None, False, offset, min(int(limit), 500))
        changes = None
        if table.last is not None and self.listed:
            changes = {"new": table.new, "changed": table.changed, "gone": table.gone}
        return {
            "head": self.head(),
            "columns": [self._describe_column(column) for column in table.shown] if self.listed else [],
            "rows": page.rows if page else [],
            "offset": page.offset if page else 0,
            "matched": page.matched if page else 0,
            "total": page.total if page else 0,
            "changes": changes,
            "rates": [{"id": column.id, "label": self._values[column.id][0].name or "value"} for column in self.rates],
            "rate": table.rate_of.id if self.rates else None,
            "refreshes": self.refreshes,
            "error": error,
        }

    def _describe_column(self, column):
        leaf, cpu = self._values.get(column.id, (None, None))
        edit = leaf is not None and leaf.editable and cpu != -1 and self.map.type in EDITS
        why = ""
        if not edit:
            if column.part == "key":
                why = "a key cannot be changed; delete the entry and insert another"
            elif cpu == -1:
                why = "a sum cannot be changed; change the value of a CPU"
            elif column.part == "rate":
                why = "a rate is measured"
            else:
                why = f"{column.label} cannot be changed here; write it from a cell"
        return {
            "id": column.id, "label": column.label, "c": column.c, "part": column.part, "group": column.group,
            "kind": column.kind, "edit": edit, "why": why, "sum": column.sum, "opens": getattr(column, "opens", False),
        }  # fmt: skip

    def head(self):
        """Name, types, how full it is, and what can be done."""
        m, about = self.map, self.about
        used, room, said = self._fill()
        types = [t for t in (m.key_type, m.value_type) if t is not None]
        structs = [str(t.c) for t in types if t.resolved.kind in ("struct", "union", "enum", "enum64")]
        return {
            "token": self.token, "name": m.name, "type": m.type, "id": m.id,
            "badges": ["frozen"] if about["frozen"] else [],
            "pins": about["pins"], "used": used, "room": room, "said": said,
            "types": " → ".join(c.short(t) for t in types), "c": "\n\n".join(dict.fromkeys(structs)),
            "note": " ".join(filter(None, (NOTES.get(m.type, ""), self.trouble))),
            "can": {
                "insert": self._form() if m.type in INSERTS | QUEUES | {"bloom_filter"} else None,
                "pop": m.type in QUEUES, "delete": m.type in DELETES, "pin": True,
                "test": self._fields("value") if m.type == "bloom_filter" else None,
            },
        }  # fmt: skip

    def _fill(self):
        room, kind = self.map.max_entries, self.map.type
        if kind in ("ringbuf", "user_ringbuf"):
            return None, room, f"{room // 1024:,} KiB" if room % 1024 == 0 else f"{room:,} bytes"
        if kind in ARRAYS:
            return None, room, f"{room:,} element{'s' * (room != 1)}"
        if kind in QUEUES or kind == "bloom_filter":
            return None, room, f"room for {room:,}"
        if not self.listed:
            return None, room, f"{room:,} slots" if room else ""
        used = len(self.table.now)
        noun = "slots used" if kind in kinds.FD_VALUE_MAPS or kind in ("devmap", "cpumap") else "entries"
        return used, room, f"{used:,} of {room:,} {noun}" if room else f"{used:,} {noun}"

    # -- changing

    def _form(self):
        verb = {"bloom_filter": "Add"}.get(self.map.type, "Push" if self.map.type in QUEUES else "Insert")
        title = {"Insert": "Insert an entry", "Push": "Push an element", "Add": "Add a value"}[verb]
        return {"verb": verb, "title": title, "fields": self._fields("key") + self._fields("value")}

    def _fields(self, part):
        """The fields of a form for a key or a value."""
        if part == "key":
            if self.map.type == "lpm_trie":
                example = {8: "10.0.0.0/8", 20: "2001:db8::/32"}.get(self.map.key_size, "0a00/8")
                return [{"id": "key", "label": "prefix", "c": c.short(self.map.key_type), "hint": example}]
            leaves = [(id, leaf) for id, leaf in self._keys.items()]
        elif self._values:
            leaves = [(id, leaf) for id, (leaf, cpu) in self._values.items() if cpu in (None, 0)]
        else:
            columns, places = value_columns(self.map.value_type) if self.map.value_type else ([], {})
            self._values = {column.id: places[column.id] for column in columns}
            leaves = [(id, leaf) for id, (leaf, _) in self._values.items()]
        names = {"key": "key", "value": "value on cpu0" if self.map.ncpus else "value"}
        return [
            {"id": id, "label": leaf.name or names[part], "c": leaf.c, "hint": "0" if part == "value" else ""}
            for id, leaf in leaves
            if leaf.editable
        ]

    def _pack(self, fields, part):
        """The bytes of a key or value from what was typed; fields left empty are zero, but for a key's only one."""
        leaves = self._keys if part == "key" else {id: leaf for id, (leaf, cpu) in self._values.items() if cpu in (None, 0)}
        whole = bytes((self.map.key_type if part == "key" else self.map.value_type).size)
        for id, leaf in leaves.items():
            text = fields.get(id, "")
            if not text.strip() and not (part == "key" and len(leaves) == 1 and not leaf.type.is_text):
                continue
            try:
                whole = leaf.splice(whole, text, leaf.name or part)
            except (TypeError, ValueError, OverflowError) as error:
                raise Refused(error, id) from None
        return whole

    def insert(self, fields):
        """Insert an entry, push an element, or add to a bloom filter; returns what to tell the reader."""
        m = self.map
        if m.type not in INSERTS:
            self._write(lambda: m.push(self._pack(fields, "value")))
            return f"{'added to' if m.type == 'bloom_filter' else 'pushed onto'} {m.name}"
        if m.type == "lpm_trie":
            try:
                key = parse_prefix(fields.get("key", ""), m.key_size - 4, "prefix")
            except ValueError as error:
                raise Refused(error, "key") from None
        else:
            key = self._pack(fields, "key")
        value = self._pack(fields, "value")
        if m.ncpus:
            value = [value, *[bytes(m.value_size)] * (m.ncpus - 1)]
        try:
            self._write(lambda: m.update(self.key(key), value, flags="noexist"))
        except Refused as error:
            if getattr(error.__cause__, "errno", 0) == errno.EEXIST:
                raise Refused("this key is there already; change its value in the table below", next(iter(self._keys), "key")) from None
            raise
        return f"inserted {self.key_text(key)}"

    def _parts(self, raw):
        """The bytes of the value of a key, one part for each CPU."""
        m = self.map
        data = m._lookup(raw)
        if data is None:
            raise Refused("this entry is gone: it was deleted meanwhile")
        stride = len(data) // (m.ncpus or 1)
        return [data[i * stride : i * stride + m.value_size] for i in range(m.ncpus or 1)]

    def full(self, raw, column):
        """The text that an editor of a cell starts with."""
        leaf, cpu = self._values[column]
        return leaf.full(self._parts(raw)[cpu or 0])

    def edit(self, raw, column, text):
        """Change one member of the value of the key `raw` (bytes) and keep the others as they are now."""
        leaf, cpu = self._values[column]
        parts = self._parts(raw)
        try:
            parts[cpu or 0] = leaf.splice(parts[cpu or 0], text, leaf.name or "value")
        except (TypeError, ValueError, OverflowError) as error:
            raise Refused(error, column) from None
        flags = "any" if self.map.type in ARRAYS else "exist"
        try:
            self._write(lambda: self.map.update(self.key(raw), parts if self.map.ncpus else parts[0], flags=flags))
        except Refused as error:
            if getattr(error.__cause__, "errno", 0) == errno.ENOENT:
                raise Refused("this entry is gone: it was deleted meanwhile", column) from None
            raise Refused(error, column) from None
        return f"changed {leaf.name or 'value'} of {self.key_text(raw)}"

    def delete(self, raw):
        def remove():
            try:
                del self.map[self.key(raw)]
            except KeyError:
                raise Refused("this entry is gone already") from None

        self._write(remove)
        return f"deleted {self.key_text(raw)}"

    def pop(self):
        taken = self._write(lambda: self.map.pop(default=None))
        if taken is None:
            raise Refused(f"{self.map.name} is empty")
        return f"popped {taken}"

    def test(self, fields):
        there = self._write(lambda: self._pack(fields, "value") in self.map)
        return "probably yes: it is in, or collides with values that are" if there else "no: this value was never added"

    def pin(self, path):
        return f"pinned at {self._write(lambda: self.map.pin(path.strip()), 'path')}"

    def unpin(self, path):
        self._write(lambda: self.map.unpin(path))
        return f"unpinned {path}"

    def inner(self, raw):
        """The map that a map of maps holds at a key."""
        try:
            return self._write(lambda: self.map.inner(self.key(raw)))
        except KeyError:
            raise Refused("this entry is gone: it was deleted meanwhile") from None

    def _write(self, change, field=None):
        try:
            done = change()
        except (LabError, TypeError, ValueError) as error:
            if isinstance(error, KeyError):
                raise
            raise Refused(error, field) from error
        self.stale = True
        return done

    def key(self, raw):
        """The key as messages should call it, if that gives the same bytes back; else the bytes."""
        value = self.map.key_type.decode(raw)
        return value if self.map.key_type.encode(value, "key") == raw else raw

    def key_text(self, raw):
        """The key as the table shows it."""
        one = self.map.key_type.array(raw, 1)
        cells = [column.text(column.take(one, None))[0] for column in self.table.columns if column.part == "key"]
        return ", ".join(cells) or as_bytes(one).tobytes().hex()
