"""Traffic: what is said to be sent is what arrives, every generator has its bounds, and a capture file that is damaged is not half sent."""

from __future__ import annotations

import os
import random
import signal
import struct
import threading
import time

import pytest
from waiting import until

import bpflab as bl
from bpflab.agent import frames
from bpflab.netlab import pcap
from bpflab.netlab.pcap import CaptureFileError

COUNT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
__u64 ports[8];
SEC("xdp") int count(struct xdp_md *ctx)
{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct udphdr *udp = data + 34;
    struct ethhdr *eth = data;

    if ((void *)(udp + 1) > end || eth->h_proto != bpf_htons(0x0800) || udp->dest != bpf_htons(9))
        return XDP_PASS;
    __sync_fetch_and_add(&seen, 1);
    __sync_fetch_and_add(&ports[bpf_ntohs(udp->source) & 7], 1);
    return XDP_DROP;
}
SEC("tc") int drop(struct __sk_buff *skb) { return 2; }
"""


@pytest.fixture(scope="module")
def net(lab):
    with lab.netlab("a", "r", "b") as net:
        yield net


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(COUNT) as obj:
        yield obj


@pytest.mark.parametrize("way", ["socket", "frames"])
def test_a_flood_arrives_whole(net, obj, way):
    obj.globals["seen"] = 0
    with obj.programs["count"].attach_xdp(net["r"].devs["a"], "native"):
        sent = net["a"].udp_flood("r", packets=20_000, way=way)
        assert (sent.sent, sent.refused, sent.why) == (20_000, 0, "") and sent.rate > 0
        assert obj.globals["seen"] == 20_000


def test_flows_take_turns(net, obj):
    obj.globals["ports"] = [0] * 8
    with obj.programs["count"].attach_xdp(net["r"].devs["a"], "native"):
        assert net["a"].udp_flood("r", packets=8_000, way="frames", flows=8).sent == 8_000
    assert list(obj.globals["ports"]) == [1_000] * 8


@pytest.mark.parametrize("ip6", [False, True])
def test_frames_are_right(net, ip6):
    """Lengths and checksums of what the kernel did not make, behind a router too, and the addresses they pretend to come from."""
    source = "2001:db8::/64" if ip6 else "198.51.100.0/24"
    with net["b"].capture(filter="udp") as seen:
        net["a"].udp_flood("b", packets=300, way="frames", flows=3, source=source, ip6=ip6, size=100)
        assert seen.wait(300) == 300
    frame = seen.to_frame()
    assert len(frame) == 300 and frame.source.nunique() == 3 and set(frame.destination) == {net["b"].ip6 if ip6 else net["b"].ip}
    assert frame.source.str.startswith("2001:db8:" if ip6 else "198.51.100.").all()
    for one in (seen[0], seen[1], seen[299]):
        assert one.notes == [] and one["UDP checksum"].said.endswith("right")
        assert ip6 or one["IPv4 checksum"].said.endswith("right")
        assert one["IPv6 hop limit" if ip6 else "IPv4 TTL"].value == 63


@pytest.mark.parametrize("ends", [("10.0.1.1", "10.0.1.2"), ("fd00::1", "fd00::2")])
def test_a_checksum_that_comes_out_as_nothing(ends):
    """0 means that there is none (RFC 768, RFC 8200), so the other zero of ones' complement is sent."""

    def checksum(payload: bytes) -> int:
        frame = frames.udp_frame(("02:00:00:00:00:01", "02:00:00:00:00:02"), *ends, (1024, 9), payload)
        return struct.unpack_from("!H", frame, len(frame) - len(payload) - 2)[0]

    nothing = struct.pack("!H", checksum(b"\0\0"))  # what the sum lacks
    assert checksum(nothing) == 0xFFFF
    assert all(checksum(struct.pack("!H", n)) for n in range(0, 65536, 97))


def test_a_flood_is_bounded(net):
    start = time.monotonic()
    sent = net["a"].udp_flood("b", packets=10**9, seconds=0.2)
    assert 0 < sent.sent < 10**9 and time.monotonic() - start < 5
    assert 0.2 <= sent.seconds < 5


