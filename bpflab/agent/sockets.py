"""Sockets of this process, by descriptor. No call blocks for longer than the time it is given."""

import contextlib
import errno
import os
import select
import socket
import struct
import time

from .netns import in_netns
from .serve import quick

FAMILIES = {
    "inet": socket.AF_INET,
    "inet6": socket.AF_INET6,
    "unix": socket.AF_UNIX,
    "packet": socket.AF_PACKET,
}
TYPES = {
    "stream": socket.SOCK_STREAM,
    "dgram": socket.SOCK_DGRAM,
    "raw": socket.SOCK_RAW,
    "seqpacket": socket.SOCK_SEQPACKET,
}
SO_COOKIE = 57  # include/uapi/asm-generic/socket.h
ETH_P_ALL = 3

_sockets = {}


def _keep(sock):
    _sockets[sock.fileno()] = sock
    return {"fd": sock.fileno(), "cookie": struct.unpack("Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0]}


def create(netns, family, kind, protocol, reuseport):
    """Open a socket in a network namespace ("": the machine's own)."""
    if family == "packet" and not protocol:
        protocol = socket.htons(ETH_P_ALL)
    sock = in_netns(netns, socket.socket, FAMILIES[family], TYPES[kind], protocol)
    if reuseport:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return _keep(sock)


def _get(fd):
    try:
        return _sockets[fd]
    except KeyError:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF)) from None


def bind(fd, address):
    _get(fd).bind(address)


def listen(fd, backlog):
    _get(fd).listen(backlog)


@contextlib.contextmanager
def _within(fd, timeout):
    sock = _get(fd)
    sock.settimeout(timeout)
    try:
        yield sock
    except TimeoutError:
        raise OSError(errno.ETIMEDOUT, f"nothing happened within {timeout:g} s") from None


def connect(fd, address, timeout):
    with _within(fd, timeout) as sock:
        sock.connect(address)


def accept(fd, timeout):
    with _within(fd, timeout) as sock:
        accepted, _ = sock.accept()
    return _keep(accepted)


def send(fd, data, timeout):
    """Send all of it over a stream, one datagram else."""
    with _within(fd, timeout) as sock:
        if sock.type == socket.SOCK_STREAM:
            sock.sendall(data)
            return len(data)
        return sock.send(data)


def sendto(fd, data, address, timeout):
    with _within(fd, timeout) as sock:
        return sock.sendto(data, address)


def recv(fd, size, timeout):
    with _within(fd, timeout) as sock:
        return sock.recv(size)


def recv_exactly(fd, size, timeout):
    """Collect `size` bytes of a stream, or what came before its end."""
    deadline = time.monotonic() + timeout
    data = b""
    while len(data) < size:
        with _within(fd, max(deadline - time.monotonic(), 0.001)) as sock:
            part = sock.recv(size - len(data))
        if not part:
            break
        data += part
    return data


def recvfrom(fd, size, timeout):
    with _within(fd, timeout) as sock:
        data, address = sock.recvfrom(size)
    return data, address


def readable(fd, timeout):
    """Is there something to receive or accept, within `timeout` seconds?"""
    return bool(select.select([_get(fd)], [], [], timeout)[0])


@quick
def setsockopt(fd, level, option, value):
    _get(fd).setsockopt(level, option, value)


@quick
def getsockopt(fd, level, option, size):
    return _get(fd).getsockopt(level, option, size) if size else _get(fd).getsockopt(level, option)


@quick
def getsockname(fd):
    return _get(fd).getsockname()


@quick
def getpeername(fd):
    return _get(fd).getpeername()


@quick
def shutdown(fd):
    _get(fd).shutdown(socket.SHUT_WR)


@quick
def close(fd):
    sock = _sockets.pop(fd, None)
    if sock:
        sock.close()
