"""The machine of the workbook's Vagrantfile, reached with what `vagrant ssh-config` says."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ..compiler import write_whole
from ..errors import LabError
from . import gateway, ssh

_TREE = Path(__file__).resolve().parents[2]
FOLDER = "VAGRANT_CWD"  # Vagrant's own name for the folder to work in
ASLEEP = ("poweroff", "shutoff", "saved", "suspended", "paused", "aborted", "stopped", "inactive", "pmsuspended")
INSTALL = (
    "there is no Vagrant on this computer; install it and a provider, such as VirtualBox "
    "(https://developer.hashicorp.com/vagrant/install; Debian: apt install vagrant vagrant-libvirt), then: vagrant up"
)
# What Vagrant or a provider says -> what to do. The first match wins.
_CAUSES = (
    (r"could not detect VirtualBox|VBoxManage", "VirtualBox is not installed; install it, or name another provider in VAGRANT_DEFAULT_PROVIDER"),
    (
        r"provider '?(\S+?)'? could not be found|No usable default provider|provider for this Vagrant-managed machine",
        "its provider is not there; install one (VirtualBox, or vagrant plugin install vagrant-libvirt, vagrant-parallels, "
        "vagrant-vmware-desktop, vagrant-qemu), or name one in VAGRANT_DEFAULT_PROVIDER",
    ),
    (r"Failed to connect socket|connecting to libvirt|authentication unavailable", "libvirt does not answer; start it (systemctl start libvirtd), and be in its group (adduser $USER libvirt)"),
    (r"could not be found or\n? *could not be accessed|error occurred while downloading", "the box cannot be had; is the network there? BPFLAB_BOX names another, ./lab vagrant box builds one"),
    (r"already executing an action", "another vagrant is at work on it; wait for its end"),
    (r"VT-x|VERR_VMX|VERR_SVM|KVM|virtualization is not", "the processor's virtualization is off or in use by another program; switch it on, or BPFLAB_ACCEL=tcg vagrant up (libvirt)"),
    (r"syntax error in the following Vagrantfile|error loading a Vagrantfile|errors in the configuration", "its Vagrantfile has an error; see: vagrant validate"),
)


def folder() -> Path:
    """The folder of the Vagrantfile: the workbook's, or what VAGRANT_CWD names."""
    return Path(os.environ.get(FOLDER) or _TREE)


def _state() -> Path:
    """Where Vagrant keeps what it knows of the machine."""
    return folder() / (os.environ.get("VAGRANT_DOTFILE_PATH") or ".vagrant")


def identity() -> str | None:
    """What the provider calls the machine; None when none has been made."""
    for path in sorted(_state().glob("machines/default/*/id")):
        with contextlib.suppress(OSError):
            if found := path.read_text().strip():
                return found
    return None


def is_candidate() -> bool:
    """Whether a lab that names no machine should look here: it has been made, or this computer has no other way."""
    return not sys.platform.startswith("linux") or identity() is not None


def way(say: Callable[[str], None] = lambda _: None) -> Vagrant:
    """The way to the machine. One that was made and is switched off is started.

    Parameters
    ----------
    say : callable
        Is told what is going on while it takes long.

    Raises
    ------
    LabError
        Vagrant, its provider, the Vagrantfile or the machine is missing; the text says what to do.
    """
    if not shutil.which("vagrant"):
        raise LabError(INSTALL)
    if not (folder() / (os.environ.get("VAGRANT_VAGRANTFILE") or "Vagrantfile")).exists():
        raise LabError(f"there is no Vagrantfile in {folder()}; {FOLDER} names the folder of another, the workbook has one")
    if not shutil.which("ssh"):
        raise LabError("there is no ssh on this computer; install OpenSSH's client")
    known = identity()
    if not known:
        raise LabError(f"the Vagrant machine has not been made yet; make it in a terminal, which takes some minutes: {_by_hand('up')}")
    with _alone():
        config = _ssh_config() or _started(say)
        place = _state() / "bpflab"
        write_whole(place / "ssh_config", config.encode())
    return Vagrant(
        [
            *("ssh", "-F", str(place / "ssh_config"), *ssh.OPTIONS),
            # Vagrant's own settings take any host key. Ours keep the first, under the machine's name: it is
            # another one when the machine is made anew.
            *("-o", "StrictHostKeyChecking=accept-new", "-o", f"UserKnownHostsFile={_quoted(place / 'known_hosts')}"),
            *("-o", f"HostKeyAlias=vagrant-{_plain(known)}", "-o", "GlobalKnownHostsFile=none"),
            *("-o", "ConnectionAttempts=3"),  # the first may fail after a snapshot was restored
            *("default", ssh.remote()),
        ]
    )


def _quoted(path: Path) -> str:
    return f'"{path}"'  # ssh splits at spaces


def _plain(name: str) -> str:
    return re.sub(r"\W", "-", name)


def _by_hand(command: str) -> str:
    return f"cd {folder()} && vagrant {command}"


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Vagrant refuses to be run twice at a time on one machine."""
    place = _state() / "bpflab"
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _vagrant(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["vagrant", *words], cwd=folder(), stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace"
    )


def _ssh_config() -> str | None:
    """What ssh needs to know; None when the machine does not run."""
    done = _vagrant("ssh-config", "default")
    if done.returncode == 0:
        return done.stdout
    status = _vagrant("status", "default", "--machine-readable")
    found = re.search(r"^\d+,default,state,(\S+)", status.stdout, re.MULTILINE)
    state = found[1] if found else ""
    if state in ASLEEP:
        return None
    if state == "not_created":
        raise LabError(f"the Vagrant machine is gone; make a new one in a terminal: {_by_hand('up')}")
    raise _failure("Vagrant cannot say how to reach its machine", f"{done.stdout}\n{done.stderr}", "ssh")


def _started(say: Callable[[str], None]) -> str:
    say("starting the Vagrant machine (vagrant up)")
    with subprocess.Popen(
        ["vagrant", "up", "--no-color"],
        cwd=folder(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("==> default: ") and (what := line.removeprefix("==> default: ").strip()):
                say(f"  {what}")
    if process.returncode:
        raise _failure("vagrant up failed", "".join(said), "up")
    if config := _ssh_config():
        return config
    raise LabError(f"the Vagrant machine was started and does not run; see what it says: {_by_hand('up')}")


def _failure(what: str, said: str, command: str) -> LabError:
    for pattern, cause in _CAUSES:
        if re.search(pattern, said):
            return LabError(f"{what}: {cause}")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return LabError(f"{what}: {' '.join(lines[-3:]) or 'it said nothing'}; try in a terminal: {_by_hand(command)}")


class Vagrant(ssh.Ssh):
    """The agent behind an ssh into the Vagrant machine."""

    def __init__(self, command: list[str]):
        super().__init__("vagrant", command, "default")

    def _reason(self, error: gateway.NotStarted) -> str:
        if error.status in (ssh.NO_PYTHON, ssh.OLD_PYTHON, ssh.NO_LIBBPF):
            return f"what the agent needs is not installed there; install it: {_by_hand('provision')}"
        if error.status == 255:
            return f"it does not answer (ssh: {_told(error.said) or 'no reason given'}); start it anew: {_by_hand('reload')}"
        return super()._reason(error)

    def lost(self, said: str) -> str:
        return super().lost(_told(said))


def _told(said: str) -> str:
    """What ssh said, but for the line about a host key that it keeps."""
    return "\n".join(line for line in said.splitlines() if not line.startswith("Warning: Permanently added")).strip()
