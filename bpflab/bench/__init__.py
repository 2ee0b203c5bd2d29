"""`./lab bench`: what bpflab takes, beside what a reader would use instead, in the same run.

Each measure is a function that yields pairs of seconds, ours and the other's, taken one after the other, so that a
busy minute of the computer meets both. The median of each is shown, and their ratio, which is what counts: single
times differ from machine to machine. A bar is the least ratio that is good enough; a run that lost events does not
count. Where the other is "limit", it is a number of seconds that ours must stay below.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

from ..errors import LabError, NotSupportedError


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes
    ----------
    name : str
    ours_s, other_s : float or None
        Seconds, medians; None when it could not be taken.
    other : str
        What it is compared with.
    ratio : float or None
        other_s / ours_s: how many times faster ours is.
    bar : float
        The least ratio wanted; 0.33 where ours may take three times as long.
    ok : bool or None
        None: this computer cannot do it.
    lost : int
        Events that either side lost.
    note : str
        Why it could not be taken, or what the time went into; in JSON only where there is one.
    """

    name: str
    ours_s: float | None
    other: str
    other_s: float | None
    ratio: float | None
    bar: float
    ok: bool | None
    lost: int
    note: str = ""

    def as_json(self) -> dict:
        found = asdict(self)
        return found if self.note else {name: value for name, value in found.items() if name != "note"}


@dataclass(frozen=True)
class Measure:
    """A figure to take: `pairs` yields (ours_s, other_s, lost), and a note if there is one."""

    name: str
    other: str
    bar: float
    pairs: Callable[[], Iterable[tuple]]

    def take(self) -> Row:
        try:
            taken = list(self.pairs())
        except LabError as error:
            ok = None if isinstance(error, NotSupportedError) else False
            return Row(self.name, None, self.other, None, None, self.bar, ok, 0, str(error))
        ours_s, other_s = (statistics.median(pair[i] for pair in taken) for i in (0, 1))
        ratio, lost = other_s / ours_s, sum(pair[2] for pair in taken)
        note = min(taken, key=lambda pair: abs(pair[0] - ours_s))[3:]
        return Row(self.name, ours_s, self.other, other_s, ratio, self.bar, ratio >= self.bar and not lost, lost, *note)


def say(text: str) -> None:
    """What takes long; not on standard output, which may be JSON."""
    print(text, file=sys.stderr, flush=True)


def measures() -> list[Measure]:
    from . import drops, explanations, far, firewall, maps, packet_bench, rings, stacks, start, storms, vms

    return [
        *maps.MEASURES,
        *rings.MEASURES,
        *start.MEASURES,
        *explanations.MEASURES,
        *stacks.MEASURES,
        *storms.MEASURES,
        *packet_bench.MEASURES,
        *drops.MEASURES,
        *firewall.MEASURES,
        *far.MEASURES,
        *vms.MEASURES,
    ]


def _line(row: Row) -> str:
    if row.ratio is None:
        return f"{'--' if row.ok is None else 'NO':<3} {row.name}\n      not taken: {row.note}"
    bar = f"at least {row.bar:g}" if row.bar >= 1 else f"at most {1 / row.bar:g} times its time"
    ratio = f"{row.ratio:.1f} times faster" if row.ratio >= 1 else f"{1 / row.ratio:.2f} times its time"
    compared = f"{ratio} (bar: {bar})"
    if row.other == "limit":
        compared = f"{100 / row.ratio:.0f} % of it"
    lost = f", {row.lost} events lost" if row.lost else ""
    note = f"\n      {row.note}" if row.note else ""
    return (
        f"{'ok' if row.ok else 'NO':<3} {row.name}\n"
        f"      ours {row.ours_s:.4f} s, {row.other} {row.other_s:.4f} s: {compared}{lost}{note}"
    )


def main(argv: list[str] | None = None) -> int:
    """Take the figures and print them; 0 when every bar is held."""
    parser = argparse.ArgumentParser(prog="lab bench", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="a list of {name, ours_s, other, other_s, ratio, bar, ok, lost}, and a note if there is one")
    parser.add_argument("only", nargs="*", help="take only the figures whose name or comparison contains one of these words")
    options = parser.parse_args(argv)
    words = [word.lower() for word in options.only]
    wanted = [m for m in measures() if not words or any(word in f"{m.name} {m.other}".lower() for word in words)]
    if not wanted:
        print(f"no figure is called {' or '.join(options.only)}; there are: {'; '.join(m.name for m in measures())}", file=sys.stderr)
        return 2
    rows = []
    for measure in wanted:
        rows.append(measure.take())
        if not options.json:
            print(_line(rows[-1]), flush=True)
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=1))
    return 1 if any(row.ok is False for row in rows) else 0
