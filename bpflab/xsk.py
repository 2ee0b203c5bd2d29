"""AF_XDP sockets: frames that an XDP program hands to user space past the network stack."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .errors import BpfError, NotSupportedError
from .machines import AgentError

if TYPE_CHECKING:
    from .lab import Lab


class Xsk:
    """An AF_XDP socket in copy mode; a context manager.

    Put it into an XSKMAP at the number of its queue (`m[0] = xsk`); a program sends it frames with
    `bpf_redirect_map()` (Documentation/networking/af_xdp.rst).

    Attributes
    ----------
    device : str
        The interface.
    queue : int
        Of the interface's receive queues the one it is bound to.
    fd : int
        The agent's descriptor.
    """

    def __init__(self, lab: Lab, device: str, queue: int, about: dict):
        self._lab, self.device, self.queue = lab, device, queue
        self._number, self._fd = about["number"], about["fd"]
        self.closed = False

    @property
    def fd(self) -> int:
        if self.closed:
            raise BpfError(f"{self!r} is closed; open another with lab.xsk(...)", errno.EBADF)
        return self._fd

    def _ask(self, doing: str, name: str, *arguments):
        self.fd  # noqa: B018 - raises when closed
        return self._lab.call(f"{self!r} {doing}", f"xsk.{name}", self._number, *arguments)

    def recv(self, count: int = 1, timeout: float = 1) -> list[bytes]:
        """Take frames, oldest first, whole from the Ethernet header on.

        Parameters
        ----------
        count : int
        timeout : float
            Seconds after which it returns what has come, fewer than `count` or none.
        """
        return self._ask("cannot receive", "recv", count, timeout)

    def send(self, frame: bytes, timeout: float = 1) -> None:
        """Send a frame out of the interface.

        Raises
        ------
        BpfError
            The frame is longer than 4096 bytes, or the interface is down.
        """
        self._ask("cannot send", "send", bytes(frame), timeout)

    def statistics(self) -> dict[str, int]:
        """What was lost, and why (struct xdp_statistics): `rx_dropped`, `rx_ring_full`, `rx_fill_ring_empty_descs`, ..."""
        return self._ask("cannot be asked", "statistics")

    def close(self) -> None:
        """Close it; it leaves the map. A second time does nothing."""
        if not self.closed:
            self.closed = True
            if self._lab.alive:
                self._lab.ask("xsk.close", self._number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        return f"<AF_XDP socket on {self.device}, queue {self.queue}{', closed' if self.closed else ''}>"


def create(lab: Lab, dev, queue: int = 0) -> Xsk:
    """Open an AF_XDP socket.

    Parameters
    ----------
    dev : Device or str
        Of a `netlab`, or the name of an interface of the lab machine itself.
    queue : int

    Raises
    ------
    BpfError
        No such interface or queue, or another socket has it.
    NotSupportedError
        The kernel has no AF_XDP.
    """
    name = getattr(dev, "name", dev)
    try:
        about = lab.ask("xsk.create", getattr(dev, "netns", ""), name, queue)
    except AgentError as error:
        number = error.payload["errno"]
        if number == errno.EAFNOSUPPORT:
            raise NotSupportedError("AF_XDP", lab.where, str(error), number) from None
        hint = {
            errno.EINVAL: f"it has no receive queue {queue}; most have queue 0 only",
            errno.EBUSY: "another AF_XDP socket is bound to this queue; close it first",
            errno.ENETDOWN: "the interface is down; set it up with ip link set",
            errno.ENOBUFS: "too little memory may be locked; close other AF_XDP sockets",
        }.get(number, "")
        raise BpfError(f"no AF_XDP socket on queue {queue} of {name} ({error}){'; ' if hint else ''}{hint}", number) from None
    return Xsk(lab, name, queue, about)
