"""Control groups, and programs that act on the processes in them."""

from __future__ import annotations

import errno
import os

import pytest
from waiting import until

import bpflab as bl

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
"""


@pytest.fixture(scope="module")
def cg(lab):
    with lab.cgroup("tests") as cg:
        yield cg


@pytest.fixture
def server(lab):
    with lab.socket("inet", "dgram").bind() as sock:
        yield sock


def send_from(place, server, text="x"):
    return place.sh(f"echo -n {text} > /dev/udp/127.0.0.1/{server.port}", check=False)


# -- the group itself


def test_processes(lab, cg):
    relative = cg.path[cg.path.index("bpflab-") :]
    assert f"0::/{relative}" in cg.sh("cat /proc/self/cgroup").stdout
    assert f"0::/{relative}" not in lab.sh("cat /proc/self/cgroup").stdout
    with cg.spawn("sleep 1000") as inside, lab.spawn("sleep 1000") as outside:
        assert cg.processes == [inside.pid]
        cg.add(outside)
        assert sorted(cg.processes) == sorted([inside.pid, outside.pid])
    assert cg.processes == []
    with pytest.raises(bl.BpfError, match="process 99999999 does not move") as caught:
        cg.add(99_999_999)
    assert caught.value.errno == errno.ESRCH


def test_id_is_what_programs_see(lab, cg):
    text = """
    __u64 wanted;
    SEC("tp/sched/sched_process_exec") int count(void *ctx)
    {
        if (bpf_get_current_cgroup_id() == wanted)
            __sync_fetch_and_add(&seen, 1);
        return 0;
    }
    """
    with lab.load(HEAD + text, wanted=cg.id) as obj, obj.programs["count"].attach():
        lab.sh(["true"])
        before = obj.globals["seen"]
        cg.sh(["true"])
        assert (before, obj.globals["seen"]) == (0, 1)


def test_a_cell_runs_twice(lab):
    first = lab.cgroup("twice")
    sleeper = first.spawn("sleep 1000")
    second = lab.cgroup("twice")
    assert sleeper.returncode == -9
    assert first.closed and not second.closed and first.id != second.id
    for use in (first.sh, first.spawn):
        with pytest.raises(bl.BpfError, match=r"'twice' was removed; make it again with lab.cgroup\('twice'\)"):
            use("true")
    second.close()
    second.close()
    assert not os.path.exists(second.path)


def test_close_takes_all_below(lab):
    with lab.cgroup("deep") as cg:
        lab.sh(f"mkdir -p {cg.path}/one/two")
        with lab.spawn("sleep 1000") as sleeper:
            lab.sh(f"echo {sleeper.pid} > {cg.path}/one/two/cgroup.procs")
            cg.close()
            assert sleeper.wait().returncode == -9
    assert not os.path.exists(cg.path)


@pytest.mark.parametrize("name", ["", "a/b", "..", ".hidden", "cgroup.procs", "x" * 201, "a\nb"])
def test_names_that_cannot_be(lab, name):
    with pytest.raises(ValueError, match="must be a folder's"):
        lab.cgroup(name)


def there(lab, path) -> bool:
    return lab.sh(f"test -e {path}", check=False).returncode == 0


@pytest.mark.parametrize("how", ["close", "kill"])
def test_gone_with_the_lab(lab, fresh_lab, how):
    cg = fresh_lab.cgroup("gone")
    sleeper = cg.spawn("sleep 1000")
    lab.sh(f"mkdir {cg.path}/below")
    if how == "close":
        fresh_lab.close()
    else:
        lab.sh(f"kill -9 {fresh_lab._connection.about['pid']}")
        until(lambda: not there(lab, os.path.dirname(cg.path)), "the watcher removes the group")
    assert not there(lab, os.path.dirname(cg.path))
    assert not lab.sh(f"cat /proc/{sleeper.pid}/cmdline", check=False).stdout  # gone, or a zombie


# -- programs


BLOCK = """
__u16 port;
SEC("cgroup_skb/%s") int block(struct __sk_buff *skb)
{
    struct udphdr udp;

    if (bpf_skb_load_bytes(skb, sizeof(struct iphdr), &udp, sizeof(udp)) || udp.dest != bpf_htons(port))
        return 1;
    __sync_fetch_and_add(&seen, 1);
    return 0;
}
"""


def test_skb_egress(lab, cg, server):
    with lab.load(HEAD + BLOCK % "egress", port=server.port) as obj:
        with obj.programs["block"].attach(cg):
            send_from(lab, server, "outside")
            assert server.recv() == b"outside"
            assert send_from(cg, server).returncode == 1
        assert send_from(cg, server, "free").returncode == 0
        assert server.recv() == b"free"
        assert obj.globals["seen"] == 1


def test_skb_ingress(lab, cg):
    """A socket belongs to the group of the process that opened it."""
    text = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("127.0.0.1", 0))
    print("port", sock.getsockname()[1], "", flush=True)
    print(sock.recv(100).decode())
"""
    with (
        lab.load(HEAD + BLOCK % "ingress") as obj,
        cg.spawn(["python3", "-S", "-c", text]) as receiver,
        lab.socket("inet", "dgram") as sender,
    ):
        receiver.wait_for(" \n")
        port = int(receiver.stdout.split()[1])
        obj.globals["port"] = port
        with obj.programs["block"].attach(cg):
            sender.sendto(b"lost", ("127.0.0.1", port))
            until(lambda: obj.globals["seen"] == 1, "the program sees it")
        sender.sendto(b"found", ("127.0.0.1", port))
        assert receiver.wait().lines[1] == "found"


