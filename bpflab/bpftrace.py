"""bpftrace on the lab machine: its maps as DataFrames."""

from __future__ import annotations

import json
import re
import warnings
from typing import TYPE_CHECKING, Any

import pandas as pd

from .errors import CommandError, CompileError, LabError, NotSupportedError, UnknownNameError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab

# what bpftrace calls a kind of probe -> the feature of the kernel that it takes (`Lab.features`)
_FEATURES = {
    **dict.fromkeys(("kprobe", "k"), "kprobe"),
    **dict.fromkeys(("kretprobe", "kr"), "kretprobe"),
    **dict.fromkeys(("kfunc", "f", "fentry"), "fentry"),
    **dict.fromkeys(("kretfunc", "fr", "fexit"), "fexit"),
    **dict.fromkeys(("tracepoint", "t"), "tracepoint"),
    **dict.fromkeys(("rawtracepoint", "rt"), "raw_tp"),
    **dict.fromkeys(("uprobe", "u"), "uprobe"),
    **dict.fromkeys(("uretprobe", "ur"), "uretprobe"),
    **dict.fromkeys(("usdt", "U"), "usdt"),
    **dict.fromkeys(("profile", "p", "interval", "i", "software", "s"), "perf_event"),
    **dict.fromkeys(("hardware", "h"), "hardware perf events"),
    **dict.fromkeys(("iter", "it"), "iter"),
}
# bpftrace says this wherever it may not raise a limit that newer kernels do not even have
_NOISE = re.compile(r".*couldn't set RLIMIT_MEMLOCK.*\n?")


class Traced(dict):
    """What a bpftrace program left: DataFrames by map name ("@reads"; "reads" finds it as well).

    Attributes
    ----------
    printed : list of (str, pandas.DataFrame)
        Maps that the program itself printed on its way, in order.
    lost : int
        Events that did not fit into bpftrace's buffer.
    """

    def __init__(self, frames: dict[str, pd.DataFrame], printed, lost: int):
        super().__init__(frames)
        self.printed, self.lost = printed, lost

    def __missing__(self, name: str):
        if f"@{name}" in self:
            return self[f"@{name}"]
        raise UnknownNameError("map", name, self, "what bpftrace printed")

    def __repr__(self) -> str:
        return (
            "\n\n".join(f"{name}\n{frame.to_string()}" for name, frame in self.items()) or "<bpftrace printed nothing>"
        )

    def _repr_html_(self) -> str:
        return "".join(f"<p><code>{name}</code></p>{frame._repr_html_()}" for name, frame in self.items()) or repr(self)


