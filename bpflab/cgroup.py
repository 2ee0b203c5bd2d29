"""Control groups: a place to put processes, and to attach programs to."""

from __future__ import annotations

import errno
import weakref
from typing import TYPE_CHECKING

from . import process
from .errors import BpfError, NotSupportedError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab
    from .process import CommandResult, Process


class Cgroup:
    """A control group (cgroup v2) of the lab's own; a context manager.

    Attributes
    ----------
    name : str
    path : str
        Its folder on the lab machine.
    id : int
        The kernel's number for it, what `bpf_get_current_cgroup_id()` returns to a program.
    fd : int
        The agent's descriptor: a value of a cgroup array, a key of cgroup storage.
    """

    def __init__(self, lab: Lab, name: str, about: dict):
        self._lab, self.name = lab, name
        self.path, self.id, self._fd = about["path"], about["id"], about["fd"]
        self.closed = False

    @property
    def fd(self) -> int:
        self._check_open()
        return self._fd

    def _check_open(self) -> None:
        if self.closed:
            raise BpfError(f"cgroup '{self.name}' was removed; make it again with lab.cgroup('{self.name}')", errno.ENODEV)

    def sh(self, command: str | list[str], *, check: bool = True, timeout: float = 60, input=None, cwd=None) -> CommandResult:
        """Run a command as a process of this group; as `Lab.sh`."""
        self._check_open()
        return process.run(self._lab, command, check=check, timeout=timeout, input=input, cwd=cwd, cgroup=self.path)

    def spawn(self, command: str | list[str], *, cwd=None) -> Process:
        """Start a command in this group; as `Lab.spawn`, and it ends with the group at the latest."""
        self._check_open()
        started = process.spawn(self._lab, command, cwd=cwd, cgroup=self.path)
        self._lab.ask("cgroups.await_entry", self.path, started.pid)
        return started

    @property
    def processes(self) -> list[int]:
        """Pids of the processes in it."""
        self._check_open()
        return self._lab.call(f"cgroup '{self.name}' cannot be read", "cgroups.processes", self.path)

    def add(self, target: Process | int) -> None:
        """Move a process that runs already into it.

        Raises
        ------
        BpfError
            There is no such process.
        """
        self._check_open()
        pid = getattr(target, "pid", target)
        self._lab.call(f"process {pid} does not move to cgroup '{self.name}'", "cgroups.add", self.path, pid)

    def close(self) -> None:
        """Remove it, with its processes and whatever is attached to it. A second time does nothing."""
        if not self.closed:
            self.closed = True
            _open.get(self._lab, {}).pop(self.name, None)
            if self._lab.alive:
                self._lab.ask("descriptors.close", self._fd)
                self._lab.call(f"cgroup '{self.name}' cannot be removed", "cgroups.remove", self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        return f"<cgroup '{self.name}', id {self.id}{', removed' if self.closed else ''}>"


_open: weakref.WeakKeyDictionary[Lab, dict[str, Cgroup]] = weakref.WeakKeyDictionary()


def create(lab: Lab, name: str) -> Cgroup:
    """Make a control group.

    One of that name that the lab has already is removed first, with its processes, so that a cell may run twice.

    Raises
    ------
    ValueError
        The name cannot be a folder's.
    NotSupportedError
        The machine has no cgroup v2.
    """
    if not isinstance(name, str):
        raise TypeError(f"a cgroup's name is a text, not {type(name).__name__}")
    if not name or name.startswith((".", "cgroup.")) or "/" in name or "\0" in name or "\n" in name or len(name.encode()) > 200:
        raise ValueError(f"cgroup name {name!r} must be a folder's: no slash, no dot in front, at most 200 bytes")
    groups = _open.setdefault(lab, {})
    if name in groups:
        groups[name].close()
    try:
        about = lab.ask("cgroups.create", name)
    except AgentError as error:
        number = error.payload["errno"]
        if number in (errno.ENODEV, errno.ENOSYS):
            raise NotSupportedError("cgroup v2", lab.where, str(error), number) from None
        raise BpfError(f"cgroup '{name}' cannot be made ({error}); the agent needs root and a writable cgroup v2 mount", number) from None
    groups[name] = Cgroup(lab, name, about)
    return groups[name]
