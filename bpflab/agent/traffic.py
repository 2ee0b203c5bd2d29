"""Traffic from a host: echo requests, floods, frames of a capture file. Each is bounded in number and time, and can be stopped."""

import contextlib
import ctypes
import errno
import ipaddress
import json
import os
import socket
import struct
import subprocess
import threading
import time

from . import ownership
from .netns import ifindex, in_netns
from .serve import Refused, cancelled, quick
from .syscalls import MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, PROG_TEST_RUN, Attr, bpf, libc
from .tiny import EXIT, insn, mov, mov_reg, wide

_stops = {}  # token -> event


@contextlib.contextmanager
def stoppable(number, token):
    """An event that is set when the caller is interrupted, or `stop` is called with the token."""
    event = _stops.setdefault(token, threading.Event()) if token else threading.Event()
    cancelled[number] = event.set
    try:
        yield event
    finally:
        cancelled.pop(number, None)
        _stops.pop(token, None)


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
        self._keep = []
        heads, parts = bytearray(), bytearray()
        for data, _ in messages:
            parts += struct.pack("QQ", self._place(data), len(data))
        self._parts = self._buffer(bytes(parts))
        for i, (_, address) in enumerate(messages):
            name = self._place(address) if address else 0
            heads += struct.pack("QIxxxxQQQQixxxxIxxxx", name, len(address or b""), self._parts + 16 * i, 1, 0, 0, 0, 0)
        self._heads = self._buffer(bytes(heads))
        self.count = len(messages)

    def _buffer(self, data):
        self._keep.append(ctypes.create_string_buffer(data, len(data)))
        return ctypes.addressof(self._keep[-1])

    def _place(self, data):
        """Equal bytes (the payload of a flood) are kept once."""
        if not self._keep or not isinstance(self._keep[0], dict):
            self._keep.insert(0, {})
        if data not in self._keep[0]:
            self._keep[0][data] = self._buffer(data)
        return self._keep[0][data]

    def send(self, fd, first, count):
        """How many of `count` from `first` went; an OSError is that of the first that did not."""
        done = libc.sendmmsg(fd, ctypes.c_void_p(self._heads + first * self.SIZE), count, 0)
        if done < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return done


# a program or the firewall on the way said no, or there was no room: the sender goes on
_PASSING = {errno.EPERM, errno.ENOBUFS, errno.EAGAIN, errno.ECONNREFUSED, errno.ENETDOWN, errno.EHOSTUNREACH, errno.EMSGSIZE}


def sockaddr(address, port):
    if ":" in address:
        return struct.pack("=H", socket.AF_INET6) + struct.pack("!HI", port, 0) + socket.inet_pton(socket.AF_INET6, address) + bytes(4)
    return struct.pack("=H", socket.AF_INET) + struct.pack("!H", port) + socket.inet_aton(address) + bytes(8)


