"""Exercises: judge an answer by what it does in the kernel, and keep what was solved.

The checks themselves are in `bpflab.checks`, one module for each exercise.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import importlib
import json
import os
import pathlib
import pkgutil
import re
import tempfile
import threading
import traceback
from dataclasses import dataclass
from types import ModuleType

from . import checks, errors
from .lab import Lab
from .open_labs import newest

LIMIT = 60  # seconds; the longest check takes about five


@dataclass(frozen=True)
class Result:
    """What a check found.

    Attributes
    ----------
    name : str
        The exercise ("03-lpm-trie").
    solved : bool
    hint : str
        What to look at next; empty when solved. The same in every run for the same mistake.
    detail : str
        What the check saw in this very run (numbers, addresses), or a whole log. Not printed, for it varies.
    error : str
        The answer's own error (compiler, verifier, exception), with the answer's own line numbers. Printed.
    """

    name: str
    solved: bool
    hint: str = ""
    detail: str = ""
    error: str = ""

    def __bool__(self) -> bool:
        return self.solved

    def __repr__(self) -> str:
        """For a notebook, which stores it: the same in every run."""
        pointer = " (what the check saw: _.detail)" if self.detail and not self.error else ""
        return self._text(self.hint and self.hint + pointer, self.error)

    def __str__(self) -> str:
        """For a shell: also what the check saw."""
        return self._text(self.hint, self.error or (self.detail and f"seen: {self.detail}"))

    def _text(self, hint: str, more: str) -> str:
        lines = [f"{self.name}: {'solved' if self.solved else 'not yet'}", hint and f"hint: {hint}", more]
        return "\n".join(filter(None, lines))


def names() -> list[str]:
    """List every exercise.

    Returns
    -------
    list of str
        In the order of their names.
    """
    found = (module.name for module in pkgutil.iter_modules(checks.__path__))
    return sorted(f"{name[1:3]}-{name[4:].replace('_', '-')}" for name in found if re.match(r"c\d\d_", name))


def check(name: str, answer, *, machine: str | None = None, limit: float = LIMIT) -> Result:
    """Judge an answer to an exercise.

    The check gets a lab of its own, on the machine of the newest open lab, and ends it: whatever
    the answer loaded, attached or pinned is gone afterwards.

    Parameters
    ----------
    name : str
        The exercise ("03-lpm-trie").
    answer : str or callable
        C text (`%%bpf answer --source`) or a Python function, as the exercise asks.
    machine : str, optional
        Where to judge it; by default where the newest open lab is.
    limit : float
        Seconds after which the check is ended.

    Returns
    -------
    Result
        Prints as one line, and a hint when the exercise is not solved yet.

    Raises
    ------
    UnknownNameError
        No exercise has that name.
    NotSupportedError
        The machine cannot run it.
    CommandError
        A command that the check needs (bpftool, taskset) is missing there or failed.
    """
    module = _module(name)
    current = newest()
    lab = Lab(machine or (current.machine if current else None), quiet=True)
    try:
        result = _judge(name, module, lab, answer, limit)
    finally:
        lab.close()
    if result.solved:
        _remember(name)
    return result


def answer_from_file(name: str, path: str | os.PathLike):
    """Read an answer from a file, for `./lab check`.

    Parameters
    ----------
    name : str
        The exercise it answers.
    path : path
        `*.c`: the text is the answer. `*.py`: the file is executed and `answer` taken from it.

    Raises
    ------
    UnknownNameError
        No exercise has that name.
    LabError
        The file is not there, is of another kind, fails, or defines no `answer`.
    """
    _module(name)
    path = pathlib.Path(path)
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror.lower() if isinstance(exc, OSError) else "it is no text"
        raise errors.LabError(f"cannot read '{path}': {reason}; give a .bpf.c or a .py file") from None
    if path.suffix == ".c":
        return text
    if path.suffix != ".py":
        raise errors.LabError(f"'{path}' ends neither in .bpf.c nor in .py; rename it to say what it holds")
    scope = {"__name__": "answer", "__file__": str(path)}
    try:
        exec(compile(text, str(path), "exec"), scope)
    except Exception as exc:
        last = traceback.extract_tb(exc.__traceback__)[-1]
        line = exc.lineno if isinstance(exc, SyntaxError) else last.lineno
        raise errors.LabError(f"'{path}' fails in line {line}: {type(exc).__name__}: {exc}") from None
    if "answer" not in scope:
        raise errors.LabError(f"'{path}' defines no 'answer'; name the function (or the text) so")
    return scope["answer"]


def progress():
    """Say which exercises were solved here.

    Returns
    -------
    pandas.DataFrame
        Columns `exercise`, `section` (of the book), `task`, `solved` (bool), `when` (timestamp, UTC), one row each.
    """
    import pandas as pd

    solved = _recall()
    rows = []
    for name in names():
        module = _module(name)
        rows.append((name, module.SECTION, module.TASK, name in solved, solved.get(name)))
    frame = pd.DataFrame(rows, columns=["exercise", "section", "task", "solved", "when"])
    frame["when"] = pd.to_datetime(frame["when"], utc=True)
    return frame


def _module(name: str) -> ModuleType:
    known = names()
    if name not in known:
        raise errors.UnknownNameError("exercise", name, known)
    return importlib.import_module(f"{checks.__name__}.c{name.replace('-', '_')}")


class _OutOfTime(BaseException):
    """Raised inside an answer that does not end; no `except Exception` of the answer holds it."""


def _judge(name: str, module: ModuleType, lab: Lab, answer, limit: float) -> Result:
    """Run the check in a thread, which can be left when it hangs."""
    outcome: list = []

    def run():
        try:
            module.check(lab, answer)
            outcome.append(None)
        except BaseException as exc:  # noqa: BLE001 - each is looked at below
            outcome.append(exc)

    thread = threading.Thread(target=run, name=f"check {name}", daemon=True)
    thread.start()
    try:
        thread.join(limit)
    finally:
        hangs = thread.is_alive()
        if hangs:  # out of time, or the reader pressed stop
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(_OutOfTime))
            lab.close()
    if hangs:
        return Result(
            name,
            False,
            f"the check did not end within {limit:g} seconds and was stopped: does the answer wait or loop for ever?",
        )
    exc = outcome[0]
    if exc is None:
        return Result(name, True)
    seen = "".join(traceback.format_exception(exc))
    if isinstance(exc, checks.Hint):
        return Result(name, False, exc.text, exc.seen, exc.error)
    if isinstance(exc, (errors.NotSupportedError, errors.CommandError)):
        raise exc  # the machine lacks something; the answer is not to blame
    if isinstance(exc, errors.MachineLost):
        return Result(
            name, False, "the lab machine's agent ended during the check: does the answer end processes?", seen
        )
    return Result(name, False, f"the check could not make sense of the answer: {type(exc).__name__}: {exc}", seen)


def _file() -> pathlib.Path:
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return pathlib.Path(home, "bpflab", "solved.json")


_solved_now: dict[str, str] = {}  # also when there is no writable home


def _recall() -> dict[str, str]:
    """Exercise -> when it was first solved; what another version or hand left in the file does no harm."""
    try:
        kept = json.loads(_file().read_text())
    except (OSError, ValueError):
        kept = {}
    kept = kept if isinstance(kept, dict) else {}
    return {**_solved_now, **{k: v for k, v in kept.items() if isinstance(v, str)}}


def _remember(name: str) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    _solved_now.setdefault(name, now)
    path = _file()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as new:
            json.dump(_recall(), new, indent=1, sort_keys=True)
        os.replace(new.name, path)
