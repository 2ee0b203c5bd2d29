"""Watching a lab machine: what there is to trace, programs that do something, where their time goes, what tracing costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .process import number_of

if TYPE_CHECKING:
    import pandas as pd

    from .process import Process
    from .profiling import Stacks
    from .workloads import Workload


class Tracing:
    """What a `Lab` finds out about the machine by tracing it."""

    def workload(self, name: str, *, strip: bool = False, **options: int) -> Workload:
        """Start a small program of ours, to trace: built on first use, ended with the lab.

        Parameters
        ----------
        name : {"web", "leak", "lock", "disk", "cpp", "go"}
            A web server with slow pages, a C program that forgets to free, threads that fight for a lock, a disk writer, a
            program in C++, one in Go.
        strip : bool
            A copy without symbols.
        **options
            "rate" (rounds a second, 0 for as many as there can be), "port" of web, "threads" of lock, "block" of disk (bytes).

        Returns
        -------
        Workload
            `.pid`, `.binary`, `.port`, `stop()`; also a context manager.

        Raises
        ------
        NotSupportedError
            The machine has no compiler for it; the text says what to install.
        """
        from . import workloads

        return workloads.start(self, name, strip, **options)

    def overhead(self, ways: str | list[str] | None = None, calls: int = 400_000) -> pd.DataFrame:
        """Measure what it costs to be traced: an empty program, attached in each way to something that happens very often.

        Parameters
        ----------
        ways : str or list of str, optional
            "fentry", "fexit", "raw tracepoint", "tracepoint", "kprobe", "kretprobe", "USDT", "uprobe", "uretprobe"; all of them
            if it is not given.
        calls : int
            Events for each measurement.

        Returns
        -------
        pandas.DataFrame
            `way`, `place`; `event_ns`: how much longer an event takes with the program than without, the way there and back
            included, nanoseconds; `program_ns`: what the kernel counts for the program alone (`prog.stats()`), which has the two
            looks at the clock in it that counting takes; `reason`: why this machine cannot do it. The cheapest comes first.
            `bl.plots.bars(frame.dropna(subset="event_ns"), "way", "event_ns", unit="ns for an event")` draws it.
        """
        from . import overhead

        return overhead.measure(self, ways, calls)

    def events(
        self, text: str = "", *, kind: str | list[str] | None = None, binary: str | None = None, pid: int | Process | None = None
    ) -> pd.DataFrame:
        """Search everything that can be traced; `bl.browse(lab)` is a widget over it.

        Parameters
        ----------
        text : str
            Words that must all be in a name or in its place: "openat", "syscalls:sys_enter_*at". "" is everything.
        kind : str or list of str, optional
            "tracepoint", "kernel function", "user function", "USDT", "perf event".
        binary : str, optional
            Path or name of a program or library: its functions and USDT probes instead of the kernel's.
        pid : int or Process, optional
            Those of everything that this process has mapped; with `binary`, that file as the process sees it, which in a
            container is another one.

        Returns
        -------
        pandas.DataFrame
            `kind`, `name`, `where` (category, module or path) and `signature`: the fields of a tracepoint (tracefs), the C
            declaration of a kernel function (BTF), the sizes of a USDT probe's arguments. The best match comes first.
            `.attrs["kernel functions"]` says where their list comes from.

        Raises
        ------
        BpfError
            The process has ended.
        LabError
            There is no such binary.
        NotSupportedError
            Only tracepoints are wanted, and tracefs is not there or may not be read.
        """
        from . import traceable

        return traceable.events(self, text, kind=kind, binary=binary, pid=number_of(pid))

    def bpftrace(self, text: str, seconds: float | None = None, **options) -> dict[str, pd.DataFrame]:
        """Run bpftrace on the lab machine; see `bpflab.bpftrace.run`."""
        from . import bpftrace

        return bpftrace.run(self, text, seconds, **options)

    def profile(self, seconds: float = 2, hz: int = 99, pid=None) -> Stacks:
        """Where programs spend their time: look at every CPU `hz` times a second.

        Whole stacks are added up in the kernel, so that even a long profile is small. Names are found afterwards, in
        the files that the processes really had mapped: also of those in containers, and of those that are over.
        The kernel walks a process's stack by its frame pointers; code that was compiled without them loses callers,
        and the result says how often that was so.

        Parameters
        ----------
        seconds : float
            How long. Ctrl-C or the stop button ends it earlier; what was seen until then is the result.
        hz : int
            Samples a second on each CPU. 99 and not 100, so as not to keep step with what happens 100 times a second.
        pid : int or Process, optional
            Only this process, all of its threads.

        Returns
        -------
        bpflab.profiling.Stacks
            `to_frame()`, `top()`, `folded()`, and what was lost or has no name; draw it with `bpflab.flamegraph`.

        Raises
        ------
        ValueError
            0 Hz or more than the kernel allows, or no time.
        LabError
            There is no such process.
        NotSupportedError
            The kernel hides its addresses.
        """
        from . import profiling

        return profiling.profile(self, seconds, hz, pid)

    def offcpu(self, seconds: float = 2, pid=None, min_us: float = 0, preempted: bool = False) -> Stacks:
        """What programs wait for: time off the CPU by the stack that they left it with (sched_switch).

        A wait that had begun before is not seen, since nothing was there to see its beginning; one that is not over at
        the end counts with its time until then.

        Parameters
        ----------
        seconds, pid
            As of `profile`.
        min_us : float
            Leave out shorter waits (microseconds).
        preempted : bool
            Count tasks that could have run on, but had to make room for others, as well.

        Returns
        -------
        bpflab.profiling.Stacks
            In microseconds.
        """
        from . import profiling

        return profiling.offcpu(self, seconds, pid, min_us, preempted)
