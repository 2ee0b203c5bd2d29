"""One host of a network: its interfaces, commands and sockets on it."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING, NamedTuple

from .. import process
from ..errors import UnknownNameError
from .capture import Captures
from .traffic import Traffic

if TYPE_CHECKING:
    from ..lab import Lab
    from ..process import CommandResult, Process
    from ..sockets import Socket
    from . import Netlab
    from .tctree import TcTree


class _Fields(NamedTuple):
    name: str
    ifindex: int
    netns: str
    mac: str
    ip: str
    ip6: str


class Device(_Fields):
    """A host's interface: a named tuple, which knows whose it is.

    Attributes
    ----------
    name : str
        "veth-b" on the host that has "b" for a neighbour.
    ifindex : int
        Its number in its namespace.
    netns : str
        Path of the namespace on the lab machine.
    mac, ip, ip6 : str
        "" at a switch; ip6 is "" on a machine without IPv6.
    """

    _lab: Lab


class Host(Traffic, Captures):
    """One host of a `Netlab`, or a switch, which has no addresses.

    Attributes
    ----------
    name : str
    kind : str
        "host", "router" (it forwards) or "switch".
    netns : str
        Path of its network namespace on the lab machine; `ip -n NAME ...` in `lab.sh` finds it by name.
    devs : dict of str to Device
        Its interfaces, by the neighbour they lead to.
    """

    def __init__(self, net: Netlab, plan: dict, about: dict, six: bool):
        self.net, self.name, self.netns = net, plan["name"], about["path"]
        self.kind = "switch" if plan["switch"] else "router" if plan["forwards"] else "host"
        self._lab = net._lab
        self.devs: dict[str, Device] = {}
        self._segments: dict[int, Device] = {}
        for one, number in zip(plan["interfaces"], about["ifindexes"], strict=True):
            dev = Device(one["name"], number, self.netns, one["mac"], one["ip"], one["ip6"] if six else "")
            dev._lab = self._lab
            self.devs[one["neighbour"]] = dev
            self._segments[one["segment"]] = dev

    @property
    def dev(self) -> Device:
        """Its interface; where it has several, the first of the drawing."""
        return next(iter(self.devs.values()))

    @property
    def ip(self) -> str:
        """IPv4 address of `dev`."""
        return self.dev.ip

    @property
    def ip6(self) -> str:
        return self.dev.ip6

    @property
    def mac(self) -> str:
        return self.dev.mac

    def sh(self, command: str | list[str], *, check: bool = True, timeout: float = 60, input=None, cwd=None) -> CommandResult:
        """Run a command on this host; as `Lab.sh`."""
        self.net._check_open()
        return process.run(self._lab, command, check=check, timeout=timeout, input=input, cwd=cwd, netns=self.netns)

    def spawn(self, command: str | list[str], *, cwd=None) -> Process:
        """Start a command on this host; as `Lab.spawn`, and it ends with the network at the latest."""
        self.net._check_open()
        started = process.spawn(self._lab, command, cwd=cwd, netns=self.netns)
        self.net._owned.append(started.stop)
        return started

    def socket(self, family: str = "inet", type: str = "stream", protocol: int = 0) -> Socket:
        """Open a socket on this host; see `bpflab.sockets.create`."""
        from .. import sockets

        self.net._check_open()
        opened = sockets.create(self._lab, family, type, protocol, host=self)
        self.net._owned.append(opened.close)
        return opened

    def tc(self, dev: str | Device | None = None) -> TcTree:
        """What traffic control has on an interface, read from the kernel now: qdiscs, classes, filters, programs, tcx.

        Parameters
        ----------
        dev : str or Device, optional
            An interface of this host, by its name or by the neighbour it leads to; the first one when it is left out.

        Returns
        -------
        TcTree
            A picture in a notebook; see `bpflab.netlab.tctree.TcTree`.
        """
        from . import tctree

        self.net._check_open()
        return tctree.read(self, self._device(dev))

    def _address_of(self, target: str | Host, six: bool = False) -> str:
        """The address of a host that is nearest to this one, or an address as it is."""
        if isinstance(target, str) and target not in self.net._nodes and (":" in target or re.fullmatch(r"[\d.]+", target)):
            try:
                ipaddress.ip_address(target)
            except ValueError:
                raise ValueError(f"'{target}' is neither an address nor a host of this network; it has {', '.join(self.net)}") from None
            return target
        host = self.net[getattr(target, "name", target)]
        if host.kind == "switch":
            raise UnknownNameError("host", host.name, self.net, "this network (a switch has no address)")
        shared = [dev for segment, dev in host._segments.items() if segment in self._segments]
        dev = shared[0] if shared else host.dev
        return dev.ip6 if six else dev.ip

    def _device(self, which: str | Device | None) -> Device:
        """An interface of this host by neighbour or name; its first when none is named."""
        if which is None:
            return self.dev
        name = getattr(which, "name", which)
        for neighbour, dev in self.devs.items():
            if name in (neighbour, dev.name):
                if getattr(which, "netns", self.netns) != self.netns:
                    break
                return dev
        place = f"host '{self.name}' (interfaces of another host belong to that)"
        raise UnknownNameError("interface", name, [dev.name for dev in self.devs.values()], place)

    def __repr__(self) -> str:
        parts = ", ".join(f"{dev.name} {dev.ip}".rstrip() for dev in self.devs.values())
        return f"<{self.kind} '{self.name}': {parts}>"
