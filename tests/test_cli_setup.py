"""The set-up: what it installs, that it does so once, and one clear line for each thing that can be in its way."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from cli_support import NOBODY, complaint, copy, environment, give_to_nobody, lab, own_mounts, without_package

NOWHERE = "http://127.0.0.1:9"  # the discard port, where nothing listens
NO_INDEX = {
    "PIP_CONFIG_FILE": "/dev/null",
    "PIP_INDEX_URL": f"{NOWHERE}/simple",
    "PIP_EXTRA_INDEX_URL": None,
    "PIP_FIND_LINKS": None,
    "PIP_RETRIES": "1",
}


@pytest.fixture
def shared():
    """A folder that any user can reach."""
    folder = Path(tempfile.mkdtemp(prefix="bpflab-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def as_nobody(command: str) -> str:
    return f"setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups {command}"


def test_a_tree_that_is_set_up_needs_nothing():
    assert lab("up", "--setup-only").returncode == 0
    done = lab("up", "--setup-only")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Everything is set up.\n", "")


def test_setup_in_an_awkward_place(tmp_path):
    """Blanks in the path, a strict umask, another folder to stand in; then a second start."""
    tree = copy(tmp_path / "my work" / "the book")
    first = lab("up", "--setup-only", tree=tree, cwd=tmp_path, umask=0o077)
    assert first.returncode == 0, first.stderr
    assert "1 Python packages will be installed" in first.stdout
    python = tree / ".venv" / "bin" / "python"
    asked = subprocess.run([python, "-P", "-c", "import execnet, bpflab.setup_steps"], capture_output=True, text=True)
    assert "No module named 'bpflab'" not in asked.stderr and "execnet" not in asked.stderr
    before = {path: path.stat().st_mtime_ns for path in (tree / ".venv").iterdir()}
    second = lab("up", "--setup-only", tree=tree, cwd=tmp_path)
    assert (second.returncode, second.stdout) == (0, "Everything is set up.\n")
    assert {path: path.stat().st_mtime_ns for path in (tree / ".venv").iterdir()} == before

    stamp = tree / ".venv" / "bpflab.json"
    stamp.write_text(json.dumps(json.loads(stamp.read_text()) | {"requirements.lock": "of another day"}))
    third = lab("up", "--setup-only", tree=tree)
    assert third.returncode == 0
    assert "1 Python packages will be installed" in third.stdout


def test_an_interrupted_setup_goes_on_later(tmp_path):
    tree = copy(tmp_path)
    started = subprocess.Popen(
        [tree / "lab", "up", "--setup-only"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    with started:
        while "making .venv" not in started.stdout.readline():
            pass
        started.send_signal(signal.SIGINT)
        _, error = started.communicate(timeout=60)
    assert started.returncode == 130
    assert error == "lab: interrupted; start again and it goes on from here\n"
    assert lab("up", "--setup-only", tree=tree).returncode == 0


def test_sudo_leaves_the_tree_to_its_owner(shared):
    """Under sudo only Debian's packages are root's business."""
    tree = copy(shared / "tree")
    give_to_nobody(shared)
    env = environment(SUDO_USER="nobody", SUDO_UID=str(NOBODY), HOME=str(shared), PIP_NO_CACHE_DIR="1")
    done = lab("up", "--setup-only", tree=tree, env=env | {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    assert done.returncode == 0, done.stderr
    owners = {path.stat(follow_symlinks=False).st_uid for path in tree.rglob("*")}
    assert owners == {NOBODY}


def test_no_network_for_pip(tmp_path):
    done = lab("up", "--setup-only", tree=copy(tmp_path), env=environment(**NO_INDEX))
    assert done.returncode == 1
    line = complaint(done)
    assert line.startswith("pip install failed: no network")
    assert str(tmp_path / ".cache" / "setup.log") in line
    assert NOWHERE.partition("//")[2].partition(":")[0] in (tmp_path / ".cache" / "setup.log").read_text()


def test_no_network_for_apt(tmp_path):
    tree = copy(tmp_path / "tree")
    done = own_mounts(
        without_package("bpftrace", tmp_path)
        + "for folder in /var/lib/apt /var/cache/apt /etc/apt/sources.list.d; do mount -t tmpfs tmpfs $folder; done\n"
        + "if [ -e /etc/apt/sources.list ]; then mount --bind /dev/null /etc/apt/sources.list; fi\n"
        + f"echo 'deb {NOWHERE}/debian bookworm main' >/etc/apt/sources.list.d/nowhere.list\n"
        + f"exec {shlex.quote(str(tree / 'lab'))} up --setup-only"
    )
    assert done.returncode == 1
    assert re.search(r"^  bpftrace +one-line tracing programs$", done.stdout, re.M)
    assert complaint(done).startswith("apt-get install failed: no network")
    assert not (tree / ".venv").exists()


def test_no_sudo(shared):
    tree, tools = copy(shared / "tree"), shared / "bin"
    tools.mkdir()
    for name in ("python3", "dpkg-query"):
        (tools / name).symlink_to(f"/usr/bin/{name}")
    script = without_package("bpftrace", shared)
    give_to_nobody(shared)
    done = own_mounts(
        script + f"PATH={tools} HOME={shared} exec " + as_nobody(f"{tree}/lab up --setup-only").replace(
            "setpriv", shutil.which("setpriv")
        )
    )
    assert done.returncode == 1
    assert complaint(done) == (
        "installing Debian packages takes root, and there is no sudo here; "
        "as root, run: apt-get install -y --no-install-recommends bpftrace"
    )


def test_sudo_that_refuses(shared):
    tree = copy(shared / "tree")
    script = without_package("bpftrace", shared)
    give_to_nobody(shared)
    done = own_mounts(script + f"PATH=/usr/bin:/bin HOME={shared} exec {as_nobody(f'{tree}/lab up --setup-only')}")
    assert done.returncode == 1
    line = complaint(done)
    assert "sudo does not let you" in line
    assert line.endswith("apt-get install -y --no-install-recommends bpftrace")


def test_no_room_for_the_packages(tmp_path):
    """A file system that is too small for `.venv` is noticed before anything is downloaded."""
    copy(tmp_path / "copy")
    tree = tmp_path / "tree"
    tree.mkdir()
    done = own_mounts(
        f"mount -t tmpfs -o size=30m tmpfs {tree}\ncp -r {tmp_path}/copy/. {tree}\nexec {tree}/lab up --setup-only"
    )
    assert done.returncode == 1
    assert complaint(done).startswith(f"not enough room: .venv takes 700 MB and {tree} has 2")


def test_a_disk_that_fills_up(tmp_path):
    tree = copy(tmp_path)
    (tree / ".venv").mkdir()
    done = own_mounts(f"mount -t tmpfs -o size=4m tmpfs {tree}/.venv\nexec {tree}/lab up --setup-only")
    assert done.returncode == 1
    line = complaint(done)
    assert line.startswith(f"making .venv failed: the disk is full ({tree}/.venv has 0 MB left); make room")


def test_a_tree_of_somebody_else(shared):
    tree = copy(shared / "tree")  # root's
    done = own_mounts(f"HOME={shared} PATH=/usr/bin:/bin exec {as_nobody(f'{tree}/lab up --setup-only')}")
    assert done.returncode == 1
    assert complaint(done).startswith(f"cannot write in {tree}: it belongs to root; run ./lab as root, or clone")


def test_a_package_that_is_not_the_locked_one(tmp_path):
    tree = copy(tmp_path)
    lock = tree / "requirements.lock"
    name = lock.read_text().splitlines()[0].rstrip(" \\")
    lock.write_text(f"{name} \\\n    --hash=sha256:{'0' * 64}\n")
    done = lab("up", "--setup-only", tree=tree)
    assert done.returncode == 1
    assert "a package is not the one that requirements.lock names" in complaint(done)
    assert not list((tree / ".venv").glob("lib/*/site-packages/execnet"))


def test_two_setups_at_once_take_turns(tmp_path):
    import fcntl

    tree = copy(tmp_path)
    held = os.open(tree, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    started = subprocess.Popen([tree / "lab", "up", "--setup-only"], stdout=subprocess.PIPE, text=True, env=environment())
    with started:
        assert started.stdout.readline() == "Another set-up is at work in this folder: waiting for it.\n"
        os.close(held)
        output, _ = started.communicate(timeout=120)
    assert started.returncode == 0
    assert output.endswith("Everything is set up.\n")


def test_clean_all_names_what_it_removes(tmp_path):
    tree = copy(tmp_path / "tree")
    (tree / ".venv").mkdir()
    (tree / ".cache").mkdir()
    cache = tmp_path / "home" / "bpflab"
    cache.mkdir(parents=True)
    done = lab("clean", "--all", tree=tree, env=environment(XDG_CACHE_HOME=str(tmp_path / "home")))
    assert done.returncode == 0, done.stderr
    gone = [tree / ".venv", tree / ".cache", cache]
    assert done.stdout.splitlines() == [f"removing {path}" for path in gone]
    assert not any(path.exists() for path in gone)
