"""The cost of being traced, measured. Times are not compared with figures; only what must be so on any machine."""

from __future__ import annotations

import pytest

from bpflab.errors import UnknownNameError
from bpflab.overhead import WAYS


def test_ways_into_a_user_program_cost_more_than_their_program(lab):
    """A breakpoint takes the processor into the kernel and back: that is more than an empty program takes."""
    frame = lab.overhead(["uprobe", "uretprobe", "USDT"], calls=20_000).set_index("way")
    assert (frame["event_ns"] > frame["program_ns"]).all() and (frame["program_ns"] > 0).all()
    assert (frame["reason"] == "").all()
    assert frame.loc["uprobe", "event_ns"] > 50


def test_the_cheapest_comes_first(lab):
    frame = lab.overhead(["uprobe", "tracepoint"], calls=50_000)
    assert frame["event_ns"].is_monotonic_increasing
    assert frame["way"].tolist() == ["tracepoint", "uprobe"]


def test_what_a_machine_cannot_do_has_a_reason(lab):
    frame = lab.overhead(["kprobe", "raw tracepoint"], calls=2_000).set_index("way")
    has = lab.missing("kprobe") is None
    assert (frame.loc["kprobe", "reason"] == "") == has == (frame.loc["kprobe", "event_ns"] == frame.loc["kprobe", "event_ns"])
    assert frame.loc["raw tracepoint", "reason"] == ""


@pytest.mark.needs("kprobe", "fentry")
def test_ways_into_the_kernel(lab):
    from bpflab.errors import NotSupportedError

    frame = lab.overhead(calls=20_000)
    missing = frame[frame["reason"] != ""]
    if len(missing):
        raise NotSupportedError(missing["way"].iloc[0], lab.where, missing["reason"].iloc[0])
    assert set(frame["way"]) == set(WAYS) and frame["program_ns"].notna().all()


def test_misuse(lab):
    with pytest.raises(UnknownNameError, match="did you mean 'uprobe'"):
        lab.overhead("uprob")
    with pytest.raises(ValueError, match="too few"):
        lab.overhead("uprobe", calls=3)
