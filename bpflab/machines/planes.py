"""Records that came from another machine as columns of bytes, see bpflab/agent/planes.py."""

from __future__ import annotations

import zlib

import numpy as np


def whole(answer: bytes | list[bytes], count: int) -> memoryview:
    """The records one behind the other, whether they came so or in columns."""
    if isinstance(answer, bytes):
        return memoryview(answer)
    out = np.empty((count, len(answer)), np.uint8)
    out[:] = np.frombuffer(b"".join(column[:1] for column in answer), np.uint8)  # right where all are this byte
    for i, column in enumerate(answer):
        if len(column) > 1:
            out[:, i] = np.frombuffer(column if len(column) == count else zlib.decompress(column), np.uint8)
    return memoryview(out.reshape(-1))
