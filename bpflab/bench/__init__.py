"""`./lab bench`: what bpflab takes, beside what a reader would use instead, in the same run.

Each measure is a function that yields pairs of seconds, ours and the other's, taken one after the other, so that a
busy minute of the computer meets both. The median of each is shown, and their ratio, which is what counts: single
times differ from machine to machine. A bar is the least ratio that is good enough; a run that lost events does not
count.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from ..errors import LabError


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    name : str
    ours_s, other_s : float
        Seconds, medians.
    other : str
        What it is compared with.
    ratio : float
        other_s / ours_s: how many times faster ours is.
    bar : float
        The least ratio wanted; 0.33 where ours may take three times as long.
    ok : bool
    lost : int
        Events that either side lost.
    """

    name: str
    ours_s: float
    other: str
    other_s: float
    ratio: float
    bar: float
    ok: bool
    lost: int


@dataclass(frozen=True)
class Measure:
    """A figure to take: `pairs` yields (ours_s, other_s, lost)."""

    name: str
    other: str
    bar: float
    pairs: Callable[[], Iterable[tuple[float, float, int]]]

    def take(self) -> Row:
        ours, others, lost = zip(*self.pairs())
        ours_s, other_s = statistics.median(ours), statistics.median(others)
        ratio = other_s / ours_s
        return Row(self.name, ours_s, self.other, other_s, ratio, self.bar, ratio >= self.bar and not sum(lost), sum(lost))


def measures() -> list[Measure]:
    from . import maps, rings, start

    return [*maps.MEASURES, *rings.MEASURES, *start.MEASURES]


def _line(row: Row) -> str:
    bar = f"at least {row.bar:g}" if row.bar >= 1 else f"at most {1 / row.bar:g} times its time"
    ratio = f"{row.ratio:.1f} times faster" if row.ratio >= 1 else f"{1 / row.ratio:.2f} times its time"
    lost = f", {row.lost} events lost" if row.lost else ""
    return (
        f"{'ok' if row.ok else 'NO':<3} {row.name}\n"
        f"      ours {row.ours_s:.4f} s, {row.other} {row.other_s:.4f} s: {ratio} (bar: {bar}){lost}"
    )


def main(argv: list[str] | None = None) -> int:
    """Take the figures and print them; 0 when every bar is held."""
    parser = argparse.ArgumentParser(prog="lab bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="a list of {name, ours_s, other, other_s, ratio, bar, ok, lost}")
    parser.add_argument("only", nargs="*", help="take only the figures whose name or comparison contains one of these words")
    options = parser.parse_args(argv)
    wanted = [m for m in measures() if not options.only or any(w in f"{m.name} {m.other}" for w in options.only)]
    if not wanted:
        print(f"no figure is called {' or '.join(options.only)}; there are: {'; '.join(m.name for m in measures())}", file=sys.stderr)
        return 2
    rows = []
    for measure in wanted:
        try:
            rows.append(measure.take())
        except LabError as error:
            print(f"{measure.name}: {error}", file=sys.stderr)
            return 1
        if not options.json:
            print(_line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
    return 0 if all(row.ok for row in rows) else 1
