"""What a kernel can do, found out by doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .lab import Lab


def missing(lab: Lab, feature: str) -> str | None:
    return lab.ask("features.missing", feature)
