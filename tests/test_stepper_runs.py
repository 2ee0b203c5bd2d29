"""`bl.step`: what it takes, what it says, and that the kernel says the same."""

import struct

import pandas
import pytest
import traitlets

import bpflab as bl
from bpflab.insn import Insn

UDP = bytes.fromhex("ffffffffffff0200000000010800" "450000210001000040110000" "0a0000010a000002" "00350009000d0000") + b"hello"
FILTER = "2\n40 0 0 12\n22 0 0 0\n"  # A = EtherType; return A

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>
char LICENSE[] SEC("license") = "GPL";
"""
COUNTER = HEAD + """
struct {{ __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 2); }} seen SEC(".maps");
struct {{ __uint(type, BPF_MAP_TYPE_ARRAY); __type(key, __u32); __type(value, __u64); __uint(max_entries, 3); }} slots SEC(".maps");
int total = 5;
static __noinline int classify(struct iphdr *ip) {{ total++; return ip->protocol == 17 ? 2 : 1; }}
SEC("{section}") int count({context} *ctx)
{{
    void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    struct ethhdr *eth = data;
    struct iphdr *ip = data + sizeof(*eth);
    __u32 key, two = 2, nine = 9;
    __u64 one = 1, *times;

    if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(0x0800))
        return 0;
    key = ip->saddr;
    times = bpf_map_lookup_elem(&seen, &key);
    if (times)
        __sync_fetch_and_add(times, 1);
    else if (bpf_map_update_elem(&seen, &key, &one, BPF_NOEXIST))
        return 100;
    if (bpf_map_lookup_elem(&slots, &nine))
        return 101;
    times = bpf_map_lookup_elem(&slots, &two);
    if (times)
        *times += 7;
    if (bpf_map_delete_elem(&slots, &two) == 0)
        return 102;
    return classify(ip) + 10 * total;
}}
"""


def packet(source=1, protocol=17):
    return UDP[:23] + bytes([protocol]) + UDP[24:26] + struct.pack(">I", source) + UDP[30:]


# -- classic


def test_a_filter_expression(lab):
    stepper = bl.step("udp port 53", UDP)
    assert stepper.verdict == 262144
    assert (stepper.kernel, stepper.agrees) == (len(UDP), True)
    first = stepper.trace.steps[0]
    assert (first.pc, first.changed, first.reads) == (0, {"A": 0x0800}, [("packet", 12, 2)])
    assert stepper._run["steps"][0][2] == [[0, 12, 2, "Ethernet EtherType = IPv4"]]
    assert "udp port 53 (classic): returns 262144: let 262144 bytes through; kernel: 47 of 47 bytes came through, the same" in repr(stepper)
    assert list(stepper.to_frame()["pc"]) == [step.pc for step in stepper.trace.steps]


@pytest.mark.parametrize("expression", ["ip", "tcp", "udp dst port 9", "ether host 2:0:0:0:0:1", "greater 48", "ip[8] < 65", "vlan 3 or ip proto 17"])
def test_expressions_agree_with_the_kernel(lab, expression):
    for data in (UDP, UDP[:13], packet(protocol=6), bytes(60)):
        assert bl.step(expression, data).agrees


@pytest.mark.parametrize("size", [0, 1, 14, 1500, 65536])
def test_packets_of_any_size(lab, size):
    data = (UDP * 1500)[:size]
    stepper = bl.step(FILTER, data)
    assert stepper.verdict == (0x0800 if size > 13 else 0)
    assert stepper.agrees
    assert sum(len(text) for region in stepper._run["regions"] for _, text in region["chunks"]) <= 2 * 144  # not all of 64 KiB


def test_dumps_and_rows(lab):
    rows = [(0x28, 0, 0, 12), (0x16, 0, 0, 0)]
    text = "{ 0x28, 0, 0, 0x0000000c },\n{ 0x16, 0, 0, 0x00000000 },\n"
    for source in (FILTER, text, rows, [list(row) for row in rows]):
        stepper = bl.step(source, UDP)
        assert (stepper.verdict, stepper.kernel) == (0x0800, len(UDP))


def test_what_only_a_device_knows_is_not_compared(lab):
    stepper = bl.step([(0x20, 0, 0, 0xFFFFF000 + 8), (0x16, 0, 0, 0)], UDP)
    assert stepper.kernel is None and stepper.agrees is None
    assert "reads ifindex" in repr(stepper)


# -- eBPF


@pytest.mark.parametrize("section, context", [("xdp", "struct xdp_md"), ("tc", "struct __sk_buff")])
def test_a_program_with_maps_functions_and_globals(lab, section, context):
    with lab.load(COUNTER.format(section=section, context=context)) as obj:
        program = obj.programs["count"]
        for n, source in enumerate((1, 1, 2, 3)):  # the fourth finds the map full
            before = obj.maps["seen"].to_frame()
            stepper = bl.step(program, packet(source), check=False)
            assert obj.maps["seen"].to_frame().equals(before), "stepping changed the kernel's map"
            assert obj.globals["total"] == 5 + n
            assert stepper.verdict == program.test_run(packet(source)).retval == (100 if source == 3 else 2 + 10 * (6 + n))
        stepper = bl.step(program, packet(1))
        assert stepper.agrees
        functions = [name for _, name in stepper._done.functions]
        assert functions == ["count", "classify"]
        assert any(line and line.text.startswith("key = ip->saddr") for line in stepper._done.lines)
        called = next(step for step in stepper.trace.steps if step.note.startswith("calls the function"))
        assert stepper._done.texts[called.pc] == "call classify"


def test_context_fields_are_the_kernels(lab):
    source = HEAD + 'SEC("tc") int f(struct __sk_buff *skb) { return skb->%s; }\n'
    for member in ("len", "pkt_type", "mark", "protocol", "ifindex", "ingress_ifindex", "cb[2]", "wire_len", "vlan_present", "priority", "queue_mapping", "tc_index", "gso_segs"):
        with lab.load(source % member) as obj:
            for data in (UDP, bytes(60), b"\x01" + UDP[1:], b"\xff" * 6 + bytes(6) + b"\x00\x10" + bytes(50)):
                stepper = bl.step(obj.programs["f"], data)
                assert stepper.agrees, (member, stepper)
    with lab.load(HEAD + 'SEC("xdp") int f(struct xdp_md *x) { return x->ingress_ifindex * 16 + x->rx_queue_index; }') as obj:
        assert bl.step(obj.programs["f"], UDP).agrees


def test_a_socket_filter_sees_no_ethernet_header(lab):
    with lab.load(HEAD + 'SEC("socket") int f(struct __sk_buff *skb) { __u8 b[4] = {}; bpf_skb_load_bytes(skb, 12, b, 4); return b[0] * 256 + b[3] + skb->len; }') as obj:
        stepper = bl.step(obj.programs["f"], UDP)
        assert stepper.agrees
        assert stepper.verdict == 10 * 256 + 1 + len(UDP) - 14
        assert [step for step in stepper._run["steps"] if step[2] and step[2][0][3].startswith("IPv4 source")]


def test_a_program_on_its_context(lab):
    source = HEAD + "struct arguments { int a; int b; };\n" 'SEC("syscall") int add(struct arguments *x) { x->b += x->a; return x->b; }'
    with lab.load(source) as obj:
        stepper = bl.step(obj.programs["add"], ctx=struct.pack("ii", 30, 12))
        assert stepper.agrees and stepper.verdict == 42
        with pytest.raises(TypeError, match="a syscall program sees no packet"):
            bl.step(obj.programs["add"], UDP)


def test_a_helper_that_is_not_stepped_says_so_and_the_kernel_goes_on(lab):
    with lab.load(HEAD + 'SEC("tc") int f(struct __sk_buff *skb) { return bpf_redirect(1, 0); }') as obj:
        stepper = bl.step(obj.programs["f"], UDP)
    assert stepper.verdict is None and stepper.agrees is None
    assert "bpf_redirect acts on the kernel" in stepper.stopped
    assert stepper.kernel == 7  # TC_ACT_REDIRECT


def test_ring_buffers_are_local(lab):
    source = HEAD + """
