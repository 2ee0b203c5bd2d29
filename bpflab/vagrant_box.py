"""`./lab vagrant box`: a Vagrant box for libvirt and QEMU, made of Debian packages.

mmdebstrap makes the file system, as root or in a user namespace; mke2fs puts it into an image, grub-mkimage makes it
boot. No virtual machine runs and nothing is mounted, so that it works wherever Debian's tools do.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shlex
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path

from . import setup_steps
from .errors import LabError, NotSupportedError
from .machines import debian

TREE = Path(__file__).resolve().parent.parent
TOOLS = {  # command -> Debian's package
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "findmnt": "util-linux",
    "qemu-img": "qemu-utils",
}
SIZE = 16  # GiB; the image takes only what is in it
FIRST = 2048  # sector of the file system, after GRUB
MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"
SUITES = ((MIRROR, "bookworm"), (MIRROR, "bookworm-updates"), (SECURITY, "bookworm-security"))
# What makes a machine of it, beside what labs need (setup_steps.RUN_PACKAGES). The kernel is the one for virtual
# machines: its initramfs is small, and emulated it boots in a third of the time.
SYSTEM = (
    "ca-certificates",
    "dbus",
    "grub-pc-bin",
    "initramfs-tools",
    "iputils-ping",
    "kmod",
    "less",
    "linux-headers-cloud-amd64",
    "linux-image-cloud-amd64",
    "nano",
    "openssh-server",
    "procps",
    "rsync",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
    "zstd",
)
# The key that Vagrant knows the private half of; it puts one of its own in its place at the first `vagrant up`.
INSECURE_KEY = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAQEA6NF8iallvQVp22WDkTkyrtvp9eWW6A8YVr+kz4TjGYe7gHzIw+niNltGEFHzD8+v1I2YJ6oXevct1Ye"
    "S0o9HZyN1Q9qgCgzUFtdOKLv6IedplqoPkcmF0aYet2PkEDo3MlTBckFXPITAMzF8dJSIFo9D8HfdOV0IAdx4O7PtixWKn5y2hMNG0zQPyUecp4pzC6k"
    "ivAIhyfHilFR61RGL+GPXQ2MWZWFYbAGjyiYJnAmCP3NOTd0jMZEnDkbUvxhMmBYSdETk1rRgm+R4LOzFUGaHqHDLKLX+FIPKcF96hrucXzcWyLbIbEg"
    "E98OHlnVYCzRdK8jlqm8tehUc9c9WhQ== vagrant insecure public key\n"
)
_SSHD = """\
UseDNS no
HostKey /etc/ssh/ssh_host_ed25519_key
HostKey /etc/ssh/ssh_host_ecdsa_key
PasswordAuthentication no
"""
# Keys of its own for each machine, not one for all that are made of the box.
_HOST_KEYS = """\
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'for t in ed25519 ecdsa; do f=/etc/ssh/ssh_host_$${t}_key; [ -s $$f ] || ssh-keygen -q -t $$t -N "" -f $$f; done'
ExecStartPre=/usr/sbin/sshd -t
"""
_FILES = {
    "/etc/hostname": "bpflab\n",
    "/etc/hosts": "127.0.0.1 localhost\n127.0.1.1 bpflab\n::1 localhost\n",
    "/etc/fstab": "LABEL=bpflab / ext4 noatime,errors=remount-ro 0 0\n",
    "/etc/systemd/network/20-wired.network": "[Match]\nName=en* eth*\n[Network]\nDHCP=ipv4\n[DHCPv4]\nUseDomains=yes\n",
    "/etc/sudoers.d/vagrant": "vagrant ALL=(ALL) NOPASSWD: ALL\n",
    "/etc/ssh/sshd_config.d/bpflab.conf": _SSHD,
    "/etc/systemd/system/ssh.service.d/keys.conf": _HOST_KEYS,
    "/etc/default/locale": "LANG=C.UTF-8\n",
    "/etc/systemd/system.conf.d/bpflab.conf": "[Manager]\nDefaultTimeoutStopSec=15s\n",
    "/etc/apt/apt.conf.d/80bpflab": 'APT::Periodic::Enable "0";\n',
    "/etc/apt/sources.list": "".join(f"deb {address} {suite} main\n" for address, suite in SUITES),
    "/home/vagrant/.ssh/authorized_keys": INSECURE_KEY,
    "/boot/grub/grub.cfg": """\
