"""The packet bench on a real kernel: verdicts, what changed, tables, and what is refused."""

from __future__ import annotations

import struct

import numpy as np
import pandas as pd
import pytest
from packet_seeds import ETHER, PACKETS, SEEDS, V4
from scapy.layers.inet import IP, TCP, UDP
from test_packet_diff import well_formed

import bpflab as bl
from bpflab import verdicts

C = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 1); __type(key, u32); __type(value, u64); } runs SEC(".maps");

SEC("xdp") int route(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    u32 zero = 0;
    u64 *n = bpf_map_lookup_elem(&runs, &zero);
    if (n)
        __sync_fetch_and_add(n, 1);
    if (data + 34 > end || data[12] != 8 || data[13] != 0)
        return XDP_PASS;
    if (data[23] == 17)
        return XDP_DROP;
    data[22]--;
    return XDP_TX;
}
SEC("xdp") int encapsulate(struct xdp_md *ctx)
{
    if (bpf_xdp_adjust_head(ctx, -20))
        return XDP_ABORTED;
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 54 > end)
        return XDP_DROP;
    __builtin_memmove(data, data + 20, 14);
    __builtin_memcpy(data + 14, data + 34, 20);
    data[17] += 20;
    data[23] = 4;
    return XDP_TX;
}
SEC("xdp") int tail(struct xdp_md *ctx) { return bpf_xdp_adjust_tail(ctx, -5) ? XDP_ABORTED : XDP_REDIRECT; }
SEC("xdp") int mark(struct xdp_md *ctx)
{
    if (bpf_xdp_adjust_meta(ctx, -8))
        return XDP_ABORTED;
    u32 *meta = (void *)(long)ctx->data_meta;
    if ((void *)(meta + 2) > (void *)(long)ctx->data)
        return XDP_ABORTED;
    meta[0] = 7;
    return XDP_PASS;
}
SEC("xdp") int strange(struct xdp_md *ctx) { return 17; }
SEC("xdp.frags") int length(struct xdp_md *ctx) { return bpf_xdp_get_buff_len(ctx) > 1500 ? XDP_DROP : XDP_PASS; }

SEC("tc") int set(struct __sk_buff *skb)
{
    skb->cb[1] = skb->mark + 1;
    skb->mark = 9;
    return skb->priority == 3 ? 2 : -1;
}
SEC("tc") int push(struct __sk_buff *skb)
{
    bpf_skb_vlan_push(skb, bpf_htons(0x8100), 5);
    return 0;
}
SEC("socket") int few(struct __sk_buff *skb) { return skb->protocol == bpf_htons(0x0800) ? 20 : 0; }
SEC("cgroup_skb/egress") int out(struct __sk_buff *skb) { return skb->len < 100; }
SEC("lwt_out") int reroute(struct __sk_buff *skb) { return BPF_LWT_REROUTE; }

