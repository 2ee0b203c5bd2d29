"""The table of program types: which there are, when they run, and on which machine each was seen to work."""

from __future__ import annotations

import datetime
import html
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd

from . import hooks
from .btf import Btf, c
from .errors import LabError
from .lab import Lab

PREFIX = "BPF_PROG_TYPE_"
RESULTS = Path(__file__).resolve().parent.parent / "docs/program-types.json"
LOADS = "load"  # the way of a type that bpflab does not know
_PROSE = ["type", "hook", "context", "returns", "since", "commit", "source"]


class ProgramTypes(pd.DataFrame):
    """A DataFrame whose long texts are shown whole in a notebook, and so are those of its parts."""

    @property
    def _constructor(self):
        return ProgramTypes

    def _repr_html_(self) -> str:
        return _html(self)


def program_types(lab: Lab | None = None) -> ProgramTypes:
    """Every program type that a kernel knows.

    Parameters
    ----------
    lab : Lab, optional
        Whose kernel; the newest lab's if not given.

    Returns
    -------
    pandas.DataFrame
        A row for each name of the kernel's ``enum bpf_prog_type``, and for each that another machine's kernel has more.
        `type`; `hook` (when a program of it runs); `context` (what it gets, from the kernel's BTF, ``struct
        bpf_ctx_convert``: as the program sees it, and as the kernel holds it); `returns` (what the return value does);
        `since` and `commit` (Linux release, and the change in it); `source` (file of the kernel). Then a column for each
        machine that `./lab matrix` tried them on: what works there, and of what does not the kernel's own words. Each try
        attaches a program, causes the event, and sees that the program ran. A kernel that is not among these is tried now.

    Raises
    ------
    NotSupportedError
        The kernel has no BTF.
    """
    lab = lab or Lab.current()
    contexts = known(lab)
    machines = recorded(RESULTS)["machines"] if RESULTS.exists() else {}
    if lab.kernel != machines.get(lab.machine, {}).get("kernel"):
        machines = {lab.machine: tried(lab), **{name: found for name, found in machines.items() if name != lab.machine}}
    names = list(contexts)
    names += [name for found in machines.values() for name in found["types"] if name not in contexts]
    rows = []
    for name in dict.fromkeys(names):
        hook = hooks.HOOKS.get(name, hooks.UNKNOWN)
        context = contexts.get(name, "this kernel does not know the type")
        row = [name, hook.when, context, hook.returns, hook.since, hook.commit, hook.source]
        rows.append(row + [cell(found["types"].get(name)) for found in machines.values()])
    columns = [f"{name}, Linux {found['kernel']}" for name, found in machines.items()]
    return ProgramTypes(rows, columns=_PROSE + columns)


def known(lab: Lab) -> dict[str, str]:
    """The program types of a lab's kernel with their contexts, from its BTF.

    Raises
    ------
    NotSupportedError
        The kernel has no BTF.
    """
    btf = lab.btf
    contexts = {member.name: c.declare(member.type, "").strip() for member in btf.find("bpf_ctx_convert", "struct").members}
    found = {}
    for name in _numbers(btf):
        seen, held = (contexts.get(f"{PREFIX}{name.upper()}_{side}") for side in ("prog", "kern"))
        found[name] = "not built into this kernel" if seen is None else seen if seen == held else f"{seen}; in the kernel {held}"
    return found


def _numbers(btf: Btf) -> dict[str, int]:
    """Number of each program type by its short name."""
    names = btf.find("bpf_prog_type", "enum").enumerators
    return {word.removeprefix(PREFIX).lower(): number for word, number in names.items() if word.startswith(PREFIX) and number}


def tried(lab: Lab) -> dict[str, Any]:
    """Try every program type that the lab's kernel or bpflab knows.

    Returns
    -------
    dict
        `kernel`, and `types`: for each type, for each way to use it, "" when it worked or what the kernel said.
    """
    table = lab.features().set_index("feature")
    found = {}
    for name, number in ({name: 0 for name in hooks.HOOKS} | _numbers(lab.btf)).items():
        ways = hooks.HOOKS.get(name, hooks.UNKNOWN).ways
        found[name] = {way: table.loc[way, "reason"] for way in ways} or {LOADS: lab.ask("features.loads", number)}
    return {"kernel": lab.kernel, "types": found}


def cell(ways: dict[str, str] | None) -> str:
    """What is said of a type on a machine.

    Parameters
    ----------
    ways : dict or None
        Ways to use it as in `tried`; None when the machine was not asked.
    """
    if ways is None:
        return "not tried"
    if ways == {LOADS: ""}:
        return "it loads, and bpflab does not know yet what to attach it to"
    good = [way for way, reason in ways.items() if not reason]
    if len(ways) == 1:
        return "yes" if good else f"no: {next(iter(ways.values()))}"
    by_reason: dict[str, list[str]] = {}
    for way, reason in ways.items():
        by_reason.setdefault(reason, []).append(way)
    good = by_reason.pop("", [])
    lines = [f"yes: {', '.join(good)}"] if good else []
    return "\n".join([*lines, *(f"no: {', '.join(some)}: {reason}" for reason, some in by_reason.items())])