struct { __uint(type, BPF_MAP_TYPE_RINGBUF); __uint(max_entries, 4096); } events SEC(".maps");
SEC("xdp") int f(struct xdp_md *ctx)
{
    __u32 *event = bpf_ringbuf_reserve(&events, 4, 0);
    if (!event)
        return 0;
    *event = 0x01020304;
    bpf_ringbuf_submit(event, 0);
    return 2;
}"""
    with lab.load(source) as obj:
        stepper = bl.step(obj.programs["f"], UDP, check=False)
    assert stepper.verdict == 2
    assert any(step.note.endswith("sends 04 03 02 01") for step in stepper.trace.steps)


def test_bare_instructions(lab):
    insns = [Insn(0xB7, 0, 0, 0, 2), Insn(0x95)]
    assert bl.step(insns, UDP, type="xdp").agrees
    with pytest.raises(TypeError, match="type must be told"):
        bl.step(insns, UDP)
    refused = bl.step([Insn(0x95)], UDP, type="xdp")  # one instruction, and r0 was never set
    assert refused.verdict == 0
    assert "kernel: the verifier refuses it: R0 !read_ok" in repr(refused) and "nothing was put into r0" in repr(refused)
    with pytest.raises(ValueError, match="jumps to 8"):
        bl.step([Insn(0x05, 0, 0, 7), Insn(0x95)], UDP, type="xdp")


def test_c_text_and_the_packet_that_the_kernel_does_not_take(lab):
    text = HEAD + 'SEC("xdp") int f(struct xdp_md *ctx) { return ctx->data_end - ctx->data; }'
    assert bl.step(text, UDP).agrees
    nothing = bl.step(text, b"")
    assert (nothing.verdict, nothing.kernel) == (0, None)
    assert "0 bytes, but a packet has at least the 14 of an Ethernet header" in repr(nothing)
    large = bl.step(text, bytes(65536))  # XDP reaches its first page
    assert large.verdict == 3520
    assert large.kernel in (None, large.verdict)
    assert bl.step(text).verdict == 64  # as test_run does


def test_long_runs_keep_their_beginning(lab):
    text = HEAD + 'SEC("syscall") int f(void *ctx) { volatile int n = 0; for (int i = 0; i < 2000; i++) n += i; return n; }'
    with lab.load(text) as obj:
        stepper = bl.step(obj.programs["f"])
    assert stepper.verdict == 1999000 and stepper.agrees
    assert stepper.trace.count > len(stepper.trace.steps) == 5000
    assert "the first 5,000 of" in stepper._run["end"]


# -- bad input


@pytest.mark.parametrize(
    "source, data, kind, said",
    [
        ("udp prot 53", UDP, ValueError, "tcpdump does not understand the filter 'udp prot 53'"),
        ("", UDP, ValueError, "the filter is empty"),
        (5, UDP, TypeError, "step takes a program"),
        (b"\x28\x00", UDP, TypeError, "not bytes"),
        ({"a": 1}, UDP, TypeError, "not dict"),
        ([], UDP, ValueError, "has 0"),
        ([(5, 0, 0, 9), (6, 0, 0, 0)], UDP, ValueError, "jumps to 10, out of the filter"),
        ("ip", None, TypeError, "a filter runs on a packet"),
        ("ip", "text", ValueError, "has 't' in it, which is no hex digit"),
        ("ip", 60, TypeError, "a packet is bytes, not int"),
        ("ip", bytes(65537), ValueError, "the packet has 65,537 bytes; give at most 65,536"),
        ("5\n1 2 3\n", UDP, ValueError, "says 5 instructions and has 1"),
    ],
)
def test_bad_input(lab, source, data, kind, said):
    with pytest.raises(kind, match=said):
        bl.step(source, data)


def test_a_closed_object(lab):
    obj = lab.load(HEAD + 'SEC("xdp") int f(struct xdp_md *ctx) { return 2; }')
    program = obj.programs["f"]
    obj.close()
    with pytest.raises(bl.BpfError):
        bl.step(program, UDP)
    with pytest.raises(bl.BpfError, match="unloaded"):
        program.cfg()


@pytest.mark.parametrize("section", ["cgroup_skb/egress", "lwt_in", "socket", "tc", "xdp"])
def test_every_type_that_sees_packets(lab, section):
    """Where the packet begins, and that what lies beyond it is refused, is as in the kernel's test run."""
    context = "xdp_md" if section == "xdp" else "__sk_buff"
    body = """
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    return data + 10 > end ? 0 : data[9] == 17;"""
    if section == "socket":
        body = "unsigned char b = 0; return bpf_skb_load_bytes(ctx, 9, &b, 1) ? 0 : b == 17;"
    with lab.load(f'{HEAD}SEC("{section}") int f(struct {context} *ctx) {{ {body} }}') as obj:
        for data in (UDP, UDP[:14] + bytes(9) + b"\x11" + bytes(9), bytes(9) + b"\x11" + bytes(24), UDP[:23]):
            stepper = bl.step(obj.programs["f"], data)
            blind = section.startswith("cgroup_skb") and "gives a cgroup_skb program an empty packet" in repr(stepper)
            assert stepper.agrees or stepper.kernel is None and (blind or len(data) < 40), stepper
            assert not blind or obj.programs["f"].test_run(UDP[:14] + UDP[14:23] + b"\x11" + UDP[24:]).retval == 0
        assert stepper.verdict in (0, 1)


