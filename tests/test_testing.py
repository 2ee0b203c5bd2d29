"""`bpflab.testing`: its assertions can fail, and say what is wrong; the files of docs/testing.md are run as they stand there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import unittest
from pathlib import Path

import pytest
from packet_seeds import ETHER, PACKETS, SEEDS

import bpflab as bl
from bpflab.testing import LabTestCase, assert_packet, assert_table, assert_verdict

TREE = Path(__file__).resolve().parent.parent
C = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
const volatile int limit = 0;
SEC("xdp") int lower(struct xdp_md *ctx)
{
    unsigned char *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
    if (data + 34 > end || data[12] != 8 || data[23] != 6)
        return XDP_PASS;
    data[22]--;
    data[15] = limit;
    return XDP_TX;
}
SEC("tc") int mark(struct __sk_buff *skb) { skb->mark = 5; return skb->priority ? -1 : 2; }
SEC("socket") int few(struct __sk_buff *skb) { return 20; }
char LICENSE[] SEC("license") = "GPL";
"""
LOWERED = PACKETS["tcp"][:22] + b"\x3f" + PACKETS["tcp"][23:]


@pytest.fixture(scope="module")
def programs(lab):
    with lab.load(C, name="tested") as obj:
        yield obj.programs


# -- verdicts


@pytest.mark.parametrize("verdict", ["XDP_TX", 3])
def test_the_right_verdict(programs, verdict):
    run = assert_verdict(programs["lower"], SEEDS["tcp"], verdict)
    assert run.after["IPv4 TTL"].value == 63


@pytest.mark.parametrize("verdict, said", [("XDP_DROP", "returned XDP_TX, and XDP_DROP was expected"), (1, r"returned 3 \(XDP_TX\), and 1 was expected")])
def test_another_verdict(programs, verdict, said):
    with pytest.raises(AssertionError, match=said) as error:
        assert_verdict(programs["lower"], SEEDS["tcp"], verdict)
    assert "TCP: 40000 → 80, SYN ACK" in str(error.value)


def test_negative_numbers_and_other_names(programs):
    ctx = bytes(32) + b"\1" + bytes(159)
    for verdict in (-1, 0xFFFFFFFF, "TC_ACT_UNSPEC", "TCX_NEXT"):
        assert assert_verdict(programs["mark"], PACKETS["udp"], verdict, ctx=ctx).context == {"mark": 5}
    with pytest.raises(AssertionError, match="returned TC_ACT_SHOT, and TC_ACT_UNSPEC was expected"):
        assert_verdict(programs["mark"], PACKETS["udp"], "TCX_NEXT")
    assert_verdict(programs["few"], PACKETS["udp"], "keep")
    assert_verdict(programs["few"], PACKETS["udp"], 20)
    with pytest.raises(AssertionError, match="returned 20"):
        assert_verdict(programs["few"], PACKETS["udp"], 21)


def test_a_slip_is_not_a_failure(programs):
    with pytest.raises(bl.UnknownNameError, match="did you mean 'XDP_DROP'"):
        assert_verdict(programs["lower"], PACKETS["tcp"], "XDP_DORP")
    with pytest.raises(bl.UnknownNameError, match="no field named 'IPv4 TLL'"):
        assert_packet(programs["lower"], PACKETS["tcp"], LOWERED, ignore=["IPv4 TLL"])
    for wrong in (programs["lower"].bench(PACKETS["tcp"]), "lower"):
        for check, argument in ((assert_verdict, "XDP_TX"), (assert_packet, b"")):
            with pytest.raises(TypeError, match="the first argument is a loaded program"):
                check(wrong, PACKETS["tcp"], argument)
        with pytest.raises(TypeError, match="the first argument is a loaded program"):
            assert_table(wrong, {})


# -- packets


def test_the_right_packet(programs):
    assert_packet(programs["lower"], SEEDS["tcp"], LOWERED, verdict="XDP_TX")
    assert_packet(programs["lower"], PACKETS["udp"], SEEDS["udp"])
    assert_packet(programs["few"], PACKETS["udp"], SEEDS["udp"])  # sees no Ethernet header, and leaves all alone


