"""Instructions: bytes, texts, blocks, and the drawing of blocks; what is refused and why."""

import random
import re

import insn_random
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflab import kinds
from bpflab.insn import alu, blocks, classic, classic_run, classic_text, decode, ebpf, encode
from bpflab.insn.ebpf import ALU, ALU64, DIV, EXIT, JA, JCOND, JEQ, JMP, JMP32, JNE, LD_IMM64, MOD, MOV, Insn
from bpflab.insn.ebpf_run import Machine
from bpflab.packet import fields
from bpflab.widgets.cfg_layout import arrange

RETURN_1 = [Insn(ALU64 | MOV, 0, 0, 0, 1), Insn(JMP | EXIT)]


@given(st.lists(st.builds(Insn, *[st.integers(0, 255), st.integers(0, 15), st.integers(0, 15)], st.integers(-(1 << 15), (1 << 15) - 1), st.integers(-(1 << 31), (1 << 31) - 1))))
def test_bytes_and_back(insns):
    assert decode(encode(insns)) == insns
    assert len(ebpf.disassemble(insns)) == len(insns)  # any bytes have a text


@settings(max_examples=400, deadline=None)
@given(st.binary(min_size=8, max_size=240).map(lambda data: data[: len(data) // 8 * 8]), st.sampled_from(["xdp", "socket_filter", "syscall"]))
def test_any_bytes_are_stepped_or_refused_in_words(data, kind):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("bpflab.insn.ebpf_run.MAX_RUN", 500)
        trace = Machine(decode(data), kind, bytes(64), bytes(16)).run()
    assert trace.stopped or trace.verdict is not None


@settings(max_examples=300)
@given(st.lists(st.builds(classic.ClassicInsn, st.integers(0, 255), st.integers(0, 9), st.integers(0, 9), st.integers(0, 70)), max_size=12), st.binary(max_size=60))
def test_any_filter_that_passes_the_check_ends(insns, packet):
    try:
        classic.check(insns)
    except ValueError as error:
        assert "instruction" in str(error)
    else:
        assert 0 <= classic_run.run(insns, packet).verdict < 1 << 32


def test_half_an_instruction_is_refused():
    with pytest.raises(ValueError, match="9 bytes are no eBPF instructions"):
        decode(bytes(9))


@pytest.mark.parametrize(
    "insn, dst, src, expected",
    [
        (Insn(ALU64 | DIV | 8, 1, 2), 7, 0, 0),  # RFC 9669, 4.1: division by zero gives zero
        (Insn(ALU64 | MOD | 8, 1, 2), 7, 0, 7),  # and modulo leaves the destination
        (Insn(ALU | MOD | 8, 1, 2), (5 << 32) | 7, 0, 7),  # whose upper half is cleared where the operation has 32 bits
        (Insn(ALU64 | DIV | 8, 1, 2, 1), 1 << 63, (1 << 64) - 1, 1 << 63),  # the smallest number / -1
        (Insn(ALU | DIV | 8, 1, 2, 1), 1 << 31, 0xFFFFFFFF, 1 << 31),
        (Insn(ALU64 | DIV | 8, 1, 2, 1), (1 << 64) - 13, 4, (1 << 64) - 3),  # -13 / 4 = -3, towards zero
        (Insn(ALU64 | MOD | 8, 1, 2, 1), (1 << 64) - 13, 4, (1 << 64) - 1),
    ],
)
def test_division(insn, dst, src, expected):
    assert alu.alu(insn, dst, src) == expected


def test_what_random_programs_lack(lab):
    """gotol, may_goto, load_acquire, store_release: the stepper's verdict and the kernel's, where it has them."""
    load, store = Insn(3 | 0xC0 | 0x18, 3, 10, -8, ebpf.LOAD_ACQ), Insn(3 | 0xC0 | 0x18, 10, 2, -8, ebpf.STORE_REL)
    programs = [
        # what it jumps over has to be reached some other way, or it is refused for that
        [*RETURN_1[:1], Insn(ALU64 | MOV, 2), Insn(JMP | JNE, 2, 0, 1, 0), Insn(JMP32 | JA, imm=1), Insn(ALU64 | MOV, 0, 0, 0, 9), Insn(JMP | EXIT)],
        [Insn(ALU64 | MOV, 0, 0, 0, 3), Insn(JMP | JCOND, 0, 0, 1), Insn(ALU64 | MOV, 0, 0, 0, 5), Insn(JMP | EXIT)],
        [Insn(ALU64 | MOV, 2, 0, 0, 77), store, load, Insn(ALU64 | MOV | 8, 0, 3), Insn(JMP | EXIT)],
    ]
    for insns, found in zip(programs, lab.ask("insns.verdicts", kinds.PROG_TYPES.index("xdp"), [encode(p) for p in programs], [bytes(64)])):
        trace = Machine(insns, "xdp", bytes(64)).run()
        assert not trace.stopped
        if isinstance(found, list):
            assert found[0][0] == trace.verdict, ebpf.disassemble(insns)
        else:  # an older kernel refuses it as an instruction, and not for what it does
            assert re.search("unknown opcode|invalid atomic opcode|uses reserved fields", found), found


def test_a_run_that_does_not_end_is_ended(monkeypatch):
    monkeypatch.setattr("bpflab.insn.ebpf_run.MAX_RUN", 1000)
    trace = Machine([Insn(JMP | JA, 0, 0, -1), *RETURN_1], "xdp", bytes(60)).run()
    assert trace.verdict is None
    assert "still running after 1,000 instructions" in trace.stopped


@pytest.mark.parametrize(
    "insns, said",
    [
        ([Insn(1 | 0x60, 0, 10, 0), *RETURN_1], "are no memory of this program"),
        ([Insn(JMP | 0x80, imm=23), *RETURN_1], "bpf_redirect acts on the kernel"),
        ([Insn(JMP | 0x80, 0, 2, 0, 5), *RETURN_1], "kernel function"),
        ([Insn(LD_IMM64, 1, 1, 0, 3), Insn(0), *RETURN_1], "map 3 is not at hand"),
        ([Insn(ALU64 | MOV, 0, 0, 0, 1)], "end it with exit"),
    ],
)
def test_what_cannot_be_stepped_says_so(insns, said):
    trace = Machine(insns, "xdp", bytes(60)).run()
    assert trace.verdict is None
    assert said in trace.stopped


# -- classic


def test_dumps_of_tcpdump(lab):
    """What it prints with -dd and -ddd is read, and what it prints with -d is written."""
    for expression in ("ip", "tcp[tcpflags] & tcp-syn != 0 and port 80", "ip6 and udp", "vlan 5 and icmp", "ether[6:4] = 7", "len > 100"):
        run = lambda flag: lab.sh(["tcpdump", "-y", "EN10MB", flag, expression]).stdout  # noqa: B023, E731
        insns = classic.parse(run("-dd"))
        assert insns == classic.parse(run("-ddd"))
        classic.check(insns)
        ours = [" ".join(text.split()) for text in classic.disassemble(insns)]
        theirs = [" ".join(line.split(None, 1)[1].split()) for line in run("-d").splitlines()]
        words = {"#protocol": "#proto", "#vlan_present": "vlanp", "#vlan_tci": "vlan_tci"}
        for mine, other in zip(ours, theirs, strict=True):
            assert mine == other or any(mine.endswith(word) for word in words), (mine, other)


@pytest.mark.parametrize(
    "rows, said",
    [
        ([], "1 to 4096 instructions, and this one has 0"),
        ([(6, 0, 0, 0)] * 4097, "has 4097"),
        ([(0x15, 5, 0, 1), (6, 0, 0, 0)], "jumps if true to 6, out of the filter, whose last instruction is 1"),
        ([(0x05, 0, 0, 0xFFFFFFFF), (6, 0, 0, 0)], "out of the filter"),
        ([(0x34, 0, 0, 0), (6, 0, 0, 0)], "divides by the constant 0"),
        ([(0x64, 0, 0, 32), (6, 0, 0, 0)], "shifts 32 bits by 32"),
        ([(0x60, 0, 0, 3), (6, 0, 0, 0)], "reads M[3], which not every way there has written"),
        ([(0x02, 0, 0, 16), (6, 0, 0, 0)], "M[16]"),
        ([(0x28, 0, 0, 12)], "is no ret"),
        ([(0xFF, 0, 0, 0), (6, 0, 0, 0)], "code 0xff"),
        ([(0x20, 0, 0, 0xFFFFF000 + 61), (6, 0, 0, 0)], "keeps nothing"),
    ],
)
def test_filters_that_are_refused(rows, said):
    with pytest.raises(ValueError, match=said.replace("[", r"\[").replace("]", r"\]")):
        classic.check(classic.filter_of(rows))


def test_a_filter_of_one_instruction():
    insns = classic.filter_of([(6, 0, 0, 5)])
    classic.check(insns)
    assert classic.disassemble(insns) == ["ret #5"]


@pytest.mark.parametrize("rows, kind", [([(1, 2, 3)], TypeError), ([("a", 0, 0, 0)], TypeError), ([7], TypeError), ([(6, 300, 0, 0)], ValueError), ([(6, 0, 0, 1 << 33)], ValueError)])
def test_rows_that_are_no_instructions(rows, kind):
    with pytest.raises(kind, match="instruction 0"):
        classic.filter_of(rows)


def test_a_dump_that_is_cut_short():
    with pytest.raises(ValueError, match="says 3 instructions and has 1"):
        classic.parse("3\n40 0 0 12\n")


def test_what_is_written_out_is_read_again(lab):
    for expression in ("ip", "tcp[tcpflags] & tcp-syn != 0 and port 80", "ip6 and udp", "ether[6:4] = 7", "len > 100"):
        run = lambda flag: lab.sh(["tcpdump", "-y", "EN10MB", flag, expression]).stdout  # noqa: B023, E731
        assert classic_text.is_text(run("-d")) and not classic_text.is_text(expression)
        assert classic_text.assemble(run("-d")) == classic.parse(run("-dd"))
    for seed in range(300):
        insns = insn_random.random_filter(random.Random(seed))
        insns += classic.filter_of([(0x28, 0, 0, classic.AD_OFF), (0x05, 0, 0, 1), (0x20, 0, 0, classic.LL_OFF + 4), (6, 0, 0, 0)])
        texts = classic.disassemble(insns)
        assert classic.disassemble(classic_text.assemble("\n".join(texts))) == texts


@pytest.mark.parametrize(
    "text, said",
    [
        ("(000) ldh [12]\n(002) ret #0", "'(002) ret #0' is instruction 1 and is called 2"),
        ("jeq #1 jt 1 jf 0\nret #0", "jumps to 0; a jump goes forward"),
        ("jeq #1\nret #0", "two lines to go on at"),
        ("jeq jt 1 jf 1\nret #0", "what A is compared with"),
        ("ldq [12]\nret #0", "is no instruction of classic BPF"),
        ("ldh [ret]\nret #0", "is no instruction"),
        ("st #3\nret #0", "is no instruction"),
        ("ldxh [3]\nret #0", "is no instruction"),
        ("ret #0x1ffffffff", "more than 32 bits"),
        ("ja 0\nret #0", "a later line"),
        ("ret #0 jt 1 jf 1", "is no instruction"),
        ("!\nret #0", "is no instruction"),
    ],
)
def test_texts_that_are_no_filters(text, said):
    assert classic_text.is_text(text)
    with pytest.raises(ValueError, match=said.replace("(", r"\(").replace(")", r"\)")):
        classic_text.assemble(text)


def test_comments_and_numbers_may_be_left_out():
    text = "  ldh [12]   ; EtherType\n\n; all else\n  jset #0x1fff jt 3 jf 2 ; why\nret #0\n3: ret a"
    assert classic_text.assemble(text) == classic.filter_of([(0x28, 0, 0, 12), (0x45, 1, 0, 0x1FFF), (6, 0, 0, 0), (0x16, 0, 0, 0)])


# -- packets


def test_fields_have_their_places():
    packet = bytes.fromhex("ffffffffffff0200000000010800" "450000210001000040110000" "0a0000010a000002" "00350009000d0000")
    found = {field.title: field for field in fields(packet)}
    assert (found["Ethernet EtherType"].offset, found["Ethernet EtherType"].said) == (12, "IPv4")
    assert (found["IPv4 protocol"].offset, found["IPv4 protocol"].said) == (23, "UDP")
    assert (found["UDP destination port"].offset, found["UDP destination port"].said) == (36, "9")


@settings(max_examples=300)
@given(st.binary(max_size=120), st.booleans())
def test_any_bytes_have_fields_side_by_side(packet, link_header):
    at = 0
    for field in fields(packet, link_header):
        assert field.offset == at
        at += field.size
    assert at <= len(packet)


# -- blocks


def test_blocks_of_a_condition():
    insns = [Insn(JMP | JEQ, 1, 0, 1, 5), Insn(ALU64 | MOV, 0, 0, 0, 2), *RETURN_1]
    found = [(block.start, block.end, block.next) for block in blocks.of_ebpf(insns)]
    assert found == [(0, 1, [(2, "taken"), (1, "else")]), (1, 2, [(2, "next")]), (2, 4, [])]


def test_a_jump_out_of_the_program():
    with pytest.raises(ValueError, match="jumps to 9, where no instruction begins; the program has 3"):
        blocks.of_ebpf([Insn(JMP | JA, 0, 0, 8), *RETURN_1])
    with pytest.raises(ValueError, match="jumps to 2"):
        blocks.of_ebpf([Insn(JMP | JA, 0, 0, 1), Insn(LD_IMM64, 1), Insn(0), *RETURN_1])


@pytest.mark.parametrize("seed", range(20))
def test_blocks_cover_a_program_and_nothing_twice(seed):
    chance = random.Random(seed)
    insns = insn_random.Programs(chance, "xdp").make(60)
    found = blocks.of_ebpf(insns)
    assert [pc for block in found for pc in range(block.start, block.end)] == list(range(len(insns)))
    starts = {block.start for block in found}
    assert all(to in starts for block in found for to, _ in block.next)
    boxes = [(100 + chance.randrange(200), 20 + chance.randrange(80)) for _ in found]
    numbers = {block.start: n for n, block in enumerate(found)}
    check_layout(boxes, [(n, numbers[to]) for n, block in enumerate(found) for to, _ in block.next])


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=30))
def test_any_graph_is_drawn(edges):
    """Cycles, loops to itself, parts that hang together with nothing."""
    check_layout([(60 + 9 * n, 20 + 5 * n) for n in range(12)], edges)


def check_layout(sizes, edges):
    layout = arrange(sizes, edges)
    boxes = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(layout.places, sizes)]
    for n, (left, top, right, bottom) in enumerate(boxes):
        assert -0.01 <= left and right <= layout.width + 0.01 and 0 <= top and bottom <= layout.height + 0.01
        for other in boxes[n + 1 :]:
            assert right <= other[0] or other[2] <= left or bottom <= other[1] or other[3] <= top, "two blocks overlap"
    assert len(layout.routes) == len(edges)
    for (source, target), route in zip(edges, layout.routes):
        numbers = [float(word) for word in route.replace("M", "").replace("C", "").replace("L", "").split()]
        assert boxes[source][0] <= numbers[0] <= boxes[source][2] and abs(numbers[1] - boxes[source][3]) <= 1
        assert boxes[target][0] <= numbers[-2] <= boxes[target][2] and abs(numbers[-1] - boxes[target][1]) <= 1
