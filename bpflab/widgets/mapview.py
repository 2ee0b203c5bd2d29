"""One map as the explorer shows it: read, described, and changed on a reader's behalf."""

import errno
import time

import numpy as np

from ..btf import c
from ..errors import BpfError, LabError
from .cells import Column, List, QueryError, Rate
from .changes import Changes
from .columns import key_columns, padding, value_columns
from .maptypes import ARRAYS, DELETES, EDITS, MAPS_OF_MAPS, NOTES, QUEUES, SLOTS, UNLISTED
from .table import Table, as_bytes


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
        return np.isin(
            array, [id for id, text in zip(ids, self.text(ids), strict=True) if word.lower() in text.lower()]
        )


def own(array):
    """A copy, for what was read lies in a buffer with room for max_entries; with the bytes between the members of a key."""
    if array.flags.c_contiguous:
        return as_bytes(array).copy().view(array.dtype).reshape(array.shape)
    copy = np.zeros(array.shape, array.dtype)
    copy[...] = array
    return copy


def _stack_column(size):
    """The addresses of a call stack (__u64 ips[], kernel/bpf/stackmap.c), whatever type the map's definition gives them."""

    def take(keys, values):
        return as_bytes(values).view(np.uint64)

    return List("value", "call stack", "value", take, address=True, shown=3, c=f"__u64[{size // 8}]")


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
        columns = self._columns()
        self.table = Table(columns if self.listed else [])
        self.changes = Changes(m, self._keys, self._values, self.key_text)
        self._padding = padding(m.key_type) if self._keys else None
        self.rates = [column for column in self.table.columns if self._counts(column)]
        if self.rates:
            self.table.rate = Rate("rate", "", "rate", None, c="measured")
            self.watch(self.rates[0].id)

    def _columns(self):
        keys, values = [], []
        if self.map.key_type is not None:
            keys, self._keys = key_columns(self.map.key_type, self.map.type)
        if self.map.type in MAPS_OF_MAPS or self.map.type == "prog_array":
            opens = self.map.type in MAPS_OF_MAPS
            what, name_of = ("map", self._map_name) if opens else ("program", self._program_name)
            values = [
                Ids("value", what, "value", lambda keys, values: values, name_of=name_of, opens=opens, c=f"{what} id")
            ]
        elif self.map.type == "stack_trace":
            values = [_stack_column(self.map.value_size)]
        elif self.map.value_type is not None:
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
        self.clock = time.strftime("%H:%M:%S")
        self.stale = False
        self.read_at = time.monotonic()
        self.cost = self.read_at - start

    def forget(self):
        """Let go of what was read."""
        self.table.forget()
        self.stale = True

    def _describe(self):
        if self.map.closed:
            raise BpfError(f"map '{self.map.name}' was closed with its object; load it again", errno.EBADF)
        about = {"frozen": self.map.frozen, "pins": list(self.map.pins)}
        if self.map.type == "ringbuf":
            about["consumed"], about["produced"] = self.map._ask("rings.positions", doing="not looked at")
        return about

    def _read(self):
        m = self.map
        if m.type in QUEUES:
            element = m.peek()
            raw = b"" if element is None else m.value_type.encode(element)
            there = int(element is not None)
            return np.zeros(there, "u1"), m.value_type.array(raw, there)
        keys, values = m.to_numpy()
        return own(keys), own(values)

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
        if rate in [column.id for column in self.rates] and rate != table.rate_of.id:
            self.watch(rate)
        page = None
        if self.listed:
            try:
                page = table.page(query, sort, desc, offset, min(int(limit), 500))
            except QueryError as problem:
                error = str(problem)
                page = table.page("", None, False, offset, min(int(limit), 500))
            self._find_padding(page)
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
            "at": self.clock,
            "error": error,
        }

    def _find_padding(self, page):
        """Mark the rows whose keys differ in bytes that no member shows."""
        for row in page.rows:
            raw = np.frombuffer(bytes.fromhex(row["key"]), np.uint8)
            row["padding"] = bool(self._padding is not None and raw[self._padding].any())

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
            "empty": "it is empty" if m.type in QUEUES else "no entries yet",
            "badges": ["frozen"] if about["frozen"] else [],
            "pins": about["pins"], "used": used, "room": room, "said": said,
            "types": " → ".join(c.short(t) for t in types), "c": "\n\n".join(dict.fromkeys(structs)),
            "note": " ".join(filter(None, (NOTES.get(m.type, ""), self._passed(), self.trouble))),
            "can": {
                "insert": self.changes.form(), "pop": m.type in QUEUES, "delete": m.type in DELETES, "pin": True,
                "test": self.changes.value_fields() if m.type == "bloom_filter" else None,
                "search": self.listed and m.type not in QUEUES, "refresh": self.listed or m.type == "ringbuf",
            },
        }  # fmt: skip

    def _passed(self):
        """What the positions of a ring buffer tell."""
        if self.map.type != "ringbuf":
            return ""
        return f"So far programs wrote {self.about['produced']:,} bytes, with 8 of header for each event."

    def _fill(self):
        room, kind = self.map.max_entries, self.map.type
        if kind == "ringbuf":
            waiting = self.about["produced"] - self.about["consumed"]
            return waiting, room, f"{waiting:,} of {room:,} bytes wait to be read"
        if kind == "user_ringbuf":
            return None, room, f"{room // 1024:,} KiB" if room % 1024 == 0 else f"{room:,} bytes"
        if kind in ARRAYS:
            return None, room, f"{room:,} element{'s' * (room != 1)}"
        if kind in QUEUES or kind == "bloom_filter":
            return None, room, f"room for {room:,}"
        if not self.listed:
            return None, room, f"{room:,} slots" if room else ""
        used = len(self.table.now)
        noun = "slots used" if kind.endswith("array") or kind in SLOTS else "entries"
        return used, room, f"{used:,} of {room:,} {noun}" if room else f"{used:,} {noun}"

    def key_text(self, raw):
        """A key (bytes) as the table shows it."""
        one = self.map.key_type.array(raw, 1)
        return ", ".join(
            column.text(column.take(one, None))[0] for column in self.table.columns if column.part == "key"
        )
