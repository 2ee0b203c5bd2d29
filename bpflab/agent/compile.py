"""clang on this machine, for notebooks whose own computer has none for BPF."""

import os
import shutil
import subprocess
import tempfile

from . import machine, ownership

_header = []  # this kernel's vmlinux.h, once it was asked for


def _clang():
    return shutil.which("clang", path=ownership.environment()["PATH"])


def identity():
    """What tells this machine's compiler from another; None when there is none."""
    path = _clang()
    if not path:
        return None
    path = os.path.realpath(path)
    stat = os.stat(path)
    return f"{path} {stat.st_size} {stat.st_mtime_ns}"


def compile_c(arguments, file, text):
    """Compile C text that may include this kernel's vmlinux.h.

    Returns
    -------
    int, str, bytes
        clang's status, what it said, and the object.
    """
    if not _header:
        _header.append(machine.vmlinux_h())
    with tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
        with open(f"{folder}/vmlinux.h", "wb") as header:
            header.write(_header[0])
        with open(f"{folder}/{file}", "w") as source:
            source.write(text)
        done = subprocess.run(
            [_clang(), *arguments, "-x", "c", "-c", file, "-o", "out.o"],
            cwd=folder,
            capture_output=True,
            text=True,
            errors="replace",
            env=ownership.environment(),
        )
        data = b""
        if done.returncode == 0:
            with open(f"{folder}/out.o", "rb") as out:
                data = out.read()
        return done.returncode, done.stderr, data
