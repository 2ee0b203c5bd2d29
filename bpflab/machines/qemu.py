"""QEMU's command line, and which QEMU and accelerator to use."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from ..errors import LabError
from . import debian, running
from .kernels import Kernel

ACCEL = "BPFLAB_ACCEL"
STEADY = 10  # first release whose emulation never panicked a guest with two CPUs; 7.2 did in 3 of 8 runs
# An Intel CPU of 2006 with a random number instruction: a guest on "max" needs half as much time again to boot.
CPUS = {"tcg": "qemu64,+rdrand,+rdseed", "kvm": "host"}


def program(say: Callable[[str], None]) -> tuple[str, dict[str, str], list[str]]:
    """The QEMU to use: this computer's own when it is new enough, else Debian's, unpacked into the cache.

    Returns
    -------
    path, environment, options
    """
    own = shutil.which("qemu-system-x86_64")
    if own and _release(own) >= STEADY:
        return own, dict(os.environ), []
    root = debian.folder() / "qemu"
    path = root / "usr/bin/qemu-system-x86_64"
    with debian.locked("qemu"):
        if not path.exists():
            say("fetching QEMU from Debian, once: about 30 MB")
            try:
                debian.update()
                debian.unpack(["qemu-system-x86"], root, release=debian.BACKPORTS)
            except LabError as error:
                here = "an older QEMU only" if own else "no QEMU"
                raise LabError(f"there is {here} on this computer (it takes {STEADY} or newer), and {error}") from None
    environment = debian.environment(root)
    environment["QEMU_MODULE_DIR"] = f"{root}/usr/lib/{os.uname().machine}-linux-gnu/qemu"
    return str(path), environment, ["-L", f"{root}/usr/share/qemu", "-L", f"{root}/usr/share/seabios"]


def _release(path: str) -> int:
    said = subprocess.run([path, "--version"], capture_output=True, text=True).stdout
    match = re.search(r"version (\d+)", said)
    return int(match[1]) if match else 0


def accelerators() -> list[str]:
    """What to try, in this order: what BPFLAB_ACCEL says, what worked before, else KVM where it opens, then emulation."""
    wanted = os.environ.get(ACCEL)
    if wanted:
        if wanted not in CPUS:
            raise LabError(f"{ACCEL} is '{wanted}'; it may be kvm or tcg")
        return [wanted]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return ["tcg"]
    known = _remembered()
    return [known] if known else ["kvm", "tcg"]


def _memory() -> Path:
    return debian.folder() / "accelerator"


def _identity() -> str:
    """This computer and its kernel: another one may have another KVM."""
    return f"{platform.node()} {os.uname().release}"


def _remembered() -> str | None:
    try:
        accelerator, _, identity = _memory().read_text().strip().partition(" ")
    except OSError:
        return None
    return accelerator if identity == _identity() and accelerator in CPUS else None


def remember(accelerator: str) -> None:
    """A guest booted with it."""
    if not os.environ.get(ACCEL):
        _memory().write_text(f"{accelerator} {_identity()}\n")


def command(
    path: str, options: list[str], kernel: Kernel, tools: Path, keys: Path, name: str, port: int, accelerator: str
) -> list[str]:
    """The words that start a guest; its console is standard output."""
    cpus = min(4, max(2, len(os.sched_getaffinity(0))))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    words = {
        # quiet: a line on the serial console takes milliseconds
        "": "console=ttyS0 quiet loglevel=4 panic=-1 oops=panic",
        "an emulated guest has no use for them": "mitigations=off nokaslr cryptomgr.notests",
        "its clock is as steady as this computer's": "tsc=reliable no_timer_check",
        "keys need random numbers at once": "random.trust_cpu=on",
        "detaching waits for grace periods": "rcupdate.rcu_expedited=1",
        "BPF programs may be security modules": "lsm=bpf",
        "for the script in initramfs.py": f"bpflab.keys={keys} bpflab.name={name} bpflab.shared={running.shared()}",
    }
    shares = {"root": "/", "kernel": kernel.root, "tools": tools}
    return [
        *(path, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", *options),
        *("-accel", "tcg,thread=multi" if accelerator == "tcg" else accelerator),
        *("-cpu", CPUS[accelerator], "-smp", str(cpus), "-m", str(min(2048, max(512, total // 4)))),
        *("-kernel", str(kernel.vmlinux), "-initrd", str(kernel.initramfs), "-append", " ".join(words.values())),
        *("-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"),
        # the guest sees no network but its own end of the one connection
        *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net,romfile="),
        # shares of their own, since an overlay's layers may not lie in one another
        *(word for tag, place in shares.items() for word in ("-virtfs", f"{_share(tag, place)},readonly=on")),
        *("-virtfs", _share("shared", running.shared())),
    ]


def _share(tag: str, folder) -> str:
    path = str(folder).replace(",", ",,")
    return f"local,path={path},mount_tag={tag},security_model=none,multidevs=remap"