def test_another_packet(programs):
    with pytest.raises(AssertionError) as error:
        assert_packet(programs["lower"], PACKETS["tcp"], PACKETS["tcp"])
    said = str(error.value)
    assert "left another packet than expected: 1 byte differs" in said
    assert re.search(r"22 +TTL +expected 64; got 63", said)
    assert re.search(r"^got +0010  .* 3f ", said, re.M)
    with pytest.raises(AssertionError, match="returned XDP_TX, and XDP_PASS was expected"):
        assert_packet(programs["lower"], PACKETS["tcp"], LOWERED, verdict="XDP_PASS")
    with pytest.raises(AssertionError, match="1 byte differs, 1 taken out"):
        assert_packet(programs["lower"], PACKETS["tcp"], LOWERED + b"!")


def test_fields_aside(programs):
    for ignore in (["IPv4 TTL", "IPv4 checksum"], ["IPv4"], "IPv4"):
        assert_packet(programs["lower"], SEEDS["tcp"], SEEDS["tcp"], ignore=ignore)
    with pytest.raises(AssertionError, match="IPv4 checksum aside"):
        assert_packet(programs["lower"], SEEDS["tcp"], SEEDS["tcp"], ignore=["IPv4 checksum"])
    with pytest.raises(AssertionError, match="Payload"):  # that there is one, where none was expected
        assert_packet(programs["lower"], PACKETS["tcp"], PACKETS["tcp"][:-16], ignore=["IPv4"])


# -- tables


def test_tables(programs):
    frame = assert_table(programs["lower"], {"tcp": (SEEDS["tcp"], "XDP_TX"), "udp": (SEEDS["udp"], "XDP_PASS")})
    assert frame.ok.all()
    with pytest.raises(AssertionError, match="gave 2 of 3 packets another verdict than expected") as error:
        assert_table(programs["lower"], {"tcp": (SEEDS["tcp"], "XDP_TX"), "udp": (SEEDS["udp"], "XDP_DROP"), "runt": (b"", "XDP_PASS")})
    lines = str(error.value).splitlines()
    assert lines[2].split()[:3] == ["udp", "XDP_DROP", "XDP_PASS"] and "at least the 14" in lines[3] and len(lines) == 4


def test_a_table_that_tests_nothing(programs):
    for table in ({}, [], [PACKETS["tcp"]], {"a": (PACKETS["tcp"], "XDP_TX"), "b": PACKETS["udp"]}):
        with pytest.raises(ValueError, match="a verdict beside every packet"):
            assert_table(programs["lower"], table)
    with pytest.raises(TypeError, match="for one packet: assert_verdict"):
        assert_table(programs["lower"], PACKETS["tcp"])
    with pytest.raises(TypeError, match="for a table of them: assert_table"):
        assert_verdict(programs["lower"], [PACKETS["tcp"]], "XDP_TX")


# -- unittest


def outcome(case: type) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_the_mixin(machine):
    name = machine
    seen = []

    class Case(LabTestCase, unittest.TestCase):
        source, variables, machine = C, {"limit": 8}, name

        def test_right(self):
            seen.append(self.obj)
            run = self.assertVerdict("lower", PACKETS["tcp"], "XDP_TX")
            self.assertEqual(run.after["IPv4 TOS"].value, 8)

        def test_wrong(self):
            seen.append(self.obj)
            self.assertPacket("lower", PACKETS["tcp"], PACKETS["tcp"])

        def test_table(self):
            self.assertTable(self.obj.programs["lower"], [(PACKETS["udp"], "XDP_PASS")])

        def test_no_such_program(self):
            self.assertVerdict("lover", PACKETS["tcp"], "XDP_TX")

    result = outcome(Case)
    assert result.testsRun == 4
    [(failed, why)], [(broken, error)] = result.failures, result.errors
    assert failed._testMethodName == "test_wrong" and "got 63" in why
    assert broken._testMethodName == "test_no_such_program" and "did you mean 'lower'" in error
    assert seen[0] is not seen[1] and all(obj.closed for obj in seen)
    assert not Case.lab.alive