set root='(hd0,msdos1)'
linux /vmlinuz root=LABEL=bpflab ro quiet net.ifnames=0 console=ttyS0 lsm=landlock,lockdown,yama,integrity,apparmor,bpf
initrd /initrd.img
boot
""",
}
# One after the other, each in the new system's root but for what says "$1".
_STEPS = """\
chroot "$1" systemctl --quiet enable systemd-networkd.service ssh.service
chroot "$1" systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service man-db.timer systemd-networkd-wait-online.service
chroot "$1" useradd --create-home --shell /bin/bash vagrant
"""
_END = """\
chroot "$1" chown -R vagrant:vagrant /home/vagrant
chroot "$1" chmod 700 /home/vagrant/.ssh
chroot "$1" chmod 600 /home/vagrant/.ssh/authorized_keys
chmod 440 "$1/etc/sudoers.d/vagrant"
ln -sf /run/systemd/resolve/resolv.conf "$1/etc/resolv.conf"
rm -f "$1"/etc/ssh/ssh_host_* "$1"/var/lib/apt/lists/*_* "$1"/var/cache/apt/*.bin "$1"/var/log/*.log "$1"/var/log/apt/*
: >"$1/etc/machine-id"
chroot "$1" grub-mkimage -O i386-pc -o /boot/grub/core.img -p "(hd0,msdos1)/boot/grub" biosdisk part_msdos ext2 normal linux
"""
# mmdebstrap has /proc, /sys and parts of /dev mounted meanwhile; they are not for the image. What is mounted below them
# goes with them, and in a user namespace only so.
_IMAGE = """\
unshare --mount sh -eu -c '
findmnt --raw --noheadings --output TARGET | grep "^$1/" | sort | while read -r place; do umount --lazy "$place" 2>/dev/null || :; done
mke2fs -q -F -t ext4 -L bpflab -m 1 -E lazy_itable_init=1,nodiscard -d "$1" {image}
' sh "$1"
"""
_VAGRANTFILE = """\
Vagrant.configure("2") do |config|
  config.vm.provider "libvirt" do |vm|
    vm.disk_bus = "virtio"
  end
end
"""
Say = Callable[[str], None]


def packages() -> list[str]:
    """Everything that is in a box, but for what these depend on."""
    return sorted({*SYSTEM, *setup_steps.RUN_PACKAGES})


def recipe() -> str:
    """What a box is made of, as a short text that changes with it."""
    parts = [Path(__file__).read_bytes(), (TREE / "vagrant" / "provision.sh").read_bytes(), repr(packages()).encode()]
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


def kept() -> Path:
    """Where the box of this recipe is kept when it is not asked for under another name."""
    return debian.folder().parent / "vagrant" / f"bpflab-{recipe()}.box"


def get(say: Say) -> Path:
    """The box of this recipe, built when it is not there yet; those of other recipes go."""
    path = kept()
    path.parent.mkdir(parents=True, exist_ok=True)
    with debian.locked("vagrant-box"):
        if not path.exists():
            build(path, say)
            for old in path.parent.glob("bpflab-*.box"):
                if old != path:
                    old.unlink()
    return path


def build(path: Path, say: Say) -> None:
    """Build a box.

    Parameters
    ----------
    path : pathlib.Path
        The file to write. It is there whole, or not at all.
    say : callable
        Is told what is being done.

    Raises
    ------
    NotSupportedError
        This computer is none that the box would be for.
    LabError
        A tool, the network or space is missing.
    """
    _check(path)
    with tempfile.TemporaryDirectory(prefix="bpflab-box-", dir="/var/tmp") as name:
        work = Path(name)
        work.chmod(0o711)  # in a user namespace root is somebody else, who has to come in and write the image
        image = work / "image"
        with open(image, "wb") as file:
            file.truncate((SIZE << 30) - FIRST * 512)
        image.chmod(0o666)
        say("unpacking Debian 12 and what labs need (some minutes)")
        _debootstrap(work)
        say("making the disk")
        _disk(work)
        say("packing the box")
        part = path.with_name(path.name + ".part")
        try:
            _pack(work, part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def _check(path: Path) -> None:
    machine = platform.machine()
    if machine != "x86_64":
        raise NotSupportedError(
            "building a box", machine, "only x86-64 has been tried", remedy="use a Debian 12 box from elsewhere: BPFLAB_BOX=NAME vagrant up"
        )
    if missing := [package for command, package in TOOLS.items() if not shutil.which(command, path=_path())]:
        raise LabError(f"building a box takes tools that this computer lacks; install them: apt install {' '.join(missing)}")
    if not path.parent.is_dir():
        raise LabError(f"there is no folder {path.parent} for the box; make it first")
    for place, wanted in (("/var/tmp", 5), (path.parent, 2)):
        free = shutil.disk_usage(place).free / 1e9
        if free < wanted:
            raise LabError(f"not enough room for a box: {place} has {free:.1f} GB left, and it takes {wanted}; make room there")


def _path() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


def _debootstrap(work: Path) -> None:
    """The file system, written into the image; GRUB's two parts beside it."""
    for name in ("boot.img", "core.img", "files.tar", "provision.sh"):
        (work / name).touch()
        (work / name).chmod(0o666)
    _files(work / "files.tar")
    shutil.copy(TREE / "vagrant" / "provision.sh", work / "provision.sh")
    bake = f'chroot "$1" sh -s -- --bake {shlex.join(setup_steps.RUN_PACKAGES)} <{work}/provision.sh'
    steps = [
        _STEPS,
        bake,
        f'tar -C "$1" -xf {work}/files.tar',
        _END,
        f'cat "$1/usr/lib/grub/i386-pc/boot.img" >{work}/boot.img; mv "$1/boot/grub/core.img" "$1/core.img"; '
        f'cat "$1/core.img" >{work}/core.img; rm "$1/core.img"',
        _IMAGE.format(image=work / "image"),
    ]
    mirror = os.environ.get(debian.MIRROR, MIRROR).rstrip("/")
    security = f"{mirror.removesuffix('/debian')}/debian-security"
    sources = [f"deb {mirror if address == MIRROR else security} {suite} main" for address, suite in SUITES]
    command = [
        *("mmdebstrap", "--variant=minbase", "--format=null", f"--include={','.join(packages())}"),
        *("--aptopt=Acquire::Retries 2", "--aptopt=APT::Install-Recommends false"),
        *("--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-include=/usr/share/doc/*/copyright"),
        *("--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=force-unsafe-io"),
        *(f"--customize-hook=set -eu\n{step}" for step in steps),
        *("bookworm", "-", *sources),
    ]
    _run(command, "Debian cannot be unpacked", TMPDIR="/var/tmp")


