"""Columns that read as network addresses: IPv4, IPv6, MAC, and the prefixes of an LPM trie."""

import ipaddress
import re
import socket

import numpy as np

from .. import lpm
from .cells import COMPARE, QueryError, Raw, as_strings, begins_with

EXAMPLES = {4: "10.0.0.1", 6: "02:00:00:00:00:01", 16: "2001:db8::1"}


def address_text(data):
    """``10.0.0.1``, ``2001:db8::1`` or ``02:00:00:00:00:01`` for 4, 16 or 6 bytes, else the hexadecimal digits."""
    if len(data) == 4:
        return socket.inet_ntop(socket.AF_INET, data)
    if len(data) == 16:
        return socket.inet_ntop(socket.AF_INET6, data)
    return data.hex(":") if len(data) == 6 else data.hex()


def parse_address(text, size):
    """The bytes of an address of `size` bytes, or None."""
    try:
        if size in (4, 16):
            packed = ipaddress.ip_address(text).packed
        else:
            packed = bytes.fromhex(re.sub("[:-]", "", text))
    except ValueError:
        return None
    return packed if len(packed) == size else None


def reads_from(array, word):
    """Mask of the addresses (rows of bytes) whose text begins with `word`."""
    if array.shape[1] == 4:
        octets = word.split(".")
        if len(octets) > 4 or not all(re.fullmatch(r"\d{1,3}", one) for one in octets[:-1]):
            return np.zeros(len(array), bool)
        mask = np.ones(len(array), bool)
        for i, octet in enumerate(octets[:-1]):
            mask &= array[:, i] == int(octet)
        if octets[-1]:
            if not octets[-1].isdecimal():
                return np.zeros(len(array), bool)
            mask &= begins_with(array[:, len(octets) - 1], octets[-1])
        return mask
    folded = word.lower().replace("-", ":")
    return np.fromiter((address_text(bytes(row)).startswith(folded) for row in array), bool, len(array))


class Address(Raw):
    """Addresses in network order, rows of bytes (n, 4), (n, 6) or (n, 16)."""

    kind = "network"

    def one(self, data):
        return address_text(data)

    def find(self, array, word):
        return reads_from(array, word)

    def compare(self, array, op, word):
        data = parse_address(word, array.shape[1])
        if data is None:
            raise QueryError(
                f"{self.label} is an address such as {EXAMPLES.get(array.shape[1], '00')}; {word!r} is none"
            )
        return COMPARE[op](as_strings(array), data + b"\1")


class Prefix(Raw):
    """The key of an LPM trie, rows of bytes (n, 4 + size): a native u32 prefix length and the data.

    Data of 4 or 16 bytes reads as an IPv4 or IPv6 network, anything else as hexadecimal digits and a length in bits.
    """

    kind = "prefix"

    def one(self, data):
        return f"{address_text(data[4:])}/{int(np.frombuffer(data, np.uint32, 1)[0])}"

    def order(self, array):
        """By address, then the shorter prefix first."""
        lengths = _lengths(array).astype(">u2").view(np.uint8).reshape(-1, 2)
        return as_strings(np.concatenate([array[:, 4:], lengths], axis=1))

    def find(self, array, word):
        """A whole address finds the prefixes that cover it; the beginning of one, those that read so."""
        address = parse_address(word, array.shape[1] - 4)
        if address is not None:
            return self.covers(array, address)
        begin, slash, bits = word.partition("/")
        mask = reads_from(array[:, 4:], begin)
        if slash and bits:
            mask &= begins_with(_lengths(array), bits) if bits.isdecimal() else False
        return mask

    def covers(self, array, address):
        """Mask of the prefixes that contain `address` (bytes)."""
        differ = np.unpackbits(array[:, 4:] ^ np.frombuffer(address, np.uint8), axis=1)
        first = np.where(differ.any(axis=1), differ.argmax(axis=1), differ.shape[1])
        return first >= _lengths(array)

    def compare(self, array, op, word):
        if op not in ("=", "==", "!="):
            raise QueryError(f"{self.label}: write = or !=, or the address alone to see which prefixes cover it")
        try:
            data = parse_prefix(word, array.shape[1] - 4, self.label)
        except ValueError as error:
            raise QueryError(str(error)) from None
        same = (array == np.frombuffer(data, np.uint8)).all(axis=1)
        return same if op in ("=", "==") else ~same


def _lengths(array):
    return array[:, :4].copy().view(np.uint32).reshape(-1)


def parse_prefix(text, size, what="prefix"):
    """The bytes of an LPM key (native u32 prefixlen, then `size` bytes of data) written as ``10.0.0.0/8`` or ``0a00/8``.

    Raises
    ------
    ValueError
        It is none; the text names `what` and says how one is written.
    """
    if size in (4, 16):
        return lpm.parse(text.strip(), size + 4, what)
    digits, slash, bits = text.strip().partition("/")
    data = parse_address(digits, size)
    if data is None or (slash and not bits.isdecimal()):
        raise ValueError(
            f"{what}: {text!r} is no prefix of {size} bytes; write hexadecimal digits, as in {'00' * size}/8"
        )
    length = int(bits) if slash else 8 * size
    if length > 8 * size:
        raise ValueError(f"{what}: {size} bytes have {8 * size} bits, not {length}")
    return np.uint32(length).tobytes() + data
