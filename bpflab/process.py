"""Commands on the lab machine: `lab.sh` waits for the end, `lab.spawn` does not."""

from __future__ import annotations

import errno
import numbers
import subprocess
from typing import TYPE_CHECKING

from .errors import BpfError, CommandError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab


class CommandResult(subprocess.CompletedProcess):
    """A finished command. In a notebook it shows what the command printed."""

    def _repr_mimebundle_(self, include=None, exclude=None):
        return {"text/plain": self._text()}

    def _text(self) -> str:
        text = self.stdout + (("\n" if self.stdout and not self.stdout.endswith("\n") else "") + self.stderr)
        if self.returncode:
            text += f"(exit status {self.returncode})"
        return text.rstrip("\n")

    @property
    def lines(self) -> list[str]:
        """Lines of the standard output."""
        return self.stdout.splitlines()


def run(lab: Lab, command, *, check, timeout, input, cwd, netns="", cgroup="") -> CommandResult:
    """See `Lab.sh`."""
    data = input.encode() if isinstance(input, str) else input
    try:
        reply = lab.ask("process.run", _words(command), data, timeout, netns, cgroup, cwd)
    except AgentError as error:
        raise CommandError(f"{_shown(command)}: {error}") from None
    texts = (reply[name].decode(errors="replace") for name in ("stdout", "stderr"))
    result = CommandResult(command, reply["returncode"], *texts)
    if reply["flooded"]:
        raise CommandError(f"{_shown(command)} prints more than is good here, and was ended; send it to a file, or through head", result)
    if reply["timed_out"]:
        raise CommandError(f"{_shown(command)} was ended after {timeout} s; give a longer timeout=, or use spawn", result)
    if check and result.returncode:
        last = (result.stderr or result.stdout).strip()[-1000:]
        raise CommandError(f"{_shown(command)} ended with status {result.returncode}{': ' if last else ''}{last}", result)
    return result


def _words(command) -> str | list[str]:
    if isinstance(command, str):
        return str(command)
    if isinstance(command, (list, tuple)) and command:
        return [str(word) for word in command]
    raise TypeError(f"a command is a line for bash, or a list of its words, not {command!r}")


def _shown(command) -> str:
    text = command if isinstance(command, str) else " ".join(map(str, command))
    text = " ".join(text.split())
    return f"'{text if len(text) < 100 else text[:97] + '...'}'"


class Process:
    """A command that runs on in the background, and ends with the lab at the latest.

    Attributes
    ----------
    pid : int
        On the lab machine.
    """

    def __init__(self, lab: Lab, command, about: dict):
        self._lab, self.command = lab, command
        self._number, self.pid = about["process"], about["pid"]

    def _text(self, which: str) -> str:
        return self._lab.ask("process.state", self._number)[which].decode(errors="replace")

    @property
    def stdout(self) -> str:
        """What it has printed until now."""
        return self._text("stdout")

    @property
    def stderr(self) -> str:
        return self._text("stderr")

    @property
    def returncode(self) -> int | None:
        return self._lab.ask("process.state", self._number)["returncode"]

    def _result(self, state: dict) -> CommandResult:
        texts = (state[name].decode(errors="replace") for name in ("stdout", "stderr"))
        return CommandResult(self.command, state["returncode"], *texts)

    def wait(self, timeout: float = 60) -> CommandResult:
        """Wait for its end.

        Raises
        ------
        CommandError
            It still runs after `timeout` seconds.
        """
        state = self._lab.ask("process.wait", self._number, timeout)
        if state["returncode"] is None:
            raise CommandError(f"{_shown(self.command)} still runs after {timeout} s; stop() ends it", self._result(state))
        return self._result(state)

    def wait_for(self, text: str, timeout: float = 10) -> None:
        """Wait until it has printed a text ("listening").

        Raises
        ------
        CommandError
            It ended, or the time did, before that.
        """
        if not self._lab.ask("process.wait_output", self._number, text.encode(), timeout):
            state = self._lab.ask("process.state", self._number)
            raise CommandError(f"{_shown(self.command)} did not print {text!r} within {timeout} s", self._result(state))

    def stop(self) -> CommandResult:
        """End it, first kindly."""
        return self._result(self._lab.ask("process.stop", self._number))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._lab.alive:
            self.stop()

    def __repr__(self) -> str:
        return f"<process {self.pid}: {_shown(self.command)[1:-1]}>"


def number_of(pid) -> int | None:
    """The number of a process that a reader gave as a number, or as what `Lab.spawn` or `Lab.workload` gave; None for None.

    Raises
    ------
    TypeError, ValueError
        It is neither.
    """
    if pid is None:
        return None
    number = getattr(pid, "pid", pid)
    if isinstance(number, bool) or not isinstance(number, numbers.Integral):
        raise TypeError(f"pid is {pid!r}; give the number of a process, or what lab.spawn gave")
    if number < 1:
        raise ValueError(f"pid is {number}; a process has a number above 0, and None stands for all of them")
    return int(number)


def gone(lab: Lab, pid: int) -> BpfError:
    """What to say of a process that has ended."""
    remedy = "start it again and take its new number, or see what runs with lab.sh('ps -e')"
    return BpfError(f"there is no process {pid} on {lab.machine} any more; {remedy}", errno.ESRCH)


def spawn(lab: Lab, command, *, cwd=None, netns="", cgroup="") -> Process:
    """See `Lab.spawn`."""
    try:
        about = lab.ask("process.spawn", _words(command), netns, cgroup, cwd)
    except AgentError as error:
        raise CommandError(f"{_shown(command)}: {error}") from None
    return Process(lab, command, about)