def run(
    lab: Lab,
    text: str,
    seconds: float | None = None,
    *,
    command: str | None = None,
    pid: int | None = None,
    unsafe: bool = False,
    timeout: float = 60,
) -> Traced:
    """Run a bpftrace program.

    Parameters
    ----------
    text : str
        In bpftrace's language.
    seconds : float, optional
        End it this long after it has attached. None waits until it ends by itself: exit(), or the end of `command`.
    command : str, optional
        A line for bash to run meanwhile (-c); `cpid` is that bash, or what it runs by exec. What it prints is dropped.
    pid : int, optional
        A process (-p), for USDT probes.
    unsafe : bool
        Allow system() and others that act (--unsafe).
    timeout : float
        Seconds after which it is ended in any case.

    Returns
    -------
    dict of str to pandas.DataFrame
        By map name, with the "@". A map with keys has a column "key", or "key0", "key1", ... for several, and
        "value"; stats() has "count", "average", "total"; hist() and lhist() have a row for each bucket, "low" and
        "high" (the smallest and the largest value in it; missing where it is open) and "count". What printf(), time(),
        cat(), join() and system() wrote is under "printf", a row for each line in the column "line".

    Raises
    ------
    CompileError
        bpftrace does not understand the text; its lines are in the message, with the place marked.
    UnknownNameError
        There is no such tracepoint.
    NotSupportedError
        This kernel cannot do it, or there is no bpftrace.
    CommandError
        It did not end within `timeout`; what it printed until then is in `.result`.
    LabError
        It could not attach for another reason.
    """
    if seconds is not None and seconds < 0:
        raise ValueError(f"seconds is {seconds}; give 0 or more, or None to wait until the program ends")
    options = [
        *(["-c", command] if command else []),
        *(["-p", str(pid)] if pid else []),
        *(["--unsafe"] if unsafe else []),
    ]
    words = ["bpftrace", "-f", "json", *options, "-e", str(text)]  # a CSource knows more than execnet carries
    try:
        reply = lab.ask("bpftrace.run", words, command or "", seconds, timeout)
    except AgentError as error:
        if error.payload["type"] == "NoBpftrace":
            raise NotSupportedError(
                "bpftrace", lab.where, str(error), remedy="install it there: apt install bpftrace"
            ) from None
        raise error.blame("bpftrace does not run") from None
    said = _NOISE.sub("", reply["stderr"].decode(errors="replace")).strip()
    printed = reply["stdout"].decode(errors="replace")
    if reply["timed_out"] or reply["killed"]:
        from .process import CommandResult

        limit = "give seconds=, or call exit() in an interval" if seconds is None else "give a longer timeout="
        raise CommandError(
            f"bpftrace did not end within {timeout} s; {limit}",
            CommandResult(words, reply["returncode"], printed, said),
        )
    if reply["returncode"]:
        others = [line for line in printed.splitlines() if line.strip() and not line.startswith('{"type"')]
        raise _refused(lab, text, "\n".join([said, *others]).strip(), reply["returncode"])
    found = parse(printed, text)
    for line in re.findall(r"^stdin:\S+ WARNING: (.*)$", said, re.M):
        warnings.warn(f"bpftrace: {line}", stacklevel=3)
    if reply["cut"]:
        warnings.warn(
            "bpftrace printed more than can be kept, and the beginning is gone; print less, or count in a map",
            stacklevel=3,
        )
    if found.lost:
        warnings.warn(f"bpftrace lost {found.lost} events; print less, or count in a map", stacklevel=3)
    return found


# -- what it printed


def parse(printed: str, text: str = "") -> Traced:
    """Lines of `bpftrace -f json` as DataFrames.

    Parameters
    ----------
    printed : str
    text : str
        The program: it tells how many keys a map has, and of maps that were empty at the end.
    """
    keys = _keys_of(text)
    found: dict[str, pd.DataFrame] = {}
    steps: list[tuple[str, pd.DataFrame]] = []
    said, lost = [], 0
    # two empty lines stand between what the program prints and its maps at the end
    before, _, after = printed.rpartition("\n\n\n")
    for at_end, part in ((False, before), (True, after)):
        for line in part.splitlines():
            if not line.strip():
                continue
            try:
                entry = json.loads(line, strict=False)
                kind, data = entry["type"], entry["data"]
            except (ValueError, KeyError, TypeError):
                said.append(line + "\n")
                continue
            if kind in ("map", "hist", "stats"):
                for name, content in data.items():
                    frame = _frame(kind, content, keys.get(name))
                    if at_end or not after.strip():
                        found[name] = frame
                    if not at_end:
                        steps.append((name, frame))
            elif kind == "lost_events":
                lost += int(data["events"])
            elif isinstance(data, str):
                said.append(data if kind in ("printf", "cat") or data.endswith("\n") else data + "\n")
            elif kind == "value":
                said.append(json.dumps(data) + "\n")
    for name in keys:
        found.setdefault(name, pd.DataFrame(_columns([], keys[name]) | {"value": pd.Series([], dtype="int64")}))
    lines = "".join(said).splitlines()
    if lines:
        found["printf"] = pd.DataFrame({"line": pd.Series(lines, dtype="str")})
    return Traced(found, steps, lost)


def _keys_of(text: str) -> dict[str, int]:
    """How many keys each map of a program has, from the commas in its first brackets."""
    text = re.sub(r'"(?:\\.|[^"\\])*"', '""', re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.S))
    found: dict[str, int] = {}
    for match in re.finditer(r"@\w*", text):
        found.setdefault(match[0], _arguments(text, match.end()))
    return found


def _arguments(text: str, at: int) -> int:
    """Number of values between the brackets that open at a place; 0 when none do."""
    rest = text[at:].lstrip()
    if not rest.startswith("["):
        return 0
    depth, count = 0, 1
    for character in rest:
        depth += (character in "[({") - (character in "])}")
        if not depth:
            break
        count += character == "," and depth == 1
    return count


