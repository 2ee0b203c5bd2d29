"""Virtual machines: what their kernels can do that this computer's may not, how they are shared, and how they end."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

import pytest

import bpflab as bl
from bpflab.machines import debian, kernels, running, vm

HERE = Path(__file__).parent
PROGRAMS = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
u64 kprobes, kretprobes, fentries, fexits, lsms;
int pid_by_core, pid_by_helper;
char name[16];

SEC("kprobe/do_unlinkat") int BPF_KPROBE(on_kprobe, int dfd, struct filename *path)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    pid_by_core = BPF_CORE_READ(task, tgid);
    pid_by_helper = bpf_get_current_pid_tgid() >> 32;
    bpf_probe_read_kernel_str(name, sizeof(name), BPF_CORE_READ(path, name));
    kprobes++;
    return 0;
}
SEC("kretprobe/do_unlinkat") int BPF_KRETPROBE(on_kretprobe, long ret) { kretprobes++; return 0; }
SEC("fentry/do_unlinkat") int BPF_PROG(on_fentry, int dfd, struct filename *path) { fentries++; return 0; }
SEC("fexit/do_unlinkat") int BPF_PROG(on_fexit, int dfd, struct filename *path, long ret) { fexits++; return 0; }
SEC("lsm/path_unlink") int BPF_PROG(on_lsm, const struct path *dir, struct dentry *dentry)
{
    lsms++;
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""
BCC = r"""
#include <linux/sched.h>
BPF_HASH(pids, u32, u32);
int on_unlink(struct pt_regs *ctx)
{
    struct task_struct *task = (void *)bpf_get_current_task();
    u32 by_helper = bpf_get_current_pid_tgid() >> 32, by_field = task->tgid;
    pids.update(&by_helper, &by_field);
    return 0;
}
"""
_objects: list[bytes] = []  # the one object that every kernel gets


class Machine:
    """A machine that is kept up for some tests."""

    def __init__(self, version: str):
        self.name, self.version = f"vm:{version}", version
        self.lease = vm.ready(version, print)

    @property
    def qemu(self) -> int:
        return self.lease.address["qemu"]

    def end(self) -> None:
        self.lease.close("down")
        _until(lambda: not (running.folder() / self.version).exists())


def _until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module", autouse=True)
def own_folder():
    """Beside the machines of other tests."""
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
        patch.setenv("XDG_RUNTIME_DIR", folder)
        yield


@pytest.fixture(scope="module", params=("6.1", "6.12"))
def up(request, own_folder):
    machine = Machine(request.param)
    yield machine
    machine.end()


@pytest.fixture(scope="module")
def guest(up):
    with bl.Lab(up.name, quiet=True) as lab:
        yield lab


# -- what its kernel can do


def test_the_kernel_is_the_one_that_was_asked_for(guest, up):
    assert guest.kernel.startswith(up.version + ".")
    assert guest.sh("uname -n").stdout == f"vm-{up.version}\n"


def test_one_object_delivers_on_every_kernel(guest):
    """kprobe, kretprobe, fentry, fexit and LSM, compiled once; fields are found by CO-RE."""
    if not _objects:
        _objects.append(guest.compile(PROGRAMS, name="unlink"))
    with guest.load(_objects[0]) as obj:
        links = [program.attach() for program in obj.programs.values()]
        done = guest.sh("touch /tmp/here; echo $$; exec rm /tmp/here")
        for link in links:
            link.detach()
        seen = {name: obj.globals[name] for name in ("kprobes", "kretprobes", "fentries", "fexits", "lsms")}
        assert all(seen.values()), seen
        assert obj.globals["pid_by_core"] == obj.globals["pid_by_helper"] == int(done.stdout)
        assert obj.globals["name"] == "/tmp/here"


ACTION = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
u64 acted;
SEC("action") int act(struct __sk_buff *skb) { acted++; return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


def test_an_action_of_traffic_control_delivers(guest):
    """sched_act, which a filter runs: by iproute2, from a pin of the lab's."""
    net = guest.netlab("a", "b")
    with guest.load(ACTION) as obj:
        place, device = "/sys/fs/bpf/act", net["a"].dev.name
        guest.sh(f"bpftool prog pin id {obj.programs['act'].id} {place}")
        net["a"].sh(f"tc qdisc add dev {device} clsact")
        net["a"].sh(f"tc filter add dev {device} egress matchall action bpf object-pinned {place}")
        net["a"].ping("b")
        assert obj.globals["acted"] > 0
        guest.sh(f"rm {place}")


