"""A flood of frames that no stack of the sender sees: XDP test runs with live frames (Documentation/bpf/bpf_prog_run.rst)."""

import ctypes
import errno
import ipaddress
import json
import os
import struct
import subprocess

from . import ownership
from .netns import ifindex, in_netns
from .serve import Refused
from .syscalls import MAP_CREATE, MAP_UPDATE_ELEM, PROG_LOAD, PROG_TEST_RUN, Attr, bpf
from .tiny import EXIT, insn, mov, mov_reg, wide
from .traffic import checksum, dark, paced, ping, stoppable


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


def flood(number, token, netns, address, port, payload, packets, rate, seconds, sources):
    """UDP frames put on the wire by XDP test runs, beneath the host's own stack: (source address or "", source port) each.

    Returns
    -------
    dict
        As `traffic.flood_socket`; what the other end had no room for is not known here.
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
    return {"sent": sent, "refused": 0, "errno": 0, "seconds": passed, "dark": dark(netns, device)}


flood.takes_number = True