def flood_socket(number, token, netns, address, port, payload, packets, rate, seconds, flows):
    """UDP through sockets, one for each flow.

    Returns
    -------
    dict
        `sent`, `refused` (with the last `errno`), `seconds`.
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
    return state


flood_socket.takes_number = True


def next_hop(netns, address):
    """Where the routes of a namespace send an address: (interface, source address, its MAC, the next hop's MAC).

    A next hop that nobody has spoken with yet is asked for its MAC address by an echo request.
    """

    def ask(*words):
        done = subprocess.run(["ip", "-j", *words], capture_output=True, env=ownership.environment())
        if done.returncode:
            raise Refused("Network", done.stderr.decode(errors="replace").strip().removeprefix("RTNETLINK answers: "), errno.ENETUNREACH)
        return json.loads(done.stdout or "[]")

    def run():
        way = ask("route", "get", address)[0]
        hop = way.get("gateway", address)
        for attempt in range(2):
            known = [one for one in ask("neighbour", "show", "to", hop, "dev", way["dev"]) if one.get("lladdr")]
            if known or attempt:
                break
            ping(0, "", "", hop, 1, 1, 0)
        if not known:
            raise Refused("Network", f"nobody with the address {hop} answers on {way['dev']}", errno.EHOSTUNREACH)
        mine = ask("link", "show", way["dev"])[0]["address"]
        return way["dev"], way["prefsrc"], mine, known[0]["lladdr"]

    return in_netns(netns, run)


def udp_frame(macs, source, target, ports, payload):
    """An Ethernet frame with right lengths and checksums."""
    udp = struct.pack("!HHHH", *ports, 8 + len(payload), 0) + payload
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(target).packed
    pseudo = ends + (struct.pack("!IHH", len(udp), 0, 17) if len(ends) == 32 else struct.pack("!HH", 17, len(udp)))
    udp = udp[:6] + struct.pack("!H", checksum(pseudo + udp) or 0xFFFF) + udp[8:]
    if len(ends) == 32:
        packet = struct.pack("!IHBB", 6 << 28, len(udp), 17, 64) + ends + udp
    else:
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 0, 0x4000, 64, 17, 0) + ends
        packet = head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp
    mine, theirs = (bytes.fromhex(mac.replace(":", "")) for mac in macs)
    return theirs + mine + struct.pack("!H", 0x86DD if len(ends) == 32 else 0x0800) + packet


LIVE_FRAMES = 1 << 1  # BPF_F_TEST_XDP_LIVE_FRAMES, include/uapi/linux/bpf.h, since 5.18
XDP_DROP, XDP_TX, BPF_PROG_TYPE_XDP, BPF_MAP_TYPE_ARRAY = 1, 3, 6, 2
ENTRY = 64  # bytes of the table for a header
_WIDTHS = ((8, 0x79, 0x7B), (4, 0x61, 0x63), (2, 0x69, 0x6B))  # bytes, and the instructions that load and store them


class Burst:
    """A BPF_PROG_TEST_RUN whose frames leave by an interface of the calling thread's namespace, with headers that take turns.

    A run costs milliseconds to begin with, so it is the program that puts the next header on each frame. It also mends a header that the
    way had changed (a router its TTL): the kernel uses the pages of frames again.
    """

    def __init__(self, frames, size, index):
        table = struct.pack("Q", 0) + b"".join(frame[:size].ljust(ENTRY, b"\0") for frame in frames)
        whole = 1 << (len(frames) - 1).bit_length()  # what the verifier can see to be inside
        table = table.ljust(8 + whole * ENTRY, b"\0")
        self._map = bpf(MAP_CREATE, Attr("IIII", BPF_MAP_TYPE_ARRAY, 4, len(table), 1))
        key, value = ctypes.create_string_buffer(4), ctypes.create_string_buffer(table, len(table))
        try:
            bpf(MAP_UPDATE_ELEM, Attr("IIQQQ", self._map, 0, ctypes.addressof(key), ctypes.addressof(value), 0))
            self._program = self._load(len(frames), whole, size)
        except BaseException:
            os.close(self._map)
            raise
        frame = frames[0]
        self._frame = ctypes.create_string_buffer(frame, len(frame))
        # struct xdp_md: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex
        self._md = ctypes.create_string_buffer(struct.pack("6I", 0, len(frame), 0, index, 0, 0), 24)
        data, md = ctypes.addressof(self._frame), ctypes.addressof(self._md)
        self.attr = Attr("IIIIQQIIIIQQIII", self._program, 0, len(frame), 0, data, 0, 1, 0, 24, 0, md, 0, LIVE_FRAMES, 0, 64)

    def _load(self, count, whole, size):
        copies, at = [], 0
        for width, load, store in _WIDTHS:
            while at + width <= size:
                copies.append(insn(load, 5, 8, 8 + at) + insn(store, 6, 5, at))
                at += width
        body = b"".join(
            (
                wide(8, 2, self._map),  # r8 = the table: the number of the next header, then all of them
                insn(0x79, 3, 8),  # r3 = number
                mov_reg(4, 3),
                insn(0x07, 4, imm=1),
                insn(0xA5, 4, off=1, imm=count),  # if r4 < count, skip
                mov(4, 0),
                insn(0x7B, 8, 4),  # the next one's number
                insn(0x57, 3, imm=whole - 1),
                insn(0x67, 3, imm=6),  # times ENTRY
                insn(0x0F, 8, 3),
                *copies,
                mov(0, XDP_TX),
                EXIT,
            )
        )
        # r6 = data, r7 = data_end, r2 = where the header ends
        head = insn(0x61, 6, 1) + insn(0x61, 7, 1, 4) + mov_reg(2, 6) + insn(0x07, 2, imm=size)
        code = head + insn(0x2D, 2, 7, off=len(body) // 8) + body + mov(0, XDP_DROP) + EXIT
        text, licence = ctypes.create_string_buffer(code, len(code)), ctypes.create_string_buffer(b"GPL")
        return bpf(PROG_LOAD, Attr("IIQQ", BPF_PROG_TYPE_XDP, len(code) // 8, ctypes.addressof(text), ctypes.addressof(licence)))

    def send(self, count):
        self.attr.set("I", 32, count)
        bpf(PROG_TEST_RUN, self.attr)
        return count

    def close(self):
        os.close(self._program)
        os.close(self._map)


def flood_frames(number, token, netns, address, port, payload, packets, rate, seconds, sources):
    """UDP frames put on the wire by XDP test runs, beneath the host's own stack: (source address or "", source port) each.

    Returns
    -------
    dict
        As `flood_socket`; what the other end had no room for is not known here.
    """
    device, own, mine, theirs = next_hop(netns, address)
    frames = [udp_frame((mine, theirs), source or own, address, (sport, port), payload) for source, sport in sources]

    def run(event):
        burst = Burst(frames, 62 if ":" in address else 42, ifindex(device))
        try:
            return paced(event, packets, rate, seconds, 65536, burst.send)
        finally:
            burst.close()

    with stoppable(number, token) as event:
        sent, passed = in_netns(netns, run, event)
    return {"sent": sent, "refused": 0, "errno": 0, "seconds": passed}


flood_frames.takes_number = True


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
        `sent`, `refused`, `errno`, `seconds`; `first_refused` is the number of the first that was refused, or None.
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
                if error.errno not in _PASSING:
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
    return state


replay.takes_number = True
