"""Type -> C declaration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layout import gaps

if TYPE_CHECKING:
    from .types import Type

INDENT = "    "
QUALIFIERS = ("const", "volatile", "restrict")
TAGS = {"enum64": "enum"}
TAGGED = ("struct", "union", "enum", "enum64")


class CText(str):
    """C text that shows itself, not its escapes, as the value of a cell."""

    def __repr__(self) -> str:
        return str(self)


def text(t: Type) -> CText:
    """The declaration of a named type, else what a variable called `value` of it would look like."""
    if t.kind in TAGGED:
        out = _body(t, "") + ";"
    elif t.kind == "typedef":
        out = f"typedef {declare(t.target, t.name)};"
    elif t.kind == "fwd":
        out = _base(t, "") + ";"
    elif t.kind in ("func", "var"):
        out = f"{declare(t.target, t.name)};"
    elif t.kind == "datasec":
        out = "\n".join([f"/* {t.name} */", *(f"{declare(v.target, v.name)};" for v, _, _ in t.variables)])
    elif t.kind == "decl_tag":
        out = f'/* {t.target.name} is tagged "{t.name}" */'
    else:
        out = declare(t, "").strip()
    return CText(out)


def short(t: Type) -> str:
    """A name for messages: "u32", "struct flow", "char[16]"."""
    if t.kind in ("struct", "union") and not t.name:
        return f"an anonymous {t.kind}"
    return _declare(t, "", "", inline=False).strip()


def summary(t: Type) -> str:
    """One line for `repr`."""
    if t.kind == "datasec":
        names = [v.name for v, _, _ in t.variables]
        return f"data section {t.name}: {_some(names)}"
    head = t.kind + " " + t.name if t.kind in ("fwd", "func", "var", "decl_tag", "typedef") else short(t)
    if t.kind == "typedef":
        head += f" = {short(t.target)}"
    if t.size:
        head += f", {t.size} byte" + "s" * (t.size != 1)
    if t.kind in ("struct", "union"):
        head += f": {_some([f.name for f in t.fields])}" if t.fields else ""
    elif t.kind in ("enum", "enum64"):
        head += f": {_some(list(t.enumerators))}"
    return head


def _some(names: list[str]) -> str:
    return ", ".join(names[:8]) + (f", ... ({len(names)})" if len(names) > 8 else "")


def declare(t: Type, name: str, indent: str = "") -> str:
    """C declares a name from the inside out; `name` is what has been said so far."""
    return _declare(t, name, indent, inline=True)


def _declare(t: Type, name: str, indent: str, inline: bool) -> str:
    before: list[str] = []
    seen = 0
    while t.kind in QUALIFIERS or t.kind == "type_tag":
        if t.kind != "type_tag":
            before.append(t.kind)
        t, seen = t.target, seen + 1
        if seen > 64:
            return f"/* endless type {t.id} */ {name}"
    words = " ".join([*before, name]) if before and t.kind == "ptr" else name
    if t.kind == "ptr":
        target = t.target
        while target.kind in QUALIFIERS or target.kind == "type_tag":
            target = target.target
        star = f"*{words}"
        return _declare(t.target, f"({star})" if target.kind in ("array", "func_proto") else star, indent, inline)
    if t.kind == "array":
        element = _declare(t.target, f"{name}[{t.nelems}]", indent, inline)
        return " ".join([*before, element])
    if t.kind == "func_proto":
        params = [_declare(p, n, indent, False).strip() if p.id else "..." for n, p in t.params]
        return _declare(t.target, f"{name}({', '.join(params) or 'void'})", indent, inline)
    opened = inline and t.kind in TAGGED and not t.name
    head = " ".join([*before, _body(t, indent) if opened else _base(t, indent)])
    return head + ("" if not name or name.startswith("[") else " ") + name


def _base(t: Type, indent: str) -> str:
    if t.kind in TAGGED:
        return f"{TAGS.get(t.kind, t.kind)} {t.name or '{...}'}"
    if t.kind == "fwd":
        return f"{'union' if t.is_union else 'struct'} {t.name}"
    if t.kind == "int" and t.name == "_Bool":
        return "bool"
    return t.name or t.kind


def _body(t: Type, indent: str) -> str:
    head = f"{TAGS.get(t.kind, t.kind)} {t.name}".strip()
    inner = indent + INDENT
    if t.kind in ("enum", "enum64"):
        lines = [f"{inner}{n} = {v}," for n, v in t.enumerators.items()]
    else:
        lines, end = [], 0
        for m in t.members:
            bits = f" : {m.bitfield_size}" if m.bitfield_size else ""
            lines += [f"{inner}{declare(m.type, '', inner)} : {n};" for n in gaps(t, m, end)]
            lines.append(f"{inner}{declare(m.type, m.name, inner)}{bits};")
            end = m.offset_bits + (m.bitfield_size or 8 * m.type.size)
    packed = " __attribute__((packed))" if t.packed else ""
    return "\n".join([head + " {", *lines, indent + "}" + packed])
