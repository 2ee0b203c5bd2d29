"""A machine of the workbook's Vagrantfile, really: a box is built, and the machine made, used, put back, halted, ended.

The tests are the days of one machine and go in this order. libvirt has a network and processes of its own meanwhile
(tests/vagrant_world.py).
"""

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import nbformat
import pytest
from vagrant_world import World

from bpflab import vagrant_box

COUNT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __uint(max_entries, 1024);
    __type(key, __u32);
    __type(value, __u64);
} unlinks SEC(".maps");

SEC("kprobe/do_unlinkat")
int count(void *ctx)
{
    __u32 pid = bpf_get_current_pid_tgid() >> 32;
    __u64 one = 1, *seen = bpf_map_lookup_elem(&unlinks, &pid);

    if (seen)
        __sync_fetch_and_add(seen, 1);
    else
        bpf_map_update_elem(&unlinks, &pid, &one, BPF_ANY);
    return 0;
}

char LICENSE[] SEC("license") = "GPL";
"""
# Counts in a map what a process of the machine does, from out here.
KPROBE = f"""
with lab.load({COUNT!r}, name="count") as obj:
    with obj.programs["count"].attach():
        pid = int(lab.sh("cd /tmp; touch a b c; for f in a b c; do echo $f; done >/dev/null; echo $$; exec rm a b c").stdout)
    print("unlinks:", obj.maps["unlinks"][pid])
"""
LAB = """
import bpflab as bl
lab = bl.Lab("vagrant")
"""


def traces() -> set[str]:
    """What a libvirt leaves on a computer: bridges, firewall rules, daemons, machines, sockets."""
    save = ["sudo", "-n", "iptables-save"] if os.geteuid() else ["iptables-save"]
    rules = subprocess.run(save, capture_output=True, text=True).stdout.splitlines()
    daemons = set()
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if re.search("libvirt|virtlog|guest=bpflab_", command):
                daemons.add(f"{pid} {command[:80]}")
    run = {f"/run/{name}" for name in os.listdir("/run") if "virt" in name}
    return {*os.listdir("/sys/class/net"), *(rule for rule in rules if "LIBVIRT" in rule), *daemons, *run}


@pytest.fixture(scope="module")
def world():
    """libvirt, Vagrant, and the box of this workbook's recipe."""
    began = time.monotonic()
    box = vagrant_box.get(print)
    built = time.monotonic() - began
    before = traces()
    folder = Path(tempfile.mkdtemp(prefix="bpflab-vagrant-", dir="/var/tmp"))  # not in /tmp: the disk takes a gigabyte
    world = None
    try:
        world = World(folder, box)
        world.steps.insert(0, ("the box", built))
        yield world
    finally:
        if world:
            world.close()
        if os.geteuid():
            subprocess.run(["sudo", "-n", "chown", "-R", str(os.getuid()), str(folder)], check=False)
        shutil.rmtree(folder)
    print("\n".join(f"{seconds:7.1f} s  {what}" for what, seconds in world.steps))
    assert traces() - before == set(), "left on this computer"


@pytest.fixture(scope="module")
def up(world):
    """The machine, made."""
    world.vagrant("up")
    return world


def test_validate(world):
    assert "validated successfully" in world.vagrant("validate").stdout


def test_up_installs_nothing_into_a_baked_box(up):
    said = up.vagrant("provision").stdout
    assert re.search(r"bpflab: ready: Linux 6\.1\.\S+, headers of that kernel", said)
    assert "installing" not in said


def test_a_second_up_is_quick(up):
    assert "already" in up.vagrant("up").stdout


def test_a_kprobe_from_a_notebook_out_here(up, tmp_path):
    notebook = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell("import bpflab as bl\nlab = bl.Lab()"),
            nbformat.v4.new_code_cell(KPROBE.strip()),
        ]
    )
    path = tmp_path / "outside.ipynb"
    nbformat.write(notebook, path)
    code = f"import sys; from bpflab import cli; sys.exit(cli.main(['run', {str(path)!r}, '--update']))"
    up.python(code, BPFLAB_MACHINE="vagrant")
    first, second = ("".join(out.text for out in cell.outputs) for cell in nbformat.read(path, 4).cells)
    assert re.match(r"lab on vagrant: Linux 6\.1\.\d+, \d CPUs; chosen because BPFLAB_MACHINE names it", first)
    assert second == "unlinks: 3\n"


def test_a_mac_is_led_here(up):
    """On a computer that is no Linux, with none named: local and vm are passed over."""
    said = up.python("import sys; sys.platform = 'darwin'\nimport bpflab as bl\nlab = bl.Lab()\nprint(lab.sh('uname -n').stdout)").stdout
    assert re.search(r"lab on vagrant: .* and local lacks BPF, and vm lacks a virtual machine", said)
    assert said.endswith("bpflab\n\n")


