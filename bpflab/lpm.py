"""Keys of LPM tries: `struct bpf_lpm_trie_key`, a prefix length and data in network order (kernel/bpf/lpm_trie.c)."""

from __future__ import annotations

import ipaddress
import struct

import numpy as np


def parse(text: str, size: int, what: str) -> bytes:
    """The key for "10.0.0.0/8".

    Raises
    ------
    ValueError
        It is no prefix, has bits set behind it, or is of the other IP version.
    """
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}; write a prefix such as 10.0.0.0/8") from None
    packed = network.network_address.packed
    if len(packed) != size - 4:
        raise ValueError(f"{what} has {size - 4} bytes of data, but {text} is IPv{network.version} with {len(packed)}")
    return struct.pack("=I", network.prefixlen) + packed


def texts(keys: np.ndarray) -> list[str]:
    """Keys over 4 or 16 bytes as "10.0.0.0/8"."""
    raw = np.ascontiguousarray(keys).view(np.uint8).reshape(len(keys), -1)
    size = raw.shape[1]
    lengths = raw[:, :4].copy().view(np.uint32)[:, 0].tolist()
    address = ipaddress.IPv4Address if size == 8 else ipaddress.IPv6Address
    return [f"{address(data.tobytes())}/{length}" for data, length in zip(raw[:, 4:], lengths)]
