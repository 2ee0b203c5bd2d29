"""Debian packages unpacked into a folder of ours: nothing is installed, and root is not needed.

apt does the work, with lists and a cache of its own. It looks at what is installed on this computer, so that only what
is missing is fetched, and checks signatures with the keys that this computer already trusts.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from ..compiler import cache_folder
from ..errors import LabError, NotSupportedError

MIRROR = "BPFLAB_DEBIAN_MIRROR"
BACKPORTS = "bookworm-backports"
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_FRESH = 24 * 3600  # seconds that apt's lists are good for


def folder() -> Path:
    """Where everything about virtual machines is kept."""
    path = cache_folder() / "vm"
    path.mkdir(mode=0o700, exist_ok=True)
    return path


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One process at a time makes a thing."""
    with open(folder() / f"{name}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _sources(sid: bool) -> str:
    mirror = os.environ.get(MIRROR, "http://deb.debian.org/debian").rstrip("/")
    security = f"{mirror.removesuffix('/debian')}/debian-security"
    signed = f"[signed-by={KEYRING}]"
    stable = (
        (mirror, "bookworm"),
        (mirror, "bookworm-updates"),
        (security, "bookworm-security"),
        (mirror, BACKPORTS),
    )
    suites = ((mirror, "sid"),) if sid else stable
    return "".join(f"deb {signed} {address} {suite} main\n" for address, suite in suites)


def _options(sid: bool) -> list[str]:
    apt = folder() / ("apt-sid" if sid else "apt")  # apart, so that nothing else is taken from there
    for place in ("state/lists/partial", "cache/archives/partial"):
        (apt / place).mkdir(parents=True, exist_ok=True)
    (apt / "sources.list").write_text(_sources(sid))
    settings = {
        "Dir::Etc::sourcelist": apt / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::Etc::preferences": "-",
        "Dir::Etc::preferencesparts": "-",
        "Dir::State": apt / "state",
        "Dir::State::status": "/var/lib/dpkg/status",
        "Dir::Cache": apt / "cache",
        "Debug::NoLocking": "1",
        "APT::Sandbox::User": "root",  # _apt may not read a user's cache, and there is nothing of root's in it
        "APT::Get::Assume-Yes": "1",
        "Acquire::Retries": "2",
    }
    return [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]


def _apt(command: str, *arguments: str, cwd: Path | None = None, sid: bool = False) -> str:
    done = subprocess.run(
        [command, *_options(sid), *arguments], capture_output=True, text=True, cwd=cwd, env={**os.environ, "LC_ALL": "C"}
    )
    if done.returncode:
        errors = [line[3:] for line in done.stderr.splitlines() if line.startswith("E: ")]
        why = "; ".join(errors[-2:]) or done.stderr.strip()[-300:]
        space = "" if shutil.disk_usage(folder()).free > 1 << 28 else f"; there is no space left in {folder()}"
        raise LabError(
            f"Debian packages cannot be fetched: {why}{space}; is the network there? {MIRROR} names another mirror"
        )
    return done.stdout


def update(sid: bool = False) -> None:
    """Fetch the lists of packages, of Debian 12 or of sid, when the last time is a day ago."""
    if not shutil.which("apt-get"):
        raise NotSupportedError(
            "fetching Debian packages", "this computer", "it has no apt-get", remedy="use bl.Lab('vagrant') or bl.Lab('ssh:user@host')"
        )
    if not os.path.exists(KEYRING):
        raise LabError(f"there is no {KEYRING} to check Debian packages with; install it: apt install debian-archive-keyring")
    stamp = folder() / ("apt-sid" if sid else "apt") / "updated"
    identity = _sources(sid)
    with contextlib.suppress(OSError):
        if time.time() - stamp.stat().st_mtime < _FRESH and stamp.read_text() == identity:
            return
    _apt("apt-get", "update", "--error-on=any", sid=sid)
    stamp.write_text(identity)


def names(pattern: str, sid: bool = False) -> list[str]:
    """Names of packages that match a regular expression as a whole."""
    found = _apt("apt-cache", "pkgnames", sid=sid)
    return [name for name in found.split() if re.fullmatch(pattern, name)]


def unpack(
    packages: list[str], target: Path, *, release: str | None = None, needs: bool = True, sid: bool = False
) -> None:
    """Fetch packages and unpack them.

    Parameters
    ----------
    packages : list of str
    target : pathlib.Path
        The folder that becomes their root. It is there with everything, or not at all.
    release : str, optional
        Prefer this release.
    needs : bool
        What they depend on, too, where this computer lacks it.
    sid : bool
        Take them from there; not with `needs`, since its libraries are not for this computer.

    Raises
    ------
    LabError
        A package cannot be had, or there is no space.
    """
    work = target.with_name(target.name + ".part")
    shutil.rmtree(work, ignore_errors=True)
    debs = work / "debs"
    debs.mkdir(parents=True)
    (work / "root").mkdir()
    try:
        if needs:
            (debs / "partial").mkdir()
            options = ["-o", f"Dir::Cache::archives={debs}", "--no-install-recommends", "--download-only", "--reinstall"]
            _apt("apt-get", *options, *(["-t", release] if release else []), "install", *packages)
        else:
            _apt("apt-get", "download", *packages, cwd=debs, sid=sid)
        for deb in sorted(debs.glob("*.deb")):
            done = subprocess.run(["dpkg-deb", "-x", str(deb), str(work / "root")], capture_output=True, text=True)
            if done.returncode:
                raise LabError(f"{deb.name} cannot be unpacked in {work}: {done.stderr.strip()}; is there space?")
        shutil.rmtree(target, ignore_errors=True)
        (work / "root").rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def environment(root: Path) -> dict[str, str]:
    """Environment in which programs of an unpacked folder find their libraries."""
    machine = f"{os.uname().machine}-linux-gnu"
    paths = [f"{root}/usr/lib/{machine}", f"{root}/lib/{machine}", os.environ.get("LD_LIBRARY_PATH", "")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(filter(None, paths))}
