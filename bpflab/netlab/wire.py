"""The wire between two neighbours: cut, slow, lossy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import BpfError, NotSupportedError
from ..machines import AgentError
from . import given

if TYPE_CHECKING:
    from . import Netlab
    from .host import Host


class Link:
    """A wire. Made by `Netlab.link`; what is done to it lasts until `restore`, or the end of the network.

    Attributes
    ----------
    ends : tuple of Device
    state : str
        In words: "whole", "cut", "delay 20 ms, loss 5 % (netem)".
    """

    def __init__(self, net: Netlab, a: Host, b: Host):
        self._net, self._hosts = net, (a, b)
        self.ends = (a.devs[b.name], b.devs[a.name])
        self._cut, self._delay, self._loss, self.how = False, 0.0, 0.0, ""

    def __repr__(self) -> str:
        return f"<wire {self._hosts[0].name} -- {self._hosts[1].name}: {self.state}>"

    @property
    def state(self) -> str:
        if self._cut:
            return "cut"
        words = [f"delay {self._delay:g} ms"] * bool(self._delay) + [f"loss {self._loss:g} %"] * bool(self._loss)
        return f"{', '.join(words)} ({self.how})" if words else "whole"

    def cut(self) -> None:
        """Cut it: one end is taken down (of a switch its port, else that of the second host), and the other loses its carrier.

        The host whose end is down has no routes over it any more, as ever when an interface is down.
        """
        self._net._check_open()
        if not self._cut:
            self._ask("wire.down", *self._down_end())
            self._cut = True

    def mend(self) -> None:
        """Undo `cut`: the interface is up, with its neighbours and the routes that the network gave it."""
        self._net._check_open()
        if self._cut:
            host, dev = self._down_end()
            self._ask("wire.up", self._plan(host), dev)
            self._cut = False

    def delay(self, ms: float) -> None:
        """Let every packet take this much longer, each way (netem).

        Raises
        ------
        NotSupportedError
            The kernel has no netem (sch_netem).
        """
        self._set(given.number(ms, "a delay", 10_000, "ms"), self._loss)

    def lose(self, percent: float) -> None:
        """Lose packets by chance, each way: netem does it, or where the kernel has none a tcx program with `bpf_get_prandom_u32`.

        Both sit where a host sends: what XDP sends (XDP_TX, redirect, `udp_flood(way="frames")`) passes them by.

        Raises
        ------
        NotSupportedError
            The kernel has neither netem nor tcx.
        """
        self._set(self._delay, given.number(percent, "a loss", 100, "percent"))

    def restore(self) -> None:
        """Make it whole again: no cut, no delay, no loss."""
        self.mend()
        if self._delay or self._loss:
            self._set(0.0, 0.0)

    def _set(self, delay: float, loss: float) -> None:
        self._net._check_open()
        ends = [(host.name, dev.name) for host, dev in zip(self._hosts, self.ends, strict=True)]
        try:
            self.how = self._net._lab.ask("wire.impair", ends, float(delay), float(loss))
        except AgentError as error:
            if error.payload["type"] == "NoNetem":
                remedy = "a kernel with sch_netem has it: bl.Lab('vm')"
                if delay:
                    remedy += "; lose() and cut() work here"
                raise NotSupportedError("a delay on a wire (netem)" if delay else "loss on a wire", self._net._lab.where, str(error), error.payload["errno"], remedy) from None
            raise BpfError(f"{self!r} cannot be changed: {error}", error.payload["errno"]) from None
        self._delay, self._loss = delay, loss

    def _down_end(self) -> tuple[str, str]:
        first = self._hosts[0].kind == "switch" and self._hosts[1].kind != "switch"
        return self._hosts[0 if first else 1].name, self.ends[0 if first else 1].name

    def _plan(self, name: str) -> dict:
        return next(one for one in self._net._plan if one["name"] == name)

    def _ask(self, name: str, *arguments):
        try:
            return self._net._lab.ask(name, *arguments)
        except AgentError as error:
            raise BpfError(f"{self!r} cannot be changed: {error}; is its interface there still?", error.payload["errno"]) from None
