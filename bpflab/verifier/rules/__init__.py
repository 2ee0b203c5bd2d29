"""The kinds of rejection: each rule knows the shape of a verdict, and what it means in which situation."""

from __future__ import annotations

import re
from collections.abc import Callable

from ..case import Case, Finding
from ..log import Log
from ..path import Path

Rule = Callable[[Case, re.Match], Finding | None]
_rules: list[tuple[re.Pattern, Rule]] = []
_general: list[tuple[re.Pattern, Rule]] = []


def rule(*shapes: str, general: bool = False):
    """Register a function for verdicts that contain a text of one of these shapes; a general one is asked last."""

    def register(function: Rule) -> Rule:
        for shape in shapes:
            (_general if general else _rules).append((re.compile(shape, re.M), function))
        return function

    return register


def judge(case: Case) -> tuple[Finding | None, str]:
    """What is wrong, and the kernel's own words for it.

    Parameters
    ----------
    case : Case

    Returns
    -------
    (Finding or None, str)
        None when no rule knows the verdict.
    """
    said = "\n".join(line[:1000] for line in case.log.said[-12:])
    for shape, function in [*_rules, *_general]:
        match = shape.search(said)
        if match:
            fitting = case if _fits(case, match) else Case(case.log, Path([], False), case.source, case.program, None)
            finding = function(fitting, match)
            if finding:
                return finding, _line_of(said, match)
    return None, _likeliest(case.log)


def _line_of(said: str, match: re.Match) -> str:
    start = said.rfind("\n", 0, match.start()) + 1
    end = said.find("\n", match.end())
    return said[start : end if end >= 0 else len(said)].strip()


def _likeliest(log: Log) -> str:
    said = [line for line in log.said if not re.match(r"arg#\d+ reference type", line)]  # a remark, as a rule
    return said[-1].strip()[:300] if said else ""


def _fits(case: Case, match: re.Match) -> bool:
    """Whether the last instruction of the log can be the one that the verdict is about."""
    register = match.groupdict().get("reg")
    if not register or not case.path.steps:
        return True
    step = case.path.steps[-1]
    return (
        step.code == 0x85
        or step.code == 0x95
        and register == "0"
        or re.search(rf"\b[rw]{register}\b", step.asm) is not None
    )


from . import access, arguments, arithmetic, bounds, calls, ends, maps, packets, registers, resources, structure  # noqa: E402, F401