def recorded(path: Path) -> dict[str, Any]:
    """What `write` wrote.

    Raises
    ------
    LabError
        It is no such file.
    """
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        found["machines"]  # noqa: B018
    except (ValueError, KeyError, TypeError):
        raise LabError(f"{path.name} is not what ./lab matrix --types writes; run it again") from None
    return found


def write(path: Path, machines: list[str]) -> None:
    """Try every type on some machines and write down what came of it.

    Raises
    ------
    LabError
        A machine cannot be had.
    """
    found = {}
    for name in machines:
        with Lab(name) as lab:
            found[name] = tried(lab)
    about = f"./lab matrix --types --machines {','.join(machines)}"
    whole = {"written by": about, "on": str(datetime.date.today()), "machines": found}
    path.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    nowhere = [name for name in hooks.HOOKS if not any("" in one["types"][name].values() for one in found.values())]
    print(f"written: {path} ({len(hooks.HOOKS)} program types on {', '.join(found)}; works nowhere: {', '.join(nowhere) or 'no type'})")


# -- in a notebook

_STYLE = """<style>
.bl-types { border-collapse: collapse; width: 100%; font-size: 12px; line-height: 1.35; table-layout: fixed }
.bl-types th, .bl-types td { text-align: left !important; vertical-align: top; padding: 4px 6px !important; white-space: normal;
  overflow-wrap: break-word; border-bottom: 1px solid var(--jp-border-color2, #ccc) }
.bl-types span, .bl-types-notes { color: var(--jp-ui-font-color2, #666); font-size: 11px; font-weight: normal }
.bl-types-notes { max-width: none; line-height: 1.4 }
.bl-types .mono { font-family: var(--jp-code-font-family, monospace); font-size: 11px }
.bl-types span.mono { font-size: 10px; letter-spacing: -0.3px }
.bl-types .yes { color: var(--jp-success-color1, #267f26) } .bl-types .no { color: var(--jp-error-color1, #b3261e) }
</style>"""
_WIDTHS = {"type": 12, "hook": 18, "context": 14, "returns": 19, "since": 9}


def _html(frame: pd.DataFrame) -> str:
    shown = [name for name in frame.columns if name not in ("commit", "source")]
    reasons: list[str] = []  # of what does not work; they stand below the table
    head = "".join(f'<th style="width: {_WIDTHS.get(name, 9)}%">{_heading(str(name))}</th>' for name in shown)
    rows = ["<tr>" + "".join(f"<td>{_cell(name, row, reasons)}</td>" for name in shown) + "</tr>" for _, row in frame.iterrows()]
    notes = "".join(f"<li>{_breakable(reason)}</li>" for reason in reasons)
    below = f'<ol class="bl-types-notes">{notes}</ol>' if notes else ""
    return f'{_STYLE}<table class="bl-types"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>{below}'


def _heading(name: str) -> str:
    machine, comma, kernel = name.partition(", ")
    return _breakable(machine) + (f"<br><span>{_breakable(kernel)}</span>" if comma else "")


def _cell(name: str, row: pd.Series, reasons: list[str]) -> str:
    text = str(row[name])
    if name == "type":
        return f'<b class="mono">{_breakable(text)}</b>'
    if name == "context":
        seen, _, held = text.partition("; in the kernel ")
        return f'<div class="mono">{_breakable(seen)}</div>' + (f'<span>in the kernel</span> <span class="mono">{_breakable(held)}</span>' if held else "")
    beside = {"since": "commit", "hook": "source"}.get(name)
    if beside and row.get(beside):
        return f'{html.escape(text)}<br><span{" class=mono" if beside == "commit" else ""}>{_breakable(row[beside])}</span>'
    if name not in _PROSE and text.startswith(("yes", "no:")):
        return "".join(_verdict(line, reasons, "\n" in text or text.startswith("yes:")) for line in text.split("\n"))
    return html.escape(text)


def _verdict(line: str, reasons: list[str], several: bool) -> str:
    """One line of `cell`: the mark, which ways where there are several, and the number of the reason."""
    mark, _, rest = line.partition(": ")
    ways, _, reason = (rest.partition(": ") if several else ("", "", rest)) if mark == "no" else (rest, "", "")
    if reason and reason not in reasons:
        reasons.append(reason)
    number = f" <span>({reasons.index(reason) + 1})</span>" if reason else ""
    return f'<div><b class="{mark}">{mark}</b>{number}{f" <span>{_breakable(ways)}</span>" if ways else ""}</div>'


def _breakable(text: str) -> str:
    """HTML of a text whose long names break where their parts meet."""
    return re.sub(r"(?<=\w)([_/])(?=\w)", r"\1<wbr>", html.escape(text))
