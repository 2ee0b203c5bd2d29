"""What the verifier knows of a register, in words."""

from __future__ import annotations

import re

_VALUE = re.compile(r"(P?)([A-Za-z_]\w*|-?\d\w*)?(?:\((.*)\))?", re.S)
_POINTERS = {
    "ctx": "the context",
    "fp": "the stack",
    "pkt": "a packet pointer",
    "pkt_meta": "a pointer to the packet's metadata",
    "pkt_end": "the end of the packet",
    "map_ptr": "the map",
    "map_key": "a pointer to a key",
    "map_value": "a pointer to a value",
    "flow_keys": "a pointer to the flow keys",
    "sock": "a socket",
    "sock_common": "a socket",
    "tcp_sock": "a TCP socket",
    "xdp_sock": "an XDP socket",
    "tp_buffer": "a buffer of the tracepoint",
    "buf": "a buffer",
    "rdonly_buf": "a buffer that is only read",
    "mem": "a pointer to memory",
    "rdonly_mem": "a pointer to memory that is only read",
    "ringbuf_mem": "a record of the ring buffer",
    "alloc_mem": "a record of the ring buffer",
    "dynptr_ptr": "a dynptr",
    "func": "a function",
    "arena": "a pointer into an arena",
}


def fields(value: str) -> dict[str, str]:
    """The named parts of a value: "pkt(off=14,r=34)" -> {"off": "14", "r": "34"}."""
    inner = _VALUE.match(value)[3] or ""
    found: dict[str, str] = {}
    names: list[str] = []
    for part in re.split(r",(?![^(]*\))", inner):
        *more, last = part.split("=")
        names = more  # smax=umax=255
        for name in names:
            found[name.removesuffix("_value")] = last
    return found


def kind(value: str | None) -> str:
    """The type of a value: "scalar", "pkt", "map_value_or_null", "fp"; "" when it is not known."""
    if not value:
        return ""
    text = value.removeprefix("P") if re.match(r"P-?\d", value) else value
    if re.match(r"-?\d", text):
        return "scalar"
    name = re.match(r"[A-Za-z_]\w*?(?=[-(\d]|$)", text) if text.startswith("fp") else re.match(r"\w+", text)
    word = name[0] if name else ""
    return "scalar" if word in ("inv", "invP", "Pscalar") or re.match(r"invP?-?\d", word) else word


def bounds(value: str | None) -> tuple[int | None, int | None]:
    """The least and the greatest a number can be; None where nothing is known of it."""
    constant = number(value)
    if constant is not None:
        return constant, constant
    if kind(value) != "scalar" or value is None:
        return None, None
    known = fields(value)
    low, high = _signed(known.get("smin")), _int(known.get("umax"))
    if low is None and "umin" in known:
        low = _int(known["umin"])
    if high is None:
        high = _signed(known.get("smax"))
    if low is None and high is not None and high < 1 << 63 and "smin" not in known:
        # kernels before 6.7 leave out a least of 0 where the greatest is positive
        low = 0 if "umax" in known else None
    return low, high


def number(value: str | None) -> int | None:
    """The value of a constant."""
    found = re.fullmatch(r"(?:inv)?P?(-?(?:0x[0-9a-f]+|\d+))", value or "")
    return _signed(found[1]) if found else None


def words(value: str) -> str:
    """A register's value in words.

    Parameters
    ----------
    value : str
        As the kernel prints it: "pkt(off=14,r=34)", "scalar(umax=255,var_off=(0x0; 0xff))", "fp-8".
    """
    what = kind(value)
    if what == "scalar":
        return _number_words(value)
    if what == "fp":
        offset = re.match(r"fp(-?\d+)", value)
        if offset:
            return "the frame pointer" if offset[1] in ("0", "-0") else f"a pointer to the stack at fp{offset[1]}"
        return f"a pointer to the stack, {_offset_words(fields(value)) or 'at an offset that varies'}"
    known = fields(value)
    nullable = what.endswith("_or_null")
    base = what.removesuffix("_or_null")
    text = _pointer_words(base, known)
    if base in ("pkt", "pkt_meta"):
        proved = _int(known.get("r")) or 0
        moved = _offset_words(known)
        text += (
            f"{' ' + moved + ',' if moved else ''} with {_bytes(proved)} proved"
            if proved
            else f"{' ' + moved if moved else ''}, no byte of it proved"
        )
    else:
        moved = _offset_words(known)
        text += f" {moved}" if moved else ""
    return text + (", or NULL: not compared yet" if nullable else "")


