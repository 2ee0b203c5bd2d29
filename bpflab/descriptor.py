"""Descriptors on the lab machine: what stands for a process or a file as the key of a storage map."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import BpfError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab


class Descriptor:
    """An open descriptor of the lab's agent; a context manager.

    Attributes
    ----------
    what : str
        What it stands for, in words.
    """

    def __init__(self, lab: Lab, fd: int, what: str):
        self._lab, self._fd, self.what = lab, fd, what
        self.closed = False

    @property
    def fd(self) -> int:
        """Its number in the agent.

        Raises
        ------
        BpfError
            It is closed.
        """
        if self.closed:
            raise BpfError(f"the descriptor of {self.what} is closed; open it again", 9)
        return self._fd

    def close(self) -> None:
        """Close it; a second time does nothing."""
        if not self.closed:
            self.closed = True
            if self._lab.alive:
                self._lab.ask("descriptors.close", self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        return f"<descriptor of {self.what}{', closed' if self.closed else ''}>"


def pidfd(lab: Lab, process) -> Descriptor:
    """Open a process (pidfd_open(2)).

    Parameters
    ----------
    process : Process or int

    Raises
    ------
    BpfError
        No such process runs.
    """
    pid = getattr(process, "pid", process)
    try:
        return Descriptor(lab, lab.ask("descriptors.pidfd", pid), f"process {pid}")
    except AgentError as error:
        raise BpfError(f"process {pid} cannot be opened ({error}); give the id of one that runs", error.payload["errno"]) from None


def open_path(lab: Lab, path: str) -> Descriptor:
    """Open a file or folder for reading.

    Raises
    ------
    BpfError
        The path does not exist there.
    """
    try:
        return Descriptor(lab, lab.ask("descriptors.open_path", str(path)), str(path))
    except AgentError as error:
        raise BpfError(f"{path} cannot be opened on {lab.machine} ({error}); give a path of that machine", error.payload["errno"]) from None
