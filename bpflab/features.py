"""What a kernel can do, found out by doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from .lab import Lab

_COLUMNS = ["feature", "kind", "available", "how", "reason"]
_known: dict[tuple[str, str], list] = {}


def table(lab: Lab) -> pd.DataFrame:
    """Try everything that bpflab knows how to try, once for each start of the machine's kernel.

    Returns
    -------
    pandas.DataFrame
        A row for each feature, with the columns `feature` (the name `Lab(needs=...)` takes), `kind` ("attach", "map
        type", "helper", "command", "setting"), `available` (bool), `how` (what was done to find out) and `reason`
        (what the kernel said; empty where the feature is there).
    """
    key = (lab.machine, lab.call("the kernel's boot id cannot be read", "features.boot"))
    if key not in _known:
        _known[key] = lab.call("the features cannot be tried", "features.table")
    return pd.DataFrame(_known[key], columns=_COLUMNS)


def missing(lab: Lab, feature: str) -> str | None:
    """Why a feature that just failed is not there at all: it is tried again by itself, in its smallest form.

    Returns
    -------
    str or None
        What the kernel said. None when the small try works, or when it is not known how to try the feature: then the
        failure has another cause.
    """
    return lab.ask("features.missing", feature)