def test_filters_on_a_device(lab):
    """What the kernel knows beside the packet, on a packet socket: the stepper is told the same."""
    from bpflab.insn import classic, classic_run

    net = lab.netlab("a", "b")
    asked = {name: at for at, name in classic.ANCILLARY.items() if name in ("protocol", "pkttype", "ifindex", "mark", "vlan_present")}
    known = {"protocol": 0x88B5, "pkttype": 0, "ifindex": net["b"].dev.ifindex, "mark": 0, "vlan_present": 0}
    filters = {
        name: classic.filter_of([(0x20, 0, 0, classic.AD_OFF + at), (0x54, 0, 0, 63), (0x04, 0, 0, 5), (0x16, 0, 0, 0)])
        for name, at in asked.items()
    }
    # headers by their place: the byte behind the Ethernet header, and the EtherType
    filters["network"] = classic.filter_of([(0x30, 0, 0, classic.NET_OFF + 1), (0x16, 0, 0, 0)])
    filters["link"] = classic.filter_of([(0x28, 0, 0, classic.LL_OFF + 12), (0x54, 0, 0, 63), (0x16, 0, 0, 0)])
    frame = bytes.fromhex((net["b"].mac + net["a"].mac).replace(":", "")) + b"\x88\xb5" + bytes(range(30, 80))
    rows = {name: [tuple(i) for i in insns] for name, insns in filters.items()}
    script = f"""
import ctypes, socket, struct
receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
receiver.settimeout(10)
sender = {{}}
for name, rows in {rows!r}.items():
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *row) for row in rows))
    one = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    one.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxP", len(rows), ctypes.addressof(code)))
    one.bind(({net["b"].dev.name!r}, 0x88B5))
    one.settimeout(10)
    sender[name] = one
print("ready", flush=True)
for name, one in sender.items():
    print(name, len(one.recv(4096)), flush=True)
"""
    with net["b"].spawn(["python3", "-c", script]) as receiver:
        receiver.wait_for("ready")
        send = f"import socket; s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(({net['a'].dev.name!r}, 0)); s.send(bytes.fromhex({frame.hex()!r}))"
        net["a"].sh(["python3", "-c", send])
        receiver.wait()
        came = dict(line.split() for line in receiver.stdout.splitlines()[1:])
    for name, insns in filters.items():
        verdict = classic_run.run(insns, frame, known).verdict
        assert int(came[name]) == min(verdict, len(frame)), name


