"""Programs to trace, built on this machine and kept by content."""

import contextlib
import os
import shutil
import subprocess
import tempfile

from . import ownership

_FOLDERS = ("/var/cache/bpflab/workloads", "/run/bpflab/workloads")
_OWN = ("/var/cache/bpflab",)  # ours alone; in /run/bpflab are the records of labs


def _folder():
    """Where what is built is kept: a folder that only root writes to, since we run what is in it."""
    for folder in _FOLDERS:
        try:
            os.makedirs(folder, mode=0o755, exist_ok=True)
            stat = os.stat(folder)
            if stat.st_uid == os.geteuid() and not stat.st_mode & 0o022 and os.access(folder, os.W_OK):
                return folder
        except OSError:
            continue
    return tempfile.mkdtemp(prefix="bpflab-")


def build(identity, file, source, command, strip):
    """Compile a source file, unless that was done before.

    Returns
    -------
    dict
        `path`; or `missing`, the compiler that is not there; or `said`, what the compiler said against it.
    """
    name = identity + ("-stripped" if strip else "")
    path = os.path.join(_folder(), name)
    done = {"path": path, "missing": "", "said": ""}
    if os.path.exists(path):
        return done
    environment = ownership.environment()
    compiler = shutil.which(command[0], path=environment["PATH"] + ":/usr/local/go/bin:/usr/lib/go/bin")
    if not compiler:
        return {**done, "missing": command[0]}
    with tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
        out = os.path.join(folder, "out")
        with open(os.path.join(folder, file), "wb") as text:
            text.write(source)
        environment |= {"HOME": folder, "GOCACHE": f"{folder}/cache", "GOFLAGS": "-mod=mod", "GO111MODULE": "off", "CGO_ENABLED": "0"}
        made = subprocess.run([compiler, *command[1:], "-o", out, file], cwd=folder, capture_output=True, text=True, errors="replace", env=environment)
        if made.returncode:
            return {**done, "said": made.stderr or f"it ended with status {made.returncode}"}
        if strip:
            cut = subprocess.run(["strip", "--strip-all", out], capture_output=True, text=True, env=environment)
            if cut.returncode:
                return {**done, "said": cut.stderr}
        # moved whole: another lab may build the same, or run it already
        kept = f"{path}.{os.getpid()}"
        shutil.copy(out, kept)
        os.chmod(kept, 0o755)
        os.replace(kept, path)
    return done


def remove():
    """Delete what was built, except for what runs now.

    Returns
    -------
    tuple of (list of str, list of str)
        What was removed, a line for each folder; what was kept, a path each.
    """
    removed, kept = [], []
    for folder in _FOLDERS:
        try:
            files = [file for file in os.scandir(folder) if file.is_file(follow_symlinks=False)]
        except OSError:
            continue
        runs, size, count = _running(), 0, 0
        for file in files:
            stat = file.stat(follow_symlinks=False)
            if (stat.st_dev, stat.st_ino) in runs:
                kept.append(file.path)
                continue
            os.unlink(file.path)
            size, count = size + stat.st_size, count + 1
        if count:
            removed.append(f"{folder}: {count} {'program' if count == 1 else 'programs'} that labs had built to trace, {size / 1e6:.1f} MB")
        for empty in (folder, *_OWN):
            with contextlib.suppress(OSError):  # something is in it
                os.rmdir(empty)
    return removed, kept


def _running():
    """(device, inode) of what processes execute."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # ended meanwhile, or a kernel thread
            stat = os.stat(f"/proc/{name}/exe")
            found.add((stat.st_dev, stat.st_ino))
    return found
