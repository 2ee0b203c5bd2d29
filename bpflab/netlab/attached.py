"""What is attached where in a network, as the kernel tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from . import Netlab


def look(net: Netlab) -> dict:
    """Ask the machine; see `bpflab.agent.attached.look`. The hosts come by name."""
    net._check_open()
    names = list(net._nodes)
    found = net._lab.call("the network cannot be looked at", "attached.look", names)
    return {"hosts": dict(zip(names, found["hosts"], strict=True)), "cgroups": found["cgroups"]}


def table(net: Netlab) -> pd.DataFrame:
    """A row for each thing that is attached, whoever attached it.

    Returns
    -------
    DataFrame
        `host` ("" for a control group), `on` (the interface, "network namespace", or the group), `place` ("XDP", "tcx ingress",
        "tc egress", "qdisc", "sk_lookup", "connect4"), `mode` (of XDP), `name`, `id` (the program's, 0 where it is none).
    """
    found = look(net)
    rows = []
    for name, host in found["hosts"].items():
        for one in host["interfaces"] if host else ():
            rows += [(name, one["name"], *_fields(thing)) for thing in one["attached"]]
        rows += [(name, "network namespace", *_fields(thing)) for thing in (host["attached"] if host else ())]
    rows += [("", f"cgroup {group}", *_fields(thing)) for group, things in found["cgroups"] for thing in things]
    return pd.DataFrame(rows, columns=["host", "on", "place", "mode", "name", "id"])


def _fields(thing: dict) -> tuple:
    return thing["place"], thing["mode"], thing["name"], thing["id"]
