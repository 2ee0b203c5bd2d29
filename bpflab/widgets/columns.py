"""From BTF to columns, and from what was typed into a field back to bytes.

A *leaf* is a member of a key or value that shows in a column of its own. It knows where its bits lie, so that one member
can be changed and the others kept.
"""

import ipaddress
import re
from dataclasses import dataclass

import numpy as np

from ..btf import c
from ..btf.dtype import bitfield, truth
from .addresses import Address, Prefix, address_text
from .cells import Bool, Decoded, Enum, List, Number, Pointer, Raw, Text
from .table import as_bytes

NETWORK_NAME = re.compile(r"addr|ip|host|net|gw|gateway", re.I)
NOT_AN_ADDRESS = re.compile(r"seq|ack|spi|vni|teid|label|flow|port", re.I)


@dataclass(frozen=True)
class Leaf:
    """A member that has a column.

    Attributes
    ----------
    name : str
        As C reaches it: ``"hdr.flags"``; ``""`` for a key or value that is one number.
    type : bpflab.btf.Type
    path : tuple of str
        Field names down the dtype.
    offset : int
        Bytes from the start of the whole.
    field : bpflab.btf.layout.Field or None
        Of a bitfield.
    """

    name: str
    type: object
    path: tuple = ()
    offset: int = 0
    field: object = None

    def reach(self, array):
        """This member of an array of wholes."""
        for name in self.path:
            array = array[name]
        return array

    @property
    def last(self):
        """The member's own name."""
        return self.path[-1] if self.path else ""

    @property
    def c(self):
        """Its C type in a few words."""
        bits = f" : {self.field.bits}" if self.field else ""
        return c.short(self.type).replace("an anonymous ", "") + bits

    @property
    def network(self):
        """Whether the bytes are a network address: by type, by size and name."""
        t, r = self.type, self.type.resolved
        if r.kind == "struct":
            return r.name == "in6_addr"
        if t.size == 4 and r.kind == "int":
            return t.order == ">" and not NOT_AN_ADDRESS.search(self.last)
        if r.kind != "array" or t.is_text or r.target.size != 1:
            return False
        return t.size == 6 or (t.size in (4, 16) and bool(NETWORK_NAME.search(self.last)))

    @property
    def numbers(self):
        """Whether it is an array of numbers in one dimension."""
        r = self.type.resolved
        return (
            r.kind == "array"
            and not self.type.is_text
            and r.target.resolved.kind in ("int", "enum", "enum64", "ptr", "float")
            and (r.target.size <= 8)
        )

    @property
    def bytes(self):
        """Whether it is bytes to be read as hexadecimal digits: more of them than one reads as numbers."""
        r = self.type.resolved
        return (
            r.kind == "array"
            and not self.type.is_text
            and r.target.resolved.kind == "int"
            and r.target.size == 1
            and r.nelems > 8
        )

    @property
    def editable(self):
        """Whether a line of text can say its value."""
        return self.network or self.numbers or self.type.is_text or self.type.resolved.kind in (
            "int", "enum", "enum64", "ptr", "float"
        )  # fmt: skip

    def parse(self, text):
        """The Python value that `Type.encode` may take for what was typed; text that is nothing else stays text."""
        text = text if self.type.is_text else text.strip()
        if self.type.is_text:
            return text
        if self.bytes and not self.network:
            try:
                return bytes.fromhex(text.removeprefix("0x"))
            except ValueError:
                raise ValueError(f"{text!r} is not bytes; write {self.type.size} pairs of hexadecimal digits") from None
        if self.numbers and not self.network:
            words = re.split(r"[\s,]+", text.strip("[] \t"))
            return [_number(word) for word in words]
        if self.network and self.type.resolved.kind == "struct":
            return ipaddress.IPv6Address(text).packed
        if self.type.encoding == "bool" and text.lower() in ("true", "false"):
            return text.lower() == "true"
        return _number(text)

    def splice(self, whole, text, what):
        """`whole` (bytes) with this member set to what was typed.

        Raises
        ------
        TypeError, ValueError, OverflowError
            It does not fit the member's type; the text says why.
        """
        value = self.parse(text)
        if self.field is None:
            data = self.type.encode(value, what)
            return whole[: self.offset] + data + whole[self.offset + len(data) :]
        return self._splice_bits(whole, value, what)

    def _splice_bits(self, whole, value, what):
        field, order = self.field, self.type.btf.order
        signed = self.type.encoding == "signed"
        low, high = (-(1 << field.bits - 1), (1 << field.bits - 1) - 1) if signed else (0, (1 << field.bits) - 1)
        if isinstance(value, str):
            value = self.type.enumerators.get(value, value)
        if not isinstance(value, int):
            raise TypeError(f"{what} is {self.c}: {value!r} is not an integer; give an int")
        if not low <= value <= high:
            raise OverflowError(f"{what} is {self.c}: {value} is out of range {low}..{high}")
        first, n = field.window
        place = slice(self.offset + first, self.offset + first + n)
        byteorder, shift, mask = "little" if order == "<" else "big", field.shift(order), (1 << field.bits) - 1
        number = int.from_bytes(whole[place], byteorder) & ~(mask << shift) | (value & mask) << shift
        return whole[: place.start] + number.to_bytes(n, byteorder) + whole[place.stop :]

    def full(self, whole):
        """What the field of an editor starts with."""
        data = whole[self.offset : self.offset + self.type.size]
        value = self.type.decode(data)
        if self.network:
            return address_text(data)
        if self.bytes:
            return data.hex(" ", -4)
        return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(text):
    for base in (0, 10):  # 10 for "007"
        try:
            return int(text, base)
        except ValueError:
            pass
    try:
        return float(text)
    except ValueError:
        return text


