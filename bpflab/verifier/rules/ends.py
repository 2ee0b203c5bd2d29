"""How a program ends: what it returns."""

from __future__ import annotations

import re

from ..case import Case, Finding
from . import rule


@rule(
    r"^At (?P<when>program exit|callback return|async callback return) the register R0 (?:has )?(?P<what>.*?)should have been in (?P<range>[\[(].*)",
    r"^At (?P<when>program exit|callback return|async callback return) the register R0 is not a known value \((?P<type>\w+)\)",
    r"^R0 not a scalar value when .*function returns",
)
def value(case: Case, match: re.Match) -> Finding:
    groups = match.groupdict()
    low, high = _range(groups.get("range") or "")
    least, most = _value(groups.get("what") or "")
    what = "a callback" if "callback" in (groups.get("when") or "") else "a program of this type"
    allowed = f"{low}" if low == high else f"{low} or {high}" if low is not None and high == low + 1 else f"{low} to {high}"
    if least is not None and least == most and 1 << 31 <= least < 1 << 32:
        least = most = least - (1 << 32)  # what the function returns is an int
    found = Finding(
        "return-value",
        f"{what} may return {allowed}" if low is not None else f"{what} has to return a number",
        "The kernel acts upon what a program returns, and knows what to do for these values only.",
        "",
        advice=f"return {allowed}" if low is not None else "return a number",
    )
    if least is not None and least == most:
        found.summary += f", and this one returns {least}"
        found.failing = f"returns {least}"
    elif low is not None:
        found.summary += ", and this one may return something else"
        found.failing = (
            f"may return {least:,} to {most:,}"
            if least is not None and most is not None and most < 1 << 33
            else "may return anything"
        )
    elif groups.get("type"):
        found.summary += ", and this one returns a pointer"
        found.failing = "returns a pointer"
    place = _returning(case)
    if place is not None:
        found.place = place
        if least is not None and least == most and low is not None:
            found.edits = case.swap(place, f"return {least};", f"return {high};")
        elif low == 0 and high is not None:
            returned = re.fullmatch(r"return ([\w>.-]+);", place.text)
            if returned and high & (high + 1) == 0:
                found.edits = case.swap(place, place.text, f"return {returned[1]} ? 1 : 0;")
                found.advice = f"return {low} to {high}, such as 1 for yes and 0 for no"
    return found


def _returning(case: Case):
    """The line that sets what the program returns."""
    origin = case.origin(0)
    if origin.kind in ("constant", "load", "computed", "call") and origin.index >= 0:
        index = max(origin.chain, default=origin.index)
        place = case.place(max(index, origin.index))
        last = case.path.steps[-1].place
        if last and last.text.startswith("return"):
            return last
        return place
    return None


def _range(text: str) -> tuple[int | None, int | None]:
    newer = re.match(r"\[(-?\d+), (-?\d+)\]", text)
    if newer:
        return int(newer[1]), int(newer[2])
    tnum = re.match(r"\((0x[0-9a-f]+); (0x[0-9a-f]+)\)", text)
    return (int(tnum[1], 16), int(tnum[1], 16) | int(tnum[2], 16)) if tnum else (None, None)


def _value(text: str) -> tuple[int | None, int | None]:
    newer = re.search(r"smin=(-?\d+) smax=(-?\d+)", text)
    if newer:
        return int(newer[1]), int(newer[2])
    tnum = re.search(r"\((0x[0-9a-f]+); (0x[0-9a-f]+)\)", text)
    return (int(tnum[1], 16), int(tnum[1], 16) | int(tnum[2], 16)) if tnum else (None, None)