SEC("tracepoint/syscalls/sys_enter_execve") int traced(void *ctx) { return 0; }
SEC("syscall") int called(void *ctx) { return 0; }
SEC("flow_dissector") int keys(struct __sk_buff *skb) { return 0; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(C, name="benched") as obj:
        yield obj


@pytest.fixture
def programs(obj):
    obj.maps["runs"][0] = 0
    return obj.programs


@pytest.mark.parametrize("form", [SEEDS["tcp"], PACKETS["tcp"], PACKETS["tcp"].hex(), bytearray(PACKETS["tcp"]), np.frombuffer(PACKETS["tcp"], np.uint8)])
def test_one_packet(programs, form):
    run = programs["route"].bench(form)
    assert (run.program, run.type, run.verdict, run.retval, run.repeat) == ("route", "xdp", "XDP_TX", 3, 1)
    assert run.before.data == PACKETS["tcp"]
    assert (run.before["IPv4 TTL"].value, run.after["IPv4 TTL"].value) == (64, 63)
    assert run.changed == 1 and [row.name for row in run.diff.rows() if row.state == "changed"] == ["TTL", "checksum"][:1]
    assert 0 < run.ns < 1_000_000_000


def test_a_program_runs_once(programs, obj):
    programs["route"].bench(PACKETS["tcp"])
    assert obj.maps["runs"][0] == 1
    programs["route"].bench([PACKETS["tcp"]] * 3)
    assert obj.maps["runs"][0] == 4


def test_repeat_is_for_the_clock(programs, obj):
    run = programs["route"].bench(PACKETS["tcp"], repeat=1000)
    assert obj.maps["runs"][0] == 1001
    assert run.after["IPv4 TTL"].value == 63  # of one run, not of a thousand
    assert run.repeat == 1000 and "the mean of 1,000 runs" in repr(run)


def test_the_packet_that_was_given_stays(programs):
    data = bytearray(PACKETS["tcp"])
    programs["route"].bench(data)
    assert data == PACKETS["tcp"]


def test_views(programs):
    run = programs["route"].bench(PACKETS["tcp"])
    text, page = repr(run), well_formed(run._repr_html_())
    assert text.startswith("route (xdp): XDP_TX, ") and "before 64; after 63" in text
    assert "one run with cold caches" in text
    for words in ("XDP_TX", "1 byte differs", "IPv4 checksum is not right any more"):
        assert words in text and words in page
    quiet = programs["route"].bench(PACKETS["udp"])
    assert "the packet is unchanged" in repr(quiet) and "192.0.2.1 → 198.51.100.2, UDP" in repr(quiet)
    assert "the packet is unchanged" in well_formed(quiet._repr_html_())


def test_only_a_checksum_that_the_program_spoilt_is_told(programs):
    wrong = PACKETS["tcp"][:24] + b"\xbe\xef" + PACKETS["tcp"][26:]
    run = programs["route"].bench(wrong)
    assert run.verdict == "XDP_TX" and run.changed == 1 and "IPv4 checksum is not right any more" not in repr(run)
    assert "wrong" in run.before["IPv4 checksum"].said and "wrong" in run.after["IPv4 checksum"].said


def test_a_header_put_before(programs):
    run = programs["encapsulate"].bench(PACKETS["tcp"])
    assert run.verdict == "XDP_TX" and (run.diff.at, run.diff.grown, run.changed) == (14, 20, 20)
    assert [layer.name for layer in run.after.layers][:4] == ["Ethernet", "IPv4", "inner IPv4", "TCP"]
    assert run.after["IPv4 protocol"].said == "IPv4 in IP"


def test_a_tail_cut_off(programs):
    run = programs["tail"].bench(PACKETS["tcp"])
    assert (run.verdict, run.diff.grown, run.changed) == ("XDP_REDIRECT", -5, 5)
    assert any("cut short" in note for note in run.after.notes) and "cut short" in repr(run)


def test_metadata_is_no_part_of_the_packet(programs):
    run = programs["mark"].bench(PACKETS["tcp"])
    assert run.metadata == struct.pack("II", 7, 0) and run.changed == 0 and run.after == run.before
    assert "metadata before the packet: 07 00" in repr(run)
    assert programs["mark"].bench([PACKETS["tcp"]]).changed.tolist() == [0]


def test_a_value_that_is_no_verdict(programs):
    run = programs["strange"].bench(PACKETS["tcp"])
    assert run.verdict == "17" and "takes it for XDP_ABORTED" in run.notes[0]


def test_the_context_of_an_skb(programs):
    run = programs["set"].bench(PACKETS["tcp"])
    assert run.verdict == "TC_ACT_UNSPEC" and run.context == {"mark": 9, "cb[1]": 1}
    ctx = bytearray(192)
    ctx[8:12], ctx[32:36] = struct.pack("I", 4), struct.pack("I", 3)  # mark, priority
    run = programs["set"].bench(PACKETS["tcp"], ctx=bytes(ctx))
    assert run.verdict == "TC_ACT_SHOT" and run.context == {"mark": 9, "cb[1]": 5}
    assert "cb[1] set to 5" in repr(run)


def test_a_tag_pushed(programs):
    run = programs["push"].bench(SEEDS["tcp"])
    assert run.verdict == "TC_ACT_OK"
    if run.changed:  # a kernel may keep the tag beside the packet, as devices do
        assert run.after["VLAN tag"].value == 5 and run.changed == 4


@pytest.mark.parametrize("name, verdict, retval", [("few", "keep", 20), ("out", "pass", 1), ("reroute", "BPF_LWT_REROUTE", 128)])
def test_types_that_see_no_ethernet_header(programs, name, verdict, retval):
    run = programs[name].bench(PACKETS["tcp"])
    assert (run.verdict, run.retval) == (verdict, retval)
    assert run.before.data == PACKETS["tcp"][14:] and run.before["IPv4 TTL"].offset == 8
    assert run.changed == 0 and "takes the Ethernet header off" in run.notes[0]
    assert programs[name].bench([PACKETS["tcp"]]).changed.tolist() == [0]


def test_drop_of_filters(programs):
    assert programs["few"].bench(PACKETS["arp"]).verdict == "drop"
    assert programs["out"].bench(ETHER / V4 / UDP() / bytes(100)).verdict == "drop"


# -- tables


def test_a_table_by_name(programs):
    frame = programs["route"].bench({"web": SEEDS["tcp"], "dns": SEEDS["udp"], "arp": PACKETS["arp"].hex()})
    assert list(frame) == ["name", "verdict", "changed", "ns"]
    assert frame.name.tolist() == ["web", "dns", "arp"]
    assert frame.verdict.tolist() == ["XDP_TX", "XDP_DROP", "XDP_PASS"]
    assert frame.changed.tolist() == [1, 0, 0]
    assert (frame.ns > 0).all() and frame.ns.dtype == "Int64"


def test_a_sequence_has_numbers(programs):
    for table in ([SEEDS["tcp"], PACKETS["udp"]], (p for p in (SEEDS["tcp"], PACKETS["udp"]))):
        frame = programs["route"].bench(table)
        assert frame.name.tolist() == [0, 1] and frame.verdict.tolist() == ["XDP_TX", "XDP_DROP"]
    matrix = np.zeros((3, 60), np.uint8)
    assert programs["route"].bench(matrix).verdict.tolist() == ["XDP_PASS"] * 3
    empty = programs["route"].bench([])
    assert list(empty) == ["name", "verdict", "changed", "ns"] and empty.empty


def test_each_row_is_what_the_packet_alone_gives(programs):
    for name in ("route", "encapsulate", "tail", "mark", "length"):
        frame = programs[name].bench(PACKETS)
        for packet, row in zip(PACKETS.values(), frame.itertuples()):
            alone = programs[name].bench(packet)
            assert (row.verdict, row.changed) == (alone.verdict, alone.changed), (name, row.name)


def test_a_test_suite(programs):
    frame = programs["route"].bench({"web": (SEEDS["tcp"], "XDP_TX"), "dns": (SEEDS["udp"], "XDP_PASS"), "number": (SEEDS["udp"], 1), "free": SEEDS["udp"]})
    assert frame.expected.tolist()[:3] == ["XDP_TX", "XDP_PASS", "XDP_DROP"] and pd.isna(frame.expected[3])
    assert frame.ok.tolist() == [True, False, True, pd.NA]


def test_refused_packets_of_a_table(programs):
    frame = programs["set"].bench({"runt": (bytes(13), "TC_ACT_OK"), "good": SEEDS["tcp"], "nothing": b""})
    assert pd.isna(frame.verdict[0]) and frame.verdict[1] == "TC_ACT_UNSPEC"
    assert frame.changed[0] is pd.NA and frame.changed[1] == 0
    assert frame.refused.tolist() == [
        "13 bytes, but a packet has at least the 14 of an Ethernet header; give it from there on",
        "",
        "0 bytes, but a packet has at least the 14 of an Ethernet header; give it from there on",
    ]
    assert frame.ok.tolist()[0] is False


# -- sizes


@pytest.mark.parametrize("size", [14, 60, 1500, 9000, 65_536])
def test_sizes(programs, size):
    run = programs["length"].bench(PACKETS["tcp"][:14].ljust(size, b"\1"))
    assert run.verdict == ("XDP_DROP" if size > 1500 else "XDP_PASS")
    assert len(run.before) == len(run.after) == size and run.changed == 0
    assert len(run._repr_html_()) < 30_000
    assert programs["length"].bench([bytes(size)]).verdict.tolist() == [run.verdict]


@pytest.mark.parametrize("size", [0, 1, 13])
def test_less_than_an_ethernet_header(programs, size):
    with pytest.raises(bl.BpfError, match=f"{size} bytes?, but a packet has at least the 14 of an Ethernet header") as error:
        programs["route"].bench(bytes(size))
    assert error.value.errno == 22


def test_too_long(programs):
    with pytest.raises(bl.BpfError, match="90,000 bytes, but the test run holds a page and 17 fragments"):
        programs["route"].bench(bytes(90_000))
    long = programs["set"].bench([bytes(20_000)])
    if "refused" in long:  # newer kernels take it
        assert "20,000 bytes, but one that is no XDP packet has to fit into a page" in long.refused[0]
        with pytest.raises(bl.BpfError, match="has to fit into a page"):
            programs["set"].bench(bytes(20_000))
        with pytest.raises(bl.BpfError, match="has to fit into a page"):
            programs["set"].test_run(bytes(20_000))


def test_headers_that_promise_more(programs):
    run = programs["route"].bench(PACKETS["tcp"][:40])
    assert run.verdict == "XDP_TX"
    assert run.after.notes[0] == f"IPv4: cut short: its total length says {len(PACKETS['tcp']) - 14} bytes, 26 are there"


# -- what is refused


@pytest.mark.parametrize(
    "name, said",
    [
        ("traced", "only these types on a packet of yours: xdp, sched_cls, .*; attach it and cause the event"),
        ("called", r"; run it on its context: prog.test_run\(ctx=...\)"),
        ("keys", "the keys that it found, not a packet"),
    ],
)
def test_types_without_a_bench(programs, name, said):
    with pytest.raises(bl.NotSupportedError, match=said) as error:
        programs[name].bench(PACKETS["tcp"])
    assert programs[name].type in error.value.feature


@pytest.mark.parametrize(
    "packet, options, kind, said",
    [
        (5, {}, TypeError, "a packet is bytes, not int"),
        (None, {}, TypeError, "a packet is bytes, not NoneType"),
        ("xyz", {}, ValueError, "no hex digit"),
        ([b"", 5], {}, TypeError, "packet 1: a packet is bytes, not int"),
        ({"odd": "abc"}, {}, ValueError, "packet 'odd': .* 3 digits"),
        ([(b"", "XDP_DROP", 1)], {}, TypeError, "is a tuple of 3"),
        ([(b"", 1.5)], {}, TypeError, "a verdict is a name such as"),
        (b"", {"repeat": 0}, ValueError, "repeat is 0; give 1 to"),
        (b"", {"repeat": 1 << 32}, ValueError, "give 1 to 4,294,967,295"),
        (b"", {"repeat": 1.5}, TypeError, "repeat is a number of runs, not float"),
        (b"", {"repeat": True}, TypeError, "not bool"),
        (b"", {"ctx": bytes(24)}, TypeError, r"prog.test_run\(packet, ctx=...\)"),
    ],
)
def test_wrong_use(programs, packet, options, kind, said):
    with pytest.raises(kind, match=said):
        programs["route"].bench(packet, **options)


def test_a_context_that_is_none(programs):
    with pytest.raises(TypeError, match="a context is bytes, not dict"):
        programs["set"].bench(PACKETS["tcp"], ctx={"mark": 1})


def test_a_verdict_with_a_slip(programs):
    with pytest.raises(bl.UnknownNameError, match="no verdict named 'XDP_DORP' in xdp programs; did you mean 'XDP_DROP'"):
        programs["route"].bench({"a": (SEEDS["tcp"], "XDP_DORP")})


def test_an_unloaded_program(lab):
    obj = lab.load('#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int f(void *ctx) { return 2; }\nchar LICENSE[] SEC("license") = "GPL";')
    program = obj.programs["f"]
    assert program.bench(PACKETS["tcp"]).verdict == "XDP_PASS"
    obj.close()
    for packet in (PACKETS["tcp"], [PACKETS["tcp"]]):
        with pytest.raises(bl.BpfError, match="unloaded with its object; load it again"):
            program.bench(packet)


def test_a_closed_lab(fresh_lab):
    obj = fresh_lab.load('#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nSEC("xdp") int f(void *ctx) { return 2; }\nchar LICENSE[] SEC("license") = "GPL";')
    fresh_lab.close()
    with pytest.raises(bl.LabError):
        obj.programs["f"].bench(PACKETS["tcp"])


# -- names


def test_names_come_from_the_kernel(lab):
    header = lab.vmlinux / "vmlinux.h"
    for name, known in verdicts._ENUMS.items():
        found = verdicts._read(header, name)
        assert found or name == "tcx_action_base"  # 6.6 and later
        assert known.items() <= (found or known).items(), name
    assert verdicts.names("xdp", lab=lab) == verdicts._ENUMS["xdp_action"]


def test_names_of_tcx():
    assert verdicts.name_of(0xFFFFFFFF, "sched_cls", verdicts.names("sched_cls", "tcx_ingress")) == "TCX_NEXT"
    assert verdicts.name_of(8, "sched_cls", verdicts.names("sched_cls", "tcx_ingress")) == "TC_ACT_TRAP"
    assert verdicts.name_of(0xFFFFFFFF, "sched_cls", verdicts.names("sched_cls")) == "TC_ACT_UNSPEC"
    assert verdicts.name_of(3, "cgroup_skb", verdicts.names("cgroup_skb")) == "pass, congested"
    assert verdicts.unknown(99, "sched_cls", verdicts.names("sched_cls")).endswith("takes it for TC_ACT_UNSPEC")


def test_wanted_names():
    tc, tcx = verdicts.names("sched_cls"), verdicts.names("sched_cls", "tcx_ingress")
    assert verdicts.wanted("TCX_DROP", "sched_cls", tc) == "TC_ACT_SHOT" == verdicts.wanted("TC_ACT_SHOT", "sched_cls", tc)
    assert verdicts.wanted("TC_ACT_SHOT", "sched_cls", tcx) == "TCX_DROP" == verdicts.wanted(2, "sched_cls", tcx)
    with pytest.raises(bl.UnknownNameError, match="'TCX_DROP'"):
        verdicts.wanted("TCX_DORP", "sched_cls", tc)
    with pytest.raises(bl.UnknownNameError, match="there are: drop, keep"):
        verdicts.wanted("XDP_DROP", "socket_filter", {})


@pytest.mark.filterwarnings("ignore::bpflab.bcc.BccWarning")
def test_programs_of_bcc(lab):
    with lab.bcc("int f(struct xdp_md *ctx) { return XDP_DROP; }\nint g(struct __sk_buff *skb) { return 2; }") as obj:
        assert obj.programs["f"].bench(PACKETS["tcp"]).verdict == "XDP_DROP"
        with pytest.raises(bl.BpfError, match="not loaded, since nothing tells its type"):
            obj.programs["g"].bench(PACKETS["tcp"])
        obj.programs["g"].load("sched_cls")
        assert obj.programs["g"].bench([PACKETS["tcp"]]).verdict.tolist() == ["TC_ACT_SHOT"]


def test_scapys_own_view_of_what_is_left(programs):
    """The packet afterwards is a packet for others, too."""
    after = programs["encapsulate"].bench(SEEDS["tcp"]).after
    theirs = SEEDS["tcp"].__class__(bytes(after))
    assert theirs[IP].proto == 4 and theirs[IP].payload[IP].dst == "198.51.100.2" and theirs[TCP].dport == 80
