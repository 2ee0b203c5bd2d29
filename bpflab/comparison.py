"""One experiment on several kernels at once."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .errors import LabError, NotSupportedError
from .lab import Lab
from .machines import kernels
from .open_labs import apart

if TYPE_CHECKING:
    import pandas as pd

OURS = ("machine", "kernel", "why")  # columns that an experiment must not return
_END = 10.0  # seconds that an interrupt waits for the labs to end


def at_hand() -> list[str]:
    """Names of the machines that can be had now, without a download: this computer, and each kernel that was fetched.

    Returns
    -------
    list of str
        "local" first, where this computer runs Linux; then "vm:6.1" and so on (`./lab vm fetch`).
    """
    if not sys.platform.startswith("linux"):
        return []
    return ["local", *(f"vm:{version}" for version in kernels.OFFERED if kernels.kept(version))]


def compare(experiment: Callable[[Lab], Any], machines: Sequence[str] | None = None, needs=()) -> pd.DataFrame:
    """Do the same experiment on several machines at the same time, and put the results into one table.

    Each machine has a lab and a thread of its own. The lab is closed when the experiment returns, and with it
    everything that was loaded: return values, not maps or programs. Inside the experiment, `Lab.current()` and
    `bl.check` mean that lab.

    Parameters
    ----------
    experiment : callable
        Is called with each lab: `lambda lab: len(lab.features())`.
    machines : sequence of str, optional
        As `Lab` takes them; all machines at hand if not given: "local", and each kernel that `./lab vm fetch` fetched.
    needs : str or sequence of str
        Features (as `Lab.features` names them) without which the experiment is not started.

    Returns
    -------
    pandas.DataFrame
        In the order of `machines`, with the columns `machine`, `kernel` ("6.12.117"), what the experiment returned, and
        `why`, which is empty where it returned something. A scalar is in the column `result`; a dict, a Series or a
        struct of a map gives a column for each member; a DataFrame, or a list of dicts or structs, a row for each of
        its rows. A machine that is not to be had, or that refused, has one row with the reason in `why`.

    Raises
    ------
    LabError
        No machine gave a result, and for another reason than that it lacks something or is not to be had. What one
        kernel refuses and another does is a finding; what all refuse is more likely a mistake.
    Exception
        What else the experiment raised, on whichever machine was first. A note on it names the machine.
    ValueError
        No machines, or one of them twice; or the experiment returned a column with the name of one of ours.

    Examples
    --------
    >>> bl.compare(lambda lab: lab.create_map("arena", None, None, 1, flags=1 << 10).type)
    >>> bl.compare(lambda lab: {"programs": len(lab.load(text).programs)}, machines=["local", "vm:6.1"])
    """
    names = at_hand() if machines is None else [machines] if isinstance(machines, str) else list(machines)
    if not names:
        raise ValueError("there is no machine to compare; fetch one: ./lab vm fetch, or name some: machines=['vagrant']")
    if len(set(names)) < len(names):
        raise ValueError(f"machines names one twice: {', '.join(names)}; leave it out once")
    trials = [_Trial(name) for name in names]
    _run_all(trials, experiment, needs)
    failed = [trial.error for trial in trials if trial.error]
    serious = [error for trial, error in zip(trials, failed) if trial.lab and not isinstance(error, NotSupportedError)]
    if len(failed) == len(trials) and serious:
        raise serious[0]
    return _table(trials)


@dataclass
class _Trial:
    """The experiment on one machine."""

    machine: str
    lab: Lab | None = None
    thread: threading.Thread | None = None
    result: Any = None
    error: BaseException | None = None

    @property
    def kernel(self) -> str:
        return self.lab.kernel if self.lab else ""

    def run(self, experiment: Callable[[Lab], Any], needs, done: queue.SimpleQueue) -> None:
        try:
            with apart(), Lab(self.machine, needs, quiet=True) as lab:
                self.lab = lab
                self.result = _rows(experiment(lab))
        except BaseException as error:  # noqa: BLE001 - is raised by the thread that waits
            error.add_note(f"so it went on {self.lab.where if self.lab else self.machine}")
            self.error = error
        finally:
            done.put(self)


def _run_all(trials: list[_Trial], experiment, needs) -> None:
    """Until all have ended; what is no word of a lab's ends them all, and so does Ctrl-C."""
    done: queue.SimpleQueue[_Trial] = queue.SimpleQueue()
    try:
        for trial in trials:
            arguments = (experiment, needs, done)
            trial.thread = threading.Thread(target=trial.run, args=arguments, name=f"compare {trial.machine}", daemon=True)
            trial.thread.start()
        for _ in trials:
            error = done.get().error
            if error and not isinstance(error, LabError):
                raise error.with_traceback(error.__traceback__.tb_next)
    except BaseException:
        _end(trials)
        raise


