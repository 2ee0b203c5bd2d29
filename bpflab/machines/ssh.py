"""Any host with python3, libbpf and root or sudo: the agent is sent over ssh, nothing is installed there."""

from __future__ import annotations

import os
import re
import shlex
import shutil

from ..errors import LabError, MachineLost
from . import gateway
from .local import ARGUMENTS, PYTHON
from .way import Way

OLDEST = (3, 9)  # the agent uses nothing newer
# Forwardings of ~/.ssh/config would take their ports from the reader's own session; a shared master connection would
# outlive the lab. Nobody can type a password into a notebook's ssh.
OPTIONS = [
    *("-T", "-e", "none", "-x", "-a"),
    *("-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-o", "ServerAliveInterval=5", "-o", "ServerAliveCountMax=3"),
    *("-o", "ControlMaster=no", "-o", "ControlPath=none", "-o", "ClearAllForwardings=yes", "-o", "LogLevel=INFO"),
]
CONFIG = "BPFLAB_SSH_CONFIG"

# Exit statuses of the script below; ssh itself ends with 255, a shell with 126 or 127.
NO_PYTHON, OLD_PYTHON, NO_LIBBPF, NO_SUDO, SUDO_ASKS = range(90, 95)
# One line and no "!", so that it passes through every login shell.
_SCRIPT = """
p={PYTHON}; [ -x "$p" ] || p=$(command -v python3) || exit {NO_PYTHON};
"$p" -S -E -c "import sys; sys.exit(sys.version_info < {OLDEST})" || {{ "$p" -V >&2; exit {OLD_PYTHON}; }};
"$p" -S -E -c "import ctypes; ctypes.CDLL(\\"libbpf.so.1\\")" 2>/dev/null || exit {NO_LIBBPF};
s=; if [ "$(id -u)" -ne 0 ]; then
command -v sudo >/dev/null || exit {NO_SUDO};
sudo -n true || exit {SUDO_ASKS};
s="sudo -n"; fi;
exec $s "$p" {ARGUMENTS} -u -c "{LINE}"
"""


def remote() -> str:
    """What a host is to run: a shell's line that finds out what is missing, or becomes the agent."""
    words = globals() | {"ARGUMENTS": " ".join(ARGUMENTS), "PYTHON": PYTHON, "LINE": gateway.LINE}
    filled = _SCRIPT.format(**words)
    return f"exec sh -c {shlex.quote(' '.join(filled.split(chr(10))).strip())}"


def way(host: str) -> Way:
    """The way to a host.

    Parameters
    ----------
    host : str
        "user@host", "host", "user@host:port", or an alias of ~/.ssh/config (of the file that BPFLAB_SSH_CONFIG names).

    Raises
    ------
    ValueError
        That is no host.
    LabError
        There is no ssh on this computer.
    """
    match = re.fullmatch(r"(?P<target>(?:[^@\s-][^@\s]*@)?(?:[^-@:\s\[\]][^@:\s]*|\[[0-9a-fA-F:]+\]))(?::(?P<port>\d+))?", host)
    if not match:
        raise ValueError(f"'{host}' is no host; write ssh:user@host, ssh:user@host:port or ssh:alias")
    if not shutil.which("ssh"):
        raise LabError("there is no ssh on this computer; install it: apt install openssh-client")
    config = os.environ.get(CONFIG)
    return Ssh(
        f"ssh:{host}",
        [
            "ssh",
            *(["-F", config] if config else []),
            *OPTIONS,
            *(["-p", match["port"]] if match["port"] else []),
            *("--", match["target"].translate({ord("["): None, ord("]"): None})),
            remote(),
        ],
        match["target"],
    )


class Ssh(Way):
    """The agent behind an ssh."""

    def __init__(self, machine: str, command: list[str], host: str):
        super().__init__(machine, command, far=True)
        self.host = host

    def not_started(self, error: gateway.NotStarted) -> LabError:
        """What the status of ssh and the words on its standard error mean."""
        return MachineLost(f"{self.machine} cannot be used: {self._reason(error)}")

    def _reason(self, error: gateway.NotStarted) -> str:
        if error.noise:
            return (
                "its login shell prints something before the agent can answer; make its start files "
                "(~/.bashrc and the like) silent when the shell is not interactive"
            )
        by_status = {
            NO_PYTHON: "it has no python3; install it there: apt install python3",
            OLD_PYTHON: f"its {error.said} is too old, the agent needs {'.'.join(map(str, OLDEST))}; install a newer python3",
            NO_LIBBPF: "it has no libbpf.so.1; install it there: apt install libbpf1",
            NO_SUDO: "the user is not root, and there is no sudo; use root, or install sudo there",
            SUDO_ASKS: "sudo asks for a password there, which a notebook cannot type; let this user run sudo without one "
            "(NOPASSWD in /etc/sudoers.d), or use root",
        }
        return by_status.get(error.status) or self._ssh_reason(error)

    def _ssh_reason(self, error: gateway.NotStarted) -> str:
        said = error.said
        for words, reason in (
            (
                "IDENTIFICATION HAS CHANGED",
                "its host key is another one than before; find out why, then: ssh-keygen -R {host}",
            ),
            (
                "Host key verification failed",
                "its host key is unknown; log in once in a terminal and compare the key: ssh {host}",
            ),
            (
                "Permission denied",
                "it takes none of your keys without a password or passphrase; "
                "give it one (ssh-copy-id {host}) or load yours (ssh-add)",
            ),
            ("Could not resolve", "there is no host of that name; look for a typing error, or add it to ~/.ssh/config"),
            ("Connection refused", "nothing listens there; is sshd running, and on this port?"),
            ("timed out", "it does not answer; is it running, and does a firewall let ssh through?"),
        ):
            if words in said:
                return f"{reason.format(host=self.host)} (ssh: {said.splitlines()[-1].strip()})"
        return f"ssh ended with status {error.status}: {said or 'it said nothing'}; try: ssh {self.host}"

    def lost(self, said: str) -> str:
        return f"the connection broke (ssh: {said.splitlines()[-1].strip()})" if said else "the agent or the connection ended"
