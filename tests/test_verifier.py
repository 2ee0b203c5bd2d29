"""The verifier explained: each program of the corpus, from the logs of three kernels and on each lab machine."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import rejected

import bpflab as bl
from bpflab import verifier

sys.path.insert(0, str(Path(__file__).parent / "verifier"))
import record  # noqa: E402

CORPUS = rejected.corpus()
RECORDED = [(one, kernel) for one in CORPUS for kernel in rejected.KERNELS if one.header.get("missing") != kernel]
IDS = [f"{one.name}-{kernel}" for one, kernel in RECORDED]


def explained(one: rejected.Rejected, log: str, lines=True) -> verifier.Explanation:
    return verifier.explain(log, one.header["program"], one.source, one.lines if lines else None)


def marks(found: verifier.Explanation) -> tuple:
    return found.kind, found.line, found.cause.line if found.cause else None


def must(one: rejected.Rejected) -> tuple:
    return one.header["kind"], one.line("fails"), one.line("cause")


@pytest.mark.parametrize("one, kernel", RECORDED, ids=IDS)
def test_recorded_logs_are_explained(one, kernel):
    found = explained(one, one.log(kernel))
    assert marks(found) == must(one)
    assert found.program == one.header["program"]
    assert found.verdict and found.verdict in one.log(kernel)
    assert "\n" not in found.summary and found.reason and found.advice
    if found.line:
        assert found.text == one.source.splitlines()[found.line - 1].strip()
        assert found.file == one.path.name and f"{one.path.name}:{found.line}: {found.text}" in str(found)
    if found.cause:
        assert found.note and f"{one.path.name}:{found.cause.line}: {found.cause.text}" in str(found)
    assert found.log == one.log(kernel)


@pytest.mark.parametrize("one", CORPUS, ids=[one.name for one in CORPUS])
def test_each_kernel_is_explained_alike(one):
    found = [explained(one, log) for kernel in rejected.KERNELS if (log := one.log(kernel))]
    # how much stack a function takes differs by kernel
    said = {(re.sub(r"\d+", "#", each.summary), each.failing, each.note, each.advice, each.edits) for each in found}
    assert len(found) >= 2 and len(said) == 1


@pytest.mark.parametrize("name, why", [("reference-leak", "the reader would wait at it for ever"), ("socket-leak", "nobody could ever give it back")])
def test_what_comes_of_what_is_not_given_back(name, why):
    one = next(one for one in CORPUS if one.name == name)
    found = explained(one, one.log("6.18"))
    assert found.reason.endswith(f"otherwise {why}.")
    assert found.advice.startswith(("call ", "write ")) and "bpf_" in found.advice


@pytest.mark.parametrize("one, kernel", RECORDED, ids=IDS)
def test_without_line_numbers_nothing_wrong_is_said(one, kernel):
    found = explained(one, one.log(kernel), lines=False)
    kind, line, cause = must(one)
    assert found.kind == kind
    assert found.line in (line, None)
    assert found.cause is None or found.cause.line == cause


@pytest.mark.parametrize("one, kernel", RECORDED, ids=IDS)
def test_line_numbers_are_those_that_the_kernel_quotes(one, kernel):
    table = one.lines
    for step in verifier.parse(one.log(kernel)).steps:
        if step.known:
            own = table.place(step.insn)
            assert (own.text, own.line) == (step.place.text, step.place.line or own.line)


def test_the_corpus_has_at_least_thirty_kinds():
    assert len({one.header["kind"] for one in CORPUS}) >= 60


@pytest.mark.parametrize("one", CORPUS, ids=[one.name for one in CORPUS])
def test_what_this_kernel_says_is_explained(one, lab):
    """The corpus is loaded, really: a kernel that says it differently fails here."""
    if one.header.get("missing") and lab.kernel.startswith(one.header["missing"] + "."):
        with pytest.raises(bl.NotSupportedError, match=r"function bpf_\w+\(\) not supported"):
            lab.load(one.path)
        return
    if "without" in one.header:
        log = record.log_without(lab, one, one.header["without"])
        found = explained(one, log)
    else:
        with pytest.raises(bl.VerifierError) as caught:
            lab.load(one.path)
        found = caught.value.explain()
    assert marks(found) == must(one)
    if found.edits:
        lab.load(found.changed).close()  # what is proposed repairs it


def test_lines_count_as_the_cell_does(lab):
    one = next(one for one in CORPUS if one.name == "lookup-unchecked")
    with pytest.raises(bl.VerifierError) as caught:
        lab.load(bl.CSource(one.source, name="cell", line=41))
    found = caught.value.explain()
    assert (found.line, found.cause.line) == (one.line("fails") + 40, one.line("cause") + 40)
    assert (found.file, found.cause.file) == ("cell", "cell")
    assert f"cell:{found.line}: *n += 1;" in str(caught.value)
    assert f" {found.line} </span>" in found._repr_html_()
    assert f" {found.cause.line}      __u64 *n" in str(found)


@pytest.mark.parametrize(
    "log, kind, words",
    [
        ("", "empty", "the verifier gave no log"),
        (" \n\n", "empty", "the verifier gave no log"),
        (
            "cc1: fatal error: a.c: No such file or directory\ncompilation terminated.\n",
            "foreign",
            "no log of the verifier",
        ),
        (
            "PING 10.0.0.1 (10.0.0.1) 56(84) bytes of data.\n1: from 10.0.0.2 ttl=64\n",
            "foreign",
            "no log of the verifier",
        ),
        ("0: (95) exit\n", "no-verdict", "the log ends before"),
        ("0: R1=ctx() R10=fp0\n0: (95) exit\nthe moon is full\n", "unknown", "the kernel says: the moon is full"),
        (
            "processed 0 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0\n",
            "no-verdict",
            "the log ends",
        ),
    ],
)
def test_what_is_not_known_is_not_guessed(log, kind, words):
    found = verifier.explain(log, "p", "int p(void)\n{\n    return 0;\n}\n")
    assert found.kind == kind and words in found.summary
    assert found.cause is None and not found.edits and found.changed is None
    assert words in str(found) and words in found._repr_html_()


@pytest.mark.parametrize(
    "log",
    [
        "a.c:3:5: error: expected ';' before 'return'\n    3 |     return 0;\n      |     ^~~~~~\n",
        "[    0.004000] BPF: type_id=3 bits\n[   12.100000] R10: 0000000000000000 R11: 00000000\n[   13.0] Call Trace:\n",
        'Traceback (most recent call last):\n  File "<stdin>", line 1, in <module>\nZeroDivisionError: division by zero\n',
        "\0" * 100,
    ],
)
def test_of_the_log_of_another_tool_nothing_is_claimed(log):
    found = verifier.explain(log, "p")
    assert (found.kind, found.verdict, found.line) == ("foreign", "", None)
    for said in (str(found), found._repr_html_()):
        assert "ejected" not in said and "kernel's words" not in said
    assert str(found).startswith("program 'p': this is no log of the verifier")


@pytest.mark.parametrize("log", [None, 5, b"0: (95) exit\n"])
def test_a_log_is_text(log):
    with pytest.raises(TypeError, match=r"a verifier log is text, not \w+; give error\.log"):
        verifier.explain(log, "p")


def test_a_state_behind_a_jump_is_read_whole():
    """A number in it may have a semicolon: var_off=(0x0; 0x7f)."""
    log = "0: R1=ctx() R10=fp0\n0: (2d) if r2 > r4 goto pc+1 2: R2=128 R4=scalar(umax=127,var_off=(0x0; 0x7f)) R10=fp0\n2: (95) exit\n"
    jump, _ = verifier.parse(log).steps
    assert (jump.asm, jump.jumped_to) == ("if r2 > r4 goto pc+1", 2)
    assert jump.state["R4"] == "scalar(umax=127,var_off=(0x0; 0x7f))"


def test_an_unknown_verdict_still_marks_the_line():
    log = "0: R1=ctx() R10=fp0\n; return odd(ctx); @ a.bpf.c:7\n0: (85) call odd#4000\nodd is against the new rules\n"
    found = verifier.explain(log, "p")
    assert (found.kind, found.line, found.file, found.text) == ("unknown", 7, "a.bpf.c", "return odd(ctx);")
    assert "guesses no cause" in found.reason and found.cause is None


def test_a_log_of_level_2_has_other_paths_before_the_last():
    log = """\