def test_attach_type_where_the_section_is_silent(lab, cg, server):
    with lab.load(HEAD + BLOCK.replace("cgroup_skb/%s", "cgroup/skb"), port=server.port) as obj:
        with pytest.raises(TypeError, match='attach_cgroup\\(cgroup, "cgroup_inet_egress"\\)'):
            obj.programs["block"].attach(cg)
        with obj.programs["block"].attach_cgroup(cg, "cgroup_inet_egress"):
            assert send_from(cg, server).returncode == 1
        with pytest.raises(bl.UnknownNameError, match="no attach type named 'cgroup_inet_egres'.*cgroup_inet_egress"):
            obj.programs["block"].attach_cgroup(cg, "cgroup_inet_egres")


def test_sock_create(lab, cg, server):
    text = """
    SEC("cgroup/sock_create") int deny(struct bpf_sock *sk) { __sync_fetch_and_add(&seen, 1); return sk->type != 2; }
    """
    with lab.load(HEAD + text) as obj:
        with obj.programs["deny"].attach(cg):
            assert "Operation not permitted" in send_from(cg, server).stderr
            assert send_from(lab, server).returncode == 0
        assert obj.globals["seen"] == 1
        assert send_from(cg, server).returncode == 0


def test_connect4(lab, cg):
    """Whoever asks for port 1 gets the one that the program chose."""
    text = """
    const volatile __u16 real;
    SEC("cgroup/connect4") int redirect(struct bpf_sock_addr *ctx)
    {
        if (ctx->user_port == bpf_htons(1))
            ctx->user_port = bpf_htons(real);
        return 1;
    }
    """
    command = "exec 3<>/dev/tcp/127.0.0.1/1 && echo hello >&3"
    with lab.socket().listen() as server, lab.load(HEAD + text, real=server.port) as obj:
        with obj.programs["redirect"].attach(cg):
            assert lab.sh(command, check=False).returncode == 1
            cg.sh(command)
            with server.accept() as accepted:
                assert accepted.recv() == b"hello\n"
        assert cg.sh(command, check=False).returncode == 1


def test_device(lab, cg):
    text = """
    SEC("cgroup/dev") int no_zero(struct bpf_cgroup_dev_ctx *ctx) { return !(ctx->major == 1 && ctx->minor == 5); }
    """
    with lab.load(HEAD + text) as obj:
        with obj.programs["no_zero"].attach(cg):
            assert "Operation not permitted" in cg.sh("head -c 1 /dev/zero", check=False).stderr
            cg.sh("head -c 1 /dev/urandom")
            lab.sh("head -c 1 /dev/zero")
        cg.sh("head -c 1 /dev/zero")


def test_sysctl(lab, cg):
    text = """
    SEC("cgroup/sysctl") int secret(struct bpf_sysctl *ctx)
    {
        char name[16] = {};

        bpf_sysctl_get_name(ctx, name, sizeof(name), 0);
        if (bpf_strncmp(name, 15, "kernel/hostname"))
            return 1;
        __sync_fetch_and_add(&seen, 1);
        return 0;
    }
    """
    command = "cat /proc/sys/kernel/hostname"
    with lab.load(HEAD + text) as obj:
        with obj.programs["secret"].attach(cg):
            assert "Operation not permitted" in cg.sh(command, check=False).stderr
            assert lab.sh(command).stdout
        assert obj.globals["seen"] == 1
        assert cg.sh(command).stdout


