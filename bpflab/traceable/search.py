"""Search everything that can be traced."""

from __future__ import annotations

import fnmatch
import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import UnknownNameError
from .catalog import KINDS, Group, Place, catalog

if TYPE_CHECKING:
    from ..lab import Lab

RANKED = 5000  # hits that are put in order of how well they match; more are in the order of their names


def events(lab: Lab, text: str = "", *, kind=None, binary: str | None = None, pid: int | None = None) -> pd.DataFrame:
    """See `Lab.events`."""
    wanted = _kinds(kind)
    if binary is None and pid is None and wanted == {"tracepoint"}:
        groups = [catalog(lab).tracepoints]  # which says why, where there are none
    else:
        groups = [group for group in catalog(lab).groups(binary, pid) if group.kind in wanted]
    places = found(groups, text)
    frame = pd.DataFrame(
        {
            "kind": pd.Categorical([place.kind for place in places], categories=KINDS),
            "name": [place.name for place in places],
            "where": [place.where for place in places],
            "signature": catalog(lab).signatures(places),
        }
    )
    if "kernel function" in wanted and binary is None and pid is None:
        frame.attrs["kernel functions"] = catalog(lab).source
    return frame


def found(groups: list[Group], text: str) -> list[Place]:
    """What matches, the best first where it is not too much."""
    places = [group.place(number) for group in groups for number in matches(group, text)]
    return rank(places, text) if text.strip() and len(places) <= RANKED else places


def _kinds(kind) -> set[str]:
    named = [kind] if isinstance(kind, str) else list(kind or KINDS)
    for one in named:
        if one not in KINDS:
            raise UnknownNameError("kind of event", one, KINDS)
    return set(named)


def words(text: str) -> list[str]:
    """What must all be in a name: "syscalls:sys_enter_openat" are two, the category and the name."""
    return text.lower().replace(":", " ").split()


def matches(group: Group, text: str) -> list[int]:
    """Numbers of the lines that have every word, in order. A word with * or ? is a pattern for a whole name or place."""
    lines: np.ndarray | None = None
    for word in words(text):
        hits = _hits(group, word)
        lines = hits if lines is None else np.intersect1d(lines, hits, assume_unique=True)
    return list(range(len(group))) if lines is None else lines.tolist()


def _hits(group: Group, word: str) -> np.ndarray:
    if "*" in word or "?" in word:
        inner = fnmatch.translate(word).removeprefix("(?s:").removesuffix(r")\Z").replace(".*", r"[^\t\n:]*")
        pattern = rb"(?m)(?:^|(?<=[\t:]))" + inner.encode("ascii", "replace") + rb"(?=[\t\n:]|\Z)[^\n]*"
    else:
        pattern = re.escape(word.encode("ascii", "replace")) + rb"[^\n]*"
    at = [hit.start() for hit in re.finditer(pattern, group.searched)]
    return np.unique(np.searchsorted(group.starts, at, side="right") - 1)


def rank(places: list[Place], text: str) -> list[Place]:
    """The best first: the name itself, names that begin so, that have it as a word, then the rest; short ones first."""
    last = words(text)[-1].strip("*?")
    word = re.compile(rf"(^|[-_:.]){re.escape(last)}")

    def key(place: Place):
        name = place.name.lower()
        how = 0 if name == last else 1 if name.startswith(last) else 2 if word.search(name) else 3
        # what goes into a system call is asked for more often than what comes out of it
        return how, KINDS.index(place.kind), len(name) + 2 * name.startswith("sys_exit_"), name, place.where

    return sorted(places, key=key)