def test_a_guest_without_btf(up):
    """It is told with what is missing, by a lab that started there while BTF was out of sight."""
    command = [*vm.ssh_command(up.lease.address)]
    subprocess.run([*command, "mount -t tmpfs none /sys/kernel/btf"], check=True)
    try:
        with bl.Lab(up.name, quiet=True) as lab:
            with pytest.raises(bl.NotSupportedError, match="BTF.*/sys/kernel/btf/vmlinux"):
                lab.load(ACTION)
    finally:
        subprocess.run([*command, "umount /sys/kernel/btf"], check=True)


def test_bcc_has_the_headers_of_the_guest(guest):
    """task->tgid by BCC, which compiles against headers, is what the helper says."""
    with guest.bcc(BCC) as obj:
        with obj.programs["on_unlink"].attach_kprobe("do_unlinkat"):
            done = guest.sh("touch /tmp/here; echo $$; exec rm /tmp/here")
        pids = dict(obj.maps["pids"].items())
    pid = int(done.stdout)
    assert pids[pid] == pid and all(helper == field for helper, field in pids.items())


def test_what_a_stock_kernel_promises(guest):
    found = guest.features().set_index("feature").available
    for feature in ("kprobe", "kretprobe", "fentry", "fexit", "lsm", "sched_act", "tracepoint", "uprobe", "xdp native"):
        assert found[feature], feature


def test_what_it_lacks_is_told_without_a_false_hope(guest):
    with pytest.raises(bl.NotSupportedError, match=r"on vm:6.1, .*; a newer|on vm:\S+, Linux .*; Debian's kernels lack it too"):
        bl.Lab(guest.machine, needs="hardware perf events")


def test_bulk_data_comes_through(guest):
    table = guest.create_map("hash", "u32", "u64", 100_000)
    table.update_batch(range(100_000), range(100_000))
    assert int(table.to_frame().value.sum()) == sum(range(100_000))


# -- this computer seen from inside


def test_it_shares_the_files_and_writes_none_of_them(guest, tmp_path):
    place = Path(f"/usr/share/bpflab-test-{os.getpid()}")
    assert guest.sh("sha256sum </usr/bin/env").stdout == _sum("/usr/bin/env")
    guest.sh(f"echo changed > {place}; rm /usr/bin/env")
    assert not place.exists() and os.path.exists("/usr/bin/env")


def test_one_folder_is_the_same_inside_and_outside(guest):
    place = running.shared()
    try:
        guest.sh(f"echo from the guest > {place}/{guest.id}")
        assert (place / guest.id).read_text() == "from the guest\n"
        (place / guest.id).write_text("from outside\n")
        assert guest.sh(f"cat {place}/{guest.id}").stdout == "from outside\n"
    finally:
        (place / guest.id).unlink(missing_ok=True)


def _sum(path: str) -> str:
    return subprocess.run(["sha256sum"], stdin=open(path), capture_output=True, text=True).stdout


def test_one_port_on_loopback_and_one_key(up):
    """QEMU listens on 127.0.0.1 only, once; the ssh server wants the lab's own key; the guest reaches nobody."""
    inodes = {os.readlink(f.path).strip("socket:[]") for f in os.scandir(f"/proc/{up.qemu}/fd") if "socket" in os.readlink(f.path)}
    lines = [line.split() for path in ("tcp", "tcp6") for line in Path(f"/proc/{up.qemu}/net/{path}").read_text().splitlines()[1:]]
    listening = [line[1] for line in lines if line[3] == "0A" and line[9] in inodes]
    assert listening == [f"0100007F:{up.lease.address['port']:04X}"]
    command = vm.ssh_command(up.lease.address)
    command[command.index("-i") + 1] = "/nowhere"
    done = subprocess.run([*command, "true"], capture_output=True, text=True)
    assert done.returncode == 255 and "Permission denied (publickey)" in done.stderr