def test_sockopt(lab, cg):
    """What is set and what is read are both the program's to change."""
    text = """
    #define SO_PRIORITY 12
    SEC("cgroup/setsockopt") int change(struct bpf_sockopt *ctx)
    {
        int *value = ctx->optval;

        if (ctx->optname != SO_PRIORITY)
            return 1;
        if ((void *)(value + 1) > ctx->optval_end)
            return 0;
        *value = 5;
        return 1;
    }
    SEC("cgroup/getsockopt") int embellish(struct bpf_sockopt *ctx)
    {
        int *value = ctx->optval;

        if (ctx->optname != SO_PRIORITY || (void *)(value + 1) > ctx->optval_end)
            return 1;
        *value += 100;
        return 1;
    }
    """
    command = "import socket as s; x = s.socket(); x.setsockopt(1, 12, 3); print(x.getsockopt(1, 12))"
    run = lambda place: place.sh(["python3", "-S", "-c", command]).stdout.strip()  # noqa: E731
    with lab.load(HEAD + text) as obj:
        with obj.programs["change"].attach(cg):
            assert (run(lab), run(cg)) == ("3", "5")
            with obj.programs["embellish"].attach(cg):
                assert run(cg) == "105"
        assert run(cg) == "3"


def test_sock_ops(lab, cg):
    text = """
    __u32 local_port;
    SEC("sockops") int watch(struct bpf_sock_ops *ctx)
    {
        if (ctx->op != BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB)
            return 1;
        local_port = ctx->local_port;
        __sync_fetch_and_add(&seen, 1);
        return 1;
    }
    """
    with lab.load(HEAD + text) as obj, lab.socket().listen() as server, obj.programs["watch"].attach(cg):
        cg.sh(f"exec 3<>/dev/tcp/127.0.0.1/{server.port} && echo hello >&3")
        with server.accept() as accepted:
            assert obj.globals["local_port"] == accepted.peer[1]
        assert obj.globals["seen"] == 1


# -- maps of control groups


def test_cgroup_array(lab, cg):
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_CGROUP_ARRAY);
        __uint(max_entries, 2);
        __type(key, __u32);
        __type(value, __u32);
    } groups SEC(".maps");
    SEC("tp/sched/sched_process_exec") int count(void *ctx)
    {
        if (bpf_current_task_under_cgroup(&groups, 1) == 1)
            __sync_fetch_and_add(&seen, 1);
        return 0;
    }
    """
    with lab.load(HEAD + text) as obj, obj.programs["count"].attach():
        cg.sh(["true"])
        assert obj.globals["seen"] == 0
        obj.maps["groups"][1] = cg
        lab.sh(["true"])
        assert obj.globals["seen"] == 0
        cg.sh(["true"])
        assert obj.globals["seen"] == 1


def test_cgroup_storage(lab, cg):
    """One value for each group, which user space reaches by the group itself."""
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_CGRP_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, __u64);
    } runs SEC(".maps");
    SEC("tp_btf/sched_process_exec") int count(void *ctx)
    {
        struct task_struct *task = bpf_get_current_task_btf();
        __u64 *runs_of = bpf_cgrp_storage_get(&runs, task->cgroups->dfl_cgrp, 0, 0);

        if (runs_of)
            __sync_fetch_and_add(runs_of, 1);
        return 0;
    }
    """
    with lab.load(HEAD + text) as obj, obj.programs["count"].attach():
        runs = obj.maps["runs"]
        assert cg not in runs
        runs[cg] = 40
        before = runs[cg]  # the shell that steps into the group has begun before it is in
        cg.sh(["true"])
        assert (before, runs[cg]) == (40, 41)
        del runs[cg]
        with pytest.raises(KeyError):
            runs[cg]


# -- refused


def test_refusals_say_what_to_do(lab, cg):
    text = """
    SEC("cgroup/dev") int one(struct bpf_cgroup_dev_ctx *ctx) { return 1; }
    """
    with lab.load(HEAD + text) as obj, lab.cgroup("short") as short:
        program = obj.programs["one"]
        with pytest.raises(TypeError, match=r"say where, with attach_cgroup\(...\)"):
            program.attach()
        with pytest.raises(bl.BpfError, match="/sys/no/such/place"):
            program.attach("/sys/no/such/place")
        with pytest.raises(bl.BpfError, match="/tmp; the path is neither a control group"):
            program.attach("/tmp")
        with pytest.raises(bl.BpfError, match="does not fit this place"):
            program.attach_cgroup(cg, "cgroup_inet_egress")
        with program.attach(short) as link:
            short.close()
            assert link.id
        with pytest.raises(bl.BpfError, match="'short' was removed"):
            program.attach(short)
