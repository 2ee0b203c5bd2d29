"""Logs that are cut, shuffled, or none: no exception, and nothing said that the log does not bear out."""

from __future__ import annotations

import re

import rejected
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflab import verifier

CORPUS = rejected.corpus()
LOGS = [(one, kernel) for one in CORPUS for kernel in rejected.KERNELS if one.log(kernel)]
UNSURE = {"unknown", "no-verdict", "empty", "foreign"}
# what can be told from the verdict alone, where the path that tells more is not there any more
GENERAL = {
    "packet-stale": {"scalar-dereference"},
    "released": {"scalar-dereference", "argument-type", "released"},
    "null-dereference": {"scalar-dereference"},
    "kfunc-unknown": {"return-unset", "register-unset"},
    "return-unset": {"register-unset"},
    "packet-unchecked": {"packet-bounds"},
    "packet-offset": {"packet-bounds"},
    "packet-offset-large": {"packet-offset", "packet-bounds"},
    "register-clobbered": {"register-unset"},
    "recursion": {"call-depth", "loop-endless"},
    "lock-twice": {"lock-call"},
    "index-bound-off": {"value-bounds", "index-unbounded"},
    "index-negative": {"value-bounds"},
    "size-unbounded": {"size-zero", "size-negative"},
    "size-negative": {"size-unbounded"},
    "size-zero": {"size-unbounded"},
    "loop-unbounded": {"too-many-instructions", "loop-long", "jumps-too-complex"},
    "loop-long": {"too-many-instructions"},
    "size-beyond": {"stack-bounds"},
    "stack-unset": {"stack-bounds"},
    "context-readonly": {"context-access"},
    "index-unbounded": {"value-bounds"},
    "map-no-keys": {"size-zero"},
    "pointer-unchecked": {"argument-type"},
}
logs = st.sampled_from(LOGS)
lines_known = st.booleans()


def explain(one, log, lines_known=False):
    found = verifier.explain(log, "p", one.source, one.lines if lines_known else None)
    assert str(found) and found._repr_html_() and found.path_text is not None
    assert found.log == log and "\n" not in found.summary
    if found.edits:
        assert found.changed != one.source
    return found


def true_to(one, found):
    """Nothing but what is so, or that it is not known."""
    kind = one.header["kind"]
    assert found.kind in UNSURE | {kind} | GENERAL.get(kind, set())
    # the first says that its line is only where the verifier gave up; the other is where every way out ends
    if found.kind != "too-many-instructions" and found.text != "}":
        assert found.line in (one.line("fails"), None)
    assert found.cause is None or found.cause.line in (one.line("cause"), None)


@settings(deadline=None, max_examples=300)
@given(logs, st.floats(0, 1), lines_known)
def test_a_log_without_its_beginning(chosen, share, lines_known):
    one, kernel = chosen
    rows = one.log(kernel).splitlines(keepends=True)
    true_to(one, explain(one, "".join(rows[int(len(rows) * share) :]), lines_known))


@settings(deadline=None, max_examples=300)
@given(logs, st.floats(0, 1), lines_known)
def test_a_log_without_its_end(chosen, share, lines_known):
    one, kernel = chosen
    whole = one.log(kernel)
    found = explain(one, whole[: int(len(whole) * share)], lines_known)
    assert found.kind in UNSURE | {one.header["kind"]} | GENERAL.get(one.header["kind"], set())
    if found.kind in UNSURE:
        assert found.cause is None and not found.edits


@settings(deadline=None, max_examples=200)
@given(logs, st.data())
def test_a_log_with_lines_lost(chosen, data):
    one, kernel = chosen
    rows = one.log(kernel).splitlines(keepends=True)[-400:]
    lost = data.draw(st.sets(st.integers(0, len(rows) - 1), max_size=len(rows)))
    found = explain(one, "".join(row for i, row in enumerate(rows) if i not in lost), True)
    assert found.kind in UNSURE | {one.header["kind"]} | GENERAL.get(one.header["kind"], set())


@settings(deadline=None, max_examples=300)
@given(logs, st.randoms(use_true_random=False), lines_known)
def test_a_log_in_disorder(chosen, random, lines_known):
    one, kernel = chosen
    rows = one.log(kernel).splitlines(keepends=True)[-400:]
    random.shuffle(rows)
    borne_out("".join(rows), explain(one, "".join(rows), lines_known), one)


@settings(deadline=None, max_examples=200)
@given(logs, logs, st.floats(0, 1))
def test_two_logs_in_one(first, second, share):
    (one, kernel), (other, other_kernel) = first, second
    head = one.log(kernel)[-8000:]
    log = head[: int(len(head) * share)] + "\n" + other.log(other_kernel)[-8000:]
    found = explain(other, log)
    true_to(other, found) if share == 0 else borne_out(log, found, other)


def borne_out(log, found, one):
    """A verdict that stands in the log; a line that the log quotes, or that belongs to an instruction of it."""
    assert found.verdict in log
    if found.kind not in UNSURE:
        assert found.verdict
    if found.kind in UNSURE:
        assert found.cause is None and not found.edits
    if found.line is not None and found.text:
        quoted = found.text in log
        own = any(place.line == found.line for _, place in one.lines)
        assert quoted or own or found.text in one.source


@settings(deadline=None, max_examples=300)
@given(st.text(max_size=2000))
def test_any_text(text):
    found = verifier.explain(text, "p", text)
    assert str(found) and found._repr_html_()
    assert found.cause is None or found.kind not in UNSURE


WORDS = st.sampled_from(
    "R0 R1 R10 R99 fp-8 fp0 =scalar() =ctx() =pkt(r=8) !read_ok invalid mem access 'scalar' 'map_value_or_null' 0: 1: 7: (95) exit (85) call pc+2 "
    "bpf_map_lookup_elem#1 if r1 > r2 goto pc+1 from to ; @ a.c:3 Unreleased reference id=1 alloc_insn=4 processed insns off=-8 size=4 "
    "Verification failed: Reason: At: Causal path: Suggestion: >>> | ^-- error: infinite loop detected at insn 3 back-edge 2 -99999999999999999999".split(
        " "
    )
)


@settings(deadline=None, max_examples=500)
@given(st.lists(st.tuples(WORDS, st.sampled_from([" ", "\n", "  ", ""])), max_size=120))
def test_words_of_logs_in_any_order(pieces):
    log = "".join(word + gap for word, gap in pieces)
    found = verifier.explain(log, "p", "int p(void)\n{\n    return 0;\n}\n")
    assert str(found) and found._repr_html_() and found.path_text is not None
    assert not re.search(r"\bNone\b", found.summary + found.reason + found.advice)