@pytest.mark.parametrize("way", ["socket", "frames"])
def test_a_rate_is_kept(net, way):
    sent = net["a"].udp_flood("b", packets=200, rate=1_000, way=way)
    assert sent.sent == 200 and sent.seconds >= 0.199


def test_a_flood_that_is_refused(net, obj):
    net["a"].sh("nft add table ip no; nft 'add chain ip no out { type filter hook output priority 0; policy drop; }'")
    try:
        sent = net["a"].udp_flood("b", packets=50)
        assert (sent.sent, sent.refused) == (0, 50) and sent.why.startswith("EPERM: a BPF program or the firewall")
        with net["r"].capture("a", "udp") as seen:
            assert net["a"].udp_flood("b", packets=50, way="frames").sent == 50
            assert seen.wait(50) == 50
    finally:
        net["a"].sh("nft delete table ip no")


def test_in_the_background(net):
    job = net["a"].start("udp_flood", "b", packets=10**9, rate=100, seconds=100)
    assert net["a"].ping("b", 2).received == 2
    assert job.running and "running" in repr(job)
    sent = job.stop()
    assert not job.running and 0 < sent.sent < 10_000 and job.result() is sent
    for _ in range(20):  # what is started has begun, and what is stopped at once has sent something
        for way in ("socket", "frames"):
            assert net["a"].start("udp_flood", "b", packets=10**9, rate=1, way=way).stop().sent == 1
    with net["a"].start("ping", "b", count=3) as job:
        assert job.result(timeout=10).received == 3
    with pytest.raises(bl.UnknownNameError, match="no traffic named 'sh' in host 'a'"):
        net["a"].start("sh", "true")
    with pytest.raises(bl.UnknownNameError, match="no host named 'x'"):
        net["a"].start("ping", "x").result()


@pytest.mark.parametrize("way", ["socket", "frames"])
def test_an_interrupted_flood_ends(net, obj, way):
    """The square in JupyterLab's toolbar stops what runs on the lab machine, too."""
    with obj.programs["count"].attach_xdp(net["r"].devs["a"], "native"):
        obj.globals["seen"] = 0
        interrupt = threading.Thread(target=lambda: until(lambda: obj.globals["seen"], "the flood") or os.kill(os.getpid(), signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            interrupt.start()
            net["a"].udp_flood("r", packets=10**9, rate=2_000, seconds=300, way=way)
        interrupt.join()

        def still() -> bool:
            before = obj.globals["seen"]
            net["a"].ping("b", 3, interval=0.02)  # in which 80 more would come
            return obj.globals["seen"] == before

        until(still, "the end of the flood")
        assert net["a"].ping("r").received == 1


def test_the_end_of_a_network_ends_its_traffic(lab):
    with lab.netlab("e", "f") as net:
        job = net["e"].start("udp_flood", "f", packets=10**9, rate=10, seconds=500)
        server = net["f"].tcp_server()
    assert not job.running and not server.running


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"packets": 0}, "packets is 1 to"),
        ({"seconds": 0}, "more than 0 and at most 600 seconds"),
        ({"seconds": 10_000}, "at most 600 seconds"),
        ({"port": 70_000}, "port is 1 to 65,535"),
        ({"way": "pigeon"}, 'way is "socket" or "frames"'),
        ({"source": "198.51.100.1"}, 'a false one needs way="frames"'),
        ({"source": "x", "way": "frames"}, "source is an address or a network"),
        ({"source": "::1", "way": "frames"}, "not of the same IP version"),
        ({"size": 9_000, "way": "frames"}, "3,000 bytes of payload at most"),
        ({"size": -1}, "0 to 65,499"),
    ],
)
def test_floods_that_cannot_be(net, options, words):
    with pytest.raises(ValueError, match=words):
        net["a"].udp_flood("b", **options)