def test_the_mixin_without_a_source(machine):
    name = machine

    class Case(LabTestCase, unittest.TestCase):
        machine = name

        def test_it(self):
            self.assertVerdict("lower", PACKETS["tcp"], "XDP_TX")

    [(_, error)] = outcome(Case).errors
    assert "set source = 'file.bpf.c' in Case" in error


# -- docs/testing.md


def blocks() -> dict[str, str]:
    text = (TREE / "docs/testing.md").read_text()
    return dict(re.findall(r"^`([\w.]+)`\n\n```\w+\n(.*?)^```$", text, re.M | re.S))


@pytest.fixture
def example(tmp_path, machine):
    files = blocks()
    assert set(files) == {"hop.bpf.c", "test_hop.py", "conftest.py", "test_hop_pytest.py"}
    for name, text in files.items():
        (tmp_path / name).write_text(text)

    def run(*words, cwd=tmp_path):
        environment = {**os.environ, "PYTHONPATH": str(TREE), "BPFLAB_MACHINE": machine, "PY_COLORS": "0"}
        return subprocess.run([sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True)

    run.folder = tmp_path
    return run


def test_the_example_passes(example):
    done = example("-m", "unittest", "test_hop")
    assert done.returncode == 0 and "Ran 4 tests" in done.stderr, done.stderr
    done = example("-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert done.returncode == 0 and "10 passed" in done.stdout, done.stdout  # the four of unittest as well


def test_the_example_fails_as_it_says(example):
    program = example.folder / "hop.bpf.c"
    text, gone = re.subn(r"^    (sum = |ip->check = ).*\n", "", program.read_text(), flags=re.M)
    assert gone == 2
    program.write_text(text)
    told = re.search(r"^```\n(AssertionError: .*?)^```$", (TREE / "docs/testing.md").read_text(), re.M | re.S)[1]
    done = example("-m", "unittest", "test_hop")
    assert done.returncode == 1 and "FAILED (failures=1)" in done.stderr
    assert told in done.stderr, done.stderr
    assert str(TREE / "bpflab") not in done.stderr  # the reader's own line is the last one
    done = example("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_hop_pytest.py")
    assert done.returncode == 1 and "1 failed, 5 passed" in done.stdout, done.stdout
    assert "wrong: should be 0x8f94" in done.stdout


def test_the_file_is_beside_the_test(example, tmp_path_factory):
    done = example("-m", "pytest", "-q", "-p", "no:cacheprovider", str(example.folder), cwd=tmp_path_factory.mktemp("elsewhere"))
    assert done.returncode == 0, done.stdout


LOADS = """
loaded = []


def test_one(bpf_load):
    loaded.append(bpf_load("hop.bpf.c"))
    loaded.append(bpf_load("hop.bpf.c"))
    loaded[0].maps["expired"][0] = 5


def test_two(bpf_load):
    assert all(obj.closed for obj in loaded)
    assert bpf_load("hop.bpf.c").maps["expired"][0] == 0
"""


def test_the_plugin_unloads_after_each_test(example):
    (example.folder / "test_loads.py").write_text(LOADS)
    done = example("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_loads.py")
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout


def test_the_plugin_names_the_machine(example):
    done = example("-m", "pytest", "-q", "-p", "no:cacheprovider", "--bpf-machine", "nowhere", "test_hop_pytest.py")
    assert done.returncode == 1 and "nowhere" in done.stdout and "6 errors" in done.stdout


def test_every_function_of_the_document_is_there():
    import inspect

    from bpflab import testing

    text = (TREE / "docs/testing.md").read_text()
    for name in testing.__all__:
        assert name in text
    for name, words in re.findall(r"^\| `(assert_\w+)\(prog, (.*?)\)` \|", text, re.M):
        options = re.findall(r"(\w+)=", words)
        assert set(options) <= set(inspect.signature(getattr(testing, name)).parameters), name


def test_scapy_is_no_part_of_the_package():
    for path in (TREE / "bpflab").rglob("*.py"):
        assert not re.search(r"^\s*(from|import) scapy", path.read_text(), re.M), path
    assert ETHER  # but of the tests
