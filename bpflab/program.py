"""Programs: attach them, run them on data, look at their instructions."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, NamedTuple

from . import kinds
from .attach import Attachable
from .errors import BpfError, NotSupportedError
from .link import Link
from .machines import AgentError
from .packet_bench.refusal import packet as refused_packet

if TYPE_CHECKING:
    from .lab import Lab


class TestRun(NamedTuple):
    """What PROG_TEST_RUN gave: the return value, the data behind the program, nanoseconds for one run."""

    retval: int
    data: bytes | None
    duration_ns: int
    ctx: bytes | None = None


class Program(Attachable):
    """A loaded program.

    Attributes
    ----------
    name : str
        The C function.
    type, attach_type : str
        In lower case, as the kernel's enums have them ("xdp", "cgroup_inet_egress").
    section : str
        Its SEC(), which says where it wants to be attached.
    id : int
    """

    def __init__(self, lab: Lab, about: dict, opened: dict, handle: int):
        self._lab, self._handle, self._fd = lab, handle, about["fd"]
        self._object = None
        self.name, self.section, self.id = opened["name"], opened["section"], about["id"]
        self.type = kinds.name_of(kinds.PROG_TYPES, opened["type"])
        self.attach_type = kinds.name_of(kinds.ATTACH_TYPES, opened["attach_type"])
        self._links: list[Link] = []

    @property
    def fd(self) -> int:
        """The agent's descriptor; of use as the value of a prog_array.

        Raises
        ------
        BpfError
            The program was unloaded.
        """
        self._refuse_closed()
        return self._fd

    def _refuse_closed(self) -> None:
        if self._object is not None and self._object.closed:
            raise BpfError(f"program '{self.name}' was unloaded with its object; load it again", errno.EBADF)

    @property
    def info(self) -> dict:
        """What the kernel says of it now (struct bpf_prog_info): tag, lengths, map_ids, run_cnt, run_time_ns, ..."""
        return self._lab.call(f"program '{self.name}' is not there any more", "programs.describe", self.fd)

    def stats(self) -> dict:
        """Runs and run time, counted from the first call of `stats` on this lab.

        Returns
        -------
        dict
            `run_cnt`, `run_time_ns`, `recursion_misses`.
        """
        self._lab.call("statistics cannot be switched on", "programs.enable_stats")
        info = self.info
        return {name: info[name] for name in ("run_cnt", "run_time_ns", "recursion_misses")}

    # -- run and look

    def test_run(self, data: bytes | None = None, repeat: int = 1, ctx: bytes | None = None, cpu: int | None = None) -> TestRun:
        """Run it once or often on data of yours, attached to nothing (BPF_PROG_TEST_RUN, net/bpf/test_run.c).

        Parameters
        ----------
        data : bytes, optional
            The packet. At least 14 bytes, an Ethernet header, for XDP and traffic control.
        repeat : int
            Runs; `duration_ns` is their mean.
        ctx : bytes, optional
            The context, for types that take one (a struct __sk_buff, the arguments of SEC("syscall")).
        cpu : int, optional
            Run there: two threads on two CPUs really run at the same time.

        Raises
        ------
        NotSupportedError
            The kernel has no test run for this type.
        """
        if data is not None and not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"test_run takes the bytes of a packet, not {type(data).__name__}; give bytes.fromhex('...'), or bytes(60)")
        if repeat < 1:
            raise ValueError(f"repeat is {repeat}; give 1 or more")
        if cpu is not None and not 0 <= cpu < self._lab.ncpus:
            raise ValueError(f"there is no CPU {cpu} on {self._lab.where}; give 0 to {self._lab.ncpus - 1}")
        packet = self.type in ("xdp", "sched_cls", "sched_act", "cgroup_skb", "socket_filter", "flow_dissector") or self.type.startswith("lwt")
        data = bytes(data) if data is not None else bytes(64) if packet else None
        size_out = (len(data) + 256 + 4096) if packet and self.type != "flow_dissector" else 64 if packet else 0
        arguments = [data, ctx, 0 if not packet and repeat == 1 else repeat, size_out]
        try:
            reply = self._lab.ask("programs.test_run", self.fd, *arguments, cpu, self.type.startswith("raw_tracepoint"))
        except AgentError as error:
            number = error.payload["errno"]
            if number in (errno.EOPNOTSUPP, 524) or (number == errno.EINVAL and self.type in ("kprobe", "tracepoint", "perf_event")):
                raise NotSupportedError(
                    f"test run of {self.type} programs", self._lab.where, errno=number, remedy="attach it and cause the event"
                ) from None
            what = f"program '{self.name}' does not run on this data"
            if packet and (why := refused_packet(self.type, len(data), number)):
                what += f": {why}"
            elif data is not None and not packet:
                what += f": {self.type} programs see no packet; run it on its context, test_run(ctx=...)"
            raise error.blame(what) from None
        return TestRun(reply["retval"], reply["data"], reply["duration_ns"], reply["ctx"])

    def bench(self, packet, *, repeat: int = 1, ctx: bytes | None = None):
        """Run it on packets of yours and look at what it made of them: verdict, fields and bytes before and after, time.

        Parameters
        ----------
        packet : bytes or str or scapy packet, or a table of them
            One packet: bytes, anything that ``bytes()`` makes them of, or hex text; from the Ethernet header on, for every type. A table: a dict
            of packets by name, or a sequence; each may be ``(packet, verdict)``, so that the table is a test suite.
        repeat : int
            With more than 1 the program runs so many times more for the clock, on one copy of the packet, which it may change again and again. Maps
            see every run. XDP programs take some 30 ms more for each packet then, in which the kernel patches them into its dispatcher.
        ctx : bytes, optional
            A struct __sk_buff for programs that have one, with mark, priority, cb, ... set.

        Returns
        -------
        BenchRun or DataFrame
            Of a table a row for each packet: `name`, `verdict`, `changed` (bytes), `ns` (of one run); `expected` and `ok` when the table has
            verdicts; `refused` when the kernel takes a packet not at all, with the reason.

        Raises
        ------
        NotSupportedError
            The kernel runs no programs of this type on a packet; the text says which it does.
        BpfError
            The kernel does not take the packet (less than an Ethernet header, or too long); or the program was unloaded.
        TypeError, ValueError
            Something given is no packet.

        See Also
        --------
        bpflab.testing : the same for unittest and pytest.
        """
        from .packet_bench.runs import bench

        return bench(self, packet, repeat, ctx)

    def disassemble(self, kind: str = "xlated"):
        """Its instructions as the kernel keeps them, with source lines, as `bpftool prog dump` prints them.

        Parameters
        ----------
        kind : {"xlated", "jited"}
        """
        return self._lab.sh(["bpftool", "prog", "dump", kind, "id", str(self.info["id"]), *(["linum"] if kind == "xlated" else [])]).stdout

    def cfg(self, function: str | None = None):
        """Draw its control-flow graph: the blocks of instructions as the kernel keeps them (xlated), with their source lines.

        Parameters
        ----------
        function : str, optional
            Only this function of it.

        Returns
        -------
        bpflab.widgets.ControlFlow
            A widget; `print` gives it as text, `.svg` as a picture.

        Raises
        ------
        UnknownNameError
            It has no such function.
        LabError
            It has more blocks than can be drawn.
        """
        from .widgets.cfg import control_flow

        return control_flow(self, function)

    def __repr__(self) -> str:
        return f"<{self.type} program '{self.name}', SEC(\"{self.section}\"), id {self.id}>"
