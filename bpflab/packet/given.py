"""What a reader gives for a packet: bytes, a scapy packet, or hex text."""

from __future__ import annotations

import re
from typing import Any

# an offset, and a colon or a gap behind it
_DUMPED = re.compile(r"^\s*(?:0x)?([0-9a-fA-F]{4,8})(?::\s|\s{2,})\s*(.*)$")
_PIPED = re.compile(r"^((?:[0-9a-fA-F]{2}\s+){1,16})\|.{1,16}\|\s*$")  # hexdump -C, which has a gap between the bytes as well
_EXAMPLES = "give bytes, or a scapy packet, or hex text such as 'ff ff ff ff ff ff 02 00 ...'"


def packet_bytes(packet: Any) -> bytes:
    """The bytes of a packet.

    Parameters
    ----------
    packet : bytes-like or str or object with __bytes__
        A str is hex text: digits with or without blanks, colons and line ends; also what ``tcpdump -xx`` and ``-XX``, ``xxd``,
        ``hexdump -C`` and Wireshark print, whose offsets and text columns are left out.

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
    raise TypeError(f"a packet is bytes, not {type(packet).__name__}; {_EXAMPLES}")


def _from_hex(text: str) -> bytes:
    written = [line for line in text.splitlines() if line.strip()]
    if written and all(map(_DUMPED.match, written)) and int(_DUMPED.match(written[0])[1], 16) == 0:
        return _from_dump(written)
    digits = re.sub(r"[\s:]|(?<![0-9a-fA-F])0x", "", text)
    if wrong := re.search(r"[^0-9a-fA-F]", digits):
        raise ValueError(f"the packet's hex text has '{wrong[0]}' in it, which is no hex digit; {_EXAMPLES}")
    if len(digits) % 2:
        raise ValueError(f"the packet's hex text has {len(digits)} digits, and a byte has two; is one missing at an end?")
    return bytes.fromhex(digits)


def _from_dump(lines: list[str]) -> bytes:
    """Lines of offset, bytes and perhaps text; the offsets prove that the bytes were told from the text."""
    data = b""
    for line in lines:
        offset, rest = _DUMPED.match(line).groups()
        if int(offset, 16) != len(data):
            raise ValueError(f"the packet's hex dump has a line for offset 0x{offset} behind {len(data)} bytes; give the bytes alone")
        piped = _PIPED.match(rest)
        data += _from_hex(piped[1] if piped else re.split(r"\s{2,}", rest)[0])
    return data