def test_nobody_there(net):
    with pytest.raises(bl.BpfError, match="host 'a' cannot send to 10.0.1.77: nobody with the address 10.0.1.77 answers"):
        net["a"].udp_flood("10.0.1.77", way="frames")
    with pytest.raises(bl.BpfError, match="cannot send to 192.0.2.1"):
        net["a"].udp_flood("192.0.2.1", way="frames")
    with pytest.raises(bl.BpfError, match="cannot send to 192.0.2.1"):
        net["a"].udp_flood("192.0.2.1")


# -- servers and clients


def test_http(net):
    with net["b"].http_server(8080, {"/": "hello", "/big": b"x" * 100_000}) as server:
        frame = net["a"].http_get("b", port=8080, count=3).to_frame()
        assert list(frame.status) == [200] * 3 and list(frame.body) == ["hello"] * 3 and (frame.ms > 0).all()
        assert net["a"].http_get("b", "/big", port=8080).to_frame().bytes[0] == 100_000
        assert net["a"].http_get("b", "/nothing", port=8080, ip6=True).to_frame().status[0] == 404
        log = server.log()
        assert list(log.path) == ["/", "/", "/", "/big", "/nothing"] and set(log.peer) == {net["a"].ip, net["a"].ip6}
        assert set(frame.port) == set(log.peer_port[:3])
        assert "200 OK" in net["a"].sh(f"curl -sv --max-time 5 http://{net['b'].ip}:8080/ 2>&1").stdout
        with pytest.raises(bl.BpfError, match="cannot listen on port 8080; another server has this port"):
            net["b"].http_server(8080)
    gone = net["a"].http_get("b", port=8080)
    assert gone.answered == 0 and gone.to_frame().error[0] == "ECONNREFUSED"
    assert len(server.log()) == 6 and "stopped" in repr(server)


def test_a_server_answers_with_its_name(net):
    with net["b"].http_server():
        assert net["a"].http_get("b").text == "b\n"


def test_connections_that_live_on(net):
    with net["b"].tcp_server(7) as server, net["a"].tcp_connect("b", count=20) as opened:
        assert opened.open == 20 and opened.exchange(size=1000).ok.all()
        log = server.log()
        assert list(log.received) == [1000] * 20 and log.open.all()
        server.stop()
        ended = opened.exchange(timeout=1)
        assert not ended.ok.any() and set(ended.error) <= {"closed by the other end", "ECONNRESET", "EPIPE"}
    refused = net["a"].tcp_connect("b", 7, count=2)
    assert refused.open == 0 and list(refused.to_frame().error) == ["ECONNREFUSED"] * 2


def test_a_server_has_its_bounds(net):
    with net["b"].tcp_server(7, most=3) as server, net["a"].tcp_connect("b", count=5) as opened:
        assert opened.exchange(timeout=1).ok.sum() == 3 and len(server.log()) == 3
    server = net["b"].tcp_server(7, seconds=0.05)
    until(lambda: not server.running, "the end of the server")
    assert "its time was over" in repr(server)


def test_udp_server(net):
    with net["b"].udp_server(9) as server:
        net["a"].udp_flood("b", packets=100, flows=4, size=50)
        until(lambda: server.log().packets.sum() == 100, "the packets")
        log = server.log()
        assert list(log.packets) == [25] * 4 and list(log.received) == [1_250] * 4 and set(log.peer) == {net["a"].ip}


def test_ping_to_frame(net):
    frame = net["a"].ping("b", count=3).to_frame()
    assert list(frame.number) == [1, 2, 3] and frame.rtt_ms.notna().all()
    assert net["a"].ping("10.0.1.77", timeout=0.05).to_frame().rtt_ms.isna().all()


# -- capture files


@pytest.fixture
def saved(net, tmp_path):
    with net["b"].capture(filter="udp") as seen:
        net["a"].udp_flood("b", packets=10, flows=2, size=64)
        seen.wait(10)
    seen.write(tmp_path / "flood.pcap")
    return tmp_path / "flood.pcap"


