"""Networks to try programs on: hosts in a row, each a network namespace, neighbours joined by veth."""

from __future__ import annotations

import errno
import html
import re
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from . import process
from .errors import BpfError, NotSupportedError, UnknownNameError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab
    from .process import CommandResult, Process
    from .sockets import Socket

LONGEST = 10  # characters of a host's name: "veth-" and it are an interface's name, at most 15 (IFNAMSIZ, linux/if.h)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)


class Device(NamedTuple):
    """A host's interface.

    Attributes
    ----------
    name : str
        "veth-b" on the host that has "b" for a neighbour.
    ifindex : int
        Its number in its namespace.
    netns : str
        Path of the namespace on the lab machine.
    mac, ip, ip6 : str
        ip6 is "" on a machine without IPv6.
    """

    name: str
    ifindex: int
    netns: str
    mac: str
    ip: str
    ip6: str


class Ping(NamedTuple):
    """What came of ICMP echo requests.

    Attributes
    ----------
    address : str
    sent, received : int
    rtt : list of float or None
        Milliseconds to each answer, None where there was none.
    """

    address: str
    sent: int
    received: int
    rtt: list[float | None]


class Host:
    """One host of a `Netlab`.

    Attributes
    ----------
    name : str
    netns : str
        Path of its network namespace on the lab machine; `ip -n NAME ...` in `lab.sh` finds it by name.
    devs : dict of str to Device
        Its interfaces, by the neighbour they lead to.
    """

    def __init__(self, net: Netlab, name: str, about: dict):
        self.net, self.name, self.netns = net, name, about["path"]
        self._lab = net._lab
        self.devs = {
            one.pop("neighbour"): Device(**one, netns=self.netns) for one in map(dict, about["interfaces"])
        }

    @property
    def dev(self) -> Device:
        """Its interface; of a host in the middle the one to the left."""
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
        from . import sockets

        self.net._check_open()
        opened = sockets.create(self._lab, family, type, protocol, host=self)
        self.net._owned.append(opened.close)
        return opened

    def ping(self, target: str | Host, count: int = 1, timeout: float = 1) -> Ping:
        """Send ICMP echo requests from here, each after the answer to the one before.

        Parameters
        ----------
        target : str or Host
            A host of this network, or an IPv4 or IPv6 address.
        count : int
        timeout : float
            Seconds to wait for each answer.

        Raises
        ------
        BpfError
            No route leads there.
        UnknownNameError
            The network has no such host.
        """
        self.net._check_open()
        address = self._address_of(target)
        try:
            rtt = self._lab.ask("net.ping", self.netns, address, count, timeout)
        except AgentError as error:
            raise BpfError(f"host '{self.name}' cannot send to {address}: {error}", error.payload["errno"]) from None
        return Ping(address, count, sum(one is not None for one in rtt), rtt)

    def _address_of(self, target: str | Host) -> str:
        if isinstance(target, str) and (":" in target or re.fullmatch(r"[\d.]+", target) and target not in self.net._hosts):
            return target
        host = self.net[getattr(target, "name", target)]
        return host.devs[self.name].ip if self.name in host.devs else host.ip

    def __repr__(self) -> str:
        parts = ", ".join(f"{dev.name} {dev.ip}" for dev in self.devs.values())
        return f"<host '{self.name}': {parts}>"


class Netlab:
    """Hosts in a row: `net["a"]` is one of them.

    Neighbours share an Ethernet of their own: link n has 10.0.n.0/24 and fd00:0:0:n::/64, the host on the left ends
    in 1, the one on the right in 2, and MAC addresses in n and the same end, so that a notebook prints the same
    every time. Hosts in the middle forward, and every host has routes to every other. Neighbours know each other's MAC
    address, and nothing is sent that nobody asked for (no ARP, no IPv6 discovery), so that a program that counts packets
    counts yours. Segmentation and checksum offload are off: what arrives is what a wire would carry.
    """

    def __init__(self, lab: Lab, names: tuple[str, ...], about: list[dict]):
        self._lab = lab
        self._hosts = {name: Host(self, name, one) for name, one in zip(names, about, strict=True)}
        self._owned: list[Any] = []
        self.closed = False

    def __getitem__(self, name: str) -> Host:
        """A host.

        Raises
        ------
        UnknownNameError
        """
        try:
            return self._hosts[name]
        except KeyError:
            raise UnknownNameError("host", name, self._hosts, "this network") from None

    def __iter__(self):
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)

    def _check_open(self) -> None:
        if self.closed:
            raise BpfError(f"the network of {self._names} is closed; make it again with lab.netlab(...)", errno.ENODEV)

    @property
    def _names(self) -> str:
        return ", ".join(f"'{name}'" for name in self._hosts)

    def close(self) -> None:
        """Remove it: processes and sockets on its hosts, interfaces, namespaces. A second time does nothing."""
        if self.closed:
            return
        self.closed = True
        _open.get(self._lab, []).remove(self)
        if self._lab.alive:
            for end in self._owned:
                end()
            self._lab.ask("net.close", list(self._hosts))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _rows(self) -> list[tuple[str, ...]]:
        head = ("host", "interface", "to", "ip", "ip6", "mac")
        return [head] + [
            (host.name, dev.name, neighbour, dev.ip, dev.ip6, dev.mac)
            for host in self._hosts.values()
            for neighbour, dev in host.devs.items()
        ]

    def __repr__(self) -> str:
        rows = self._rows()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        text = "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
        return f"{text}\n(closed)" if self.closed else text

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        cells = lambda row, tag: "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row)  # noqa: E731
        body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
        return f"<table><thead><tr>{cells(head, 'th')}</tr></thead><tbody>{body}</tbody></table>"


_open: weakref.WeakKeyDictionary[Lab, list[Netlab]] = weakref.WeakKeyDictionary()


def create(lab: Lab, names: tuple[str, ...]) -> Netlab:
    """Make hosts and join each to the next; see `Netlab`.

    A name belongs to the lab: a network that has a host of one of these names is closed first, so that a cell may
    run twice.

    Parameters
    ----------
    names : str
        At least two, left to right; letters, digits and -_. , 10 characters at most.

    Raises
    ------
    ValueError
        A name is too long, has other characters, or comes twice.
    NotSupportedError
        The kernel has no veth or no network namespaces.
    """
    check_names(names)
    networks = _open.setdefault(lab, [])
    for other in [net for net in networks if not set(names).isdisjoint(net)]:
        other.close()
    try:
        about = lab.ask("net.create", list(names))
    except AgentError as error:
        what = f"network of {', '.join(names)}"
        text, number = str(error), error.payload["errno"]
        if number in (errno.ENOSYS, errno.EINVAL) or "Unknown device type" in text or "not supported" in text:
            raise NotSupportedError("networks of veth and namespaces", lab.where, text, number) from None
        raise BpfError(f"{what} cannot be made: {text}; ip(8) of iproute2 makes it, as root", number) from None
    net = Netlab(lab, names, about)
    networks.append(net)
    return net


def check_names(names) -> None:
    """Refuse names that cannot be a host's."""
    if len(names) < 2:
        raise ValueError(f"a network needs two hosts or more, not {len(names)}: lab.netlab(\"a\", \"b\")")
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a host's name is a text, not {type(name).__name__}")
        if not _NAME.fullmatch(name):
            raise ValueError(f"host name '{name}' must begin with a letter or digit and go on with those and -_. only")
        if len(name) > LONGEST:
            raise ValueError(f"host name '{name}' is too long: {len(name)} characters, at most {LONGEST}; take a shorter one")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"host name '{twice.pop()}' comes twice; give each host its own")