def leaves(t, name="", path=(), offset=0):
    """The leaves of a type, in the order of its members; what the kernel keeps for itself (locks, timers) is left out."""
    r = t.resolved
    if r.kind not in ("struct", "union") or r.name == "in6_addr":
        return [Leaf(name, t, path, offset)]
    found = []
    for field in t.fields:
        if field.hidden:
            continue
        inner = f"{name}.{field.name}" if name else field.name
        if field.bits:
            found.append(Leaf(inner, field.type, (*path, field.name), offset, field))
        else:
            found += leaves(field.type, inner, (*path, field.name), offset + field.offset)
    return found


def padding(t):
    """Mask (bool, shape (size,)) of the bytes that lie in no member of a type; None when there are none."""
    free = np.ones(t.size, bool)
    for leaf in leaves(t):
        first, n = leaf.field.window if leaf.field else (0, leaf.type.size)
        free[leaf.offset + first : leaf.offset + first + n] = False
    return free if free.any() else None


def column(leaf, select, *place, **more):
    """The column for a leaf.

    Parameters
    ----------
    select : callable
        ``select(keys, values)`` gives the array of wholes that the leaf is a member of.
    place, more
        id, label and part; group.
    """
    t, r = leaf.type, leaf.type.resolved
    more.setdefault("c", leaf.c)

    def take(keys, values):
        return leaf.reach(select(keys, values))

    def take_bytes(keys, values):
        return as_bytes(take(keys, values))

    if leaf.network:
        return Address(*place, take_bytes, **more)
    if leaf.field is not None:
        order = t.btf.order

        def take_bits(keys, values):
            return bitfield(leaf.field, take(keys, values), order)

        return _scalar(t, take_bits, place, more)
    if t.is_text:
        return Text(*place, take, **more)
    if leaf.bytes:
        return Raw(*place, take_bytes, **more)
    if leaf.numbers:
        pointers = r.target.resolved.kind == "ptr"
        return List(*place, take, address=pointers, **more)
    if r.kind in ("int", "enum", "enum64", "ptr") and t.size <= 8:
        return _scalar(t, take, place, more)
    if r.kind == "float" and t.size <= 8:
        return Number(*place, take, **more)
    return Decoded(*place, take_bytes, decode=t.decode, **more)


def _scalar(t, take, place, more):
    if t.resolved.kind == "ptr":
        return Pointer(*place, take, **more)
    if t.enumerators:
        names = {number: name for name, number in reversed(t.enumerators.items())}
        return Enum(*place, take, names=names, **more)
    if t.encoding == "bool":
        return Bool(*place, lambda keys, values: truth(take(keys, values)), **more)
    return Number(*place, take, **more)


def key_columns(t, map_type):
    """Columns of a key, and the leaf of each by the column's id."""
    if map_type == "lpm_trie":
        return [Prefix("key", "prefix", "key", lambda keys, values: as_bytes(keys), c=c.short(t))], {}
    found = leaves(t)
    scalar = len(found) == 1 and not found[0].name
    columns, by_id = [], {}
    for leaf in found:
        id = "key" if scalar else f"key.{leaf.name}"
        label = {"array": "index", "percpu_array": "index"}.get(map_type, "key") if scalar else leaf.name
        columns.append(
            column(leaf, lambda keys, values: keys, id, label, "key", group="" if scalar else f"key: {c.short(t)}")
        )
        by_id[id] = leaf
    return columns, by_id


def value_columns(t, ncpus=None):
    """Columns of a value, and for each column's id the leaf and the CPU (None: no per-CPU map; -1: the sum)."""
    found = leaves(t)
    scalar = len(found) == 1 and not found[0].name
    columns, places = [], {}

    def add(made, leaf, cpu):
        columns.append(made)
        places[made.id] = (leaf, cpu)

    for leaf in found:
        id = "value" if scalar else f"value.{leaf.name}"
        if ncpus is None:
            group = "" if scalar else f"value: {c.short(t)}"
            add(column(leaf, lambda keys, values: values, id, leaf.name or "value", "value", group=group), leaf, None)
            continue
        group = f"{leaf.name or 'value'} on each CPU"
        each = [
            column(
                leaf, lambda keys, values, cpu=cpu: values[:, cpu], f"{id}@cpu{cpu}", f"cpu{cpu}", "value", group=group
            )
            for cpu in range(ncpus)
        ]
        if each[0].numeric and each[0].kind == "number":
            add(_sum(each[0], leaf, id, group), leaf, -1)
        for cpu, made in enumerate(each):
            add(made, leaf, cpu)
    return columns, places


def _sum(one, leaf, id, group):
    def take(keys, values):
        array = leaf.reach(values)
        if leaf.field is not None:
            array = np.stack(
                [bitfield(leaf.field, array[:, i], leaf.type.btf.order) for i in range(array.shape[1])], axis=1
            )
        return array.sum(axis=1, dtype={"i": np.int64, "f": np.float64}.get(array.dtype.kind, np.uint64))

    made = Number(f"{id}@sum", "sum", "value", take, c=one.c, group=group)
    made.sum = True
    return made