def test_replay(net, saved):
    with net["r"].capture("b", "udp") as seen:
        sent = net["b"].replay(saved, "r")
        seen.wait(10)
    assert (sent.sent, sent.refused) == (10, 0) and len(seen) == 10
    data = saved.read_bytes()
    assert all(one in data for one in seen.packets)
    listed = net["b"].sh(["tcpdump", "-nr", "-"], input=data).lines
    assert len(listed) == 10 and "10.0.1.1" in listed[0]


def test_replay_keeps_time(net, tmp_path):
    frame = bytes.fromhex("0200000002010200000002028 8b5".replace(" ", "")) + bytes(46)
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    (tmp_path / "slow.pcap").write_bytes(head + b"".join(struct.pack("<4I", 5, us, 60, 60) + frame for us in (0, 60_000, 120_000)))
    sent = net["b"].replay(tmp_path / "slow.pcap", keep_time=True)
    assert sent.sent == 3 and sent.seconds >= 0.119
    assert net["b"].replay(tmp_path / "slow.pcap").seconds < 0.119


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(("magic", "unit"), [(0xA1B2C3D4, 1e6), (0xA1B23C4D, 1e9)])
def test_files_of_any_machine(tmp_path, order, magic, unit):
    """Written with the bytes in either order, with microseconds or nanoseconds (pcap-savefile(5))."""
    frames = [random.randbytes(size) for size in (60, 14, 1514)]
    times = [5.25, 5.5, 7.0]
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
    for frame, time_ in zip(frames, times, strict=True):
        data += struct.pack(f"{order}4I", int(time_), round(time_ % 1 * unit), len(frame), len(frame)) + frame
    (tmp_path / "any.pcap").write_bytes(data)
    found = pcap.read(tmp_path / "any.pcap", 10)
    assert found.data == b"".join(frames) and list(found.lengths) == [60, 14, 1514] and list(found.times) == pytest.approx([0, 0.25, 1.75])
    assert list(pcap.read(tmp_path / "any.pcap", 2).lengths) == [60, 14]


@pytest.mark.parametrize(
    ("cut", "words", "whole"),
    [
        (lambda d: d[:-7], r"is cut short at packet 10: 99 of its 106 bytes are there; 9 packets are whole, send those with most=9", 9),
        (lambda d: d[: 24 + 122 + 5], "is cut short at packet 2: 5 bytes of the 16 of its header are there; 1 packet is whole", 1),
        (lambda d: d[:10], "is cut short in the file's header: 10 bytes of 24", 0),
        (lambda d: b"", "is no capture file: it has 0 bytes", 0),
        (lambda d: b"PK\3\4" + d[4:], "is no capture file: it begins with 50 4b 03 04", 0),
        (lambda d: d[:32] + struct.pack("<I", 1 << 30) + d[36:], "is damaged at packet 1: it claims 1,073,741,824 bytes", 0),
        (lambda d: d[:20] + struct.pack("<I", 113) + d[24:], "link type 113, and only Ethernet", 0),
        (lambda d: d[:36] + struct.pack("<I", 1000) + d[40:], "packet 1 of .* was captured in part, 106 of 1,000 bytes", 0),
        (lambda d: b"\x0a\x0d\x0d\x0a" + d[4:], "of the format pcapng; write it as pcap", 0),
    ],
)
def test_a_damaged_file_is_not_sent(net, saved, cut, words, whole):
    saved.write_bytes(cut(saved.read_bytes()))
    with net["r"].capture("b") as seen, pytest.raises(CaptureFileError, match=words) as caught:
        net["b"].replay(saved)
    assert caught.value.packets == whole and len(seen) == 0
    if whole:
        assert net["b"].replay(saved, most=whole).sent == whole


def test_a_frame_larger_than_the_mtu(net, tmp_path):
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    frames = [bytes(12) + b"\x88\xb5" + bytes(size) for size in (46, 4000, 46)]
    (tmp_path / "large.pcap").write_bytes(head + b"".join(struct.pack("<4I", 0, 0, len(f), len(f)) + f for f in frames))
    sent = net["b"].replay(tmp_path / "large.pcap")
    assert (sent.sent, sent.refused) == (2, 1) and sent.why.startswith("packet 2: EMSGSIZE")
