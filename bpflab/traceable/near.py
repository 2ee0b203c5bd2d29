"""Names that are close to a wrong one, among a hundred thousand."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .catalog import Group

_WORTH = 200  # names of a group that are compared letter by letter


def near(name: str, groups: Iterable[Group], count: int = 3) -> list[str]:
    """The names that are most like one, the best first; [] where none is.

    Those that share most runs of three letters with it are found by searching the whole text, and only they are compared
    in full.
    """
    low = name.lower()
    runs = {low[i : i + 3] for i in range(max(1, len(low) - 2))}
    found: dict[str, float] = {}
    for group in groups:
        shared = np.zeros(len(group), int)
        for run in runs:
            hits = [m.start() for m in re.finditer(re.escape(run.encode("ascii", "replace")) + rb"[^\n]*", group.searched)]
            lines = np.searchsorted(group.starts, hits, side="right") - 1
            shared[lines] += 1
        length = np.diff(np.append(group.starts, len(group.searched) + 1))
        score = shared / (len(runs) + np.maximum(0, length - len(low)) * 0.3)
        for number in np.argsort(-score, kind="stable")[:_WORTH].tolist():
            if shared[number]:
                other = group.lines[number].partition("\t")[0]
                found[other] = difflib.SequenceMatcher(None, low, other.lower()).ratio()
    best = sorted(found.items(), key=lambda pair: -pair[1])
    return [other for other, ratio in best[:count] if ratio >= max(0.6, best[0][1] - 0.15)]
