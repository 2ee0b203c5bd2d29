"""A virtual machine over this computer's own root filesystem, shared by all labs that name it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from ..errors import LabError, MachineLost, NotSupportedError
from . import gateway, kernels, running
from .local import ARGUMENTS, PYTHON
from .ssh import OPTIONS
from .way import Way

_TREE = Path(__file__).resolve().parents[2]
_SILENT = {"lost": "its keeper ended", "console": []}


def version_of(name: str) -> str:
    """ "vm" and "vm:6.12" -> "6.12"."""
    return name.partition(":")[2] or kernels.DEFAULT


class NotYours(Exception):
    """The keeper was about to end when the connection came."""


class Lease:
    """A connection to the keeper of a machine: as long as it is open, the machine is kept.

    Parameters
    ----------
    connection : socket.socket

    Attributes
    ----------
    address : dict
        "port", "folder" (with the keys), "qemu" (its pid), "accelerator", "steps" (seconds), "release".
    """

    def __init__(self, connection: socket.socket):
        self._connection = connection
        self._file = connection.makefile("rb")
        self._lock = threading.Lock()
        self.address: dict = {}

    def wait(self, say: Callable[[str], None]) -> None:
        """Until the machine is ready.

        Raises
        ------
        MachineLost
            It did not come up; with the last lines of its console.
        NotYours
        """
        first = True
        while True:
            message = self._next()
            if first and message == _SILENT:
                raise NotYours
            first = False
            if "progress" in message:
                say(message["progress"])
            elif "ready" in message:
                self.address = message["ready"]
                return
            elif "error" in message:
                raise LabError(message["error"])
            else:
                raise MachineLost(f"the virtual machine did not start: {_ending(message)}")

    def _next(self) -> dict:
        try:
            line = self._file.readline()
        except OSError:
            line = b""
        return json.loads(line) if line else _SILENT

    def why_lost(self, patience: float) -> str | None:
        """What the keeper says of the end of the machine; None when it still runs."""
        self._connection.settimeout(patience)
        try:
            line = self._file.readline()
            message = json.loads(line) if line else _SILENT
        except (OSError, ValueError):
            return None
        return _ending(message) if "lost" in message else None

    def say(self, word: str) -> None:
        with contextlib.suppress(OSError):
            self._connection.sendall(word.encode() + b"\n")

    def close(self, word: str = "bye") -> None:
        with self._lock:
            if self._connection.fileno() < 0:
                return
            if word:
                self.say(word)
            self._file.close()
            self._connection.close()


def _ending(message: dict) -> str:
    console = "\n".join(message.get("console", [])[-45:])
    return message["lost"] + (f". The last lines of its console:\n{console}\n" if console else "")


def lease(version: str, start: bool = True) -> Lease | None:
    """A lease on a machine, which is started when it does not run.

    Returns
    -------
    Lease or None
        None when it does not run and is not to be started.

    Raises
    ------
    UnknownNameError
        That is no version of a kernel.
    """
    kernels.check(version)
    with running.locked(version) as folder:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(folder / "socket"))
            return Lease(connection)
        except OSError:
            pass  # it does not run
        shutil.rmtree(folder, ignore_errors=True)  # of a keeper that was killed; its QEMU died with it
        if not start:
            connection.close()
            return None
        for tool in ("ssh", "ssh-keygen"):
            if not shutil.which(tool):
                connection.close()
                raise LabError(f"there is no {tool} on this computer; install it: apt install openssh-client")
        folder.mkdir(mode=0o700)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(folder / "socket"))
            listener.listen(32)
            connection.connect(str(folder / "socket"))
            _start_keeper(version, folder, listener)
        return Lease(connection)


def ready(version: str, say: Callable[[str], None], start: bool = True) -> Lease | None:
    """A lease on a machine that is ready; as `lease` otherwise.

    Raises
    ------
    LabError
        Something is missing here, or cannot be fetched.
    MachineLost
        It did not come up.
    """
    while True:
        held = lease(version, start)
        if held is None:
            return None
        try:
            held.wait(say)
            return held
        except NotYours:
            held.close(word="")
        except BaseException:
            held.close(word="")  # failed or interrupted: nobody waits for it any more
            raise


def _start_keeper(version: str, folder: Path, listener: socket.socket) -> None:
    path = os.pathsep.join(filter(None, [str(_TREE), os.environ.get("PYTHONPATH")]))
    with open(folder / "keeper.log", "wb") as log:
        subprocess.Popen(
            [sys.executable, "-m", "bpflab.machines.keeper", version, str(folder), str(listener.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[listener.fileno()],
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": path},
            cwd="/",
        )


def ssh_command(address: dict) -> list[str]:
    """ssh to a machine that is ready; what it is to run there follows."""
    folder = address["folder"]
    return [
        *("ssh", "-F", "none", "-i", f"{folder}/lab", "-p", str(address["port"]), "-l", "root", *OPTIONS),
        *("-o", "IdentitiesOnly=yes", "-o", f"UserKnownHostsFile={folder}/known", "-o", "GlobalKnownHostsFile=none"),
        *("-o", "StrictHostKeyChecking=yes", "-o", f"HostKeyAlias={Path(folder).name}"),
        *("-o", "HostKeyAlgorithms=ssh-ed25519", "127.0.0.1"),
    ]


def way(name: str, say: Callable[[str], None] = lambda _: None) -> Vm:
    """The way to a virtual machine; it is started if need be.

    Parameters
    ----------
    name : str
        "vm" or "vm:6.12".
    say : callable
        Is told what is going on while it takes long.

    Raises
    ------
    NotSupportedError
        This computer cannot run one.
    LabError
        Something is missing here, or cannot be fetched.
    MachineLost
        It did not come up.
    """
    if not sys.platform.startswith("linux"):
        raise NotSupportedError(
            "a virtual machine over this computer's root filesystem", sys.platform, "it wants Linux", remedy="use bl.Lab('vagrant')"
        )
    return Vm(name, ready(version_of(name), say))


class Vm(Way):
    """The agent behind an ssh into a virtual machine."""

    def __init__(self, name: str, held: Lease):
        self.lease = held
        remote = f"exec {PYTHON} {' '.join(ARGUMENTS)} -u -c '{gateway.LINE}'"
        super().__init__(name, [*ssh_command(held.address), remote], far=True)

    def not_started(self, error: gateway.NotStarted) -> LabError:
        why = self.lost(error.said) if error.status in (255, -9) else str(error)
        return MachineLost(f"the agent on {self.machine} did not start: {why}; see ./lab vm log")

    def lost(self, said: str) -> str:
        if "not responding" in said:
            self.lease.say("hung")
        ended = self.lease.why_lost(3.0)
        return ended or f"the agent or its connection ended{f' ({said})' if said else ''}"

    def close(self) -> None:
        self.lease.close()