func#0 @0
0: R1=ctx() R10=fp0
; if (skb->len) @ a.c:3
0: (61) r2 = *(u32 *)(r1 +0)          ; R1=ctx() R2=scalar(smin=0,smax=umax=0xffffffff,var_off=(0x0; 0xffffffff))
1: (15) if r2 == 0x0 goto pc+2        ; R2=scalar(umin=1,umax=0xffffffff)
; return 1; @ a.c:4
2: (b7) r0 = 1                        ; R0=1
3: (95) exit

from 1 to 4: R1=ctx() R2=0 R10=fp0
; return *(int *)0; @ a.c:5
4: (61) r0 = *(u32 *)(r2 +0)
R2 invalid mem access 'scalar'
processed 5 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
    found = verifier.explain(log, "p")
    assert (found.kind, found.line) == ("null-dereference", 5)
    assert [stop.place.line for stop in found.path] == [3, 5]


def test_a_log_of_an_old_kernel():
    """5.10 says inv for a number, prints all registers at each step, and no line numbers."""
    log = """\
; __u64 *n = bpf_map_lookup_elem(&counts, &key);
0: (18) r1 = 0xffff888005122400
2: (bf) r2 = r10
3: (07) r2 += -4
4: (85) call bpf_map_lookup_elem#1
5: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R10=fp0 fp-8=mmmm????
5: (b7) r6 = 1
6: R0_w=map_value_or_null(id=1,off=0,ks=4,vs=8,imm=0) R6_w=inv1 R10=fp0 fp-8=mmmm????
; *n = 1;
6: (7b) *(u64 *)(r0 +0) = r6
R0 invalid mem access 'map_value_or_null'
processed 6 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""
    source = "int p(void)\n{\n    __u64 *n = bpf_map_lookup_elem(&counts, &key);\n\n    *n = 1;\n    return 0;\n}\n"
    found = verifier.explain(log, "p", source)
    assert (found.kind, found.line, found.cause.line) == ("pointer-unchecked", 5, 3)
    assert "    if (!n)\n        return 0;\n" in found.changed
    assert "r6 is the number 1" in found.path_text


def test_a_function_that_the_kernel_lacks(lab):
    text = (rejected.FOLDER / "kfunc-unknown.bpf.c").read_text().replace(" __weak", "")
    with pytest.raises(
        bl.NotSupportedError, match=r"the kernel's function bpf_from_the_future\(\) not supported .*__weak"
    ):
        lab.load(text)


def test_an_index_without_a_check_is_not_said_to_have_a_weak_one(lab):
    text = """
        #include "vmlinux.h"
        #include <bpf/bpf_helpers.h>
        __u64 seen[16];
        SEC("xdp") int tally(struct xdp_md *ctx)
        {
            __u32 length = ctx->data_end - ctx->data;
            seen[length / 64] += 1;
            return XDP_PASS;
        }
        char LICENSE[] SEC("license") = "GPL";
    """
    with pytest.raises(bl.VerifierError) as caught:
        lab.load(text)
    found = caught.value.explain()
    assert found.kind.startswith("index-") and found.text.startswith("seen[length / 64]")
    assert "compare" in found.advice and "checks let through" not in str(found)


def test_a_log_in_libbpfs_frame():
    one = next(one for one in CORPUS if one.name == "packet-short")
    framed = (
        "libbpf: prog 'udp_only': BPF program load failed: Permission denied\n"
        f"libbpf: prog 'udp_only': -- BEGIN PROG LOAD LOG --\n{one.log('6.12')}-- END PROG LOAD LOG --\n"
        "libbpf: prog 'udp_only': failed to load: -13\n"
    )
    assert marks(explained(one, framed)) == must(one)


def test_html_is_whole_and_escaped():
    one = next(one for one in CORPUS if one.name == "loop-unbounded")
    html = explained(one, one.log("6.18"))._repr_html_()
    assert "&lt; end; i++" in html and "i < end" not in html
    assert html.count("<details") == html.count("</details>") == 2
    assert html.count("<div") == html.count("</div>")
    assert "http" not in html


def test_the_path_in_words():
    one = next(one for one in CORPUS if one.name == "packet-short")
    found = explained(one, one.log("6.18"))
    assert (
        "with 14 bytes proved" in found.path_text
        and f"{one.path.name}:17: if ((void *)(eth + 1) > end)" in found.path_text
    )
    assert found.path[-1].place.line == found.line
    assert "14 bytes proved" in found._repr_html_()


def test_an_iterator_is_ended_by_its_own_function(lab):
    source = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
extern int bpf_iter_num_new(struct bpf_iter_num *it, int start, int end) __ksym;
extern int *bpf_iter_num_next(struct bpf_iter_num *it) __ksym;
extern void bpf_iter_num_destroy(struct bpf_iter_num *it) __ksym;

SEC("tc")
int add(struct __sk_buff *skb)
{
    struct bpf_iter_num it;
    int *i, sum = 0;

    bpf_iter_num_new(&it, 0, 10);
    while ((i = bpf_iter_num_next(&it)))
        sum += *i;
    return sum;
}

char LICENSE[] SEC("license") = "GPL";
"""
    if lab.kernel.startswith("6.1."):  # iterators of numbers came with 6.4
        with pytest.raises(bl.CompileError, match="struct bpf_iter_num"):
            lab.load(source)
        return
    with pytest.raises(bl.VerifierError) as caught:
        lab.load(source)
    found = caught.value.explain()
    assert (found.kind, found.text, found.cause.text) == ("reference-leak", "return sum;", "bpf_iter_num_new(&it, 0, 10);")
    assert "bpf_iter_num_destroy(&it);" in found.advice
    lab.load(found.changed).close()
