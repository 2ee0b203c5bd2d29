"""Numbers that a reader gives: of the right kind, and within bounds."""

from __future__ import annotations

import numbers
import operator

MOST_SECONDS = 600.0


def whole(value, name: str, most: int, least: int = 1) -> int:
    """A count."""
    is_whole(value, name, f"{least:,} to {most:,}")
    if not least <= value <= most:
        raise ValueError(f"{name} is {least:,} to {most:,}, not {value:,}")
    return operator.index(value)


def is_whole(value, name: str, told: str) -> None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{name} is a whole number, not {type(value).__name__}; give {told}")


def number(value, name: str, most: float, unit: str = "") -> float:
    """A time, a rate, a share: 0 or more."""
    told = f"0 to {most:,.0f}{unit and ' '}{unit}"
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"{name} is a number, not {type(value).__name__}; give {told}")
    if not 0 <= value <= most:
        raise ValueError(f"{name} is {told}, not {value:g}")
    return float(value)


def wait(value, name: str = "timeout") -> float:
    """Seconds to wait for one thing."""
    return number(value, name, MOST_SECONDS, "seconds")


def seconds(value) -> float:
    """Seconds that something may take at most."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(
            f"seconds is a number, not {type(value).__name__}; give more than 0, and at most {MOST_SECONDS:.0f}"
        )
    if not 0 < value <= MOST_SECONDS:
        raise ValueError(f"it takes more than 0 and at most {MOST_SECONDS:.0f} seconds, not {value:g}")
    return float(value)
