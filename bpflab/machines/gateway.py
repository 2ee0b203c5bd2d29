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
from pathlib import Path

import execnet

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
same, parts, hello = channel.receive()
sys.meta_path.insert(0, Loader())
import bpflab_agent.serve
bpflab_agent.serve.serve(channel, hello, "bpflab_agent")
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


def open_agent(spec: str, hello: str = ""):
    """Start an agent.

    Parameters
    ----------
    spec : str
        What execnet takes: "popen//python=...", "ssh=...".

    Returns
    -------
    group, channel
        The channel speaks the protocol of `bpflab.agent.serve`; its first message describes the machine.
    """
    group = execnet.Group()  # one each: ending it ends and awaits this agent only
    atexit.unregister(group._cleanup_atexit)  # it would end the agent at the exit of a forked child; Lab closes its own
    channel = group.makegateway(spec).remote_exec(_BOOTSTRAP)
    same = channel.receive() == importlib.util.MAGIC_NUMBER
    channel.send((same, _parts(same), hello))
    return group, channel
