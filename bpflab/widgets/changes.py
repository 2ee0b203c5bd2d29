"""What a reader may change in a map, from text to kernel and back to words."""

import errno

from .. import kinds
from ..btf import c
from ..errors import LabError
from .addresses import parse_prefix
from .maptypes import ARRAYS, INSERTS, QUEUES


class Refused(Exception):
    """A change was refused; the text says why, `field` (a column's id or None) where."""

    def __init__(self, message, field=None):
        super().__init__(str(message))
        self.field = field


class Changes:
    """Changes to one map. What the kernel or a type refuses becomes `Refused`; each change returns what to tell the reader.

    Parameters
    ----------
    m : bpflab.map.Map
    keys : dict
        Column id to `Leaf`, for the key; empty for an LPM trie, whose key is one prefix.
    values : dict
        Column id to (`Leaf`, CPU), as `columns.value_columns` gives it.
    key_text : callable
        Raw key to what the table shows.
    """

    def __init__(self, m, keys, values, key_text):
        self.map, self.keys, self.values, self.key_text = m, keys, values, key_text

    # -- forms

    def form(self):
        """The form to insert, push or add, as plain values; None where the type has none."""
        kind = self.map.type
        if kind not in INSERTS and kind not in kinds.KEYLESS_MAPS:
            return None
        verb = "Add" if kind == "bloom_filter" else "Push" if kind in QUEUES else "Insert"
        title = {"Insert": "Insert an entry", "Push": "Push an element", "Add": "Add a value"}[verb]
        return {"verb": verb, "title": title, "fields": self._key_fields() + self.value_fields()}

    def _key_fields(self):
        if self.map.type == "lpm_trie":
            example = {8: "10.0.0.0/8", 20: "2001:db8::/32"}.get(self.map.key_size, "0a00/8")
            return [{"id": "key", "label": "prefix", "c": c.short(self.map.key_type), "hint": example}]
        return [
            {"id": id, "label": leaf.name or "key", "c": leaf.c, "hint": "", "group": self._group("key", leaf)}
            for id, leaf in self.keys.items()
            if leaf.editable
        ]

    def _group(self, part, leaf):
        t = self.map.key_type if part == "key" else self.map.value_type
        return f"{part}: {c.short(t)}" if leaf.name else ""

    def value_fields(self):
        """The fields of a form for a value."""
        where = " on cpu0" if self.map.ncpus else ""
        return [
            {
                "id": id,
                "label": (leaf.name or "value") + where,
                "c": leaf.c,
                "hint": "" if leaf.type.is_text else "0",
                "group": self._group("value", leaf),
            }
            for id, leaf in self._first_cpu().items()
            if leaf.editable
        ]

    def _first_cpu(self):
        return {id: leaf for id, (leaf, cpu) in self.values.items() if cpu in (None, 0)}

    @staticmethod
    def _pack(t, leaves, fields, part):
        """The bytes of a key or value from what was typed. A member left empty is zero, as in C; a key's only one is not."""
        whole = bytes(t.size)
        alone = part == "key" and len(leaves) == 1
        for id, leaf in leaves.items():
            text = fields.get(id, "")
            if text.strip() or (alone and not leaf.type.is_text):
                whole = _spliced(leaf, whole, text, leaf.name or part, id)
        return whole

    def _value(self, fields):
        return self._pack(self.map.value_type, self._first_cpu(), fields, "value")

    # -- changes

    def insert(self, fields):
        """Insert an entry, push an element, or add to a bloom filter."""
        m = self.map
        if m.type not in INSERTS:
            value = self._value(fields)
            attempt(lambda: m.push(value))
            shown = m.value_type.decode(value)
            return f"added {shown} to {m.name}" if m.type == "bloom_filter" else f"pushed {shown} onto {m.name}"
        if m.type == "lpm_trie":
            try:
                key = parse_prefix(fields.get("key", ""), m.key_size - 4)
            except ValueError as error:
                raise Refused(error, "key") from None
        else:
            key = self._pack(m.key_type, self.keys, fields, "key")
        value = self._value(fields)
        if m.ncpus:
            value = [value, *[bytes(m.value_size)] * (m.ncpus - 1)]
        there = f"{self.key_text(key)} is there already; change its value in the table"
        attempt(
            lambda: m.update(self._key(key), value, flags="noexist"),
            {errno.EEXIST: there},
            next(iter(self.keys), "key"),
        )
        return f"inserted {self.key_text(key)}"

    def full(self, raw, column):
        """The text that an editor of a cell starts with; a cell may show less of a long list."""
        leaf, cpu = self.values[column]
        return leaf.full(self._parts(raw)[cpu or 0])

    def edit(self, raw, column, text):
        """Change one member of the value of the key `raw` (bytes) and write the others back as they are now."""
        leaf, cpu = self.values[column]
        parts = self._parts(raw)
        parts[cpu or 0] = _spliced(leaf, parts[cpu or 0], text, leaf.name or "value", column)
        value = parts if self.map.ncpus else parts[0]
        flags = "any" if self.map.type in ARRAYS else "exist"
        gone = "this entry is gone: it was deleted meanwhile"
        attempt(lambda: self.map.update(self._key(raw), value, flags=flags), {errno.ENOENT: gone}, column)
        return f"changed {leaf.name or 'value'} of {self.key_text(raw)}"

    def _parts(self, raw):
        """The bytes of the value of a key now, one part for each CPU."""
        m = self.map
        data = attempt(lambda: m._lookup(raw))
        if data is None:
            raise Refused("this entry is gone: it was deleted meanwhile")
        stride = len(data) // (m.ncpus or 1)
        return [data[i * stride : i * stride + m.value_size] for i in range(m.ncpus or 1)]

    def delete(self, raw):
        try:
            attempt(lambda: self.map.__delitem__(self._key(raw)))
        except KeyError:
            raise Refused("this entry is gone already") from None
        return f"deleted {self.key_text(raw)}"

    def pop(self):
        taken = attempt(lambda: self.map.pop(default=None))
        if taken is None:
            raise Refused(f"{self.map.name} is empty")
        return f"popped {taken}"

    def test(self, fields):
        """Ask a bloom filter."""
        value = self._value(fields)
        there = attempt(lambda: value in self.map)
        return "yes, probably: it was added, or collides with values that were" if there else "no: it was never added"

    def pin(self, path):
        return f"pinned at {attempt(lambda: self.map.pin(path.strip()), field='path')}"

    def unpin(self, path):
        attempt(lambda: self.map.unpin(path))
        return f"unpinned {path}"

    def inner(self, raw):
        """The map that a map of maps holds at a key."""
        try:
            return attempt(lambda: self.map.inner(self._key(raw)))
        except KeyError:
            raise Refused("this entry is gone: it was deleted meanwhile") from None

    def _key(self, raw):
        """The key as messages should call it, if it gives the same bytes back; else the bytes."""
        value = self.map.key_type.decode(raw)
        return value if self.map.key_type.encode(value, "key") == raw else raw


def _spliced(leaf, whole, text, what, field):
    try:
        return leaf.splice(whole, text, what)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refused(error, field) from None


def attempt(change, words=None, field=None):
    """What `change` returns; a refusal in the lab's own words, or those of `words` for its errno."""
    try:
        return change()
    except KeyError:
        raise
    except (LabError, TypeError, ValueError, OverflowError) as error:
        raise Refused((words or {}).get(getattr(error, "errno", None), error), field) from error
