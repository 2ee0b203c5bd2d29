"""Places on a lab machine to attach programs to: networks, control groups, sockets, binaries, tracepoints."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from .errors import LabError, UnknownNameError
from .machines import AgentError
from .refusal import not_permitted

if TYPE_CHECKING:
    from .cgroup import Cgroup
    from .descriptor import Descriptor
    from .netlab import Netlab
    from .sockets import Socket
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
