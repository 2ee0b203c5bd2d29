"""How one column of a map reads: as text, in order, and in a search.

A column takes its array out of a snapshot's keys and values and answers for the whole of it at once; text is made only for the
rows of the page that is looked at.
"""

import operator
import re

import numpy as np

COMPARE = {
    "=": operator.eq, "==": operator.eq, "!=": operator.ne,
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


class QueryError(ValueError):
    """A search that cannot be read; the text says which part and what would work."""


class Column:
    """One column.

    Parameters
    ----------
    id : str
        Unique in the table: ``"key"``, ``"key.saddr"``, ``"value.packets"``, ``"value.packets@cpu0"``, ``"value.packets@sum"``.
    label : str
        What the head of the column says.
    part : str
        ``"key"``, ``"value"`` or ``"rate"``.
    take : callable
        ``take(keys, values)`` gives the array of the column: shape (n,), or (n, k) for a list or for bytes.
    c : str
        The C type, shown below the label.
    group : str
        What stands above this column and its neighbours of the same group.
    """

    kind = "text"
    numeric = False
    sum = False

    def __init__(self, id, label, part, take, c="", group=""):
        self.id, self.label, self.part, self.take, self.c, self.group = id, label, part, take, c, group

    def text(self, array):
        """The cells of `array` (a page of it) as a list of str."""
        return [str(x) for x in array.tolist()]

    def order(self, array):
        """What to sort by: an array of shape (n,)."""
        return array

    def find(self, array, word):
        """Mask of the rows in which `word`, as typed in the search field, occurs."""
        return np.zeros(len(array), bool)

    def compare(self, array, op, word):
        """Mask of the rows for which ``cell op word`` holds."""
        raise QueryError(f"{self.label} cannot be compared; search for the text alone")


def parse_number(word):
    """The int or float written as `word` (decimal, 0x, _ between digits), or None."""
    try:
        return int(word, 0)
    except ValueError:
        pass
    try:
        return int(word)  # "007": decimal to a reader, an error to int(…, 0)
    except ValueError:
        pass
    try:
        return float(word)
    except ValueError:
        return None


def begins_with(array, word):
    """Mask of the whole numbers whose decimal form begins with the digits `word`."""
    negative = word.startswith("-")
    digits = word[negative:]
    low = int(digits)
    if digits != str(low):  # leading zeros: no number begins so
        return np.zeros(len(array), bool)
    if negative and array.dtype.kind != "i":
        return np.zeros(len(array), bool)
    if low == 0:
        return array == 0
    mask = np.zeros(len(array), bool)
    limit = 2 ** (8 * array.dtype.itemsize)
    high = low + 1
    while low < limit:
        mask |= (array <= -low) & (array > -high) if negative else (array >= low) & (array < high)
        low, high = low * 10, high * 10
    return mask


class Number(Column):
    """Whole numbers (exact to 64 bits) and floats."""

    kind = "number"
    numeric = True

    def text(self, array):
        if array.dtype.kind == "f":
            return [repr(x) for x in array.tolist()]
        return [str(x) for x in array.tolist()]

    def find(self, array, word):
        number = parse_number(word)
        if number is None:
            return np.zeros(len(array), bool)
        if array.dtype.kind in "iu" and re.fullmatch(r"-?\d+", word):
            return begins_with(array, word)
        return array == number

    def compare(self, array, op, word):
        number = parse_number(word)
        if number is None:
            raise QueryError(f"{self.label} is a number; {word!r} is not")
        return COMPARE[op](array, number)


class Pointer(Number):
    """Whole numbers that are addresses: read in hexadecimal."""

    kind = "pointer"

    def text(self, array):
        return [f"{x:#x}" for x in array.tolist()]


class Rate(Number):
    """Change per second; NaN where there is no row to compare with."""

    kind = "rate"

    def text(self, array):
        return [
            "" if np.isnan(x) else "0" if x == 0 else f"{x:+,.1f}" if abs(x) < 10 else f"{x:+,.0f}"
            for x in array.tolist()
        ]

    def order(self, array):
        return np.nan_to_num(array, nan=-np.inf)

    def find(self, array, word):
        return np.zeros(len(array), bool)  # a rate is measured, not stored: only `rate > 5` asks for it


class Bool(Column):
    kind = "bool"

    def text(self, array):
        return ["true" if x else "false" for x in array.tolist()]

    def order(self, array):
        return array != 0

    def find(self, array, word):
        if word.lower() in ("true", "false"):
            return (array != 0) == (word.lower() == "true")
        return np.zeros(len(array), bool)

    def compare(self, array, op, word):
        if word.lower() not in ("true", "false", "0", "1"):
            raise QueryError(f"{self.label} is true or false; {word!r} is neither")
        return COMPARE[op](array != 0, word.lower() in ("true", "1"))


class Enum(Column):
    """Numbers with names.

    Parameters
    ----------
    names : dict
        Number to name.
    """

    kind = "enum"

    def __init__(self, *place, names, **more):
        super().__init__(*place, **more)
        self.names = names

    def text(self, array):
        return [self.names.get(x, str(x)) for x in array.tolist()]

    def find(self, array, word):
        folded = word.lower()
        mask = np.isin(array, [number for number, name in self.names.items() if folded in name.lower()])
        return mask | begins_with(array, word) if re.fullmatch(r"-?\d+", word) else mask

    def compare(self, array, op, word):
        number = {name.lower(): number for number, name in self.names.items()}.get(word.lower(), parse_number(word))
        if number is None:
            raise QueryError(f"{self.label} has no name {word!r}; it has {', '.join(list(self.names.values())[:6])}")
        return COMPARE[op](array, number)


def lower(array):
    """ASCII capitals of an array of bytes strings made small, as ``bytes.lower`` does."""
    flat = np.ascontiguousarray(array).view(np.uint8)
    return np.where((flat >= 65) & (flat <= 90), flat | 32, flat).view(array.dtype).reshape(array.shape)


class Text(Column):
    """char arrays: dtype S, text up to the first NUL, as C reads it."""

    def text(self, array):
        return [x.split(b"\0", 1)[0].decode("utf-8", "backslashreplace") for x in array.tolist()]

    def find(self, array, word):
        return np.strings.find(lower(array), word.lower().encode()) >= 0

    def compare(self, array, op, word):
        return COMPARE[op](array, np.bytes_(word.encode()))


class Raw(Column):
    """Bytes without a type, rows of uint8 (n, size): hexadecimal digits, four bytes a group."""

    kind = "raw"
    SHOWN = 16

    def text(self, array):
        return [self.one(bytes(row)) for row in array]

    def one(self, data):
        """The text of one cell."""
        shown = data[: self.SHOWN].hex(" ", -4)
        return shown if len(data) <= self.SHOWN else f"{shown} … {len(data)} bytes"

    def order(self, array):
        return as_strings(array)

    def find(self, array, word):
        digits = word.lower().removeprefix("0x").replace(":", "")
        if len(digits) % 2 or not re.fullmatch(r"[0-9a-f]+", digits):
            return np.zeros(len(array), bool)
        return np.strings.find(as_strings(array), bytes.fromhex(digits)) >= 0


def as_strings(array):
    """Rows of bytes as NumPy strings that sort as the bytes do: a byte 1 at the end keeps the zeros before it."""
    ended = np.concatenate([array, np.ones((len(array), 1), np.uint8)], axis=1)
    return ended.view(f"S{ended.shape[1]}").reshape(-1)


class Decoded(Raw):
    """What has no column of its own, an array of structs for one: as Python shows it.

    Parameters
    ----------
    decode : callable
        Bytes to a Python value.
    """

    kind = "struct"
    SHOWN = 80

    def __init__(self, *place, decode, **more):
        super().__init__(*place, **more)
        self.decode = decode

    def one(self, data):
        text = str(self.decode(data))
        return text if len(text) <= self.SHOWN else text[: self.SHOWN - 1] + "…"


class List(Column):
    """Arrays inside a value: the array of the column has shape (n, k).

    Parameters
    ----------
    address : bool
        The numbers are addresses, and zeros at the end are no part of them.
    shown : int
        How many of them a cell shows.
    """

    kind = "list"

    def __init__(self, *place, address=False, shown=8, **more):
        super().__init__(*place, **more)
        self.address, self.shown = address, shown

    def text(self, array):
        cells = []
        for row in array.tolist():
            used = len(row)
            while used and not row[used - 1]:
                used -= 1
            shown = row[: min(max(used, 1), self.shown)]
            text = ", ".join(f"{x:#x}" if self.address else str(x) for x in shown)
            if used > len(shown):
                text += f", … {used - len(shown)} more"
            elif used < len(row) and len(row) > self.shown:
                text += "" if self.address else ", then zeros"
            elif len(shown) < len(row):
                text += ", 0" * (len(row) - len(shown))
            cells.append(text)
        return cells

    def order(self, array):
        return array[:, 0]

    def find(self, array, word):
        number = parse_number(word)
        if number is None or array.dtype.kind not in "iuf":
            return np.zeros(len(array), bool)
        return (array == number).any(axis=1)
