"""A real sshd on 127.0.0.1, with users of its own that nobody else on this computer sees.

It runs in a mount namespace in which /etc/passwd, /etc/shadow, /etc/sudoers.d and /run are ours: root, a user who may
become root by sudo, one whose sudo asks for a password, and some whose host lacks something.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path

import kernelstate

from bpflab.machines import debian

# name -> uid; what is special about a user is said in `_settings`
USERS = {"mayroot": 4242, "asked": 4243, "nosudo": 4244, "oldpython": 4245, "nopython": 4246, "nolibbpf": 4247, "noisy": 4248}


def binaries() -> Path:
    """OpenSSH's server, unpacked: installing it would start one on this computer."""
    root = debian.folder() / "test-sshd"
    with debian.locked("test-sshd"):
        if not (root / "usr/sbin/sshd").exists():
            debian.update()
            debian.unpack(["openssh-server"], root)
    return root


class Sshd:
    """The server, its keys, and a client's configuration that knows both.

    Attributes
    ----------
    port : int
    config : pathlib.Path
        For `BPFLAB_SSH_CONFIG`: "lab-USER" for each user, "lab-stranger" whose host key is unknown, "lab-changed"
        whose host key is another one, "lab-keyless" with no key that fits.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        root = binaries()
        for name in ("host", "other", "user", "useless"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
        (folder / "authorized").write_bytes((folder / "user.pub").read_bytes())
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._users()
        (folder / "sshd_config").write_text(self._settings())
        self._client()
        steps = [
            "mount -t tmpfs none /run",
            "mkdir /run/sshd",
            f"mount --bind {folder}/passwd /etc/passwd",
            f"mount --bind {folder}/shadow /etc/shadow",
            f"mount --bind {folder}/sudoers.d /etc/sudoers.d",
            f"exec {root}/usr/sbin/sshd -D -e -f {folder}/sshd_config",
        ]
        self._log = open(folder / "log", "wb")
        self.process = subprocess.Popen(
            ["unshare", "-m", "bash", "-c", " && ".join(steps)],
            stdin=subprocess.DEVNULL,
            stderr=self._log,
            env=debian.environment(root),
        )
        self._until_ready()

    def _users(self) -> None:
        passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
        for name, uid in {**USERS, "sshd": 4249}.items():
            passwd += f"{name}:x:{uid}:65534::/:/bin/bash\n"
            shadow += f"{name}:*:19000:0:99999:7:::\n"
        sudoers = self.folder / "sudoers.d"
        sudoers.mkdir(mode=0o755)
        (sudoers / "bpflab").write_text(f"Defaults env_keep += {kernelstate.RUN}\nmayroot ALL=(ALL) NOPASSWD: ALL\nasked ALL=(ALL) ALL\n")
        (sudoers / "bpflab").chmod(0o440)
        (self.folder / "passwd").write_text(passwd)
        (self.folder / "shadow").write_text(shadow)
        for name, tools in {"nosudo": ("id", "sh"), "nopython": ("id", "sh")}.items():
            for tool in tools:
                (self._bin(name) / tool).symlink_to(f"/usr/bin/{tool}")
        old = self._bin("oldpython") / "python3"
        # of a Python 3.6, what counts here is that it says so; there is no real one in Debian
        old.write_text(
            "#!/bin/sh\ncase $1 in -V) echo Python 3.6.9; exit;; esac\n"
            f'exec {self._bin("oldpython")}/real -S -E -c "import sys; sys.version_info = (3, 6, 9); $4"\n'
        )
        old.chmod(0o755)
        shutil.copy(os.path.realpath("/usr/bin/python3"), self._bin("oldpython") / "real")
        (self._bin("nolibbpf") / "libbpf.so.1").write_text("no library at all")

    def _bin(self, name: str) -> Path:
        place = self.folder / "bin" / name
        place.mkdir(parents=True, exist_ok=True)
        for path in (place, place.parent, self.folder):
            path.chmod(0o755)
        return place

    def _settings(self) -> str:
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.folder}/host",
            f"AuthorizedKeysFile {self.folder}/authorized",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            f"PidFile {self.folder}/pid",
            f"SetEnv {kernelstate.RUN}={os.environ[kernelstate.RUN]}",  # what it starts is of this run
        ]
        # what a user's host has or lacks
        inside = "exec unshare -rm /bin/sh -c 'mount --bind {} /usr/bin/python3; {} exec /bin/sh -c \"$SSH_ORIGINAL_COMMAND\"'"
        special = {
            "nosudo": f"SetEnv PATH={self._bin('nosudo')}",
            "nolibbpf": f"SetEnv LD_LIBRARY_PATH={self._bin('nolibbpf')}",
            "noisy": 'ForceCommand echo welcome, welcome; exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"',
            "oldpython": "ForceCommand " + inside.format(self._bin("oldpython") / "python3", ""),
            "nopython": "ForceCommand " + inside.format("/dev/null", f"PATH={self._bin('nopython')};"),
        }
        for user, setting in special.items():
            lines.append(f"Match User {user}\n    {setting}")
        return "\n".join(lines) + "\n"

    def _client(self) -> None:
        place, folder = f"[127.0.0.1]:{self.port}", self.folder

        def public(name):
            return " ".join((folder / f"{name}.pub").read_text().split()[:2])

        (folder / "known").write_text(f"{place} {public('host')}\n")
        (folder / "known_other").write_text(f"{place} {public('other')}\n")
        hosts = {f"lab-{name}": (name, "known", "user") for name in ("root", *USERS)}
        hosts["lab-stranger"] = ("root", "known_nobody", "user")
        hosts["lab-changed"] = ("root", "known_other", "user")
        hosts["lab-keyless"] = ("root", "known", "useless")
        self.config = folder / "config"
        self.config.write_text(
            "".join(
                f"Host {alias}\n  HostName 127.0.0.1\n  Port {self.port}\n  User {user}\n  IdentitiesOnly yes\n"
                f"  IdentityFile {folder}/{key}\n  UserKnownHostsFile {folder}/{known}\n"
                for alias, (user, known, key) in hosts.items()
            )
        )

    def _until_ready(self) -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end and self.process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionRefusedError:
                time.sleep(0.02)
        raise RuntimeError(f"sshd did not start: {(self.folder / 'log').read_text()}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait()
        self._log.close()


class Wire:
    """A port on 127.0.0.1 that leads to the server until it is cut or frozen."""

    def __init__(self, port: int):
        self._to = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._ends: list[socket.socket] = []
        self._open = threading.Event()
        self._open.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listener.accept()
            except OSError:
                return
            there = socket.create_connection(("127.0.0.1", self._to))
            self._ends += [here, there]
            for pair in ((here, there), (there, here)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(1 << 16):
                self._open.wait()
                there.sendall(data)
        except OSError:
            pass

    def freeze(self) -> None:
        """Nothing comes through any more, and nobody is told."""
        self._open.clear()

    def cut(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)  # ends the accept as well, which close alone does not
        self._listener.close()
        for end in self._ends:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
        self._open.set()
