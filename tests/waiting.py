"""Wait for what the kernel does in its own time and gives no notice of."""

from __future__ import annotations

import time


def until(check, what: str, seconds: float = 10) -> None:
    """Return as soon as `check()` is true; fail when it is not within `seconds`."""
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.002)
