"""Traffic from a host: echo requests, floods, frames of a capture file. Each is bounded in number and time, and can be stopped."""

import contextlib
import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import subprocess
import threading
import time

from . import ownership
from .netns import ifindex, in_netns
from .serve import cancelled, quick
from .syscalls import libc

_stops = {}  # token -> event
_begun = {}  # token -> event, set with the first packet


@contextlib.contextmanager
def stoppable(number, token):
    """An event that is set when the caller is interrupted, or `stop` is called with the token."""
    event = _stops.setdefault(token, threading.Event()) if token else threading.Event()
    event.begun = _begun.setdefault(token, threading.Event()) if token else threading.Event()
    cancelled[number] = event.set
    try:
        yield event
    finally:
        event.begun.set()
        cancelled.pop(number, None)
        _stops.pop(token, None)
        _begun.pop(token, None)


def begun(token, timeout):
    """Whether the traffic of a token has begun within `timeout` seconds."""
    has = _begun.setdefault(token, threading.Event()).wait(timeout)
    if token not in _stops:
        _begun.pop(token, None)  # it is over, or will make an event of its own
    return has


@quick
def stop(token):
    _stops.setdefault(token, threading.Event()).set()


def paced(event, packets, rate, seconds, batch, send):
    """Call `send(n)` with at most `batch` until `packets` are tried, the time is over or the event is set.

    `send` returns how many it tried. `rate` is in packets a second, 0 for as fast as it goes.

    Returns
    -------
    int, float
        Tried, and seconds.
    """
    start, tried = time.monotonic(), 0
    while tried < packets and not event.is_set():
        passed = time.monotonic() - start
        if passed >= seconds:
            break
        room = min(batch, packets - tried)
        if rate:
            due = int(passed * rate) + 1 - tried
            if due <= 0:
                event.wait((tried + 1) / rate - passed)
                continue
            room = min(room, due)
        tried += send(room)
        event.begun.set()
    return tried, time.monotonic() - start


# -- echo requests


