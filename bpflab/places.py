"""Places on a lab machine to attach programs to: networks, control groups, sockets, binaries, tracepoints."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .errors import LabError, UnknownNameError
from .machines import AgentError
from .refusal import not_permitted

if TYPE_CHECKING:
    import pandas as pd

    from .cgroup import Cgroup
    from .descriptor import Descriptor
    from .netlab import Netlab
    from .sockets import Socket
    from .workloads import Workload
    from .xsk import Xsk


class Places:
    """What a `Lab` makes or finds to attach programs to."""

    def netlab(self, *names: str, mtu: int | None = None, queues: int | None = None) -> Netlab:
        """A network of namespaces joined by veth: hosts in a row, `lab.netlab("a", "b")`, or as drawn in text.

        `lab.netlab("client -- router -- [switch] -- b1, b2")`: a name in brackets is a switch, and whoever is on several Ethernets
        routes. `net["client"].dev` is where to attach, `net["client"].ping("b1")` and `net["client"].sh(...)` make packets. See
        `bpflab.netlab.Netlab`, and `bpflab.netlab.create` for what is refused.
        """
        from . import netlab

        return netlab.create(self, names, mtu, queues)

    def cgroup(self, name: str) -> Cgroup:
        """A control group (cgroup v2) of the lab's own; see `bpflab.cgroup`."""
        from . import cgroup

        return cgroup.create(self, name)

    def socket(self, family: str = "inet", type: str = "stream", protocol: int = 0, **options) -> Socket:
        """A socket of the agent, on the lab machine; see `bpflab.sockets.create`."""
        from . import sockets

        return sockets.create(self, family, type, protocol, **options)

    def xsk(self, dev, queue: int = 0) -> Xsk:
        """An AF_XDP socket on a receive queue of an interface; see `bpflab.xsk.create`."""
        from . import xsk

        return xsk.create(self, dev, queue)

    def pidfd(self, process) -> Descriptor:
        """A descriptor that stands for a process (a `Process` or a pid): the key of task storage."""
        from . import descriptor

        return descriptor.pidfd(self, process)

    def open(self, path: str) -> Descriptor:
        """A descriptor of a file or folder of the lab machine: the key of inode storage."""
        from . import descriptor

        return descriptor.open_path(self, path)

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
        self, text: str = "", *, kind: str | list[str] | None = None, binary: str | None = None, pid: int | None = None
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
        pid : int, optional
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

        return traceable.events(self, text, kind=kind, binary=binary, pid=pid)

    def find_binary(self, name: str) -> str:
        """Path of a program or shared library on the lab machine.

        Raises
        ------
        LabError
            There is none.
        """
        found = self.ask("machine.find_binary", name)
        if not found:
            raise LabError(f"there is no program or library '{name}' on {self.machine}; give a whole path")
        return found

    def check_tracepoint(self, category: str, name: str) -> None:
        """Refuse a tracepoint that does not exist, with the near names.

        Raises
        ------
        UnknownNameError
            No such category, or no such tracepoint in it.
        """
        try:
            found = self.ask("machine.tracepoints", category)
        except AgentError as error:
            what = f"tracepoint {category}:{name} cannot be looked up"
            raise not_permitted(self, error.payload["errno"], what) or error.blame(what) from None
        if found is None or name in found:
            return  # without tracefs the attempt itself tells why
        if not found:
            raise UnknownNameError("tracepoint category", category, self.ask("machine.tracepoints", ""))
        raise UnknownNameError("tracepoint", name, found, f"category '{category}'")

    @functools.cached_property
    def online(self) -> int:
        return self.ask("machine.online_cpus")
