"""Sockets of the lab machine, the programs attached to them and the maps that hold them."""

from __future__ import annotations

import errno
import socket

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


@pytest.fixture
def pair(lab):
    """A connection: its two ends."""
    with lab.socket().listen() as server, lab.socket().connect(server) as client, server.accept() as accepted:
        yield client, accepted


# -- the socket itself


def test_stream(pair):
    client, accepted = pair
    assert client.send(b"hello") == 5
    assert accepted.recv() == b"hello"
    assert accepted.peer == client.address and client.peer == accepted.address
    accepted.send(bytes(300_000))
    assert client.recv_exactly(300_000) == bytes(300_000)
    client.shutdown()
    assert accepted.recv() == b""
    assert accepted.recv_exactly(10) == b""


def test_datagrams(lab):
    with lab.socket("inet6", "dgram").bind() as one, lab.socket("inet6", "dgram").bind() as two:
        one.sendto(b"first", two)
        one.sendto(b"second", two.address)
        assert two.readable()
        assert two.recvfrom() == (b"first", one.address)
        assert two.recv() == b"second"
        assert not two.readable()


def test_unix(lab):
    path = f"\0{lab.id}-test"  # abstract: no file
    with lab.socket("unix").bind(path).listen() as server, lab.socket("unix").connect(server) as client:
        with server.accept() as accepted:
            client.send(b"local")
            assert accepted.recv() == b"local"


def test_options(lab):
    with lab.socket(reuseport=True).bind() as one, lab.socket(reuseport=True).bind(one.address) as two:
        assert one.port == two.port
        one.setsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY, 3)
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_PRIORITY) == 3
        assert int.from_bytes(one.getsockopt(socket.SOL_SOCKET, 57, 8), "little") == one.cookie  # SO_COOKIE


def test_nothing_waits_for_ever(lab):
    with lab.socket("inet", "dgram").bind() as one, lab.socket().listen() as server:
        for wait in (one.recv, server.accept):
            with pytest.raises(bl.BpfError, match="nothing happened within 0.05 s") as caught:
                wait(timeout=0.05)
            assert caught.value.errno == errno.ETIMEDOUT


def test_refusals(lab):
    with lab.socket() as one, lab.socket().listen() as server:
        for use, number, words in (
            (lambda: one.connect(("127.0.0.1", 1)), errno.ECONNREFUSED, "nobody listens there"),
            (lambda: one.bind(server.address), errno.EADDRINUSE, "port 0 takes a free one"),
            (lambda: one.bind(("192.0.2.1", 0)), errno.EADDRNOTAVAIL, "no interface here has this address"),
            (lambda: lab.socket().send(b"x"), errno.EPIPE, "cannot send"),
            (lambda: lab.socket("inet", "dgram").send(b"x"), errno.EDESTADDRREQ, "sendto"),
            (lambda: one.peer, errno.ENOTCONN, "connect it first"),
        ):
            with pytest.raises(bl.BpfError, match=words) as caught:
                use()
            assert caught.value.errno == number
        with pytest.raises(TypeError, match="sends bytes, not str"):
            one.send("text")
        with pytest.raises(ValueError, match="address of its family"):
            one.connect(("fd00::1", 1))
        one.close()
        one.close()
        with pytest.raises(bl.BpfError, match="is closed; open another"):
            one.bind()
    with pytest.raises(bl.UnknownNameError, match="no socket family named 'inte'"):
        lab.socket("inte")
    with pytest.raises(bl.UnknownNameError, match="no socket type named 'streem'"):
        lab.socket("inet", "streem")
    with pytest.raises(bl.NotSupportedError, match="inet seqpacket"):
        lab.socket("inet", "seqpacket")


# -- programs on a socket


