"""libvirt and Vagrant in namespaces of their own.

libvirtd makes bridges, firewall rules, name servers and machines. Here it does so in a network, mount and process
namespace that ends with the test, and all of it with that: nothing is left, and the libvirt of whoever runs the test
is not touched. Vagrant, and the notebook outside of the machine, enter these namespaces too.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]
TREE = Path(__file__).resolve().parent.parent

# /dev/kvm: libvirt asks QEMU anew at every call, seconds each, where the device opens for root and not for QEMU's
# user. It is hidden: what opens does not work everywhere, and emulation does.
_BEGIN = """\
set -eu
mount -t proc proc /proc
mount -t sysfs none /sys
mount -t tmpfs none /run
mount --bind {folder}/lib /var/lib/libvirt
mount -t tmpfs none /var/log/libvirt
mount -t tmpfs none /var/cache/libvirt
mkdir /run/libvirt {folder}/etc
cp -a /etc/libvirt/. {folder}/etc
mount --bind {folder}/etc /etc/libvirt
rm -f /etc/libvirt/qemu/networks/autostart/* /etc/libvirt/qemu/*.xml
cp {folder}/libvirtd.conf {folder}/qemu.conf /etc/libvirt/
[ ! -e /dev/kvm ] || mount --bind {folder}/nothing /dev/kvm
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
virtlogd -d
libvirtd &
wait # the first process of a namespace has orphans to wait for, which a shell does
"""
_LIBVIRTD = 'unix_sock_rw_perms = "0777"\nunix_sock_ro_perms = "0777"\nauth_unix_ro = "none"\nauth_unix_rw = "none"\n'
# no control groups: they would be this computer's
_QEMU = 'cgroup_controllers = []\nsecurity_driver = "none"\nnamespaces = []\nremember_owner = 0\n'


class World:
    """The namespaces, libvirt in them, and a Vagrant home.

    Parameters
    ----------
    folder : pathlib.Path
        Empty; everything is kept there.
    box : pathlib.Path
    """

    def __init__(self, folder: Path, box: Path):
        self.folder = folder
        self.steps: list[tuple[str, float]] = []
        (folder / "lib" / "images").mkdir(parents=True)
        (folder / "lib").chmod(0o755)
        (folder / "nothing").touch(mode=0o000)
        (folder / "libvirtd.conf").write_text(_LIBVIRTD)
        (folder / "qemu.conf").write_text(_QEMU)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("VAGRANT", "BPFLAB_MACHINE", "LIBVIRT"))},
            "VAGRANT_HOME": str(folder / "home"),
            "VAGRANT_DOTFILE_PATH": str(folder / "state"),
            "VAGRANT_CWD": str(TREE),
            "VAGRANT_DEFAULT_PROVIDER": "libvirt",
            "VAGRANT_CHECKPOINT_DISABLE": "1",
            "BPFLAB_BOX": str(box),
            "BPFLAB_ACCEL": "tcg",
            "PYTHONPATH": str(TREE),
            "LC_ALL": "C.UTF-8",
        }
        self._log = open(folder / "log", "wb")
        # it ends with whoever started it, by kill -9 too
        unshare = ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child"]
        unshare += ["sh", "-c", _BEGIN.format(folder=folder)]
        self._process = subprocess.Popen([*SUDO, *unshare], stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log)
        try:
            self._inside = self._first()
            self._until_libvirt_answers()
        except BaseException:
            self.close()
            raise

    def _first(self) -> int:
        """The first process of the namespaces, as it is called outside."""
        with _patience(20) as left:
            while left():
                for pid in _descendants(self._process.pid):
                    with contextlib.suppress(OSError):
                        if os.readlink(f"/proc/{pid}/ns/pid") != os.readlink("/proc/self/ns/pid"):
                            return pid
                self._alive()
        raise RuntimeError("the namespaces did not come up")

    def _until_libvirt_answers(self) -> None:
        with _patience(60) as left:
            while left():
                if self.run("virsh", "-c", "qemu:///system", "version", check=False).returncode == 0:
                    return
                self._alive()
        raise RuntimeError(f"libvirt does not answer: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def _alive(self) -> None:
        if self._process.poll() is not None:
            raise RuntimeError(f"libvirt did not start: {(self.folder / 'log').read_text(errors='replace')[-2000:]}")

    def _command(self, words) -> list[str]:
        enter = [*SUDO, "nsenter", "-t", str(self._inside), "--mount", "--net", "--pid"]
        if SUDO:  # in there as whoever runs the tests
            env = [f"{name}={value}" for name, value in self.environment.items()]
            enter += ["setpriv", f"--reuid={os.getuid()}", f"--regid={os.getgid()}", "--init-groups", "env", *env]
        return [*enter, *words]

    def run(self, *words: str, check: bool = True, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command in there."""
        words = ("env", *(f"{name}={value}" for name, value in environment.items()), *words) if environment else words
        began = time.monotonic()
        done = subprocess.run(
            self._command(words),
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            env=self.environment,
            cwd=TREE,
            stdin=subprocess.DEVNULL,
        )
        self.steps.append((" ".join(words)[:60].replace("\n", " "), time.monotonic() - began))
        assert not check or done.returncode == 0, f"{words[:3]} ended with {done.returncode}:\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done

    def vagrant(self, *words: str, **options) -> subprocess.CompletedProcess[str]:
        return self.run("vagrant", *words, **options)

    def python(self, code: str, **options) -> subprocess.CompletedProcess[str]:
        """Run what a notebook would, outside of the machine."""
        return self.run(sys.executable, "-c", code, **options)

    def close(self) -> None:
        """End the first process, and so everything in there."""
        if self._process.poll() is None:
            inside = getattr(self, "_inside", None)
            subprocess.run([*SUDO, "kill", "-KILL", str(inside or self._process.pid)], check=False, capture_output=True)
            threading.Timer(20, self._process.kill).start() if not inside else None
            self._process.wait(30)
        self._log.close()


def _descendants(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        return [*children, *(one for child in children for one in _descendants(child))]
    return []


@contextlib.contextmanager
def _patience(seconds: float):
    end = time.monotonic() + seconds

    def left() -> bool:
        time.sleep(0.05)
        return time.monotonic() < end

    yield left
