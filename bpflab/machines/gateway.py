"""The pipe to an agent: execnet starts a Python on the lab machine, and this sends bpflab.agent over.

Nothing is installed on the far side. Code objects travel where both Pythons
are of one version, source text otherwise.
"""

from __future__ import annotations

import importlib.util
import marshal
from importlib.machinery import SourceFileLoader
from pathlib import Path

import execnet

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


def _parts(same: bool) -> dict[str, bytes]:
    parts = {}
    for path in sorted(_FOLDER.glob("*.py")):
        name = PACKAGE if path.stem == "__init__" else f"{PACKAGE}.{path.stem}"
        if same:  # get_code reads and keeps __pycache__, so nothing is compiled twice
            parts[name] = marshal.dumps(SourceFileLoader(name, str(path)).get_code(name))
        else:
            parts[name] = path.read_bytes()
    return parts


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
    channel = group.makegateway(spec).remote_exec(_BOOTSTRAP)
    same = channel.receive() == importlib.util.MAGIC_NUMBER
    channel.send((same, _parts(same), hello))
    return group, channel
