"""What a virtual machine's kernel starts: an archive with busybox, a few modules and a script of ours.

The script mounts this computer's root filesystem read-only, puts the kernel's modules and headers and an empty layer
for changes over it, and starts an ssh server in there. It writes to one folder of this computer only (`running.shared`).
"""

from __future__ import annotations

import lzma
import re
from pathlib import Path

MODULES = ("virtio_pci", "virtio_net", "9pnet_virtio", "9p", "overlay")  # and what these depend on
READY = "bpflab: ready"

# @MODULES@ is filled in; the paths come with the kernel's command line. `up` times the steps by the guest's clock.
INIT = """#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
at=/proc/uptime
up() { read t rest <$at; echo "bpflab: $1 $t" >/dev/console; }
fail() { echo "bpflab: failed: $1" >/dev/console; $b poweroff -f; }
up init
for word in $($b cat /proc/cmdline); do
  case $word in bpflab.*=*) eval "${word#bpflab.}" ;; esac
done
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for m in @MODULES@; do $b insmod /modules/$m.ko || fail "module $m"; done
$b ip link set lo up
$b ip addr add 10.0.2.15/24 dev eth0
$b ip link set eth0 up
$b hostname "$name"
up modules
for tag in root kernel tools; do
  $b mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 $tag /$tag || fail "the folder '$tag'"
done
$b mount -t tmpfs -o mode=0755 scratch /scratch
$b mkdir /scratch/upper /scratch/work
$b mount -t overlay -o lowerdir=/kernel:/tools:/root,upperdir=/scratch/upper,workdir=/scratch/work root /new ||
  fail "the layers over the root filesystem"
for d in dev proc sys; do $b mount --move /$d /new/$d; done
at=/new/proc/uptime
cd /new
$b mount -t tmpfs -o mode=0755 run run
$b mount -t tmpfs -o mode=1777 tmp tmp
$b mount -t tracefs tracefs sys/kernel/tracing
$b mount -t debugfs debugfs sys/kernel/debug
$b mount -t securityfs securityfs sys/kernel/security
$b mount -t bpf bpf sys/fs/bpf
$b mount -t cgroup2 cgroup2 sys/fs/cgroup
$b mkdir -p dev/pts dev/shm run/guest/.ssh run/lock
$b mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts dev/pts
$b mount -t tmpfs -o mode=1777 shm dev/shm
$b mkdir -p "/new$shared"
$b mount -t 9p -o rw,trans=virtio,version=9p2000.L,msize=512000 shared "/new$shared" || fail "the folder '$shared'"
$b cp /root$keys/guest_host run/guest/host
$b cp /root$keys/lab.pub run/guest/.ssh/authorized_keys
$b chmod -R go= run/guest
$b sed 's#^root:.*#root:x:0:0:root:/run/guest:/bin/bash#' etc/passwd >run/guest/passwd
$b chmod 0711 run/guest
$b chmod 0644 run/guest/passwd
$b mount --bind run/guest/passwd etc/passwd
$b hostname >run/guest/hostname
$b mount --bind run/guest/hostname etc/hostname 2>/dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
up root
$b chroot /new /usr/sbin/dropbear -E -s -j -k -r /run/guest/host -P /run/guest/pid -p 22 2>/dev/null || fail "the ssh server"
up ready
exec $b switch_root -c /dev/console /new /usr/bin/busybox sh -c 'while :; do /usr/bin/busybox sleep 100000; done'
"""


def _archive(entries: list[tuple[str, int, bytes, tuple[int, int]]]) -> bytes:
    """A cpio archive, "newc" (Documentation/driver-api/early-userspace/buffer-format.rst)."""
    out = bytearray()
    for number, (name, mode, data, (major, minor)) in enumerate([*entries, ("TRAILER!!!", 0, b"", (0, 0))], 1):
        path = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(path), 0)
        out += b"070701" + b"".join(b"%08x" % field for field in fields) + path
        out += b"\0" * (-len(out) % 4)
        out += data
        out += b"\0" * (-len(out) % 4)
    return bytes(out)


def module(path: Path) -> bytes:
    """A kernel module's content; Debian compresses them."""
    data = path.read_bytes()
    return lzma.decompress(data) if path.suffix == ".xz" else data


def modules(folder: Path, wanted=MODULES) -> dict[str, bytes]:
    """Modules and what they depend on, in the order in which they can be loaded.

    What is not there as a module is built into the kernel.
    """
    paths = {path.name.partition(".ko")[0].replace("-", "_"): path for path in folder.rglob("*.ko*")}
    found: dict[str, bytes] = {}

    def take(name: str) -> None:
        name = name.replace("-", "_")
        if name in found or name not in paths:
            return
        data = module(paths[name])
        needed = re.search(rb"\0depends=([^\0]*)\0", data)
        for other in filter(None, needed[1].decode().split(",") if needed else ()):
            take(other)
        found[name] = data

    for name in wanted:
        take(name)
    return found


def build(busybox: Path, folder: Path) -> bytes:
    """The archive for a kernel.

    Parameters
    ----------
    busybox : pathlib.Path
        One that needs no libraries.
    folder : pathlib.Path
        The kernel's modules.
    """
    loaded = modules(folder)
    init = INIT.replace("@MODULES@", " ".join(loaded))
    folders = ("bin", "dev", "proc", "sys", "modules", "new", "root", "kernel", "tools", "scratch", "etc")
    return _archive(
        [
            *((name, 0o40755, b"", (0, 0)) for name in folders),
            ("dev/console", 0o20600, b"", (5, 1)),
            ("bin/busybox", 0o100755, busybox.read_bytes(), (0, 0)),
            *((f"modules/{name}.ko", 0o100644, data, (0, 0)) for name, data in loaded.items()),
            ("init", 0o100755, init.encode(), (0, 0)),
        ]
    )