def test_socket_filter(lab):
    """Only datagrams that begin with y come through, the others are cut to nothing or dropped."""
    text = """
    SEC("socket") int only_y(struct __sk_buff *skb)
    {
        char first = 0;

        __sync_fetch_and_add(&seen, 1);
        bpf_skb_load_bytes(skb, sizeof(struct udphdr), &first, 1);
        return first == 'y' ? skb->len : 0;
    }
    """
    with (
        lab.load(HEAD + text) as obj,
        lab.socket("inet", "dgram").bind() as receiver,
        lab.socket("inet", "dgram").connect(receiver) as sender,
    ):
        with obj.programs["only_y"].attach(receiver) as link:
            assert link.id == 0  # a socket option is no bpf_link
            for data in (b"no", b"yes", b"never"):
                sender.send(data)
            assert receiver.recv() == b"yes"
            until(lambda: obj.globals["seen"] == 3, "the program sees all three")
            assert not receiver.readable()
        sender.send(b"no")
        assert receiver.recv() == b"no"
        receiver.close()
        with pytest.raises(bl.BpfError, match="is closed; open another"):
            obj.programs["only_y"].attach(receiver)


def test_reuseport(lab):
    """The first byte says which of the sockets that share the port gets the datagram."""
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
        __uint(max_entries, 4);
        __type(key, __u32);
        __type(value, __u64);
    } group SEC(".maps");
    SEC("sk_reuseport") int select(struct sk_reuseport_md *ctx)
    {
        __u8 *data = ctx->data + sizeof(struct udphdr);
        __u32 key;

        if ((void *)(data + 1) > ctx->data_end)
            return SK_DROP;
        key = *data - '0';
        return bpf_sk_select_reuseport(ctx, &group, &key, 0) ? SK_DROP : SK_PASS;
    }
    """
    with lab.load(HEAD + text) as obj, lab.socket("inet", "dgram") as sender:
        group = obj.maps["group"]
        sockets = [lab.socket("inet", "dgram", reuseport=True).bind()]
        sockets += [lab.socket("inet", "dgram", reuseport=True).bind(sockets[0].address) for _ in range(2)]
        for number, one in enumerate(sockets):
            group[number] = one
        assert group[1] == sockets[1].cookie
        with obj.programs["select"].attach(sockets[0]):
            for data in (b"2 to the last", b"0 to the first", b"7 to nobody", b"1 to the middle"):
                sender.sendto(data, sockets[0])
            assert [one.recv() for one in sockets] == [b"0 to the first", b"1 to the middle", b"2 to the last"]
            assert not any(one.readable() for one in sockets)
        for one in sockets:
            one.close()


def test_storage(lab):
    """A value that lives in the socket: user space names it by the socket."""
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_SK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, __u64);
    } sent SEC(".maps");
    SEC("tc") int count(struct __sk_buff *skb)
    {
        struct bpf_sock *sk = skb->sk;
        __u64 *bytes;

        if (!sk || !(sk = bpf_sk_fullsock(sk)))
            return 0;
        bytes = bpf_sk_storage_get(&sent, sk, 0, 0);
        if (bytes)
            __sync_fetch_and_add(bytes, skb->len - 42);
        return 0;
    }
    """
    with (
        lab.netlab("tx", "rx") as net,
        lab.load(HEAD + text) as obj,
        obj.programs["count"].attach(net["tx"].dev, "egress"),
        net["tx"].socket("inet", "dgram") as one,
        net["tx"].socket("inet", "dgram") as two,
    ):
        sent = obj.maps["sent"]
        assert one not in sent
        sent[one] = 0
        sent[two] = 1000
        one.sendto(b"12345", (net["rx"].ip, 9))
        two.sendto(b"1234567", (net["rx"].ip, 9))
        one.sendto(b"1", (net["rx"].ip, 9))
        assert (sent[one], sent[two]) == (6, 1007)
        del sent[two]
        assert two not in sent
        two.close()
        with pytest.raises(bl.BpfError, match="is closed"):
            sent[two]


# -- sock maps

SOCKMAP = """
struct {
    __uint(type, BPF_MAP_TYPE_SOCKMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u64);
} socks SEC(".maps");
"""


def test_stream_verdict(lab, pair):
    """What one connection receives goes out of the other, without its owner."""
    text = (
        SOCKMAP
        + """
    SEC("sk_skb/stream_verdict") int forward(struct __sk_buff *skb)
    {
        __sync_fetch_and_add(&seen, 1);
        return bpf_sk_redirect_map(skb, &socks, 1, 0);
    }
    """
    )
    client, accepted = pair
    with lab.load(HEAD + text) as obj, lab.socket().listen() as server, lab.socket().connect(server) as onward:
        with obj.programs["forward"].attach(obj.maps["socks"]), server.accept() as end:
            obj.maps["socks"][0] = accepted
            obj.maps["socks"][1] = onward
            assert obj.maps["socks"][0] == accepted.cookie
            client.send(b"through the kernel")
            assert end.recv_exactly(18) == b"through the kernel"
            assert obj.globals["seen"] == 1
            del obj.maps["socks"][0]
        client.send(b"as before")
        assert accepted.recv() == b"as before"


