"""`./lab vm`: virtual machines by hand. Labs start and end them by themselves."""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from .errors import LabError
from .machines import kernels, qemu, running, vm


def main(options: argparse.Namespace) -> int:
    """Do what the command line says; the exit status."""
    options.version = options.version or kernels.DEFAULT
    return _COMMANDS[options.what](options)


def prepare_tests() -> None:
    """Fetch what the tests start, before any of them waits for it."""
    for version in ("6.1", kernels.DEFAULT):
        try:
            kernels.get(version, _say)
            kernels.tools()
            qemu.program(_say)
        except LabError as error:
            print(f"no vm:{version} for the tests: {error}", flush=True)


def _say(text: str) -> None:
    print(text, flush=True)


def _running(version: str) -> vm.Lease:
    held = vm.ready(version, _say, start=False)
    if held is None:
        raise LabError(f"vm:{version} does not run; start it: ./lab vm up {version}")
    return held


def _list(_) -> int:
    for version in kernels.OFFERED:
        kernel = kernels.kept(version)
        where = f"Linux {kernel.release}" if kernel else "not fetched"
        held = vm.ready(version, _say, start=False)
        state = ""
        if held:
            state = f", runs (QEMU is process {held.address['qemu']}, ssh on 127.0.0.1:{held.address['port']})"
            held.close()
        print(f"vm:{version:6} {where}{state}")
    return 0


def _fetch(options) -> int:
    kernel = kernels.get(options.version, _say)
    kernels.tools()
    qemu.program(_say)
    print(f"vm:{options.version} is here: Linux {kernel.release}")
    return 0


def _up(options) -> int:
    began = time.monotonic()
    held = vm.ready(options.version, _say)
    held.say("pin")
    held.close()
    print(f"vm:{options.version} is up after {time.monotonic() - began:.1f} s; ./lab vm down {options.version} ends it")
    print(f"files in {running.shared()} are the same inside and outside; all else that it writes goes with it")
    return 0


def _down(options) -> int:
    held = vm.lease(options.version, start=False)
    if held is None:
        print(f"vm:{options.version} does not run")
        return 0
    held.close("down")
    folder = running.folder() / options.version
    for _ in range(500):  # its keeper removes the folder last of all
        if not folder.exists():
            print(f"vm:{options.version} is down")
            return 0
        time.sleep(0.02)
    raise LabError(f"vm:{options.version} did not end; see {folder}/keeper.log")


def _ssh(options) -> int:
    held = _running(options.version)
    command = vm.ssh_command(held.address)
    if not options.command and sys.stdin.isatty():
        command[command.index("-T")] = "-t"
        command[command.index("-e") + 1] = "~"
    status = subprocess.run([*command, *options.command]).returncode
    held.close()
    return status


def _log(options) -> int:
    place: Path = running.folder() / options.version
    if not (place / "console").exists():
        raise LabError(f"vm:{options.version} does not run, and a machine's console goes with it; ./lab vm up {options.version}")
    with open(place / "console", "rb") as file:
        shutil.copyfileobj(file, sys.stdout.buffer)
    sys.stdout.flush()
    log = place / "keeper.log"
    if os.path.getsize(log):
        print(log.read_text())
    return 0


_COMMANDS = {"list": _list, "fetch": _fetch, "up": _up, "down": _down, "ssh": _ssh, "log": _log}

