"""Where running virtual machines are noted: a folder for each, with its keys, its console and its keeper's socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..errors import LabError


def folder() -> Path:
    """The folder of all, this user's alone; short, since a socket's path may have 107 characters only."""
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    place = base / f"bpflab-vm-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    stat = place.lstat()
    if stat.st_uid != os.getuid() or stat.st_mode & 0o077:
        raise LabError(f"{place} is not yours alone; remove it, or set XDG_RUNTIME_DIR")
    return place


def shared() -> Path:
    """The folder that machines may write to: the same path, and the same files, inside and outside."""
    place = folder() / "shared"
    place.mkdir(exist_ok=True)
    return place


@contextlib.contextmanager
def locked(version: str) -> Iterator[Path]:
    """One process at a time makes or removes a machine's folder."""
    place = folder()
    with open(place / f"{version}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield place / version