def test_c_without_a_compiler_out_here(up, tmp_path):
    """As on a Mac: the machine's own clang is used, and its errors have this text's lines."""
    for folder in ("/usr/sbin", "/usr/bin"):
        for tool in os.scandir(folder):
            if not re.match(r"clang|llc", tool.name) and not (tmp_path / tool.name).is_symlink():
                (tmp_path / tool.name).symlink_to(tool.path)
    bad = COUNT.replace("    return 0;", "    return nothing_of_that_name;")
    code = f"""{LAB}
from bpflab import compiler
assert compiler.clang() is None
{KPROBE}
try:
    lab.load({bad!r}, name="bad")
except bl.CompileError as error:
    print(error)
"""
    said = up.python(code, PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path / "cache")).stdout
    line = bad.splitlines().index("    return nothing_of_that_name;") + 1
    assert "unlinks: 3" in said
    assert f"bad:{line}:12: error: use of undeclared identifier 'nothing_of_that_name'" in said


def test_bcc_reads_the_kernels_own_structures(up):
    """It compiles with the machine's headers: task->pid is the pid, which with other headers it is not."""
    text = """
#include <linux/sched.h>
BPF_HASH(seen, u32, u32);
int kprobe__do_unlinkat(struct pt_regs *ctx)
{
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 asked = bpf_get_current_pid_tgid(), read = task->pid;
    seen.update(&asked, &read);
    return 0;
}
"""
    code = f"""{LAB}
with lab.bcc({text!r}) as obj, obj.programs["kprobe__do_unlinkat"].attach():
    pid = int(lab.sh("cd /tmp; touch a; echo $$; exec rm a").stdout)
    print("right:", obj.maps["seen"][pid] == pid, all(obj.maps["seen"].to_frame().eval("key == value")))
"""
    done = up.python(code)
    assert "right: True True" in done.stdout and "BccWarning" not in done.stderr


def test_the_machines_jupyterlab_is_found_on_this_computers_loopback(up):
    """What listens on the machine's 127.0.0.1:8888 answers here, on 127.0.0.1 and nowhere else."""
    code = f"""{LAB}
import urllib.request
lab.sh("mkdir -p /tmp/page && echo from the machine >/tmp/page/index.html")
with lab.spawn("cd /tmp/page && exec python3 -u -m http.server --bind 127.0.0.1 8888") as server:
    lab.sh("for i in $(seq 300); do (: </dev/tcp/127.0.0.1/8888) 2>/dev/null && exit; sleep 0.1; done; exit 1")
    print(urllib.request.urlopen("http://127.0.0.1:8888/", timeout=60).read())
"""
    assert "b'from the machine\\n'" in up.python(code).stdout
    listening = up.run("ss", "-Hltn", "sport", "=", ":8888").stdout.split()
    assert "127.0.0.1:8888" in listening and not any(a.startswith(("0.0.0.0:8888", "*:8888", "[::]:8888")) for a in listening)


def test_the_workbook_is_in_the_machine(up):
    said = up.vagrant("ssh", "-c", "cd bpflab && ./lab doctor; findmnt -no TARGET .venv .cache; ls notebooks").stdout
    assert "ok  packages" in said and "ok  bcc headers" in said and "ok  root" in said
    assert "03-maps.ipynb" in said
    # a processor that NumPy starts on, for whoever runs the notebooks in there
    assert "x86-64-v2 (supported" in up.vagrant("ssh", "-c", "/lib64/ld-linux-x86-64.so.2 --help").stdout


def test_nothing_of_the_build_mirror_is_in_the_machine(up):
    said = up.vagrant("ssh", "-c", "cat /etc/apt/sources.list; ls /etc/apt/sources.list.d /var/lib/apt/lists").stdout
    assert set(re.findall(r"https?://[^/\s]+", said)) == {"http://deb.debian.org"}
    assert "_Packages" not in said


def test_snapshot_and_restore(up):
    up.vagrant("snapshot", "save", "clean")
    up.vagrant("ssh", "-c", "echo changed >changed")
    up.vagrant("snapshot", "restore", "--no-provision", "clean")
    said = up.python(LAB + KPROBE + "print(lab.sh('ls /home/vagrant').stdout.split())").stdout
    assert "unlinks: 3" in said and "['bpflab']" in said


def test_halt_and_up(up):
    """Halted under a lab: it is lost, with a reason. The next one starts the machine again, by `vagrant up`."""
    code = f"""{LAB}
import subprocess
print("boot:", lab.sh("cat /proc/sys/kernel/random/boot_id").stdout)
subprocess.run(["vagrant", "halt"], check=True, capture_output=True)
try:
    lab.sh("true")
except bl.MachineLost as error:
    print("lost:", error)
print(subprocess.run(["vagrant", "status", "--machine-readable"], check=True, capture_output=True, text=True).stdout)
lab = bl.Lab("vagrant")
print("boot:", lab.sh("cat /proc/sys/kernel/random/boot_id").stdout)
{KPROBE}
"""
    said = up.python(code).stdout
    assert "lost: the lab on vagrant is over:" in said and "default,state,shutoff" in said
    assert "starting the Vagrant machine (vagrant up)" in said and "unlinks: 3" in said
    assert len(set(re.findall("^boot: (.*)$", said, re.MULTILINE))) == 2


def test_destroy(up):
    up.vagrant("destroy", "--force")
    done = up.python(LAB, check=False)
    assert done.returncode and "the Vagrant machine has not been made yet" in done.stderr
    assert "bpflab" not in up.run("virsh", "-c", "qemu:///system", "list", "--all", "--name").stdout
