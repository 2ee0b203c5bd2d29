"""Sockets on the lab machine, held by its agent: to put into maps, to attach programs to, to send and receive with."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

from .errors import BpfError, NotSupportedError, UnknownNameError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab
    from .netlab import Host

FAMILIES = ("inet", "inet6", "unix", "packet")
TYPES = ("stream", "dgram", "raw", "seqpacket")
TIMEOUT = 5.0  # seconds that a call waits when it is not told


class Socket:
    """A socket of the lab's agent; a context manager.

    `m[key] = sock` puts it into a sock map, sock hash or reuseport array; `m[sock]` is its value in socket storage.
    Calls are those of socket(7), and raise `BpfError` with the kernel's errno. None waits for longer than its
    `timeout` in seconds; then errno is ETIMEDOUT.

    Attributes
    ----------
    family, type : str
    fd : int
        The agent's descriptor.
    cookie : int
        What `bpf_get_socket_cookie()` gives a program for it.
    host : Host or None
        Of a `netlab`, when it was opened there.
    """

    def __init__(self, lab: Lab, family: str, type: str, host: Host | None, about: dict):
        self._lab, self.family, self.type, self.host = lab, family, type, host
        self._fd, self.cookie = about["fd"], about["cookie"]
        self.closed = False

    @property
    def fd(self) -> int:
        if self.closed:
            raise BpfError(f"{self!r} is closed; open another", errno.EBADF)
        return self._fd

    def _ask(self, doing: str, name: str, *arguments) -> Any:
        fd = self.fd
        try:
            return self._lab.ask(f"sockets.{name}", fd, *arguments)
        except AgentError as error:
            if error.payload["type"] in ("TypeError", "OverflowError"):
                raise TypeError(f"{self!r} {doing}: {error}") from None
            number = error.payload["errno"]
            if number < 0:  # getaddrinfo(3) speaks, not the kernel
                raise ValueError(f"{self!r} {doing}: {error}; give an address of its family") from None
            hint = _HINTS.get(number, "")
            text = str(error) if number == errno.ETIMEDOUT else ""
            parts = [f"{self!r} {doing}", f": {text}" if text else "", f"; {hint}" if hint else ""]
            raise BpfError("".join(parts), number) from None

    # -- addresses

    def bind(self, address=None) -> Socket:
        """Give it an address.

        Parameters
        ----------
        address : tuple or str, optional
            ("10.0.1.1", 80); for a unix socket a path; for a packet socket the name of an interface or a `Device`.
            None takes the host's own address, or loopback, and a port that is free.

        Returns
        -------
        Socket
            Itself.
        """
        self._ask(f"cannot be bound to {getattr(address, 'name', address) or 'an address'}", "bind", self._address(address))
        return self

    def _address(self, address) -> Any:
        if isinstance(address, Socket):
            return address.address[:2] if address.family in ("inet", "inet6") else address.address
        if self.family == "packet":
            return (getattr(address, "name", address), 3)  # ETH_P_ALL, include/uapi/linux/if_ether.h
        if address is None and self.family == "inet":
            return (self.host.ip if self.host else "127.0.0.1", 0)
        if address is None and self.family == "inet6":
            return (self.host.ip6 if self.host else "::1", 0)
        if address is None:
            raise ValueError("a unix socket needs a path to bind to")
        return tuple(address) if isinstance(address, list) else address

    def listen(self, backlog: int = 16) -> Socket:
        """Wait for connections; binds it first when it is not bound yet. Returns itself."""
        if self.family in ("inet", "inet6") and not self.port:
            self.bind()
        self._ask("cannot listen", "listen", backlog)
        return self

    def connect(self, address, timeout: float = TIMEOUT) -> Socket:
        """Connect to an address, or to another `Socket`. Returns itself."""
        target = self._address(address)
        self._ask(f"cannot connect to {target}", "connect", target, timeout)
        return self

    def accept(self, timeout: float = TIMEOUT) -> Socket:
        """The next connection, as a socket of its own."""
        about = self._ask("has no connection to accept", "accept", timeout)
        return Socket(self._lab, self.family, self.type, self.host, about)

    @property
    def address(self) -> Any:
        """Its own address (getsockname(2)): for inet the pair of host and port."""
        return self._ask("has no address", "getsockname")

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def peer(self) -> Any:
        """The address at the other end (getpeername(2))."""
        return self._ask("is not connected", "getpeername")

    # -- data

    def _data(self, data) -> bytes:
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"{self!r} sends bytes, not {type(data).__name__}")
        return bytes(data)

    def send(self, data: bytes, timeout: float = TIMEOUT) -> int:
        """Send to whom it is connected to: all the bytes over a stream, else one datagram or frame."""
        return self._ask("cannot send", "send", self._data(data), timeout)

    def sendto(self, data: bytes, address, timeout: float = TIMEOUT) -> int:
        """Send one datagram to an address, or to another `Socket`."""
        target = self._address(address)
        return self._ask(f"cannot send to {target}", "sendto", self._data(data), target, timeout)

    def recv(self, size: int = 65536, timeout: float = TIMEOUT) -> bytes:
        """What has arrived; b"" at the end of a stream.

        Raises
        ------
        BpfError
            Nothing came within `timeout` seconds (errno ETIMEDOUT), or the connection broke.
        """
        return self._ask("has received nothing", "recv", size, timeout)

    def recv_exactly(self, size: int, timeout: float = TIMEOUT) -> bytes:
        """So many bytes of a stream; fewer only when it ends."""
        return self._ask(f"has not received {size} bytes", "recv_exactly", size, timeout)

    def recvfrom(self, size: int = 65536, timeout: float = TIMEOUT) -> tuple[bytes, Any]:
        """A datagram, and the address it came from."""
        return self._ask("has received nothing", "recvfrom", size, timeout)

    def readable(self, timeout: float = 0) -> bool:
        """Is there something to receive or accept, now or within `timeout` seconds?"""
        return self._ask("cannot be asked", "readable", timeout)

    def shutdown(self) -> None:
        """End what it sends; the other side reads the end of the stream."""
        self._ask("cannot be shut down", "shutdown")

    # -- options

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """Set an option; numbers as in Python's `socket` (socket.SOL_SOCKET, socket.SO_RCVBUF)."""
        self._ask(f"does not take option {option} of level {level}", "setsockopt", level, option, value)

    def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
        """An option: a number, or `size` bytes."""
        return self._ask(f"has no option {option} of level {level}", "getsockopt", level, option, size)

    def close(self) -> None:
        """Close it; a second time does nothing. It leaves the maps that it is in."""
        if not self.closed:
            self.closed = True
            if self._lab.alive:
                self._lab.ask("sockets.close", self._fd)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        where = f" on host '{self.host.name}'" if self.host else ""
        return f"<{self.family} {self.type} socket{where}, cookie {self.cookie}{', closed' if self.closed else ''}>"


