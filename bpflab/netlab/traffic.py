"""Traffic that a host makes: bounded in number and time, each with what came of it."""

from __future__ import annotations

import contextvars
import errno
import ipaddress
import os
import threading
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from ..errors import BpfError, NotSupportedError, UnknownNameError
from ..machines import AgentError
from . import given, pcap
from .peers import Connections, Responses, Server

if TYPE_CHECKING:
    from .host import Host

MOST_PACKETS = 1_000_000_000
_token: contextvars.ContextVar[str] = contextvars.ContextVar("token", default="")  # of the job that runs in this thread


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

    @property
    def lost(self) -> int:
        return self.sent - self.received

    def to_frame(self) -> pd.DataFrame:
        """A row for each request: `number` from 1, `rtt_ms` (NaN: lost)."""
        return pd.DataFrame({"number": range(1, self.sent + 1), "rtt_ms": pd.array(self.rtt, dtype="Float64").astype("float64")})


class Sent(NamedTuple):
    """What came of a flood or a replay.

    Attributes
    ----------
    sent : int
        Packets that this host's kernel took.
    refused : int
        Those that it did not take: a program or the firewall dropped them on the way out, or they were too large.
    seconds : float
    why : str
        Why the last one was refused (for a replay: the first, with its number); or that the interface has no carrier, and all is lost.
    """

    sent: int
    refused: int
    seconds: float
    why: str = ""

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.sent / self.seconds if self.seconds else 0.0


class Job:
    """Traffic in the background, begun when you have it. Made by `Traffic.start`; a context manager that stops it at the end."""

    def __init__(self, host: Host, name: str, call):
        self.name, self.host, self._id = name, host, uuid.uuid4().hex
        self._result = self._error = None
        self._thread = threading.Thread(target=self._run, args=(call,), name=f"bpflab {name}", daemon=True)
        host.net._owned.append(self.stop)
        self._thread.start()
        while self._thread.is_alive() and not host._lab.ask("traffic.begun", self._id, 0.1):
            pass

    def _run(self, call) -> None:
        _token.set(self._id)
        try:
            self._result = call()
        except Exception as error:
            self._error = error

    @property
    def running(self) -> bool:
        return self._thread.is_alive()

    def result(self, timeout: float | None = None):
        """Wait for its end; what the method returns or raises.

        Raises
        ------
        TimeoutError
            It is still running after `timeout` seconds.
        """
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"{self.name} on '{self.host.name}' still runs; stop it with .stop()")
        if self._error is not None:
            raise self._error
        return self._result

    def stop(self):
        """End it now, and give what came of it; None when it failed (`result` says why)."""
        if self._thread.is_alive() and self.host._lab.alive:
            self.host._lab.ask("traffic.stop", self._id)
        self._thread.join()
        return self._result

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_):
        self.stop()

    def __repr__(self) -> str:
        return f"<{self.name} on '{self.host.name}': {'running' if self.running else self._error or self._result}>"


