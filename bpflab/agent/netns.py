"""Work inside a network namespace."""

import errno
import os
import socket
import threading

from .serve import Refused
from .syscalls import CLONE_NEWNET, setns


def in_netns(path, function, *arguments):
    """Run a function inside a network namespace ("": our own), in a thread of its own."""
    if not path:
        return function(*arguments)
    result = []

    def run():
        try:
            _enter(path)
            result.append((True, function(*arguments)))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            result.append((False, error))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    good, value = result[0]
    if not good:
        raise value
    return value


def _enter(path):
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise Refused(
            "NoDevice", f"the network namespace {path} is gone; make it again with lab.netlab", errno.ENODEV
        ) from None
    try:
        setns(fd, CLONE_NEWNET)
    finally:
        os.close(fd)


def ifindex(name):
    try:
        return socket.if_nametoindex(name)
    except OSError:
        there = ", ".join(sorted(n for _, n in socket.if_nameindex()))
        raise Refused("NoDevice", f"there is no interface '{name}' here; there are: {there}", errno.ENODEV) from None
