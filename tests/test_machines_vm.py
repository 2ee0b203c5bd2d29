"""Virtual machines: what their kernels can do that this computer's may not, how they are shared, and how they end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import bpflab as bl
import pytest
from bpflab.machines import debian, kernels, qemu, running, vm

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


def _gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.fixture(scope="module", params=kernels.OFFERED)
def up(request):
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
    with pytest.raises(bl.NotSupportedError, match=r"on vm:\S+, Linux .*; Debian's kernels lack it too"):
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


def test_a_need_picks_the_machine(up, capsys, monkeypatch):
    """With none named, the first that really has it; the line says which and why."""
    if up.version != kernels.DEFAULT:
        return
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


# -- how it ends; each of these has a machine of its own


@pytest.fixture
def doomed(monkeypatch):
    """A lab on a machine that ends with it."""
    monkeypatch.setenv("BPFLAB_VM_KEEP", "0")
    lab = bl.Lab("vm", quiet=True)
    yield lab
    lab.close()
    _until(lambda: not (running.folder() / kernels.DEFAULT).exists())


def _pid(lab) -> int:
    return lab._connection.way.lease.address["qemu"]


def _lost(lab, command: str) -> bl.MachineLost:
    with pytest.raises(bl.MachineLost) as caught:
        lab.sh(command, check=False, timeout=100)
    return caught.value


def test_a_panic(doomed):
    """In the middle of a call: the console's last lines are told, and the next lab starts a new machine."""
    pid = _pid(doomed)
    error = _lost(doomed, "echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger")
    assert "the lab on vm is over: Kernel panic - not syncing: sysrq triggered crash" in str(error)
    assert "Call Trace" in str(error) and "lab = bl.Lab(" in str(error)
    assert _gone(pid)
    with bl.Lab("vm", quiet=True) as again:
        assert again.sh("echo ready").stdout == "ready\n"
        assert _pid(again) != pid


def test_a_hang(doomed):
    pid = _pid(doomed)
    threading.Timer(0.5, os.kill, (pid, signal.SIGSTOP)).start()
    assert "it no longer answered" in str(_lost(doomed, "sleep 90"))
    assert _gone(pid)


def test_a_killed_qemu(doomed):
    pid = _pid(doomed)
    threading.Timer(0.5, os.kill, (pid, signal.SIGKILL)).start()
    assert "QEMU ended" in str(_lost(doomed, "sleep 90"))


def test_a_killed_keeper_takes_the_machine_along(monkeypatch):
    monkeypatch.setenv("BPFLAB_VM_KEEP", "0")
    with bl.Lab("vm", quiet=True) as lab:
        pid = _pid(lab)
        keeper = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(keeper, signal.SIGKILL)
        assert "its keeper ended" in str(_lost(lab, "sleep 90"))
    _until(lambda: _gone(pid))
    assert vm.lease(kernels.DEFAULT, start=False) is None
    assert not (running.folder() / kernels.DEFAULT).exists()


USER = f"""
import sys; sys.path[:0] = [{str(HERE.parent)!r}]
import bpflab as bl
lab = bl.Lab("vm")
print(lab._connection.way.lease.address["qemu"], lab._connection.way.lease.address["port"], flush=True)
lab.sh("sleep 100", timeout=100)
"""


def test_a_killed_notebook_leaves_nothing():
    """kill -9 in the middle of a call: processes, files and the port are gone, though machines are kept otherwise."""
    with subprocess.Popen([sys.executable, "-c", USER], stdout=subprocess.PIPE, text=True) as user:
        pid, port = next(line for line in user.stdout if line[0].isdigit()).split()
        user.kill()
    _until(lambda: _gone(int(pid)))
    _until(lambda: not (running.folder() / kernels.DEFAULT).exists())
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(port)))


def test_an_interrupt_while_it_boots():
    with subprocess.Popen(
        [sys.executable, "-c", USER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as user:
        next(line for line in user.stdout if "starting Linux" in line)
        user.send_signal(signal.SIGINT)
        assert "KeyboardInterrupt" in user.stderr.read()
    _until(lambda: not (running.folder() / kernels.DEFAULT).exists())


# -- what is refused


@pytest.mark.parametrize("name", ["vm:5.4", "vm:six", "vm:6"])
def test_no_such_kernel(name):
    with pytest.raises((bl.UnknownNameError, bl.LabError), match="no kernel named"):
        bl.Lab(name, quiet=True)


def test_an_unknown_accelerator(monkeypatch):
    monkeypatch.setenv(qemu.ACCEL, "turbo")
    with pytest.raises(bl.LabError, match="BPFLAB_ACCEL is 'turbo'; it may be kvm or tcg"):
        bl.Lab("vm", quiet=True)


def test_nothing_to_fetch_with(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "bin").mkdir()
    for tool in ("ssh", "ssh-keygen"):
        (tmp_path / "bin" / tool).symlink_to(f"/usr/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(bl.LabError, match="it has no apt-get; use bl.Lab"):
        bl.Lab("vm", quiet=True)


def test_no_mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(debian.MIRROR, "http://127.0.0.1:9/debian")
    with pytest.raises(bl.LabError, match="cannot be fetched.*BPFLAB_DEBIAN_MIRROR names another"):
        bl.Lab("vm", quiet=True)


def test_no_space(tmp_path, monkeypatch):
    """In a cache on a small filesystem, which only this process sees, it is told before anything is fetched."""
    code = "import bpflab as bl\ntry: bl.Lab('vm', quiet=True)\nexcept bl.LabError as error: print(error)"
    line = f"mount -t tmpfs -o size=50m none /mnt && exec env XDG_CACHE_HOME=/mnt PYTHONPATH={HERE.parent} {sys.executable} -c \"$0\""
    done = subprocess.run(["unshare", "-m", "bash", "-c", line, code], capture_output=True, text=True)
    assert "MB while it is unpacked, and /mnt/bpflab/vm has less; make room" in done.stdout, done.stderr