class Traffic:
    """The traffic that a `Host` makes. Each method waits for the end; `start` runs one in the background."""

    def start(self, name: str, *arguments, **options) -> Job:
        """Run a method of this host in the background: `flood = a.start("udp_flood", "b", packets=1_000_000)`."""
        if name not in _BACKGROUND:
            raise UnknownNameError("traffic", name, _BACKGROUND, f"host '{self.name}'")
        self.net._check_open()
        return Job(self, name, lambda: getattr(self, name)(*arguments, **options))

    def _ask(self, address: str, name: str, *arguments):
        try:
            return self._lab.ask(name, *arguments)
        except AgentError as error:
            number = error.payload["errno"]
            if name == "frames.flood" and number in (errno.EINVAL, errno.EOPNOTSUPP, 524):
                remedy = 'use way="socket"; the sender\'s interface must be a veth or another device that sends XDP frames'
                raise NotSupportedError("XDP test runs with live frames (5.18)", self._lab.where, str(error), number, remedy) from None
            if not number:
                raise
            if number < 0:  # getaddrinfo(3) speaks, not the kernel
                raise ValueError(f"host '{self.name}' cannot send to {address}: it is no address here; give a host of this network, or an address of one") from None
            said = [] if str(error) == os.strerror(number) else [str(error)]
            raise BpfError(f"host '{self.name}' cannot send to {address}: {'; '.join(said + _NEXT.get(number, []))}", number) from None

    def ping(self, target: str | Host, count: int = 1, timeout: float = 1, interval: float = 0) -> Ping:
        """Send ICMP echo requests from here, each after the answer to the one before.

        Parameters
        ----------
        target : str or Host
            A host of this network, or an IPv4 or IPv6 address.
        count : int
        timeout : float
            Seconds to wait for each answer.
        interval : float
            Seconds from an answer to the next request.

        Raises
        ------
        BpfError
            No route leads there.
        UnknownNameError
            The network has no such host.
        """
        self.net._check_open()
        count = given.whole(count, "count", 1_000_000)
        address = self._address_of(target)
        times = given.wait(timeout), given.wait(interval, "interval")
        rtt = self._ask(address, "traffic.ping", _token.get(), self.netns, address, count, *times)
        return Ping(address, len(rtt), sum(one is not None for one in rtt), rtt)

    def udp_flood(
        self,
        target: str | Host,
        port: int = 9,
        *,
        packets: int = 10_000,
        rate: float = 0,
        seconds: float = 10,
        size: int = 18,
        flows: int = 1,
        way: str = "socket",
        source: str = "",
        ip6: bool = False,
    ) -> Sent:
        """Send UDP packets, many a system call.

        Parameters
        ----------
        port : int
            9 is discard (RFC 863).
        packets : int
        rate : float
            Packets a second; 0 for as fast as it goes.
        seconds : float
            It ends after this at the latest.
        size : int
            Bytes of payload; 18 make the smallest Ethernet frame.
        flows : int
            Source ports to take turns (with `source`: and addresses).
        way : {"socket", "frames"}
            "socket": through this host's whole stack (sendmmsg(2)). "frames": XDP test runs with live frames put it straight on the wire, many
            times as fast, and nothing on this host sees it (no tc, no firewall, no capture). The other end cannot tell them apart.
        source : str
            An address or network ("198.51.100.0/24") that the packets pretend to come from; of "frames" only.
        ip6 : bool
            To a host's IPv6 address.

        Raises
        ------
        BpfError
            No route leads there.
        NotSupportedError
            The kernel has no live frames.
        """
        self.net._check_open()
        address = self._address_of(target, ip6)
        packets, port = given.whole(packets, "packets", MOST_PACKETS), given.whole(port, "port", 65535)
        flows = given.whole(flows, "flows", 10_000 if way == "frames" else 500)
        size = given.whole(size, "size, of a UDP packet's payload in bytes,", 65499, 0)
        common = (address, port, bytes(size), packets, given.number(rate, "rate", MOST_PACKETS, "packets a second"), given.seconds(seconds))
        if way == "socket":
            if source:
                raise ValueError('a socket sends from its own address; a false one needs way="frames"')
            about = self._ask(address, "traffic.flood_socket", _token.get(), self.netns, *common, flows)
        elif way == "frames":
            if size > 3000:
                raise ValueError(f"a live frame fits into a page with its headers: 3,000 bytes of payload at most, not {size:,}")
            about = self._ask(address, "frames.flood", _token.get(), self.netns, *common, _sources(source, flows, ":" in address))
        else:
            raise ValueError(f'way is "socket" or "frames", not {way!r}')
        return Sent(about["sent"], about["refused"], about["seconds"], _why(about))

    def replay(self, path: str | Path, dev=None, *, rate: float = 0, keep_time: bool = False, seconds: float = 60, most: int = 1_000_000) -> Sent:
        """Send the packets of a capture file, as they are, out of an interface.

        Parameters
        ----------
        path : str or pathlib.Path
            Of a pcap file, on the notebook's computer.
        dev : str or Device, optional
            The interface, or the neighbour it leads to; the first one when it is left out.
        rate : float
            Packets a second; 0 for as fast as it goes.
        keep_time : bool
            Keep the times between the packets as captured.
        most : int
            Only so many packets from the beginning.

        Raises
        ------
        CaptureFileError
            The file is cut short (the text says at which packet), is no capture file, or not of Ethernet; nothing was sent.
        """
        self.net._check_open()
        device = self._device(dev).name
        frames = pcap.read(path, given.whole(most, "most", MOST_PACKETS))
        times = frames.times.astype("f8").tobytes() if keep_time else b""
        arguments = (self.netns, device, frames.data, frames.lengths.tobytes(), times, given.number(rate, "rate", MOST_PACKETS, "packets a second"), given.seconds(seconds))
        about = self._ask(device, "traffic.replay", _token.get(), *arguments)
        why = _why(about)
        if about["refused"]:
            why = f"packet {about['first_refused'] + 1}: {why}"
        return Sent(about["sent"], about["refused"], about["seconds"], why)

    # -- servers and their clients

    def _serve(self, kind: str, port: int, seconds: float, most: int, pages: dict | None = None, echo: bool = True) -> Server:
        self.net._check_open()
        port, most, seconds = given.whole(port, "port", 65535, 0), given.whole(most, "most", 100_000), given.seconds(seconds)
        try:
            about = self._lab.ask("peers.serve", self.netns, kind, port, pages or {}, echo, seconds, most)
        except AgentError as error:
            hint = "; another server has this port" if error.payload["errno"] == errno.EADDRINUSE else ""
            raise BpfError(f"host '{self.name}' cannot listen on port {port}{hint}", error.payload["errno"]) from None
        server = Server(self, kind, about)
        self.net._owned.append(server.stop)
        return server

    def http_server(self, port: int = 80, pages: dict[str, str | bytes] | None = None, *, seconds: float = 600, most: int = 10_000) -> Server:
        """Answer HTTP requests, on all addresses, in the background.

        Parameters
        ----------
        pages : dict, optional
            Bodies by path ("/index.html"); "*" for every other path. Without it every path answers with the host's name.
        seconds, most : float, int
            It ends after this time; and takes so many connections.
        """
        pages = {"*": f"{self.name}\n"} if pages is None else pages
        if not isinstance(pages, dict) or not all(isinstance(path, str) and isinstance(body, (str, bytes)) for path, body in pages.items()):
            raise TypeError('pages are texts or bytes by path: {"/index.html": "hello", "*": "for every other path"}')
        return self._serve("http", port, seconds, most, {path: body.encode() if isinstance(body, str) else body for path, body in pages.items()})

    def tcp_server(self, port: int = 7, *, echo: bool = True, seconds: float = 600, most: int = 10_000) -> Server:
        """Accept TCP connections in the background, and send back what comes (or, without `echo`, nothing)."""
        return self._serve("echo", port, seconds, most, echo=echo)

    def udp_server(self, port: int = 7, *, echo: bool = False, seconds: float = 600, most: int = 10_000) -> Server:
        """Receive UDP packets in the background, counted by sender; `most` senders. With `echo` they are sent back."""
        return self._serve("udp", port, seconds, most, echo=echo)

    def http_get(
        self, target: str | Host, path: str = "/", *, port: int = 80, count: int = 1, timeout: float = 2, interval: float = 0, ip6: bool = False
    ) -> Responses:
        """GET requests one after the other, a connection each."""
        self.net._check_open()
        if not isinstance(path, str) or not path.startswith("/") or any(c.isspace() for c in path):
            raise ValueError(f"the path of a request begins with / and has no blanks: not {path!r}")
        address = self._address_of(target, ip6)
        host = f"[{address}]" if ":" in address else address
        port, count = given.whole(port, "port", 65535), given.whole(count, "count", 100_000)
        arguments = (self.netns, address, port, path, host, count, given.wait(timeout), given.wait(interval, "interval"), 1 << 20)
        return Responses(address, self._ask(address, "peers.http", _token.get(), *arguments))

    def tcp_connect(self, target: str | Host, port: int = 7, *, count: int = 1, timeout: float = 2, ip6: bool = False) -> Connections:
        """Open TCP connections and keep them open, to see which live on."""
        self.net._check_open()
        address = self._address_of(target, ip6)
        port, count = given.whole(port, "port", 65535), given.whole(count, "count", 10_000)
        about = self._ask(address, "peers.connect", self.netns, address, port, count, given.wait(timeout))
        opened = Connections(self, address, port, about)
        self.net._owned.append(opened.close)
        return opened


