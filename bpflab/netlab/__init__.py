"""Networks to try programs on: hosts, routers and switches as network namespaces, joined by veth."""

from __future__ import annotations

import errno
import weakref
from typing import TYPE_CHECKING, Any

from ..errors import BpfError, NotSupportedError, UnknownNameError
from ..machines import AgentError
from . import given
from . import plan as plan_
from .drawing import LONGEST, MTUS, Drawing, of_names, parse
from .host import Device, Host
from .traffic import Ping
from .wire import Link

if TYPE_CHECKING:
    import pandas as pd

    from ..lab import Lab

__all__ = ["LONGEST", "Device", "Host", "Link", "Netlab", "Ping", "create", "networks"]


class Netlab:
    """Hosts that reach each other: `net["a"]` is one of them.

    What is joined without a router between is an Ethernet of its own. Ethernet n has 10.0.n.0/24 and fd00:0:0:n::/64, its hosts end in
    1, 2, ... in the order in which they are drawn, and MAC addresses in n and the same end, so that a notebook prints the same
    every time. A host with several Ethernets is a router: it forwards. Neighbours know each other's MAC address, switches know who
    is where (up to 32 hosts on an Ethernet), and nothing is sent that nobody asked for (no ARP, no IPv6 discovery, no flooding), so
    that a program that counts packets counts yours. Segmentation and checksum offload are off: what arrives is what a wire would carry.
    """

    def __init__(self, lab: Lab, drawing: Drawing, plan: list[dict], about: dict):
        self._lab, self._drawing, self._plan = lab, drawing, plan
        self._nodes = {one["name"]: Host(self, one, made, about["ipv6"]) for one, made in zip(plan, about["hosts"], strict=True)}
        self._owned: list[Any] = []
        self._links: dict[frozenset, Link] = {}
        self.closed = False

    @property
    def hosts(self) -> dict[str, Host]:
        """By name, routers too."""
        return {name: node for name, node in self._nodes.items() if node.kind != "switch"}

    @property
    def switches(self) -> dict[str, Host]:
        return {name: node for name, node in self._nodes.items() if node.kind == "switch"}

    def __getitem__(self, name: str) -> Host:
        """A host or a switch.

        Raises
        ------
        UnknownNameError
        """
        try:
            return self._nodes[name]
        except KeyError:
            raise UnknownNameError("host", name, self._nodes, "this network") from None

    def __iter__(self):
        return iter(self.hosts)

    def __len__(self) -> int:
        return len(self.hosts)

    def link(self, a: str | Host, b: str | Host) -> Link:
        """The wire between two neighbours, to be cut, slowed or made lossy.

        Raises
        ------
        UnknownNameError
            There is no such host, or no wire between the two.
        """
        ends = [self[getattr(one, "name", one)] for one in (a, b)]
        if ends[1].name not in ends[0].devs:
            raise UnknownNameError("neighbour", ends[1].name, ends[0].devs, f"the wires of '{ends[0].name}'")
        return self._links.setdefault(frozenset(one.name for one in ends), Link(self, *ends))

    def attached(self) -> pd.DataFrame:
        """What is attached where, read from the kernel now; see `bpflab.netlab.attached.table`."""
        from . import attached

        return attached.table(self)

    def show(self, live: bool = False):
        """Draw it, with what is attached where; `live` draws it anew as that changes."""
        from ..widgets import network

        self._check_open()
        return network.NetworkView(self, live)

    def _check_open(self) -> None:
        if self.closed:
            raise BpfError(f"the network of {self._names} is closed; make it again with lab.netlab(...)", errno.ENODEV)

    @property
    def _names(self) -> str:
        return ", ".join(f"'{name}'" for name in self._nodes)

    def close(self) -> None:
        """Remove it: processes and sockets on its hosts, interfaces, namespaces. A second time does nothing."""
        if self.closed:
            return
        self.closed = True
        _open.get(self._lab, []).remove(self)
        if self._lab.alive:
            for end in self._owned:
                end()
            if self._links:
                self._lab.ask("wire.forget", list(self._nodes))
            self._lab.ask("net.close", list(self._nodes))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("host", "interface", "to", "ip", "ip6", "mac")
        return [head] + [
            (host.name, dev.name, neighbour, dev.ip, dev.ip6, dev.mac)
            for host in self._nodes.values()
            for neighbour, dev in host.devs.items()
        ]

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        text = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return f"{text}\n(closed)" if self.closed else text

    def _repr_html_(self) -> str:
        from . import picture

        return picture.page(self)


_open: weakref.WeakKeyDictionary[Lab, list[Netlab]] = weakref.WeakKeyDictionary()


def networks(lab: Lab) -> list[Netlab]:
    """Those of a lab that are open."""
    return list(_open.get(lab, ()))


def create(lab: Lab, names: tuple[str, ...], mtu: int | None = None, queues: int | None = None) -> Netlab:
    """Make hosts and join them; see `Netlab`.

    A name belongs to the lab: a network that has a host of one of these names is closed first, so that a cell may
    run twice.

    Parameters
    ----------
    names : str
        Two or more for hosts in a row, left to right; letters, digits and -_. , 10 characters at most. Or one text that is a
        drawing; see `bpflab.netlab.drawing.parse`.
    mtu : int, optional
        Bytes of the largest IP packet, of every interface that the drawing does not say it of; 1500.
    queues : int, optional
        Transmit and receive queues of every interface; 1.

    Raises
    ------
    ValueError
        A name is too long, has other characters, or comes twice; an MTU or a number of queues that cannot be.
    DrawingError
        The drawing is not clear; the text shows where.
    NotSupportedError
        The kernel has no veth or no network namespaces.
    """
    if len(names) == 1 and not isinstance(names[0], str):
        raise TypeError(f'a network is made of names, lab.netlab("a", "b"), or of a drawing, lab.netlab("a -- b"), not of a {type(names[0]).__name__}')
    drawn = len(names) == 1 and isinstance(names[0], str) and ("-" * 2 in names[0] or "\n" in names[0].strip())
    drawing = parse(names[0]) if drawn else of_names(names)
    if mtu is not None:
        given.is_whole(mtu, "an MTU", f"{MTUS[0]:,} to {MTUS[-1]:,}")
    if queues is not None:
        given.is_whole(queues, "the number of queues", "1 to 64")
    if mtu is not None and mtu not in MTUS:
        raise ValueError(f"an MTU of {mtu:,} cannot be; from {MTUS[0]:,} (IPv6 needs it) to {MTUS[-1]:,} it can")
    if queues is not None and queues not in range(1, 65):
        raise ValueError(f"an interface has 1 to 64 queues here, not {queues}")
    plan = plan_.make(drawing, mtu, queues)
    opened = _open.setdefault(lab, [])
    for other in [net for net in opened if not drawing.switches.keys().isdisjoint(net._nodes)]:
        other.close()
    try:
        about = lab.ask("net.create", plan)
    except AgentError as error:
        what = f"network of {', '.join(drawing.switches)}"
        text, number = str(error), error.payload["errno"]
        if number in (errno.ENOSYS, errno.EINVAL) or "Unknown device type" in text or "not supported" in text:
            raise NotSupportedError("networks of veth and namespaces", lab.where, text, number) from None
        raise BpfError(f"{what} cannot be made: {text}; ip(8) of iproute2 makes it, as root", number) from None
    net = Netlab(lab, drawing, plan, about)
    opened.append(net)
    return net
