"""The interpreters against the kernel: random filters, programs and packets, and the same verdict from both."""

import random
import re
import struct

import insn_random
import pytest

from bpflab import kinds
from bpflab.insn import classic, classic_run, ebpf
from bpflab.insn.ebpf import CALL, JMP, Insn
from bpflab.insn.ebpf_run import Machine

ROUNDS = 5  # each with a seed of its own, so that a failure names a small set


def packets(chance):
    return [chance.randbytes(n) for n in (0, 1, 14, 60, 64, 1500, 65535)] + [bytes(64), b"\xff" * 70]


def packed(insns):
    return b"".join(struct.pack("=HBBI", *i) for i in insns)


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_classic_filters(lab, seed):
    chance = random.Random(seed)
    filters = [insn_random.random_filter(chance, chance.randrange(1, 35)) for _ in range(400)]
    sent = packets(chance)
    through = 0
    for insns, found in zip(filters, lab.ask("insns.classic", [packed(f) for f in filters], sent)):
        for packet, came in zip(sent, found):
            verdict = classic_run.run(insns, packet).verdict
            assert came == (min(verdict, len(packet)) if verdict else -1), "\n".join([packet.hex(), *classic.disassemble(insns)])
            through += came > 0
    assert through > 300  # the filters do not just drop


def test_classic_filters_that_the_kernel_refuses(lab):
    chance = random.Random(11)
    refused = 0
    # M[0] is read behind a jump that did not write it, and is reached from one that did
    crossing = [(0x80, 0, 0, 0), (0x15, 0, 2, 5), (0x02, 0, 0, 0), (0x05, 0, 0, 1), (0x05, 0, 0, 1), (0x60, 0, 0, 0), (0x16, 0, 0, 0)]
    classic.check(classic.filter_of(crossing))
    rows, ours = [packed(crossing)], [True]
    for _ in range(3000):
        insns = insn_random.random_filter(chance, 6)
        at = chance.randrange(len(insns))
        i = insns[at]
        broken = i._replace(**chance.choice([{"code": chance.randrange(256)}, {"k": chance.choice([0, 16, 32, 0xFFFFF000 + 61])}, {"jt": 200}, {"k": 7}]))
        insns = [*insns[:at], broken, *insns[at + 1 :]]
        rows.append(packed(insns))
        try:
            classic.check(insns)
            ours.append(True)
        except ValueError:
            ours.append(False)
            refused += 1
    for good, found, row in zip(ours, lab.ask("insns.classic", rows, [bytes(20)]), rows):
        assert isinstance(found, list) == good, row.hex()
    assert refused > 500


@pytest.fixture(scope="module")
def v4(lab):
    """Whether the kernel knows the fourth version of the instruction set: each of its instructions is given to it."""
    programs = insn_random.v4_programs()
    found = lab.ask("insns.verdicts", kinds.PROG_TYPES.index("xdp"), [ebpf.encode(p) for p in programs], [bytes(14)])
    known = {isinstance(one, list) for one in found}
    assert len(known) == 1, found
    for program in programs:
        trace = Machine(program, "xdp", bytes(14)).run()
        assert not trace.stopped and trace.verdict == 1  # the stepper knows it, whatever the kernel
    return known.pop()


@pytest.mark.parametrize("kind", ["xdp", "socket_filter"])
@pytest.mark.parametrize("seed", range(ROUNDS))
def test_ebpf_programs(lab, v4, kind, seed):
    chance = random.Random(seed)
    maker = insn_random.Programs(chance, kind, v4)
    programs = [maker.make(chance.randrange(10, 60)) for _ in range(150)]
    sent = [chance.randbytes(n) for n in (14, 60, 64, 200, 1500)] + [b"\xff" * 90]
    number = kinds.PROG_TYPES.index(kind)
    taken = 0
    for insns, found in zip(programs, lab.ask("insns.verdicts", number, [ebpf.encode(p) for p in programs], sent)):
        if isinstance(found, str):
            # the verifier follows fewer values than a random program makes; what it takes must agree
            assert "unknown opcode" not in found and "invalid" not in found, found[-500:]
            continue
        taken += 1
        for packet, (verdict, after) in zip(sent, found):
            machine = Machine(insns, kind, packet)
            trace = machine.run()
            said = "\n".join([packet.hex(), *ebpf.disassemble(insns)])
            assert not trace.stopped, trace.stopped
            assert trace.verdict == verdict, said
            if kind == "xdp":
                assert bytes(machine.packet.data) == after, said
    assert taken > 130


def test_the_text_is_the_kernels_own(lab, v4):
    """The verifier writes every instruction that it looks at into its log."""
    chance = random.Random(5)
    compared = 0
    unknown = Insn(JMP | CALL, imm=9999)  # so that it is refused at the end, with its log
    for kind in ("xdp", "socket_filter"):
        maker = insn_random.Programs(chance, kind, v4)
        programs = [maker.make(30, [unknown]) for _ in range(40)]
        logs = lab.ask("insns.verdicts", kinds.PROG_TYPES.index(kind), [ebpf.encode(p) for p in programs], [])
        for insns, log in zip(programs, logs):
            texts = ebpf.disassemble(insns)
            for pc, code, text in re.findall(r"^(\d+): \(([0-9a-f]{2})\) (.*?)(?:\s+;.*|\s+\d+: R.*)?$", log, re.M):
                assert int(code, 16) == insns[int(pc)].code
                assert texts[int(pc)] == text, (pc, insns[int(pc)])
                compared += 1
    assert compared > 3000
