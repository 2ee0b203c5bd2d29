"""The format files of tracepoints (tracefs, Documentation/trace/events.rst)."""

from __future__ import annotations

import re
from typing import NamedTuple

_FIELD = re.compile(r"^\tfield:(.+?);\toffset:(\d+);\tsize:(\d+);(?:\tsigned:(\d);)?$", re.M)
_DECLARED = re.compile(r"^(.*?)\s*(\w+)((?:\[[^\]]*\])*)$")


class Field(NamedTuple):
    """A member of what a tracepoint hands to a program.

    Attributes
    ----------
    type, name : str
        As C has them: "const char *" and "filename"; "char[16]" and "comm".
    offset, size : int
        In bytes.
    signed : bool
    """

    type: str
    name: str
    offset: int
    size: int
    signed: bool

    @property
    def text_at(self) -> bool:
        """Whether it says where in the record a text lies (__data_loc)."""
        return self.type.startswith(("__data_loc char", "__rel_loc char"))

    def __str__(self) -> str:
        return f"{self.type}{'' if self.type.endswith('*') else ' '}{self.name}"


class Format(NamedTuple):
    """What a tracepoint hands to a program, and how the kernel prints it."""

    fields: tuple[Field, ...]
    printed: str

    @property
    def line(self) -> str:
        return ", ".join(map(str, self.fields))


def parse(text: str) -> Format:
    """The format of a tracepoint; the fields that all of them have (common_...) are left out."""
    fields = []
    for declared, offset, size, signed in _FIELD.findall(text):
        found = _DECLARED.match(declared)
        if found and not found[2].startswith("common_"):
            name, kind = found[2], found[1] + found[3]
            fields.append(Field(kind.replace("__user ", ""), name, int(offset), int(size), signed == "1"))
    return Format(tuple(fields), text.partition("print fmt: ")[2].strip())