def _end(trials: list[_Trial]) -> None:
    running = [trial for trial in trials if trial.thread and trial.thread.is_alive()]
    for trial in running:  # for one that waits for nothing of its lab's, or boots a machine
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(trial.thread.ident), ctypes.py_object(KeyboardInterrupt))
    for trial in running:
        if trial.lab:
            trial.lab.close()
    for trial in running:
        trial.thread.join(_END / len(running))


def _rows(result) -> pd.DataFrame | list[dict]:
    """What an experiment returned, as rows."""
    import pandas as pd

    if isinstance(result, pd.DataFrame):
        plain = isinstance(result.index, pd.RangeIndex) and result.index.name is None
        rows = result if plain else result.reset_index()
        columns = list(rows.columns)
    else:
        many = isinstance(result, list) and result and all(_is_row(one) for one in result)
        rows = [_row(one) for one in (result if many else [result])]
        columns = [name for row in rows for name in row]
    for name in OURS:
        if name in columns:
            raise ValueError(f"the experiment returns a column '{name}', and compare has one of that name; rename yours")
    return rows


def _is_row(value) -> bool:
    import pandas as pd

    return isinstance(value, (Mapping, pd.Series)) or hasattr(value, "_asdict")


def _row(value) -> dict:
    if not _is_row(value):
        return {"result": value}
    return value._asdict() if hasattr(value, "_asdict") else dict(value)


def _table(trials: list[_Trial]) -> pd.DataFrame:
    import pandas as pd

    frames = []
    for trial in trials:
        why = str(trial.error) if trial.error else ""
        rows = [{}] if trial.error else trial.result
        if not len(rows):
            rows, why = [{}], "the experiment returned no rows"
        ours = {"machine": trial.machine, "kernel": trial.kernel}
        frame = pd.DataFrame([ours | row for row in rows]) if isinstance(rows, list) else rows.assign(**ours)
        frames.append(frame.assign(why=why))
    theirs = [name for name in dict.fromkeys(name for frame in frames for name in frame) if name not in OURS]
    for name in theirs:
        _keep_exact(frames, name)
    return pd.concat(frames, ignore_index=True)[["machine", "kernel", *theirs, "why"]]


def _keep_exact(frames: list[pd.DataFrame], name: str) -> None:
    """Choose a type for a column that pandas would turn into float64, where numbers beyond 2^53 are no longer exact."""
    having = [frame for frame in frames if name in frame]
    kinds = {frame[name].dtype.kind for frame in having}
    if kinds == {"b"} and len(having) < len(frames):
        kind = "boolean"
    elif kinds <= {"i", "u"} and (len(having) < len(frames) or len(kinds) > 1):
        signed = any(frame[name].min() < 0 for frame in having)
        large = any(frame[name].max() >= 1 << 63 for frame in having)
        kind = object if signed and large else "Int64" if signed or not large else "UInt64"
    else:
        return
    for frame in having:
        frame[name] = frame[name].astype(kind)