def _frame(kind: str, content: Any, keys: int | None) -> pd.DataFrame:
    keyed = isinstance(content, dict) and not (kind == "stats" and keys == 0)
    if kind == "map" and not keyed:
        return pd.DataFrame({"value": [_value(content)]})
    if kind == "map":
        return pd.DataFrame(_columns(list(content), keys) | {"value": [_value(v) for v in content.values()]})
    rows, names = [], []
    for key, one in content.items() if keyed else [(None, content)]:
        for row in one if kind == "hist" else [one]:
            names.append(key)
            rows.append(row if isinstance(row, dict) else {"average": row})
    columns = _columns(names, keys) if keyed else {}
    if kind == "stats":
        known = [name for name in ("count", "average", "total") if any(name in row for row in rows)]
        return pd.DataFrame(columns | {name: [row.get(name) for row in rows] for name in known})
    bounds = {"low": _bound(row.get("min") for row in rows), "high": _bound(row.get("max") for row in rows)}
    return pd.DataFrame(columns | bounds | {"count": [row["count"] for row in rows]})


def _bound(values) -> pd.Series:
    values = list(values)
    return pd.Series(values, dtype="Int64" if None in values else "int64")


def _columns(names: list[str], keys: int | None) -> dict[str, Any]:
    """The key or keys of each row; whole where their number is not what the program says, as with a comma in a text."""
    if keys == 0:
        return {}
    parts = [name.split(",") for name in names]
    if keys is not None and keys > 1 and all(len(p) == keys for p in parts):
        return {f"key{i}": _typed([_tidy(p[i]) for p in parts]) for i in range(keys)}
    return {"key": _typed([_tidy(name) for name in names])}


def _typed(texts: list[str]) -> pd.Series:
    if texts and all(re.fullmatch(r"-?\d{1,19}", text) for text in texts):
        numbers = [int(text) for text in texts]
        if all(-(1 << 63) <= n < 1 << 63 for n in numbers):
            return pd.Series(numbers, dtype="int64")
    return pd.Series(texts, dtype="str")


def _tidy(text: str) -> str:
    """A stack without the blanks that bpftrace sets it with: one line for each frame, the innermost first."""
    return "\n".join(line.strip() for line in text.strip().splitlines()) if "\n" in text else text


def _value(value: Any) -> Any:
    if isinstance(value, str):
        return _tidy(value)
    return tuple(value) if isinstance(value, list) else value


# -- what went wrong


def _refused(lab: Lab, text: str, said: str, status: int) -> Exception:
    numbered = _own_lines(said, text)
    if status < 0:
        return LabError(
            f"bpftrace broke off by itself (signal {-status}): {said or 'without a word'}; write the probe in another way"
        )
    missing = re.search(r"tracepoints? not found: (\w+):(\S+)", said)
    if missing and "*" not in missing[0]:
        try:
            lab.check_tracepoint(*missing.groups())
        except UnknownNameError as error:
            return error
    probe = re.search(r"Error attaching probe: '?(\w+):([^'\n]*)", said) or re.search(
        r"ERROR: (\w+)/\w+ (?:not available)", said
    )
    if probe:
        feature = _FEATURES.get(probe[1], probe[1])
        reason = lab.missing(feature)
        if reason:
            return NotSupportedError(feature, lab.where, reason)
        return LabError(f"bpftrace cannot attach; look at the name and the arguments of the probe:\n{numbered}")
    if re.search(r"^stdin:\d+:\d+", said, re.M):
        return CompileError(numbered, f"'{getattr(text, 'name', 'the bpftrace program')}'")
    if "No probes to attach" in said:
        return LabError("bpftrace found no probe of that name; list them with lab.sh(\"bpftrace -l 'uprobe:PATH:*'\")")
    return LabError(f"bpftrace ended with status {status}:\n{numbered or 'it gave no reason'}")


def _own_lines(said: str, text: str) -> str:
    """bpftrace calls the text stdin and counts from 1; a cell has a name and a line of its own."""
    name, first = getattr(text, "name", "line"), getattr(text, "line", 1)

    def own(match: re.Match) -> str:
        return f"{name}:{int(match[1]) + first - 1}:"

    return re.sub(r"^stdin:(\d+):", own, said, flags=re.M)
