"""Programs to trace, built on this machine and kept by content."""

import os
import shutil
import subprocess
import tempfile

from . import ownership

_FOLDERS = ("/var/cache/bpflab/workloads", "/run/bpflab/workloads")


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