def test_the_guest_reaches_nobody(guest):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = guest.sh(f"timeout 3 bash -c 'echo >/dev/tcp/10.0.2.2/{port}'", check=False)
        assert done.returncode != 0


def test_labs_share_it(guest, up):
    with bl.Lab(up.name, quiet=True) as other:
        boot = "cat /proc/sys/kernel/random/boot_id"
        assert other.sh(boot).stdout == guest.sh(boot).stdout
        assert other.id != guest.id
    assert guest.sh("echo on").stdout == "on\n"


# -- which machine


@pytest.mark.parametrize("up", [kernels.DEFAULT], indirect=True)
def test_a_need_picks_the_machine(up, capsys, monkeypatch):
    """With none named, the first that really has it; the line says which and why."""
    with bl.Lab("local", quiet=True) as local:
        here = local.features().set_index("feature").available
    with bl.Lab(needs=("kprobe", "sched_act")) as lab:
        line = capsys.readouterr().out
        if here["kprobe"] and here["sched_act"]:
            assert lab.machine == "local"
        else:
            assert lab.machine == "vm"
            assert "chosen because its kernel has kprobe, sched_act, and local lacks" in line
    with pytest.raises(bl.UnknownNameError, match="no feature named 'kprob'.*kprobe"):
        bl.Lab(needs="kprob")
    monkeypatch.setenv("BPFLAB_MACHINE", "vm")
    with bl.Lab() as lab:
        assert lab.machine == "vm" and "BPFLAB_MACHINE names it" in capsys.readouterr().out


# -- a user who is not root


PLAIN = """
import bpflab as bl
with bl.Lab("vm") as lab: print("inside:", lab.sh("id -un").stdout)
"""


@pytest.mark.parametrize("up", [kernels.DEFAULT], indirect=True)
def test_a_user_without_root(up):
    """QEMU, its keeper and the notebook are the user's; inside, the agent is root. The cache is a view of ours."""
    # mounts of this process alone: its own home, and Python and the workbook where any user may read them
    lines = [
        "mount -t tmpfs -o mode=0755 none /mnt",
        "mkdir -p /mnt/cache/bpflab/vm /mnt/up /mnt/work /mnt/run /mnt/python /mnt/packages /mnt/tree",
        f"mount --bind {sys.base_prefix} /mnt/python",
        f"mount --bind {sysconfig.get_path('purelib')} /mnt/packages",
        f"mount --bind {HERE.parent} /mnt/tree",
        f"mount -t overlay -o lowerdir={debian.folder()},upperdir=/mnt/up,workdir=/mnt/work none /mnt/cache/bpflab/vm",
        "rm -f /mnt/cache/bpflab/vm/*.lock /mnt/cache/bpflab/vm/accelerator",
        "chown 65534 /mnt/cache /mnt/cache/bpflab /mnt/cache/bpflab/vm /mnt/run /mnt/cache/bpflab/vm/kernels/*/initramfs-*",
        "chmod 0700 /mnt/run",
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups env HOME=/mnt/run XDG_CACHE_HOME=/mnt/cache "
        'XDG_RUNTIME_DIR=/mnt/run BPFLAB_ACCEL=tcg PYTHONPATH=/mnt/tree:/mnt/packages "$0" -c "$1"',
    ]
    python = f"/mnt/python/bin/python{sys.version_info[0]}.{sys.version_info[1]}"
    done = subprocess.run(["unshare", "-m", "bash", "-c", " && ".join(lines), python, PLAIN], capture_output=True, text=True)
    assert "inside: root" in done.stdout, done.stderr
