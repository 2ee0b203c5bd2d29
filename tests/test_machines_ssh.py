"""A lab on a host over ssh, against a real sshd on loopback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import kernelstate
import pytest
from sshd import Sshd, Wire

import bpflab as bl
from bpflab.machines import gateway, ssh

HERE = Path(__file__).parent
COUNTER = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct event { u64 number; u32 pid; };
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __uint(max_entries, 1 << 20);
    __type(value, struct event);
} events SEC(".maps");
u64 count;
const volatile int wanted;

SEC("tracepoint/syscalls/sys_enter_getpgid") int on_getpgid(void *ctx)
{
    struct event *e = bpf_ringbuf_reserve(&events, sizeof(*e), 0);
    if (!e)
        return 0;
    e->number = ++count;
    e->pid = bpf_get_current_pid_tgid() >> 32;
    bpf_ringbuf_submit(e, 0);
    return 0;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def sshd():
    with tempfile.TemporaryDirectory(prefix="bpflab-sshd-") as folder:  # not pytest's, which the users may not enter
        server = Sshd(Path(folder))
        yield server
        server.stop()


@pytest.fixture(autouse=True)
def config(sshd, monkeypatch):
    monkeypatch.setenv(ssh.CONFIG, str(sshd.config))


@pytest.mark.parametrize("user", ["root", "mayroot"])
def test_the_agent_is_root_and_a_program_delivers(user):
    """By root directly, and by a user through sudo: load, attach, a map of 30,000 entries, events, an orderly end."""
    before = kernelstate.take()
    with bl.Lab(f"ssh:lab-{user}", quiet=True) as lab:
        assert lab.machine == f"ssh:lab-{user}"
        assert lab.sh("id -u").stdout == "0\n"
        obj = lab.load(COUNTER)
        with obj.programs["on_getpgid"].attach(), obj.events("events") as events:
            process = lab.sh("echo $$; exec python3 -S -E -c 'import os\nfor i in range(70): os.getpgid(0)'")
            frame = events.read(count=70)
            mine = frame[frame.pid == int(process.stdout)]
            assert len(mine) == 70 or len(frame) == 70
            assert list(frame.number[:3]) == [1, 2, 3]
        table = lab.create_map("hash", "u32", "u64", 30000)
        table.update_batch(range(30000), range(30000))
        assert int(table.to_frame().value.sum()) == sum(range(30000))
        assert kernelstate.left(before, patience=0)
    assert kernelstate.left(before) == []


def test_the_line_says_which_machine(capsys):
    with bl.Lab("ssh:lab-root"):
        pass
    assert "lab on ssh:lab-root: Linux" in capsys.readouterr().out


def test_user_host_and_port_in_the_name(sshd):
    """Without an alias: user, host and port as given; the key and the host key come from the configuration."""
    plain = sshd.folder / "plain"
    lines = sshd.config.read_text().split("Host lab-mayroot")[0].splitlines()
    plain.write_text("\n".join(["Host *", *(line for line in lines[1:] if "Identit" in line or "Known" in line)]))
    os.environ[ssh.CONFIG] = str(plain)
    with bl.Lab(f"ssh:root@127.0.0.1:{sshd.port}", quiet=True) as lab:
        assert lab.sh("id -u").stdout == "0\n"


def test_ssh_config_of_the_user(sshd):
    """~/.ssh/config itself, in a mount namespace where it is ours."""
    code = "import bpflab as bl\nwith bl.Lab('ssh:lab-root', quiet=True) as lab: print(lab.sh('id -u').stdout)"
    home = os.path.expanduser("~/.ssh")
    existed = os.path.isdir(home)
    os.makedirs(home, mode=0o700, exist_ok=True)
    try:
        line = (
            f"mount -t tmpfs none /mnt && cp {sshd.config} /mnt/config && chmod 700 /mnt && mount --bind /mnt {home} && "
            f"exec env -u {ssh.CONFIG} PYTHONPATH={HERE.parent} {sys.executable} -c \"$0\""
        )
        done = subprocess.run(["unshare", "-m", "bash", "-c", line, code], capture_output=True, text=True)
    finally:
        if not existed:
            os.rmdir(home)
    assert done.stdout.strip() == "0", done.stderr


WRONG = {
    "asked": "sudo asks for a password there.*NOPASSWD",
    "nosudo": "not root, and there is no sudo; use root",
    "oldpython": "its Python 3.6.9 is too old, the agent needs 3.9; install a newer",
    "nopython": "it has no python3; install it there: apt install python3",
    "nolibbpf": "it has no libbpf.so.1; install it there: apt install libbpf1",
    "noisy": "prints something before the agent can answer; make its start files",
    "stranger": "its host key is unknown; log in once in a terminal.*ssh lab-stranger",
    "changed": "its host key is another one than before.*ssh-keygen -R",
    "keyless": "takes none of your keys.*ssh-copy-id root@|takes none of your keys.*ssh-copy-id lab-keyless",
}


@pytest.mark.parametrize("alias, words", WRONG.items())
def test_what_is_wrong_is_told(alias, words):
    with pytest.raises(bl.MachineLost, match=rf"^ssh:lab-{alias} cannot be used: .*({words})"):
        bl.Lab(f"ssh:lab-{alias}", quiet=True)


def test_nothing_listens(sshd):
    wire = Wire(sshd.port)
    wire.cut()
    with pytest.raises(bl.MachineLost, match="nothing listens there; is sshd running.*refused"):
        bl.Lab(f"ssh:127.0.0.1:{wire.port}", quiet=True)


def test_no_such_host():
    with pytest.raises(bl.MachineLost, match="no host of that name"):
        bl.Lab("ssh:no-such-host.invalid", quiet=True)


@pytest.mark.parametrize("name", ["ssh:-oProxyCommand=true", "ssh:a b", "ssh:root@", "ssh:h:x", "ssh:u@-h"])
def test_what_is_no_host(name):
    with pytest.raises(ValueError, match="is no host; write ssh:user@host"):
        bl.Lab(name)


def test_no_ssh(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(bl.LabError, match="no ssh on this computer; install it: apt install openssh-client"):
        bl.Lab("ssh:lab-root")


def test_an_unknown_kind_of_machine():
    with pytest.raises(bl.UnknownNameError, match="no lab machine named 'ssh'.*ssh:user@host"):
        bl.Lab("ssh")


@pytest.mark.parametrize("end", ["cut", "freeze"])
def test_the_network_drops_in_mid_stream(sshd, end, monkeypatch):
    """What had come is kept, the error says so, and the host is left clean without a word from us."""
    monkeypatch.setattr(gateway, "SILENCE", 6)  # seconds after which the host gives us up
    before = kernelstate.take()
    wire = Wire(sshd.port)
    config = sshd.folder / f"wire-{end}"
    config.write_text(sshd.config.read_text().replace(f"Port {sshd.port}", f"Port {wire.port}").replace("UserKnown", "HostKeyAlias wire\n  UserKnown"))
    known = sshd.folder / "known"
    known.write_text(known.read_text() + "wire " + known.read_text().split("\n")[0].split(" ", 1)[1] + "\n")
    os.environ[ssh.CONFIG] = str(config)
    lab = bl.Lab("ssh:lab-root", quiet=True)
    obj = lab.load(COUNTER)
    obj.programs["on_getpgid"].attach()
    events = obj.events("events")
    lab.sh("python3 -S -E -c 'import os\nfor i in range(40): os.getpgid(0)'")
    threading.Timer(1.0, getattr(wire, end)).start()
    with pytest.raises(bl.MachineLost, match="the lab on ssh:lab-root is over.*events until then are kept"):
        events.read(seconds=60)
    kept = events.read(count=40)
    assert len(kept) == 40 and list(kept.number) == list(range(1, 41))
    with pytest.raises(bl.MachineLost):
        lab.sh("true")
    lab.close()
    assert kernelstate.left(before) == []


def test_a_killed_agent_and_a_killed_connection():
    with bl.Lab("ssh:lab-root", quiet=True) as lab:
        os.kill(lab._connection.about["pid"], signal.SIGKILL)
        with pytest.raises(bl.MachineLost, match="the lab on ssh:lab-root is over: the agent or the connection ended"):
            lab.sh("sleep 5")
    with bl.Lab("ssh:lab-root", quiet=True) as lab:
        lab._connection._pipe.kill()
        with pytest.raises(bl.MachineLost):
            lab.sh("sleep 5")
