"""`./lab vagrant`: what a Vagrant machine is made from. Vagrant itself starts and ends it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from . import vagrant_box
from .errors import LabError


def main(options: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    path: Path = options.file.resolve()
    if path.is_dir():
        path /= "bpflab.box"
    if path.exists():
        raise LabError(f"{path} exists already; remove it, or give another name")
    began = time.monotonic()
    vagrant_box.build(path, lambda text: print(text, flush=True))
    print(
        f"{path} is there after {time.monotonic() - began:.0f} s, {path.stat().st_size / 1e6:.0f} MB, for libvirt and QEMU on x86-64. Use it:\n"
        f"  BPFLAB_BOX={path} vagrant up\n"
        "For another provider: docs/vagrant.md, \"A box of one's own\"."
    )
    return 0
