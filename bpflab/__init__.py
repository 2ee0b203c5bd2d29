"""bpflab: BPF on a real kernel, from a notebook.

    import bpflab as bl
    lab = bl.Lab()
    obj = lab.load("prog.bpf.c")
    obj.programs["count"].attach()
    obj.maps["counts"].to_frame()

What is drawn or judged is imported when it is first used, so that `import bpflab` stays quick.
"""

from __future__ import annotations

import importlib
import sys

from .compiler import CSource
from .errors import (
    BpfError,
    CommandError,
    CompileError,
    LabError,
    MachineLost,
    NotSupportedError,
    ObjectError,
    UnknownNameError,
    VerifierError,
)
from .lab import Lab

_MODULES = ("packet", "plots", "stacks", "testing")
# name -> module that has it
_LAZY = {
    "browse": "widgets",
    "check": "exercise",
    "compare": "comparison",
    "doctor": "diagnosis",
    "explore": "widgets",
    "flamegraph": "widgets",
    "heatmap": "plots",
    "histogram": "plots",
    "live": "widgets",
    "pipeline": "widgets",
    "program_types": "type_table",
    "progress": "exercise",
    "step": "widgets",
}

__all__ = [
    "BpfError",
    "CSource",
    "CommandError",
    "CompileError",
    "Lab",
    "LabError",
    "MachineLost",
    "NotSupportedError",
    "ObjectError",
    "UnknownNameError",
    "VerifierError",
    "browse",
    "check",
    "compare",
    "doctor",
    "explore",
    "flamegraph",
    "heatmap",
    "histogram",
    "live",
    "pipeline",
    "program_types",
    "progress",
    "step",
]


def __getattr__(name: str):
    if name in _MODULES:
        return importlib.import_module(f".{name}", __name__)
    if name in _LAZY:
        return getattr(importlib.import_module(f".{_LAZY[name]}", __name__), name)
    raise AttributeError(f"module 'bpflab' has no attribute '{name}'")


def __dir__():
    return sorted({*globals(), *__all__})


if "IPython" in sys.modules:  # a notebook or an IPython shell, which gets the cell magics
    from .magics import register

    register()
