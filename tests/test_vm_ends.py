"""How virtual machines end: with their last lab, by a panic, a hang, a kill; nothing of them is left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest
from waiting import until

import bpflab as bl
from bpflab.machines import keeper, kernels, running, vm

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def own_folder(monkeypatch):
    """Each test has machines of its own; it leaves neither files nor processes."""
    with tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        monkeypatch.setenv(keeper.KEEP, "0")
        yield
        until(lambda: not _place().exists(), "the machine's folder goes", 30)
        until(lambda: not any(folder.encode() in command for command in _processes()), "its processes end")


def _place() -> Path:
    return running.folder() / kernels.DEFAULT


def _processes() -> list[bytes]:
    """Command lines of all, which for QEMU, its keeper and an ssh to it name the folder."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found.append(Path(f"/proc/{pid}/cmdline").read_bytes())
        except OSError:
            pass
    return found


def _gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.fixture
def doomed():
    """A lab on a machine that ends with it."""
    lab = bl.Lab("vm", quiet=True)
    yield lab
    lab.close()


def _pid(lab) -> int:
    return lab._connection.way.lease.address["qemu"]


def _lost(lab, command: str) -> bl.MachineLost:
    with pytest.raises(bl.MachineLost) as caught:
        lab.sh(command, check=False, timeout=100)
    return caught.value


def test_a_panic(doomed):
    """In the middle of a call: the console's last lines are told, and the next lab starts a new machine."""
    pid = _pid(doomed)
    error = _lost(doomed, "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
    assert "the lab on vm is over: Kernel panic - not syncing: sysrq triggered crash" in str(error)
    assert "Call Trace" in str(error) and "lab = bl.Lab(" in str(error)
    until(lambda: _gone(pid), "QEMU ends", 30)
    with bl.Lab("vm", quiet=True) as again:
        assert again.sh("echo ready").stdout == "ready\n"
        assert _pid(again) != pid


def test_a_hang(doomed):
    pid = _pid(doomed)
    threading.Timer(0.5, os.kill, (pid, signal.SIGSTOP)).start()
    assert "it no longer answered" in str(_lost(doomed, "sleep 90"))
    until(lambda: _gone(pid), "QEMU ends", 30)


def test_a_killed_qemu(doomed):
    pid = _pid(doomed)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    assert "QEMU ended" in str(_lost(doomed, "sleep 90"))


def test_a_killed_keeper_takes_the_machine_along():
    with bl.Lab("vm", quiet=True) as lab:
        pid = _pid(lab)
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        assert "its keeper ended" in str(_lost(lab, "sleep 90"))
    until(lambda: _gone(pid), "QEMU ends")
    assert vm.lease(kernels.DEFAULT, start=False) is None
    assert not _place().exists()


USER = f"""
import sys; sys.path[:0] = [{str(HERE.parent)!r}]
import bpflab as bl
lab = bl.Lab("vm")
print(lab._connection.way.lease.address["qemu"], lab._connection.way.lease.address["port"], flush=True)
lab.sh("sleep 100", timeout=100)
"""


def test_a_killed_notebook_leaves_nothing(monkeypatch):
    """kill -9 in the middle of a call: processes, files and the port are gone, though machines are kept otherwise."""
    monkeypatch.setenv(keeper.KEEP, "300")
    with subprocess.Popen([sys.executable, "-c", USER], stdout=subprocess.PIPE, text=True) as user:
        pid, port = next(line for line in user.stdout if line[0].isdigit()).split()
        user.kill()
    until(lambda: _gone(int(pid)), "QEMU ends")
    until(lambda: not _place().exists(), "the folder goes")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def test_an_interrupt_while_it_boots():
    with subprocess.Popen(
        [sys.executable, "-c", USER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as user:
        next(line for line in user.stdout if "starting Linux" in line)
        user.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in user.stderr.read()
    until(lambda: not _place().exists(), "the folder goes")