def checksum(data):
    """Of the internet (RFC 1071)."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


ECHO_REQUEST, ECHO_REPLY = (8, 128), (0, 129)  # RFC 792, RFC 4443


def ping(number, token, netns, address, count, timeout, interval):
    """Send ICMP echo requests from a namespace, one after the other's answer.

    Returns
    -------
    list of float
        Milliseconds to each answer; None for what was not answered within `timeout` seconds.
    """
    six = ":" in address
    family, protocol = (socket.AF_INET6, socket.IPPROTO_ICMPV6) if six else (socket.AF_INET, socket.IPPROTO_ICMP)
    sock = in_netns(netns, socket.socket, family, socket.SOCK_RAW, protocol)
    found = []
    with sock, stoppable(number, token) as event:
        sock.connect((address, 0))
        identity = os.urandom(2)
        event.begun.set()
        for sequence in range(count):
            if event.is_set() or (sequence and interval and event.wait(interval)):
                break
            found.append(_echo(sock, six, identity + struct.pack("!H", sequence + 1 & 0xFFFF), timeout))
    return found


ping.takes_number = True


def _echo(sock, six, mark, timeout):
    body = mark + bytes(range(0x10, 0x40))
    head = struct.pack("!BBH", ECHO_REQUEST[six], 0, 0)
    if not six:  # the kernel does ICMPv6's by itself
        head = struct.pack("!BBH", ECHO_REQUEST[0], 0, checksum(head + body))
    start = time.perf_counter()
    try:
        sock.send(head + body)
    except OSError as error:
        if error.errno == errno.ENETUNREACH:
            raise
        return None  # a program on the way out dropped it (EPERM, ENOBUFS), or an earlier one was answered by an error
    while True:
        left = start + timeout - time.perf_counter()
        if left <= 0:
            return None
        sock.settimeout(left)
        try:
            data = sock.recv(2048)
        except OSError:  # the time is over, or the network answered that nobody is there
            return None
        elapsed = time.perf_counter() - start
        if not six:
            data = data[(data[0] & 15) * 4 :]  # behind the IPv4 header
        if data[0] == ECHO_REPLY[six] and data[4:8] == mark and data[8:] == body[4:]:
            return elapsed * 1000


# -- many at once

BATCH = 256


class Messages:
    """Messages for sendmmsg(2), laid out once: (bytes, address or None) each."""

    SIZE = 64  # struct mmsghdr on a 64-bit machine

    def __init__(self, messages):
        self._kept = {}  # equal bytes (the payload of a flood) once
        heads, parts = bytearray(), bytearray()
        for data, _ in messages:
            parts += struct.pack("QQ", self._place(data), len(data))
        start = self._place(bytes(parts))
        for i, (_, address) in enumerate(messages):
            name = self._place(address) if address else 0
            heads += struct.pack("QIxxxxQQQQixxxxIxxxx", name, len(address or b""), start + 16 * i, 1, 0, 0, 0, 0)
        # the kernel writes into these
        self._memory = ctypes.create_string_buffer(bytes(heads), len(heads))
        self._heads = ctypes.addressof(self._memory)

    def _place(self, data):
        if data not in self._kept:
            self._kept[data] = ctypes.create_string_buffer(data, len(data))
        return ctypes.addressof(self._kept[data])

    def send(self, fd, first, count):
        """How many of `count` from `first` went; an OSError is that of the first that did not."""
        done = libc.sendmmsg(fd, ctypes.c_void_p(self._heads + first * self.SIZE), count, 0)
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done


# a program or the firewall on the way said no, or there was no room: the sender goes on
_PASSING = {errno.EPERM, errno.ENOBUFS, errno.EAGAIN, errno.ECONNREFUSED, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EMSGSIZE}


SIOCETHTOOL, ETHTOOL_GLINK = 0x8946, 10  # include/uapi/linux/sockios.h, ethtool.h


def dark(netns, device="", address=""):
    """The interface (given, or the one that a route leads to an address), when it has no carrier; else ""."""

    def found():
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            for _, name in socket.if_nameindex():
                carrier = ctypes.create_string_buffer(struct.pack("II", ETHTOOL_GLINK, 1))
                with contextlib.suppress(OSError):  # not every kind of interface says
                    fcntl.ioctl(sock, SIOCETHTOOL, struct.pack("16sP16x", name.encode(), ctypes.addressof(carrier)))
                # the interface's flag IFF_RUNNING may be a second late (net/core/link_watch.c), this is not
                if not struct.unpack_from("I", carrier, 4)[0]:
                    yield name

    def run():
        names = list(found())
        if not names or device:
            return device if device in names else ""
        way = subprocess.run(["ip", "-j", "route", "get", address], capture_output=True, env=ownership.environment())
        leads = json.loads(way.stdout)[0].get("dev", "") if not way.returncode else ""
        return leads if leads in names else ""

    return in_netns(netns, run)


def sockaddr(address, port):
    if ":" in address:
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + socket.inet_pton(socket.AF_INET6, address) + bytes(4)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def flood_socket(number, token, netns, address, port, payload, packets, rate, seconds, flows):
    """UDP through sockets, one for each flow.

    Returns
    -------
    dict
        `sent`, `refused` (with the last `errno`), `seconds`, `dark` (see `dark`).
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    socks = [in_netns(netns, socket.socket, family, socket.SOCK_DGRAM) for _ in range(flows)]
    messages = Messages([(payload, sockaddr(address, port))] * BATCH)
    state = {"sent": 0, "refused": 0, "errno": 0}
    turn = [0]

    def send(count):
        turn[0] += 1
        try:
            done = messages.send(socks[turn[0] % flows].fileno(), 0, count)
        except OSError as error:
            if error.errno not in _PASSING:
                raise
            state["refused"] += 1
            state["errno"] = error.errno
            return 1
        state["sent"] += done
        return done

    try:
        with stoppable(number, token) as event:
            batch = BATCH if flows == 1 else max(1, min(BATCH, packets // flows or 1))
            _, state["seconds"] = paced(event, packets, rate, seconds, batch, send)
    finally:
        for sock in socks:
            sock.close()
    return {**state, "dark": dark(netns, address=address)}


flood_socket.takes_number = True


def replay(number, token, netns, device, data, lengths, times, rate, seconds):
    """Send frames as they are (AF_PACKET).

    Parameters
    ----------
    data : bytes
        Frames, one behind the other.
    lengths, times : bytes
        Arrays: of each frame its u32 length; its f64 seconds since the first, or nothing for as fast as `rate` lets it go.

    Returns
    -------
    dict
        `sent`, `refused`, `errno`, `seconds`; `dark`; `first_refused` is the number of the first that was refused, or None.
    """
    lengths, times = memoryview(lengths).cast("I"), memoryview(times).cast("d")
    sock = in_netns(netns, lambda: ifindex(device) and socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
    state = {"sent": 0, "refused": 0, "errno": 0, "first_refused": None}
    with sock, stoppable(number, token) as event:
        in_netns(netns, sock.bind, (device, 0))
        place, frames = 0, []
        for length in lengths:
            frames.append((data[place : place + length], None))
            place += length
        messages, at, start = Messages(frames), [0], time.monotonic()

        def send(count):
            if times:
                wait = times[at[0]] - (time.monotonic() - start)
                if wait > 0 and event.wait(min(wait, seconds)):
                    return 0
                passed = time.monotonic() - start
                if passed < times[at[0]]:
                    return 0
                count = next((n for n in range(1, count) if times[at[0] + n] > passed), count)
            try:
                done = messages.send(sock.fileno(), at[0], count)
            except OSError as error:
                if error.errno not in {*_PASSING, errno.EINVAL}:  # shorter than an Ethernet header
                    raise
                if state["first_refused"] is None:
                    state["first_refused"], state["errno"] = at[0], error.errno
                state["refused"] += 1
                done = 1
            else:
                state["sent"] += done
            at[0] += done
            return done

        _, state["seconds"] = paced(event, len(frames), rate, seconds, BATCH, send)
    return {**state, "dark": dark(netns, device)}


replay.takes_number = True
