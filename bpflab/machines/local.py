"""This computer's own kernel: the agent runs directly as root, else through sudo."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from ..errors import LabError, NotSupportedError

# Debian's own Python has python3-bpfcc; -S keeps the start short, bcc.py adds what it needs
PYTHON = "/usr/bin/python3"
_ARGUMENTS = "-S -E -B"


def spec() -> str:
    """The execnet spec of the agent on this machine.

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
    command = f"{python} {_ARGUMENTS}"
    if os.geteuid() != 0:
        command = f"{_sudo()} {command}"
    return f"popen//python={command}"


def _sudo() -> str:
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
    return f"{sudo} -n"


def sweep() -> list[str]:
    """Undo what labs on this machine left that ended without their agent or watcher.

    Returns
    -------
    list of str
        One line for each thing that was removed.
    """
    from . import Connection

    with Connection("local", spec()) as connection:
        return connection.about["swept"]
