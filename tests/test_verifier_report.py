"""Structured reports of kernels since 7.3. No such kernel is at hand: the logs are written after kernel/bpf/diagnostics.c."""

from __future__ import annotations

import pytest
import rejected

from bpflab import verifier
from bpflab.verifier import report

UNREADABLE = """\
0: R1=ctx() R10=fp0
0: (95) exit
R0 !read_ok

Verification failed: Register Type Safety: Unreadable register

Reason:
  R0 has never been initialized on this path, so the verifier cannot use it as an input.

At:
  insn 0
        | ^-- error: R0 is not readable
  Instruction context:
  >>> 0 | (95) exit

Causal path:
  no retained diagnostic events on this path

Suggestion:
  Initialize R0 on every path before this instruction.

processed 1 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""

# the program is lookup-unchecked.bpf.c of the corpus
NULLABLE = """\

Verification failed: Register Type Safety: Invalid dereference

Reason:
  R0 may be NULL here (a nullable map value pointer). The program could dereference NULL on this
  path, so the verifier cannot prove this access is safe.

At:
  count @ lookup-unchecked.bpf.c:{fails}:8
  Source context:
  >>> {fails} |     *n += 1;
         |     ^-- error: invalid dereference of R0 (a nullable map value
         |         pointer)
      {below} |     return XDP_PASS;
  Instruction context:
       5 | (18) r1 = 0xffff888100997a00
  >>>  7 | (79) r1 = *(u64 *)(r0 +0)
       8 | (07) r1 += 1

Causal path:
  count @ lookup-unchecked.bpf.c:{cause}:16
  Source context:
  >>> {cause} |     __u64 *n = bpf_map_lookup_elem(&counts, &key);
         |     ^-- update: R0 changed from uninitialized value to nullable map
         |         value from counts at offset 0
  Instruction context:
  >>> 6 | (85) call bpf_map_lookup_elem#1

Suggestion:
  Add a NULL check before the access and dereference the pointer only on the non-NULL path.

processed 7 insns (limit 1000000) max_states_per_insn 0 total_states 0 peak_states 0 mark_read 0
"""


@pytest.fixture
def lookup():
    return next(one for one in rejected.corpus() if one.name == "lookup-unchecked")


@pytest.fixture
def nullable(lookup):
    fails = lookup.line("fails")
    return NULLABLE.format(fails=fails, below=fails + 1, cause=lookup.line("cause"))


def test_a_report_is_taken_apart(nullable):
    before, said = report.split("0: R1=ctx() R10=fp0\n" + nullable)
    assert before.strip() == "0: R1=ctx() R10=fp0"
    assert (said.category, said.problem) == ("Register Type Safety", "Invalid dereference")
    assert said.reason.startswith("R0 may be NULL here (") and said.reason.endswith("this access is safe.")
    assert (
        said.suggestion == "Add a NULL check before the access and dereference the pointer only on the non-NULL path."
    )
    assert (said.at.label, said.at.insn, said.at.place.text) == ("error", 7, "*n += 1;")
    assert said.at.text == "invalid dereference of R0 (a nullable map value pointer)"
    (event,) = said.path
    assert event.label == "update" and event.place.text == "__u64 *n = bpf_map_lookup_elem(&counts, &key);"
    assert event.text == "R0 changed from uninitialized value to nullable map value from counts at offset 0"


def test_a_known_verdict_is_explained_as_ever():
    found = verifier.explain(UNREADABLE, "p")
    assert (found.kind, found.verdict, found.said.problem) == ("return-unset", "R0 !read_ok", "Unreadable register")
    assert "kernel’s own report" in found._repr_html_()


def test_the_same_from_a_log_with_a_report(lookup, nullable):
    log = lookup.log("6.18")
    longer = log[: log.index("processed ")] + nullable
    plain = verifier.explain(log, "count", lookup.source, lookup.lines)
    found = verifier.explain(longer, "count", lookup.source, lookup.lines)
    for name in ("kind", "summary", "line", "cause", "advice", "edits", "verdict"):
        assert getattr(found, name) == getattr(plain, name)


def test_a_report_alone_is_handed_on(lookup, nullable):
    found = verifier.explain(nullable, "count", lookup.source)
    assert found.kind == "reported"
    assert (found.line, found.cause.line) == (lookup.line("fails"), lookup.line("cause"))
    assert found.cause.text == "__u64 *n = bpf_map_lookup_elem(&counts, &key);"
    assert found.summary == "invalid dereference" and found.reason.startswith("R0 may be NULL here")
    assert found.advice.startswith("Add a NULL check") and not found.edits


@pytest.mark.parametrize("size", range(0, len(NULLABLE), 61))
def test_a_report_that_was_cut(lookup, nullable, size):
    found = verifier.explain(nullable[:size], "count", lookup.source)
    assert found.kind in ("reported", "empty", "foreign", "unknown", "no-verdict")
    assert found.line in (None, lookup.line("fails"))
    assert found.cause is None or found.cause.line == lookup.line("cause")
