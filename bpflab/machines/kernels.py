"""Debian's kernels for virtual machines, and the programs around them: fetched into a cache, never installed."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..compiler import write_whole
from ..errors import LabError, NotSupportedError, UnknownNameError
from . import debian, initramfs

DEFAULT = "6.12"
OFFERED = ("6.1", "6.12", "7")
_SID = "7"  # the newest of this series, which only sid has
_SPACE = 1500 << 20  # bytes that unpacking takes for a while
_BUILD = 5  # of what is kept: another one makes everything anew
_DRIVERS = {"net", "block", "char", "virtio", "vhost"}
_ARCHES = {"x86_64": "amd64"}


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache.

    Attributes
    ----------
    version : str
        As it was asked for, "6.12".
    release : str
        As uname says it, "6.12.117+deb12-amd64".
    folder : pathlib.Path
        With `vmlinux` and `root`: modules and headers, as a layer over a root filesystem.
    """

    version: str
    release: str
    folder: Path

    @property
    def vmlinux(self) -> Path:
        return self.folder / "vmlinux"

    @property
    def initramfs(self) -> Path:
        """Its initramfs, made when our part of it has changed."""
        identity = repr((initramfs.INIT, initramfs.MODULES)).encode()
        path = self.folder / f"initramfs-{hashlib.sha256(identity).hexdigest()[:16]}"
        if not path.exists():
            for old in self.folder.glob("initramfs*"):
                old.unlink()
            archive = initramfs.build(tools() / "usr/bin/busybox", self.root / "usr/lib/modules" / self.release)
            write_whole(path, archive)
        return path

    @property
    def root(self) -> Path:
        return self.folder / "root"


def _place(version: str) -> Path:
    return debian.folder() / "kernels" / version


def kept(version: str) -> Kernel | None:
    """The kernel of that version in the cache, or None."""
    folder = _place(version)
    try:
        build, release = (folder / "release").read_text().split()
    except (OSError, ValueError):
        return None
    return Kernel(version, release, folder) if build == str(_BUILD) else None


def check(version: str) -> None:
    """Refuse what cannot be a kernel's version: it becomes the name of files."""
    if version != _SID and not re.fullmatch(r"\d+\.\d+", version):
        raise UnknownNameError("kernel", version, OFFERED)


def get(version: str, say: Callable[[str], None]) -> Kernel:
    """A kernel from the cache, fetched when it is not there yet.

    Parameters
    ----------
    version : str
        "6.12", or "7" for the newest of sid.
    say : callable
        Is told what takes time.

    Raises
    ------
    UnknownNameError
        Debian has no such kernel.
    LabError
        No network, no space.
    """
    check(version)
    found = kept(version)
    if found:
        return found
    with debian.locked(f"kernel-{version}"):
        return kept(version) or _fetch(version, say)


def tools() -> Path:
    """A layer with what a guest needs and this computer may lack: an ssh server, busybox, kmod."""
    root = debian.folder() / "tools"
    with debian.locked("tools"):
        if not (root / "usr/bin/busybox").exists():
            debian.update()
            debian.unpack(["dropbear-bin", "busybox-static", "kmod"], root)
            _merge_usr(root)
    return root


def _merge_usr(root: Path) -> None:
    """Move /lib, /bin, /sbin into /usr, where Debian has them: as folders they would hide this computer's own links."""
    for name in ("lib", "bin", "sbin", "lib64"):
        place = root / name
        if place.is_dir() and not place.is_symlink():
            shutil.copytree(place, root / "usr" / name, symlinks=True, dirs_exist_ok=True)
            shutil.rmtree(place)


def _natural(text: str) -> list:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text)]


