"""Links: a program at work. Detached by `detach()`, by the end of a `with`, and in any case with the lab."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .errors import BpfError

if TYPE_CHECKING:
    from .lab import Lab
    from .program import Program


class Link:
    """A program attached to something.

    Attributes
    ----------
    program : Program
    target : str
        What it is attached to, in words ("xdp on veth-b").
    id : int
        The kernel's id of the bpf_link; 0 where the attachment is none (a socket option, clsact, a sock map).
    """

    def __init__(self, lab: Lab, program: Program | None, target: str, about: dict):
        self._lab, self.program, self.target = lab, program, target
        self._number = about["link"]
        self.id = about["id"]
        self.detached = False

    @property
    def fd(self) -> int:
        self._refuse_detached()
        return self._lab.call(f"{self!r} has no descriptor", "links.fd_of", self._number)

    def _refuse_detached(self) -> None:
        if self.detached:
            raise BpfError(f"{self!r} is over; attach the program again", errno.EBADF)

    def detach(self) -> None:
        """End it; a second time does nothing."""
        if not self.detached:
            self.detached = True
            if self._lab.alive:
                self._lab.ask("links.detach", self._number)

    def read(self) -> str:
        """What an iterator program prints when it runs over everything once.

        Raises
        ------
        TypeError
            The program is no iterator.
        """
        if self.program is None or self.program.attach_type != "trace_iter":
            raise TypeError(f"{self!r} is no iterator; only a program with SEC(\"iter/...\") can be read")
        self._refuse_detached()
        return self._lab.call("iterator does not run", "links.read_iter", self._number).decode(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.detach()

    def __repr__(self) -> str:
        name = f"'{self.program.name}' " if self.program else ""
        return f"<link: {name}{'detached from' if self.detached else 'on'} {self.target}>"