def _files(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        for name, text in _FILES.items():
            info = tarfile.TarInfo(name.lstrip("/"))
            info.size, info.mode = len(text.encode()), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))


def _run(command: list[str], what: str, **environment: str) -> None:
    env = {**os.environ, "LC_ALL": "C.UTF-8", "PATH": _path(), **environment}
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        # mmdebstrap ends with a hook's whole text, which would hide what the hook said
        said = [line for line in said if not line.startswith(("I: ", "E: mmdebstrap failed"))]
        cut = next((at for at, line in enumerate(said) if at and "E: command failed" in line), len(said))
        raise LabError(f"{what}: {'; '.join(said[:cut][-4:]) or 'no reason given'}; is the network there? {debian.MIRROR} names another mirror")


def _disk(work: Path) -> None:
    """GRUB, a partition table and the file system in one image, the holes left out."""
    with open(work / "disk", "wb") as disk:
        boot = bytearray((work / "boot.img").read_bytes()[:440].ljust(510, b"\0"))
        # one active partition of type 83 (Linux); the old cylinders and heads say "see the sector numbers"
        boot[446:462] = b"\x80\xfe\xff\xff\x83\xfe\xff\xff" + FIRST.to_bytes(4, "little") + ((SIZE << 21) - FIRST).to_bytes(4, "little")
        core = (work / "core.img").read_bytes()
        if len(core) > (FIRST - 1) * 512:
            raise LabError(f"GRUB takes {len(core)} bytes, more than there are before the file system")
        disk.write(boot + b"\x55\xaa" + core)
        disk.truncate(SIZE << 30)
        with open(work / "image", "rb") as image:
            _copy_data(image.fileno(), disk.fileno(), FIRST * 512)
    (work / "image").unlink()
    _run(
        ["qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "-o", "compression_type=zstd", "-W", f"{work}/disk", f"{work}/box.img"],
        "the disk cannot be compressed",
    )
    (work / "disk").unlink()


def _copy_data(source: int, target: int, offset: int) -> None:
    """Copy what a sparse file has, and no holes."""
    at, end = 0, os.fstat(source).st_size
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError:  # ENXIO: nothing but a hole until the end
            return
        stop = os.lseek(source, at, os.SEEK_HOLE)
        os.lseek(target, offset + at, os.SEEK_SET)
        while at < stop:
            at += os.sendfile(target, source, at, min(stop - at, 64 << 20))


def _pack(work: Path, path: Path) -> None:
    about = {"provider": "libvirt", "format": "qcow2", "virtual_size": SIZE, "architecture": "amd64"}
    with tarfile.open(path, "w") as tar:  # the image is compressed already
        for name, text in (("metadata.json", json.dumps(about)), ("Vagrantfile", _VAGRANTFILE)):
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(text), 0o644
            tar.addfile(info, io.BytesIO(text.encode()))
        tar.add(work / "box.img", "box.img")