@pytest.mark.filterwarnings("ignore::bpflab.bcc.BccWarning")
def test_a_program_that_bcc_loaded(lab):
    """Its C text is not at hand, so there is nothing before the verifier to step; what the kernel keeps can be drawn."""
    with lab.bcc("TRACEPOINT_PROBE(sched, sched_switch) { return args->prev_pid > 5; }") as obj:
        (program,) = obj.programs.values()
        program.attach()
        with pytest.raises(bl.NotSupportedError, match="BCC loaded this program"):
            bl.step(program, ctx=bytes(64))
        assert "exit" in repr(program.cfg())


def test_a_mistake_names_what_is_wrong_and_what_to_give(lab):
    text = HEAD + 'SEC("socket") int f(struct __sk_buff *skb) { return skb->len; }'
    counted = lab.create_map("array", "u32", "u64", 1)
    with lab.load(text) as obj:
        with pytest.raises(ValueError, match="hex text has 3 digits"):
            bl.step(obj.programs["f"], "abc")
        for packet in (counted, [1, 2], 60):
            with pytest.raises(TypeError, match=f"a packet is bytes, not {type(packet).__name__}; give"):
                bl.step(obj.programs["f"], packet)
        with pytest.raises(ValueError, match="65,537 bytes; give at most 65,536"):
            bl.step(obj.programs["f"], bytes(65537))
        long = bl.step(obj.programs["f"], bytes(65536))
        assert long.verdict == 65522 and "65,536 bytes, but one that is no XDP packet has to fit into a page" in repr(long)
        for source in (counted, obj, None, {}, pandas.DataFrame({"code": [6]})):
            with pytest.raises(TypeError, match=f"step takes a program .*, not {type(source).__name__}"):
                bl.step(source, UDP)
    with pytest.raises(TypeError, match=r"instruction 0 is \(6\.5, 0, 0, 1\); give four numbers"):
        bl.step([(6.5, 0, 0, 1)], UDP)
    with pytest.raises(ValueError, match=r"has 0; end it with a ret"):
        bl.step([], UDP)
    with pytest.raises(ValueError, match=r"C text has a SEC\(\.\.\.\) before each program"):
        bl.step("int main(void) { return 0; }", UDP)


def test_only_positions_of_the_run_can_be_gone_to(lab):
    stepper = bl.step("ip", UDP)
    stepper.position = last = len(stepper.trace.steps)
    for beyond in (-1, last + 1):
        with pytest.raises(traitlets.TraitError, match=rf"{beyond} is no position of this run; give 0 to {last}"):
            stepper.position = beyond
    assert stepper.position == last
