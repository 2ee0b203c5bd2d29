"""The process that owns a virtual machine: it starts QEMU, lends it to labs, and ends it when nobody needs it.

It is a process of its own so that it outlives any notebook, `kill -9` included, and can clear up. QEMU in turn dies
with it. Each lab holds a connection to its socket; a message is a line of JSON. Run by `vm.lease`, which hands over the
listening socket.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import json
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ..errors import LabError
from . import debian, initramfs, kernels, qemu, running

KEEP = "BPFLAB_VM_KEEP"
_KEEP_S = 300.0  # seconds that a machine waits for the next lab after the last has said good-bye
_PATIENCE = {"kvm": 20.0, "tcg": 120.0}  # seconds until a start is given up
_LAST_WORDS = 3.0  # seconds for a panic to be told
_LINES = 60  # of the console that are kept for messages
_BROKEN = ("KVM internal error", "Kernel panic - not syncing")
_NO_PORT = "no port on 127.0.0.1 stays free long enough for the virtual machine; end something that listens, and try again"
_PORT_TAKEN = "Could not set up host forwarding rule"


class Ended(Exception):
    """The guest is gone, or did not come up."""


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


class Guest:
    """QEMU and its console."""

    def __init__(self, command: list[str], environment: dict[str, str], log: Path):
        self.tail: collections.deque[str] = collections.deque(maxlen=_LINES)
        self._log = open(log, "ab", buffering=0)
        self._half = b""
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd="/",
            preexec_fn=_die_with_parent,
        )
        self.out = self.process.stdout.fileno()
        os.set_blocking(self.out, False)

    def read(self) -> list[str]:
        """Lines that have come; `Ended` when there will be none."""
        lines = self._lines()
        for line in lines:
            if any(word in line for word in _BROKEN):
                self._listen()
                raise Ended(line.partition("] ")[2] or line)
        return lines

    def _lines(self) -> list[str]:
        try:
            data = os.read(self.out, 1 << 16)
        except BlockingIOError:
            return []
        if not data:
            raise Ended("QEMU ended")
        self._log.write(data)
        *whole, self._half = (self._half + data).replace(b"\r", b"").split(b"\n")
        lines = [line.decode(errors="replace") for line in whole]
        self.tail.extend(line for line in lines if line.strip())
        return lines

    def _listen(self) -> None:
        """To what it says while it goes down: a panic is followed by its reasons, and those by a reset, which is the end."""
        deadline = time.monotonic() + _LAST_WORDS
        with contextlib.suppress(Ended), selectors.DefaultSelector() as ready:
            ready.register(self.out, selectors.EVENT_READ)
            while time.monotonic() < deadline:
                if ready.select(deadline - time.monotonic()):
                    self._lines()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self._log.close()


class Keeper:
    """One machine and those who use it."""

    def __init__(self, version: str, folder: Path, listener: socket.socket):
        self.version = version
        self.folder = folder
        self.inode = (folder / "socket").stat().st_ino
        self.listener = listener
        listener.setblocking(False)
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ)
        self.users: dict[socket.socket, bytes] = {}
        self.pinned = False  # by ./lab vm up
        self.deadline: float | None = None
        self.address: dict | None = None
        self.guest: Guest | None = None
        self.steps: dict[str, float] = {}

    def run(self) -> None:
        try:
            self._boot()
            while True:
                self._turn()
        except Ended as error:
            self._tell_all({"lost": str(error), "console": list(self.guest.tail) if self.guest else []})
        except (LabError, OSError) as error:
            self._tell_all({"error": str(error)})

    def close(self) -> None:
        if self.guest:
            self.guest.stop()
        with running.locked(self.version):
            with contextlib.suppress(OSError):
                if (self.folder / "socket").stat().st_ino == self.inode:  # and not of the next keeper already
                    shutil.rmtree(self.folder)
            self.listener.close()
        self.selector.close()

    # -- start

    def _boot(self) -> None:
        began = time.monotonic()
        kernel = kernels.get(self.version, self._say)
        tools = kernels.tools()
        path, environment, options = qemu.program(self._say)
        self._keys(tools)
        self.steps["keys"] = time.monotonic() - began
        tries = qemu.accelerators()
        for accelerator in tries:
            self._say(f"starting Linux {kernel.release} under {'emulation' if accelerator == 'tcg' else accelerator.upper()}")
            try:
                port = self._start(
                    lambda port, a=accelerator: qemu.command(
                        path, options, kernel, tools, self.folder, f"vm-{self.version}", port, a
                    ),
                    environment,
                    _PATIENCE[accelerator],
                )
                break
            except Ended as error:
                if accelerator == tries[-1]:
                    if accelerator == "kvm":
                        raise Ended(f"{error}; {qemu.ACCEL} wants kvm, without it the guest is emulated") from None
                    raise
                self.guest.stop()
        if len(tries) > 1:
            qemu.remember(accelerator)
        self.address = {
            "port": port,
            "folder": str(self.folder),
            "qemu": self.guest.process.pid,
            "accelerator": accelerator,
            "steps": self.steps,
            "release": kernel.release,
        }
        self._tell_all({"ready": self.address})

    def _keys(self, tools: Path) -> None:
        """A key for the lab and one for the guest, both of this start only."""
        lab, guest = self.folder / "lab", self.folder / "guest_host"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bpflab", "-f", lab], check=True)
        done = subprocess.run(
            [tools / "usr/bin/dropbearkey", "-t", "ed25519", "-f", guest],
            check=True,
            capture_output=True,
            text=True,
            env=debian.environment(tools),
        )
        public = next(line for line in done.stdout.splitlines() if line.startswith("ssh-ed25519 "))
        (self.folder / "known").write_text(f"{self.folder.name} {' '.join(public.split()[:2])}\n")

    def _start(self, command, environment, patience: float) -> int:
        for _ in range(5):
            port = _free_port()
            self._new_guest(command(port), environment)
            began = time.monotonic()
            try:
                self._until_ready(began, patience)
                return port
            except Ended:
                if not any(_PORT_TAKEN in line for line in self.guest.tail):
                    raise
            self.guest.stop()
        raise LabError(_NO_PORT)

    def _new_guest(self, command, environment) -> None:
        self.guest = Guest(command, environment, self.folder / "console")
        self.selector.register(self.guest.out, selectors.EVENT_READ)

    def _until_ready(self, began: float, patience: float) -> None:
        try:
            while True:
                left = began + patience - time.monotonic()
                if left <= 0:
                    raise Ended(f"the guest was not ready within {patience:.0f} s")
                for line in self._turn(left):
                    for step in ("init", "modules", "root", "ready"):
                        if line.startswith(f"bpflab: {step} "):
                            self.steps[step] = time.monotonic() - began
                    if line.startswith("bpflab: failed: "):
                        raise Ended(f"the guest lacks {line.removeprefix('bpflab: failed: ')}")
                    if line.startswith(initramfs.READY):
                        return
        except Ended:
            self.selector.unregister(self.guest.out)
            raise

    # -- those who use it

    def _turn(self, patience: float | None = None) -> list[str]:
        """Wait for the next thing and deal with it; lines of the console come back."""
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise Ended("nobody uses it")
            patience = left if patience is None else min(left, patience)
        lines: list[str] = []
        for key, _ in self.selector.select(patience):
            if key.fileobj is self.listener:
                self._welcome()
            elif self.guest and key.fd == self.guest.out:
                lines += self.guest.read()
            else:
                self._hear(key.fileobj)
        return lines

    def _welcome(self) -> None:
        user, _ = self.listener.accept()
        user.setblocking(False)
        self.users[user] = b""
        self.selector.register(user, selectors.EVENT_READ)
        self.deadline = None
        if self.address:
            self._tell(user, {"ready": self.address})

    def _hear(self, user: socket.socket) -> None:
        try:
            data = user.recv(4096)
        except OSError:
            data = b""
        if not data:
            self._left(user, 0)  # killed: the machine goes with its last user
            return
        *lines, self.users[user] = (self.users[user] + data).split(b"\n")
        for line in lines:
            if line == b"bye":
                self._left(user, float(os.environ.get(KEEP, _KEEP_S)))
            elif line == b"pin":
                self.pinned = True
            elif line == b"down":
                raise Ended("it was shut down by ./lab vm down")
            elif line == b"hung":
                raise Ended("it no longer answered")

    def _left(self, user: socket.socket, keep: float) -> None:
        if user not in self.users:
            return
        del self.users[user]
        self.selector.unregister(user)
        user.close()
        if not self.users and not self.pinned:
            self.deadline = time.monotonic() + keep

    def _say(self, text: str) -> None:
        self._tell_all({"progress": text})

    def _tell(self, user: socket.socket, message: dict) -> None:
        with contextlib.suppress(OSError):
            user.sendall(json.dumps(message).encode() + b"\n")

    def _tell_all(self, message: dict) -> None:
        with contextlib.suppress(BlockingIOError):
            while True:  # who came meanwhile
                self._welcome()
        for user in self.users:
            self._tell(user, message)


def _free_port() -> int:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 0))
        except OSError:
            raise LabError(_NO_PORT) from None
        return probe.getsockname()[1]


def main(version: str, folder: str, descriptor: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keeper = Keeper(version, Path(folder), socket.socket(fileno=int(descriptor)))
    try:
        keeper.run()
    finally:
        keeper.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