def _fetch(version: str, say: Callable[[str], None]) -> Kernel:
    arch = _ARCHES.get(os.uname().machine)
    if not arch:
        raise NotSupportedError("a virtual machine", os.uname().machine, "only x86-64 has been tried", remedy="use bl.Lab('vagrant')")
    if shutil.disk_usage(debian.folder()).free < _SPACE:
        raise LabError(
            f"a kernel takes {_SPACE >> 20} MB while it is unpacked, and {debian.folder()} has less; "
            "make room, or name another folder: XDG_CACHE_HOME"
        )
    sid = version == _SID
    say(f"fetching Linux {version} from Debian{' sid' if sid else ''}, once: about 100 MB")
    debian.update(sid)
    found = debian.names(rf"linux-image-{re.escape(version)}\.[\d.+a-z-]+?-{arch}", sid)
    releases = {n.removeprefix("linux-image-") for n in found if not re.search(r"-(cloud|rt|unsigned)", n)}
    if not releases:
        raise UnknownNameError("kernel", version, OFFERED, "Debian sid" if sid else "Debian 12 and its backports")
    release = max(releases, key=_natural)
    folder = _place(version)
    folder.mkdir(parents=True, exist_ok=True)
    common = re.sub(rf"-{arch}$", "", release)
    kbuild = [f"linux-kbuild-{name}" for name in (common, version)]
    kbuild = [name for name in kbuild if debian.names(re.escape(name), sid)][:1]
    # since Linux 7 Debian has the kernel and its modules in packages of their own
    parts = debian.names(rf"linux-(modules|binary|binary-unsigned)-{re.escape(release)}", sid)
    packages = [f"linux-image-{release}", *parts, f"linux-headers-{release}", f"linux-headers-{common}-common", *kbuild]
    debian.unpack(packages, folder / "root", needs=False, sid=sid)
    _merge_usr(folder / "root")
    _thin(folder / "root/usr/lib/modules" / release / "kernel")
    _index(folder / "root", release)
    root, modules = folder / "root", folder / "root/usr/lib/modules" / release
    image = next(path for path in (root / f"boot/vmlinuz-{release}", modules / "vmlinuz") if path.exists())
    (folder / "vmlinux").write_bytes(vmlinux(image))
    image.unlink()
    shutil.rmtree(root / "boot", ignore_errors=True)
    (folder / "release").write_text(f"{_BUILD} {release}\n")
    return Kernel(version, release, folder)


def _thin(modules: Path) -> None:
    """Remove what only real hardware has: three quarters of the modules."""
    for folder in ("sound", *(f"drivers/{p.name}" for p in (modules / "drivers").iterdir() if p.name not in _DRIVERS)):
        shutil.rmtree(modules / folder, ignore_errors=True)
    for folder in ("ethernet", "wireless", "usb"):
        shutil.rmtree(modules / "drivers/net" / folder, ignore_errors=True)


def _index(root: Path, release: str) -> None:
    """modules.dep and the like, which Debian makes at installation: without them nothing is loaded by name."""
    layer = tools()
    modules = root / "usr/lib/modules"
    # depmod looks below /lib
    (root / "lib").symlink_to("usr/lib")
    try:
        subprocess.run(
            ["depmod", "-b", root, release],  # kmod does what it is called
            executable=layer / "usr/bin/kmod",
            check=True,
            capture_output=True,
            env=debian.environment(layer),
        )
    except subprocess.CalledProcessError as error:
        raise LabError(f"the modules in {modules} cannot be indexed: {error.stderr.decode().strip()}; remove the folder and try again") from None
    finally:
        (root / "lib").unlink()


def vmlinux(image: Path) -> bytes:
    """The kernel inside a bzImage (Documentation/arch/x86/boot.rst): in an emulated guest unpacking it takes seconds."""
    import lzma

    data = image.read_bytes()
    start = (data[0x1F1] + 1) * 512
    offset, length = struct.unpack_from("<II", data, 0x248)  # payload_offset, payload_length
    payload = data[start + offset : start + offset + length]
    if payload[:6] == b"\xfd7zXZ\0":
        return lzma.LZMADecompressor().decompress(payload)
    if payload[:4] == b"\x28\xb5\x2f\xfd" and shutil.which("zstd"):
        done = subprocess.run(["zstd", "-dcq"], input=payload[:-4], capture_output=True)
        if done.returncode == 0:
            return done.stdout
    return data  # QEMU takes it as it is, and the guest unpacks it
