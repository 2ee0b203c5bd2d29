"""Lightweight tunnels: a program on a route, `ip route ... encap bpf` (ip-route(8), Documentation/networking/lwtunnel).

Not a bpf_link: the route holds the program. In a namespace of the lab it goes
with the namespace; for any other its removal is recorded for the end.
"""

import contextlib
import os
import subprocess

from . import maps, ownership
from .netns import ifindex, in_netns
from .serve import Refused

BPFFS = "/sys/fs/bpf"


def attach(prog_fd, netns, device, destination, via, direction):
    """Add the route; returns the function that removes it."""
    in_netns(netns, ifindex, device)  # a wrong name gets the list of those there
    pin = f"{BPFFS}/lwt-{prog_fd}-{os.urandom(4).hex()}"
    # metric 1 comes before every route that was there
    place = [*(["via", via] if via else []), "dev", device, "metric", "1"]
    maps.pin(prog_fd, pin)
    try:
        _ip(netns, "route", "add", destination, "encap", "bpf", direction, "pinned", pin, *place)
    finally:
        os.unlink(pin)
    record = None
    if not netns:
        record = ownership.on_end("ip", *_family(destination), "route", "del", destination, *place)

    def undo():
        with contextlib.suppress(Refused):  # it went with its interface
            _ip(netns, "route", "del", destination, *place)
        if record is not None:
            ownership.settled(record)

    return undo


def _family(destination):
    return ["-6"] if ":" in destination else []


def _ip(netns, *words):
    def run():
        return subprocess.run(["ip", *_family(words[2]), *words], capture_output=True, text=True, env=ownership.environment())

    done = in_netns(netns, run)
    if done.returncode:
        raise Refused("Route", done.stderr.strip().replace("\n", "; ") or "ip failed")
