"""Tests of your own XDP and traffic control programs, by the kernel itself: for unittest, pytest, or a plain script.

    from bpflab import testing

    testing.assert_verdict(program, packet, "XDP_DROP")
    testing.assert_packet(program, packet, expected)

`LabTestCase` is a mixin for unittest; `bpflab.testing.plugin` has fixtures for pytest. docs/testing.md shows both at work.
"""

from .asserts import assert_packet, assert_table, assert_verdict
from .cases import LabTestCase

__all__ = ["LabTestCase", "assert_packet", "assert_table", "assert_verdict"]