_NEXT = {
    errno.ENETUNREACH: ["no route leads there from here; is the address in this network, its interface up, the wire whole (net.link(...).restore())?"],
    errno.EHOSTUNREACH: ["is the address right, and the host's interface up?"],
}
_BACKGROUND = ("http_get", "ping", "replay", "udp_flood")


def _why(about: dict) -> str:
    """Why packets were refused, or are lost all the same."""
    number = about["errno"]
    if not number and about["dark"]:
        return f"{about['dark']} has no carrier: its other end is down, and what was sent is lost; net.link(...).restore() mends a wire that was cut"
    return {
        0: "",
        errno.EINVAL: "EINVAL: it is shorter than an Ethernet header, 14 bytes",
        errno.EPERM: "EPERM: a BPF program or the firewall forbids it",
        errno.ENOBUFS: "ENOBUFS: dropped on the way out",
        errno.EMSGSIZE: "EMSGSIZE: it is larger than the interface's MTU",
        errno.ENETDOWN: "ENETDOWN: the interface is down",
    }.get(number, errno.errorcode.get(number, str(number)))


def _sources(source: str, flows: int, six: bool) -> list[tuple[str, int]]:
    """(address, port) of each flow; "" is the sender's own address."""
    ports = [1024 + i % 64000 for i in range(flows)]
    if not source:
        return [("", port) for port in ports]
    try:
        network = ipaddress.ip_network(source, strict=False)
    except ValueError:
        raise ValueError(f"source is an address or a network such as 198.51.100.0/24, not {source!r}") from None
    if (network.version == 6) != six:
        raise ValueError(f"source {source} and the target are not of the same IP version")
    # spread over the network, the same every time
    places = np.linspace(0, min(network.num_addresses, 1 << 53) - 1, flows).astype(object)
    return [(str(network[int(place)]), port) for place, port in zip(places, ports, strict=True)]
