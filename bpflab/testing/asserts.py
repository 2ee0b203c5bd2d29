"""What a test says of a program and a packet; an AssertionError shows fields, not bytes alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from .. import verdicts
from ..errors import UnknownNameError
from ..packet import Packet, compare, dissect
from ..packet import text as packet_text
from ..packet_bench.refusal import ETH_HLEN, WITHOUT_ETHERNET
from ..packet_bench.result import BenchRun
from ..packet_bench.runs import check_type

__unittest = True  # unittest leaves frames of such modules out of its tracebacks

if TYPE_CHECKING:
    from ..program import Program


def _refuse_other(program: Any) -> None:
    if not hasattr(program, "bench"):
        raise TypeError(f"the first argument is a loaded program, obj.programs['name'], not {type(program).__name__}")
    check_type(program)


def _run(program: Program, packet: Any, ctx: bytes | None) -> BenchRun:
    _refuse_other(program)
    found = program.bench(packet, ctx=ctx)
    if isinstance(found, pd.DataFrame):
        raise TypeError("this takes one packet; for a table of them: assert_table")
    return found


def assert_verdict(program: Program, packet: Any, verdict: str | int, *, ctx: bytes | None = None) -> BenchRun:
    """The program, run once on a packet, returns this verdict.

    Parameters
    ----------
    program : Program
    packet : bytes or str or scapy packet
        As `Program.bench` takes it.
    verdict : str or int
        "XDP_DROP", "TC_ACT_SHOT", "TCX_PASS"; "drop", "keep" or "pass" of socket filters and cgroup_skb programs; or the number.
    ctx : bytes, optional
        A struct __sk_buff, for programs that have one.

    Returns
    -------
    BenchRun
        To look further: `.after`, `.context`, `.metadata`.

    Raises
    ------
    AssertionError
        It returned another.
    UnknownNameError
        Programs of this type have no such verdict: a slip in the test is not a failure of the program.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    _refuse_other(program)
    wanted = verdicts.wanted(verdict, program.type, verdicts.names(program.type, program.attach_type, program._lab))
    run = _run(program, packet, ctx)
    if isinstance(verdict, int):
        right, got, wanted = run.retval == verdict & 0xFFFFFFFF, f"{run.retval} ({run.verdict})", str(verdict)
    else:
        right, got = run.verdict == wanted, run.verdict
    if not right:
        raise AssertionError(f"program '{run.program}' returned {got}, and {wanted} was expected\n{_about(run.before)}")
    return run


def assert_packet(
    program: Program,
    packet: Any,
    expected: Any,
    *,
    verdict: str | int | None = None,
    ignore: Iterable[str] = (),
    ctx: bytes | None = None,
) -> BenchRun:
    """The program, run once on a packet, leaves it like this.

    Parameters
    ----------
    program, packet, ctx
        As for `assert_verdict`.
    expected : bytes or str or scapy packet
        The packet afterwards, from its Ethernet header on; the same as `packet` when the program is to leave it alone.
    verdict : str or int, optional
        The verdict, too.
    ignore : iterable of str
        Fields that may differ: "IPv4 checksum"; or whole layers: "Payload".

    Returns
    -------
    BenchRun

    Raises
    ------
    AssertionError
        With every field that differs, expected and got, and the bytes.
    UnknownNameError
        A field to ignore that neither packet has.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    run = assert_verdict(program, packet, verdict, ctx=ctx) if verdict is not None else _run(program, packet, ctx)
    wanted = dissect(expected)
    if run.type in WITHOUT_ETHERNET:
        wanted = dissect(wanted.data[ETH_HLEN:], "ip")
    diff = compare(wanted, run.after)
    ignored = _ignored(ignore, wanted, run.after)
    differs = [row for row in diff.rows() if row.state != "same" and not {f"{row.layer} {row.name}", row.layer} & ignored]
    if differs:
        told = f", {', '.join(sorted(ignored))} aside" if ignored else ""
        raise AssertionError(
            f"program '{run.program}' left another packet than expected{told}: {packet_text.size_words(diff)}\n"
            f"{packet_text.of_diff(diff, 'expected', 'got')}"
        )
    return run


def _ignored(ignore: Iterable[str], *packets: Packet) -> set[str]:
    wanted = {ignore} if isinstance(ignore, str) else set(ignore or ())
    for title in wanted:
        if not any(title in packet for packet in packets):
            every = [field.title for packet in packets for field in packet.fields]
            raise UnknownNameError("field", title, set(every), "these packets")
    return wanted


def assert_table(program: Program, table: Any, *, ctx: bytes | None = None) -> pd.DataFrame:
    """Every packet of a table gets the verdict that stands beside it.

    Parameters
    ----------
    table : dict or sequence of (packet, verdict)
        As `Program.bench` takes it.

    Returns
    -------
    DataFrame
        Of `Program.bench`.

    Raises
    ------
    AssertionError
        With the rows that are not right.
    ValueError
        A packet has no verdict beside it, or there are none.
    """
    __tracebackhide__ = True  # pytest shows the line of the test
    _refuse_other(program)
    found = program.bench(table, ctx=ctx)
    if not isinstance(found, pd.DataFrame):
        raise TypeError("this takes a table of packets; for one packet: assert_verdict")
    if found.empty or "expected" not in found or found.expected.isna().any():
        raise ValueError("a test's table has a verdict beside every packet: {'name': (packet, 'XDP_DROP'), ...}")
    wrong = found[~found.ok.fillna(False).astype(bool)]
    if len(wrong):
        shown = wrong[[name for name in ("name", "expected", "verdict", "refused") if name in wrong]].to_string(index=False)
        raise AssertionError(f"program '{program.name}' gave {len(wrong)} of {len(found)} packets another verdict than expected\n{shown}")
    return found


def _about(packet: Packet) -> str:
    lines = [f"  {layer.name}: {packet_text.summary(layer)}" for layer in packet.layers]
    return "\n".join([f"on a {packet_text.size_of(packet)}", *lines, *(f"  note: {note}" for note in packet.notes)])
