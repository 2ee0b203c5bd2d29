"""This computer's own kernel: the agent runs directly as root, else through sudo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from ..errors import LabError, NotSupportedError
from . import gateway
from .way import Way

# Debian's own Python has python3-bpfcc; -S keeps the start short, bcc.py adds what it needs
PYTHON = "/usr/bin/python3"
ARGUMENTS = ["-S", "-E", "-B"]


def way() -> Way:
    """How to start the agent on this machine.

    Raises
    ------
    NotSupportedError
        This is not Linux.
    LabError
        Neither root nor a sudo that works without asking.
    """
    if not sys.platform.startswith("linux"):
        raise NotSupportedError("BPF", sys.platform, "only Linux has it", remedy="use a virtual machine: bl.Lab('vagrant')")
    python = PYTHON if os.path.exists(PYTHON) else sys.executable
    command = [python, *ARGUMENTS, "-u", "-c", gateway.LINE]
    if os.geteuid() != 0:
        command = [*_sudo(), *command]
    return Way("local", command)


def _sudo() -> list[str]:
    sudo = shutil.which("sudo")
    if not sudo:
        raise LabError(
            "the agent needs root, and this computer has no sudo; run ./lab up as root once, install sudo, "
            "or use another machine: bl.Lab('vm')"
        )
    # A notebook has no terminal to ask on, and what 'sudo -v' leaves behind counts for that terminal's session only.
    if subprocess.run([sudo, "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL).returncode:
        raise LabError(
            "the agent needs root, and sudo asks for a password, which a notebook cannot type; "
            "start the notebook with sudo ./lab up, or let sudo run without one for your user"
        )
    return [sudo, "-n"]


def clean() -> tuple[list[str], list[str]]:
    """Undo what labs on this machine left that ended without their agent or watcher, and remove what was built to be traced.

    Returns
    -------
    tuple of (list of str, list of str)
        One line for each thing that was removed, and for each that was kept since it runs.
    """
    from . import Connection

    with Connection(way()) as connection:
        removed, kept = connection.ask("workloads.remove")
        return [*connection.about["swept"], *removed], kept
