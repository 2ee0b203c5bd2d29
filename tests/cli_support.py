"""Run the real script `lab`, in the tree or in a small copy of it, also in mounts of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

TREE = Path(__file__).resolve().parent.parent
NOBODY = 65534
# What a shell of a fresh login has: tests must not lean on the venv that runs them.
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def environment(**changes: str | None) -> dict[str, str]:
    """Ours, without what the test run itself has set for Python, and with changes (None takes a variable out)."""
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "VIRTUAL_ENV", "JUPYTER", "SUDO_"))}
    env["PATH"] = PATH
    for name, value in changes.items():
        env.pop(name, None)
        if value is not None:
            env[name] = value
    return env


def lab(*arguments, tree: Path = TREE, **options) -> subprocess.CompletedProcess:
    """Run `./lab` and wait for it."""
    options = {"env": environment(), "cwd": "/", "timeout": 300} | options
    return subprocess.run(
        [str(tree / "lab"), *map(str, arguments)], capture_output=True, text=True, stdin=subprocess.DEVNULL, **options
    )


def copy(folder: Path) -> Path:
    """The part of the tree that the set-up needs, without `.venv`. Its lock file asks for one small package."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(TREE / "lab", folder)
    shutil.copytree(TREE / "bpflab", folder / "bpflab", ignore=shutil.ignore_patterns("__pycache__"))
    lock = (TREE / "requirements.lock").read_text()
    (folder / "requirements.lock").write_text(re.search(r"^execnet==.*?(?=^\S)", lock, re.M | re.S)[0])
    shutil.copy(TREE / "requirements-test.lock", folder)
    return folder


def give_to_nobody(folder: Path) -> None:
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


def own_mounts(script: str, **options) -> subprocess.CompletedProcess:
    """Run a shell script whose mounts nobody else sees, and which end with it."""
    options = {"env": environment(), "cwd": "/", "timeout": 300} | options
    return subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **options,
    )


def without_package(name: str, folder: Path) -> str:
    """A piece of shell script after which dpkg, in these mounts, holds that a package is not installed."""
    status = Path("/var/lib/dpkg/status").read_text()
    kept = [part for part in status.split("\n\n") if not part.startswith(f"Package: {name}\n")]
    assert len(kept) == len(status.split("\n\n")) - 1
    changed = folder / "dpkg-status"
    changed.write_text("\n\n".join(kept))
    changed.chmod(0o644)
    return f"mount --bind '{changed}' /var/lib/dpkg/status\n"


def complaint(done: subprocess.CompletedProcess) -> str:
    """The one line that says what went wrong; more than one, or a traceback, is itself a mistake."""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("lab: "), lines[0]
    return lines[0].removeprefix("lab: ")
