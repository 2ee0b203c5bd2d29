"""AF_XDP sockets: frames from a program's hand to ours, and back to the wire."""

from __future__ import annotations

import errno

import pytest

import bpflab as bl

TEXT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 2);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");
SEC("xdp") int to_user(struct xdp_md *ctx) { return bpf_redirect_map(&sockets, ctx->rx_queue_index, XDP_PASS); }
char LICENSE[] SEC("license") = "GPL";
"""
PORT = 9


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("sender", "xsk") as net:
        yield net


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(TEXT) as obj:
        yield obj


@pytest.mark.parametrize("mode", ["native", "generic"])
def test_receive(lab, net, obj, mode):
    host = net["xsk"]
    with (
        lab.xsk(host.dev) as xsk,
        obj.programs["to_user"].attach_xdp(host.dev, mode),
        net["sender"].socket("inet", "dgram") as sender,
        host.socket("inet", "dgram").bind((host.ip, PORT)) as receiver,
    ):
        sender.sendto(b"not yet in the map", (host.ip, PORT))
        assert receiver.recv() == b"not yet in the map"
        obj.maps["sockets"][0] = xsk
        for number in range(3):
            sender.sendto(b"datagram %d" % number, (host.ip, PORT))
        frames = xsk.recv(3)
        assert [frame[42:] for frame in frames] == [b"datagram 0", b"datagram 1", b"datagram 2"]
        assert {frame[:12].hex(":") for frame in frames} == {f"{host.mac}:{net['sender'].mac}"}
        assert not receiver.readable()
        del obj.maps["sockets"][0]
        sender.sendto(b"to the stack again", (host.ip, PORT))
        assert receiver.recv() == b"to the stack again"
        assert xsk.recv(1, timeout=0) == []


def test_what_does_not_fit_is_counted(lab, net, obj):
    """More than the fill ring holds: the rest is dropped, and the socket knows how many."""
    host, sent = net["xsk"], 600
    with lab.xsk(host.dev) as xsk, obj.programs["to_user"].attach_xdp(host.dev):
        obj.maps["sockets"][0] = xsk
        host.net["sender"].sh(f"for i in {{1..{sent}}}; do echo -n $i > /dev/udp/{host.ip}/{PORT}; done")
        frames = xsk.recv(sent, timeout=0.1)
        assert len(frames) == 512
        assert [frame[42:] for frame in frames] == [b"%d" % number for number in range(1, 513)]
        assert xsk.statistics()["rx_dropped"] == sent - 512


def test_send(lab, net):
    host, sender = net["xsk"], net["sender"]
    frame = bytes.fromhex((sender.mac + host.mac).replace(":", "")) + b"\x88\xb5" + bytes(range(46))
    with lab.xsk(host.dev) as xsk, sender.socket("packet", "raw").bind(sender.dev) as tap:
        for number in range(200):  # more than there are places, so each is used again
            xsk.send(frame + bytes([number]))
        assert [tap.recv() for _ in range(200)] == [frame + bytes([number]) for number in range(200)]
        with pytest.raises(bl.BpfError, match="a frame has at most 4096 bytes"):
            xsk.send(bytes(5000))


def test_refusals(lab, net, obj):
    dev = net["xsk"].dev
    with lab.xsk(dev) as xsk:
        with pytest.raises(bl.BpfError, match="another AF_XDP socket is bound to this queue; close it first") as caught:
            lab.xsk(dev)
        assert caught.value.errno == errno.EBUSY
        with pytest.raises(bl.BpfError, match="it has no receive queue 9"):
            lab.xsk(dev, 9)
        with pytest.raises(bl.BpfError, match="no interface 'eth77' here; there are"):
            lab.xsk(dev._replace(name="eth77"))
        with pytest.raises(bl.BpfError):
            obj.maps["sockets"][2] = xsk
    xsk.close()
    for use in (xsk.recv, xsk.statistics, lambda: xsk.send(b""), lambda: obj.maps["sockets"].update(0, xsk)):
        with pytest.raises(bl.BpfError, match="is closed; open another with lab.xsk"):
            use()
    with lab.xsk(dev) as again:
        assert again.recv(1, timeout=0) == []