def _pointer_words(base: str, known: dict[str, str]) -> str:
    name = known.get("map")
    if base == "map_ptr" and name:
        return f"the map {name}"
    if base == "map_value":
        size = f" ({_bytes(_int(known['vs']) or 0)})" if "vs" in known else ""
        return "a pointer to a value" + (f" of {name}" if name else "") + size
    if base == "map_key" and name:
        return f"a pointer to a key of {name}"
    size = _int(known.get("sz"))
    if base in ("mem", "rdonly_mem", "ringbuf_mem") and size is not None:
        return _POINTERS[base] + f" of {_bytes(size)}"
    if base in _POINTERS:
        return _POINTERS[base]
    flags = {"trusted_": "trusted ", "rcu_": "", "untrusted_": "untrusted ", "percpu_": "per-CPU ", "user_": ""}
    prefix = ""
    rest = base
    changed = True
    while changed:
        changed = False
        for flag, word in flags.items():
            if rest.startswith(flag):
                prefix, rest, changed = prefix + word, rest.removeprefix(flag), True
    if rest.startswith("ptr_"):
        return f"a {prefix}pointer to a struct {rest.removeprefix('ptr_')}"
    return f"a pointer of type {base}"


def _offset_words(known: dict[str, str]) -> str:
    offset = _int(known.get("off"))
    varies = any(name in known for name in ("umax", "smax", "var_off", "smin", "umin"))
    if varies:
        high = _int(known.get("umax")) if "umax" in known else _int(known.get("smax"))
        far = f", at most {high}" if high is not None and high < 1 << 31 else ", without a limit"
        start = f" behind byte {offset}" if offset else ""
        return f"moved by a number that varies{start}{far}"
    return f"at byte {offset}" if offset else ""


def _number_words(value: str) -> str:
    constant = number(value)
    if constant is not None:
        return f"the number {constant}"
    low, high = bounds(value)
    if low is None and high is None:
        return "a number, any"
    if high is None or high >= (1 << 64) - 1:
        return "a number, any" if low in (None, -(1 << 63)) else f"a number, {_grouped(low)} or more"
    if low is None or low <= -(1 << 63):
        return f"a number, {_grouped(high)} or less, may be negative"
    if low == 0 and high in (0xFF, 0xFFFF, 0xFFFFFFFF):
        return f"a number of {high.bit_length()} bits, any"
    return f"a number from {_grouped(low)} to {_grouped(high)}"


def _grouped(n: int) -> str:
    return f"{n:,}" if abs(n) < 10**10 else f"{n:#x}"


def slot_words(name: str, value: str) -> str:
    """A stack slot in words: "fp-8", "mmmm????"."""
    if re.fullmatch(r"[m0?rdif]*", value):
        unset = value.count("?")
        if not value:
            return f"{name} holds a number"
        if unset == len(value):
            return f"{name} was never set"
        zero = set(value) <= {"0", "?"}
        set_bytes = len(value) - unset
        return f"{name}: {_bytes(set_bytes)} {'zero' if zero else 'set'}" + (f", {unset} never set" if unset else "")
    return f"{name} keeps {words(value)}"


def describe(name: str, value: str) -> str:
    """A register or a stack slot in a sentence: "r2 is a packet pointer with 34 bytes proved"."""
    if name.startswith("fp"):
        return slot_words(name, value)
    return f"{name.lower()} is {words(value)}"


def _bytes(n: int) -> str:
    return f"{n} byte" if n == 1 else f"{n} bytes"


def _signed(text: str | None) -> int | None:
    """A number of 64 bits with its sign, which newer kernels print in hexadecimal without one."""
    found = _int(text)
    return found - (1 << 64) if found is not None and found >= 1 << 63 else found


def _int(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text, 0)
    except ValueError:
        return None
