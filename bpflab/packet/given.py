"""What a reader gives for a packet: bytes, a scapy packet, or hex text."""

from __future__ import annotations

import re
from typing import Any

_EXAMPLES = "give bytes, a scapy packet, or hex text such as 'ff ff ff ff ff ff 02 00 ...'"


def packet_bytes(packet: Any) -> bytes:
    """The bytes of a packet.

    Parameters
    ----------
    packet : bytes-like or str or object with __bytes__
        A str is hex text: digits with or without blanks, colons and line ends; also what ``tcpdump -xx``, ``-XX`` and ``xxd`` print,
        whose offsets and text columns are left out.

    Raises
    ------
    TypeError
        Nothing of the kind.
    ValueError
        The text is not hex.
    """
    if isinstance(packet, str):
        return _from_hex(packet)
    if isinstance(packet, (bytes, bytearray, memoryview)) or hasattr(packet, "__bytes__"):
        return bytes(packet)
    if getattr(getattr(packet, "dtype", None), "str", "") == "|u1":  # an array of bytes
        return packet.tobytes()
    raise TypeError(f"a packet is not {_a(packet)}; {_EXAMPLES}")


def _a(value: Any) -> str:
    name = type(value).__name__
    return name if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _from_hex(text: str) -> bytes:
    lines = text.splitlines()
    if lines and all(_is_dump_line(line) for line in lines if line.strip()):
        lines = [re.split(r"\s{2,}", _dump_part(line))[0] for line in lines]
    digits = re.sub(r"[\s:]|(?<![0-9a-fA-F])0x", "", "\n".join(lines))
    if wrong := re.search(r"[^0-9a-fA-F]", digits):
        raise ValueError(f"the packet's hex text has '{wrong[0]}' in it, which is no hex digit; {_EXAMPLES}")
    if len(digits) % 2:
        raise ValueError(f"the packet's hex text has {len(digits)} digits, and a byte has two; is one missing at an end?")
    return bytes.fromhex(digits)


def _is_dump_line(line: str) -> bool:
    """A line of a hex dump: an offset with its colon first."""
    return bool(re.match(r"^\s*(?:0x)?[0-9a-fA-F]{4,8}:\s", line))


def _dump_part(line: str) -> str:
    return line.split(":", 1)[1].strip()
