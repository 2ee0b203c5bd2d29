"""What the measures share: C programs built once, scripts that run where BCC is."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

from ..compiler import cache_folder
from ..errors import LabError
from ..lab import Lab

HERE = Path(__file__).parent


def c_program(name: str) -> str:
    """Path of a C program of this folder, built against libbpf with -O2; kept in the cache."""
    source = HERE / name
    out = cache_folder() / f"bench-{source.stem}-{hashlib.sha256(source.read_bytes()).hexdigest()[:12]}"
    if not out.exists():
        done = subprocess.run(["gcc", "-O2", "-o", str(out), str(source), "-lbpf"], capture_output=True, text=True)
        if done.returncode:
            raise LabError(f"{name} does not build: {done.stderr.strip()[-500:]}; run ./lab up, which installs gcc and libbpf-dev")
    return str(out)


def seconds(lab: Lab, command: list[str]) -> list[float]:
    """Run a program that prints seconds, on the lab machine."""
    return [float(word) for word in lab.sh(command, timeout=300).stdout.split()]


def bcc_script(lab: Lab, name: str, *arguments: str) -> list[float]:
    """As `seconds`, for a Python script of this folder that uses Debian's BCC.

    It runs under the notebook's Python, so that both sides have the same pandas.
    """
    words = [sys.executable, "-W", "ignore", str(HERE / name), *arguments]
    headers = lab.ask("bcc.headers")
    if not headers["own"]:  # BCC looks for headers of the running kernel; these figures need no field of a struct
        words = ["unshare", "-m", "sh", "-c", _PRETEND, headers["path"], headers["running"], *words]
    return seconds(lab, words)


_PRETEND = """
build=$(realpath "$0") source=$(realpath "$(dirname "$0")/source")
mount -t tmpfs none /lib/modules && mkdir "/lib/modules/$1" && cd "/lib/modules/$1"
ln -s "$build" build && ln -s "$source" source && shift && exec "$@"
"""