_HINTS = {
    errno.ECONNREFUSED: "nobody listens there",
    errno.EADDRINUSE: "another socket has this address; port 0 takes a free one",
    errno.EADDRNOTAVAIL: "no interface here has this address",
    errno.ENETUNREACH: "no route leads there from here",
    errno.ENODEV: "its host has no interface of that name",
    errno.EPERM: "a BPF program or the firewall forbids it",
    errno.ENOTCONN: "connect it first",
    errno.EDESTADDRREQ: "connect it first, or use sendto",
}


def create(
    lab: Lab,
    family: str = "inet",
    type: str = "stream",
    protocol: int = 0,
    *,
    host: Host | None = None,
    reuseport: bool = False,
) -> Socket:
    """Open a socket on the lab machine.

    Parameters
    ----------
    family : {"inet", "inet6", "unix", "packet"}
    type : {"stream", "dgram", "raw", "seqpacket"}
    protocol : int
        Of a raw socket (IPPROTO_ICMP); a packet socket takes all protocols.
    host : Host, optional
        Of a `netlab`: open it in that network namespace.
    reuseport : bool
        Set SO_REUSEPORT, so that several sockets may share a port.

    Raises
    ------
    BpfError
        The kernel refused.
    """
    if family not in FAMILIES:
        raise UnknownNameError("socket family", family, FAMILIES)
    if type not in TYPES:
        raise UnknownNameError("socket type", type, TYPES)
    try:
        about = lab.ask("sockets.create", getattr(host, "netns", ""), family, type, protocol, reuseport)
    except AgentError as error:
        number = error.payload["errno"]
        if number in (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT):
            raise NotSupportedError(f"{family} {type} sockets", lab.where, str(error), number, "take another type for this family") from None
        raise BpfError(f"a {family} {type} socket cannot be opened; check its network namespace", number) from None
    return Socket(lab, family, type, host, about)
