"""The pipe to an agent: execnet starts a Python on the lab machine, and this sends bpflab.agent over.

Nothing is installed on the far side. Code objects travel where both Pythons
are of one version, source text otherwise.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import importlib.util
import marshal
import subprocess
import tempfile
import threading
from pathlib import Path

import execnet
from execnet import gateway_base, gateway_bootstrap, gateway_io

from ..compiler import cache_folder, write_whole

PACKAGE = "bpflab_agent"
_FOLDER = Path(__file__).parent.parent / "agent"

# Runs on the far side. Small on purpose: it is compiled there at every start.
_BOOTSTRAP = """
import sys, marshal, importlib.machinery, importlib.util

class Loader:
    def code(self, name):
        part = parts[name]
        return marshal.loads(part) if same else compile(part, "<" + name + ">", "exec")
    def find_spec(self, name, path=None, target=None):
        if name in parts:
            return importlib.machinery.ModuleSpec(name, self, is_package="." not in name)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        module.__loader__ = self
        exec(self.code(module.__name__), module.__dict__)

channel.send(importlib.util.MAGIC_NUMBER)
same, parts, silence = channel.receive()
sys.meta_path.insert(0, Loader())
import bpflab_agent.serve
bpflab_agent.serve.serve(channel, silence, "bpflab_agent")
"""


def _sources() -> dict[str, Path]:
    files = sorted(_FOLDER.glob("*.py"))
    return {PACKAGE if path.stem == "__init__" else f"{PACKAGE}.{path.stem}": path for path in files}


def _compiled() -> dict[str, bytes]:
    """The agent's modules as code, from one file of the cache: at every start of a lab the milliseconds count."""
    sources = _sources()
    stats = [(str(path), stat.st_size, stat.st_mtime_ns) for path in sources.values() for stat in [path.stat()]]
    identity = repr((importlib.util.MAGIC_NUMBER, stats)).encode()
    cached = cache_folder() / f"agent-{hashlib.sha256(identity).hexdigest()[:32]}"
    try:
        return marshal.loads(cached.read_bytes())
    except (OSError, ValueError, EOFError, TypeError):
        pass  # not there, or damaged: make it anew
    parts = {name: marshal.dumps(compile(path.read_bytes(), str(path), "exec")) for name, path in sources.items()}
    with contextlib.suppress(OSError):
        for old in cached.parent.glob("agent-*"):
            old.unlink()
        write_whole(cached, marshal.dumps(parts))
    return parts


def _parts(same: bool) -> dict[str, bytes]:
    return _compiled() if same else {name: path.read_bytes() for name, path in _sources().items()}


# what a Python on the lab machine has to run (`-c`) to be an end of execnet's pipe
LINE = gateway_io.popen_bootstrapline
PATIENCE = 60  # seconds until an agent that does not answer is given up
SILENCE = 60  # seconds without a word after which an agent on another machine ends: its notebook cannot be reached
SAID = 4000  # bytes of standard error that are worth telling


class Pipe(gateway_io.Popen2IOMaster):
    """The process at this end of the pipe: the agent itself, or the ssh that leads to it.

    Parameters
    ----------
    command : list of str
    far : bool
        It leads to another machine: what it says on standard error is kept, and an interrupt of the notebook does not
        reach it.
    """

    def __init__(self, command: list[str], execmodel, far: bool):
        self._said = ""
        self._file = tempfile.TemporaryFile() if far else None  # a pipe would need a thread that empties it
        self.popen = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._file, start_new_session=far
        )
        gateway_base.Popen2IO.__init__(self, self.popen.stdin, self.popen.stdout, execmodel=execmodel)

    def end(self) -> tuple[int, str]:
        """Wait for its end, not long: it has closed its side.

        Returns
        -------
        int, str
            Its status, and what it said on standard error.
        """
        try:
            self.popen.wait(5)
        except subprocess.TimeoutExpired:
            self.popen.kill()
        status = self.popen.wait()
        if self._file:
            self._file.seek(0, 2)
            self._file.seek(max(0, self._file.tell() - SAID))
            self._said = self._file.read().decode(errors="replace").strip()
            self._file.close()
            self._file = None
        return status, self._said


class NotStarted(Exception):
    """The process ended, or was given up, before there was an agent."""

    def __init__(self, status: int, said: str, noise: bool = False):
        self.status = status
        self.said = said
        self.noise = noise  # something else than the agent wrote to its standard output
        super().__init__(said or f"it ended with status {status}")


def open_agent(command: list[str], far: bool = False):
    """Start an agent.

    Parameters
    ----------
    command : list of str
        Starts a Python that runs `LINE`.
    far : bool
        See `Pipe`.

    Returns
    -------
    group, channel, pipe
        The channel speaks the protocol of `bpflab.agent.serve`; its first message describes the machine.

    Raises
    ------
    NotStarted
    OSError
        The command itself cannot be run.
    """
    group = execnet.Group()  # one each: ending it ends and awaits this agent only
    atexit.unregister(group._cleanup_atexit)  # it would end the agent at the exit of a forked child; Lab closes its own
    spec = execnet.XSpec("popen//python=agent")
    group.allocate_id(spec)
    spec.execmodel = group.remote_execmodel.backend
    pipe = Pipe(command, group.execmodel, far)
    late = threading.Timer(PATIENCE, pipe.kill)
    late.daemon = True
    if far:
        late.start()
    try:
        gateway = gateway_bootstrap.bootstrap(pipe, spec)
        group._register(gateway)  # as makegateway does, which cannot be given a pipe
        channel = gateway.remote_exec(_BOOTSTRAP)
        same = channel.receive() == importlib.util.MAGIC_NUMBER
        channel.send((same, _parts(same), SILENCE if far else None))
        return group, channel, pipe
    except (EOFError, OSError, AssertionError) as error:
        with contextlib.suppress(OSError):
            pipe.close_write()
        raise NotStarted(*pipe.end(), noise=isinstance(error, AssertionError)) from None
    except BaseException:
        pipe.kill()
        raise
    finally:
        late.cancel()
