"""What stands in the way of a virtual machine is told: nothing to fetch with, no space, no port, no KVM."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from waiting import until

import bpflab as bl
from bpflab.machines import debian, keeper, kernels, qemu, running

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def own_folder(monkeypatch):
    with tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the test's own, with the kernels and programs that are there already; gives its folder."""
    kernels.get(kernels.DEFAULT, print), kernels.tools(), qemu.program(print)
    real = debian.folder()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "cache").mkdir()
    for name in ("kernels", "tools", "qemu"):
        if (real / name).exists():
            (debian.folder() / name).symlink_to(real / name)
    return debian.folder()


@pytest.mark.parametrize("name", ["vm:5.4", "vm:six", "vm:6", "vm:../6.1"])
def test_no_such_kernel(name):
    with pytest.raises((bl.UnknownNameError, bl.LabError), match="no kernel named"):
        bl.Lab(name, quiet=True)


def test_an_unknown_accelerator(monkeypatch):
    monkeypatch.setenv(qemu.ACCEL, "turbo")
    with pytest.raises(bl.LabError, match="BPFLAB_ACCEL is 'turbo'; it may be kvm or tcg"):
        bl.Lab("vm", quiet=True)


def test_nothing_to_fetch_with(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    for tool in ("ssh", "ssh-keygen"):
        (tmp_path / "bin" / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(bl.LabError, match="it has no apt-get; use bl.Lab"):
        bl.Lab("vm", quiet=True)


def test_no_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(debian.MIRROR, "http://127.0.0.1:9/debian")
    with pytest.raises(bl.LabError, match="cannot be fetched.*BPFLAB_DEBIAN_MIRROR names another"):
        bl.Lab("vm", quiet=True)


def test_no_space(tmp_path, monkeypatch):
    """In a cache on a small filesystem, which only this process sees, it is told before anything is fetched."""
    code = "import bpflab as bl\ntry: bl.Lab('vm', quiet=True)\nexcept bl.LabError as error: print(error)"
    line = f"mount -t tmpfs -o size=50m none /mnt && exec env XDG_CACHE_HOME=/mnt PYTHONPATH={HERE.parent} {sys.executable} -c \"$0\""
    done = subprocess.run(["unshare", "-m", "bash", "-c", line, code], capture_output=True, text=True)
    assert "MB while it is unpacked, and /mnt/bpflab/vm has less; make room" in done.stdout, done.stderr


def test_no_qemu_and_none_to_fetch(cache, tmp_path, monkeypatch):
    """The kernel is there, and this computer's own QEMU, if there is one, is out of sight."""
    (cache / "qemu").unlink(missing_ok=True)
    (tmp_path / "bin").mkdir()
    for folder in ("/usr/bin", "/usr/sbin"):
        for path in Path(folder).iterdir():
            if not path.name.startswith("qemu") and not (tmp_path / "bin" / path.name).exists():
                (tmp_path / "bin" / path.name).symlink_to(path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv(debian.MIRROR, "http://127.0.0.1:9/debian")
    with pytest.raises(bl.LabError, match="there is no QEMU on this computer .*, and Debian packages cannot be fetched"):
        bl.Lab("vm", quiet=True)


def test_no_port(cache):
    """In a network namespace where every port that the kernel would give is taken."""
    code = """
import socket, sys
import bpflab as bl
taken = [socket.create_server(("127.0.0.1", port)) for port in (40000, 40001)]
try: bl.Lab("vm", quiet=True)
except bl.LabError as error: print(error)
"""
    line = "ip link set lo up && echo 40000 40001 >/proc/sys/net/ipv4/ip_local_port_range && exec \"$0\" -c \"$1\""
    done = subprocess.run(
        ["unshare", "-n", "bash", "-c", line, sys.executable, code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    assert "no port on 127.0.0.1 stays free" in done.stdout, done.stderr


def test_a_port_that_is_taken_meanwhile(cache, monkeypatch):
    """Between the choice of a port and QEMU's listening on it: another one is chosen."""
    monkeypatch.setenv(qemu.ACCEL, "tcg")
    path = running.folder() / "taken"
    path.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as other, socket.socket(socket.AF_UNIX) as listener:
        taken, free = other.getsockname()[1], keeper._free_port()
        monkeypatch.setattr(keeper, "_free_port", iter([taken, free]).__next__)
        listener.bind(str(path / "socket"))
        listener.listen()
        kept = keeper.Keeper(kernels.DEFAULT, path, listener)
        try:
            kept._boot()
            assert kept.address["port"] == free
        finally:
            kept.close()


def test_kvm_is_tried_once_and_remembered(cache, monkeypatch):
    """Whichever way it comes out here, the second start does not try again; BPFLAB_ACCEL does not ask either."""
    monkeypatch.delenv(qemu.ACCEL, raising=False)
    monkeypatch.setenv(keeper.KEEP, "0")
    opens = os.access("/dev/kvm", os.R_OK | os.W_OK)
    assert qemu.accelerators() == (["kvm", "tcg"] if opens else ["tcg"])
    with bl.Lab("vm", quiet=True) as lab:
        used = lab._connection.way.lease.address["accelerator"]
    assert (cache / "accelerator").exists() == opens
    assert qemu.accelerators() == [used]
    for wanted in ("kvm", "tcg"):
        monkeypatch.setenv(qemu.ACCEL, wanted)
        assert qemu.accelerators() == [wanted]
    until(lambda: not (running.folder() / kernels.DEFAULT).exists(), "its end", 30)
    if used == "tcg":
        monkeypatch.setenv(qemu.ACCEL, "kvm")
        with pytest.raises(bl.MachineLost, match="did not start: .*BPFLAB_ACCEL wants kvm, without it"):
            bl.Lab("vm:6.12", quiet=True)