def test_message_verdict(lab, pair):
    """A sock hash: what is sent on one socket arrives at another by the name of its group."""
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_SOCKHASH);
        __uint(max_entries, 8);
        __type(key, __u64);
        __type(value, __u64);
    } socks SEC(".maps");
    SEC("sk_msg") int shortcut(struct sk_msg_md *msg)
    {
        __u64 key = 77;

        __sync_fetch_and_add(&seen, 1);
        return bpf_msg_redirect_hash(msg, &socks, &key, BPF_F_INGRESS);
    }
    """
    client, accepted = pair
    with lab.load(HEAD + text) as obj, lab.socket().listen() as server, lab.socket().connect(server) as other:
        socks = obj.maps["socks"]
        with obj.programs["shortcut"].attach(socks):
            socks[5] = client
            socks[77] = other
            assert sorted(socks.keys()) == [5, 77]
            client.send(b"short")
            assert other.recv_exactly(5) == b"short"
            assert not accepted.readable()
            del socks[5]
        client.send(b"long")
        assert accepted.recv() == b"long"
        assert obj.globals["seen"] == 1


def test_sockmap_refuses(lab):
    with lab.load(HEAD + SOCKMAP + 'SEC("sk_skb/stream_verdict") int v(struct __sk_buff *skb) { return 1; }') as obj:
        with lab.socket() as fresh, pytest.raises(bl.BpfError) as caught:
            obj.maps["socks"][0] = fresh
        assert caught.value.errno == errno.EOPNOTSUPP
        with pytest.raises(TypeError, match=r"say where, with attach_sockmap\(...\)"):
            obj.programs["v"].attach()
        with pytest.raises(TypeError, match="attaches to a sock map or sock hash, not to <array map"):
            obj.programs["v"].attach(lab.create_map("array", "u32", "u32"))


# -- other descriptors as keys


def test_task_storage(lab):
    text = """
    struct {
        __uint(type, BPF_MAP_TYPE_TASK_STORAGE);
        __uint(map_flags, BPF_F_NO_PREALLOC);
        __type(key, int);
        __type(value, __u64);
    } runs SEC(".maps");
    SEC("tp_btf/sched_process_exec") int count(void *ctx)
    {
        struct task_struct *task = bpf_get_current_task_btf();
        __u64 *runs_of = bpf_task_storage_get(&runs, task, 0, 0);

        if (runs_of)
            __sync_fetch_and_add(runs_of, 1);
        return 0;
    }
    """
    gate = f"/tmp/{lab.id}.fifo"
    lab.sh(["mkfifo", gate])
    try:
        with (
            lab.load(HEAD + text) as obj,
            lab.spawn(f"read go < {gate}; exec sh -c 'exec sleep 1000'") as process,
            lab.pidfd(process) as key,
            obj.programs["count"].attach(),
        ):
            runs = obj.maps["runs"]
            assert key not in runs
            runs[key] = 10
            lab.sh(f"echo > {gate}")
            lab.sh(f"until grep -q sleep /proc/{process.pid}/comm; do :; done")
            assert runs[key] == 12
    finally:
        lab.sh(["rm", gate])
    with pytest.raises(bl.BpfError, match="give the id of one that runs"):
        lab.pidfd(process)
    with pytest.raises(bl.BpfError, match="descriptor of process .* is closed; open it again"):
        runs[key]


def test_inode_storage(lab):
    notes = lab.create_map("inode_storage", "int", "u64", 0, flags=1, name="notes")
    with lab.open("/etc/hosts") as hosts, lab.open("/etc") as etc:
        notes[hosts] = 7
        assert hosts in notes and etc not in notes
        with lab.open("/etc/hosts") as again:
            assert notes[again] == 7
        del notes[hosts]
        with pytest.raises(KeyError):
            notes[hosts]
    notes.close()
    with pytest.raises(bl.BpfError, match="/no/such cannot be opened on .*; give a path of that machine"):
        lab.open("/no/such")
