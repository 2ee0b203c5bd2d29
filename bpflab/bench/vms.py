"""How long until a virtual machine can be used, from nothing and when it runs already."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator

from ..lab import Lab
from ..machines import kernels, qemu, vm
from . import Measure, say

COLD_S, WARM_S = 15.0, 4.0
ROUNDS = 3


@contextlib.contextmanager
def own() -> Iterator[str]:
    """Machines that no other lab uses, since they are ended here; the version to use.

    What they need is fetched before, so that no figure holds a download.
    """
    version = vm.version_of("vm")
    kernels.get(version, say)
    kernels.tools()
    qemu.program(say)
    before = os.environ.get("XDG_RUNTIME_DIR")
    with tempfile.TemporaryDirectory(prefix="bpflab-bench-") as folder:
        os.environ["XDG_RUNTIME_DIR"] = folder
        try:
            yield version
        finally:
            end(version)
            if before is None:
                del os.environ["XDG_RUNTIME_DIR"]
            else:
                os.environ["XDG_RUNTIME_DIR"] = before


def end(version: str) -> None:
    """End a machine and wait for it."""
    held = vm.ready(version, say, start=False)
    if held is None:
        return
    held.say("down")
    for _ in range(2):  # its last words, then the end of its keeper
        held.why_lost(20.0)
    held.close(word="")


@contextlib.contextmanager
def lab(version: str) -> Iterator[tuple[Lab, dict]]:
    """A lab, and where ssh finds its machine."""
    with Lab(f"vm:{version}", quiet=True) as found:
        held = vm.ready(version, say)
        try:
            yield found, held.address
        finally:
            held.close()


def _cold() -> Iterator[tuple[float, float, int, str]]:
    with own() as version:
        for _ in range(ROUNDS):
            end(version)
            start = time.perf_counter()
            with lab(version) as (_, address):
                taken = time.perf_counter() - start
            yield taken, COLD_S, 0, _steps(address["steps"], taken)


def _steps(steps: dict[str, float], taken: float) -> str:
    """The share of each: `keys` counts from the beginning, the others from the start of QEMU, each to its end."""
    steps = dict(steps)
    keys = steps.pop("keys")
    parts, last = {"keys": keys}, 0.0
    for name, until in steps.items():
        parts[name], last = until - last, until
    parts["agent"] = taken - keys - last
    return ", ".join(f"{name} {seconds:.2f} s" for name, seconds in parts.items())


def _warm() -> Iterator[tuple[float, float, int]]:
    with own() as version:
        Lab(f"vm:{version}", quiet=True).close()
        for _ in range(ROUNDS):
            start = time.perf_counter()
            ready = Lab(f"vm:{version}", quiet=True)
            taken = time.perf_counter() - start
            ready.close()
            yield taken, WARM_S, 0


MEASURES = [
    Measure("bl.Lab('vm') ready to load, cold", "limit", 1, _cold),
    Measure("bl.Lab('vm') ready to load, when the VM runs", "limit", 1, _warm),
]
