"""Interfaces that a reader gives: of a network of the lab, or of the lab machine itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .lab import Lab


def name_of(dev: Any) -> str:
    """Its name.

    Raises
    ------
    TypeError
        It is neither a `Device` nor a name.
    """
    name = getattr(dev, "name", dev)
    if not isinstance(name, str):
        raise TypeError(
            f"an interface is one of a network, net['a'].dev, or a name such as 'lo', not {type(dev).__name__}"
        )
    return name


def netns_of(dev: Any, lab: Lab) -> str:
    """Path of its network namespace; "" for the lab machine's own.

    Raises
    ------
    ValueError
        Another lab made it, whose agent may have a namespace of the same name.
    """
    owner = getattr(dev, "_lab", lab)
    if owner is not lab:
        raise ValueError(
            f"'{name_of(dev)}' belongs to a network of another lab ({owner!r}); make the network with the lab that loads the program"
        )
    return getattr(dev, "netns", "")


def elsewhere(lab: Lab, said: str) -> str:
    """Where a name is one of a network, when the agent said that there is no such interface; or ""."""
    from .netlab import networks

    found = re.search(r"no interface '([^']+)' here", said)
    name = found[1] if found else ""
    for net in networks(lab):
        if name in net:
            return f"'{name}' is a host, and net['{name}'].dev its interface"
        for host in [*net.hosts.values(), *net.switches.values()]:
            for neighbour, dev in host.devs.items():
                if dev.name == name:
                    which = "dev" if dev == host.dev else f"devs['{neighbour}']"
                    return f"host '{host.name}' of a network has one of this name, in a namespace of its own: net['{host.name}'].{which}"
    return ""
