"""Servers and clients of a host: TCP echo, HTTP, UDP. Each is bounded in connections and time, and keeps a log."""

import contextlib
import errno
import itertools
import os
import selectors
import socket
import threading
import time

from .netns import in_netns
from .serve import Refused, quick
from .traffic import stoppable

_numbers = itertools.count(1)
_servers, _groups = {}, {}
MOST_RECORDS = 100_000
MOST_REQUEST = 65536  # bytes of an HTTP head


def _plain(address):
    host = address[0]
    return [host[7:] if host.startswith("::ffff:") else host, address[1]]


def _listening(kind, port):
    """On every address, of both IP versions where there are two."""
    for family, host in ((socket.AF_INET6, "::"), (socket.AF_INET, "0.0.0.0")):
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        except OSError:
            continue
        try:
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            if kind != "udp":
                sock.listen(1024)
            sock.setblocking(False)
            return sock
        except OSError:
            sock.close()
            raise
    raise Refused("OSError", "no IP sockets", errno.EAFNOSUPPORT)


class Server:
    """One thread for all connections."""

    def __init__(self, netns, kind, port, pages, echo, seconds, most):
        self.kind, self.pages, self.echo, self.most = kind, pages, echo, most
        self.sock = in_netns(netns, _listening, kind, port)
        self.port = self.sock.getsockname()[1]
        self.start, self.seconds = time.time(), seconds
        self.records, self.open, self.accepted, self.dropped = [], {}, 0, 0
        self.woken, self._wake = socket.socketpair()
        self.why = ""
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        with selectors.DefaultSelector() as self.poll:
            self.poll.register(self.woken, selectors.EVENT_READ, self._stop)
            self.poll.register(self.sock, selectors.EVENT_READ, self._datagrams if self.kind == "udp" else self._accept)
            while not self.why:
                left = self.start + self.seconds - time.time()
                if left <= 0:
                    self.why = "its time was over"
                    break
                for key, _ in self.poll.select(left):
                    key.data(key.fileobj)
            streams = () if self.kind == "udp" else tuple(self.open)
            for sock in (self.sock, self.woken, *streams):
                sock.close()

    def _stop(self, _):
        self.why = "stopped"

    def _accept(self, listener):
        with contextlib.suppress(OSError):
            sock, address = listener.accept()
            if self.accepted >= self.most:
                self.dropped += 1
                sock.close()
                return
            self.accepted += 1
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open[sock] = {"time": time.time(), "peer": _plain(address), "received": 0, "sent": 0, "left": b"", "head": b""}
            if self.kind == "echo":
                self.records.append(self.open[sock])
            self.poll.register(sock, selectors.EVENT_READ, self._read)

    def _read(self, sock):
        about = self.open[sock]
        try:
            data = sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        about["received"] += len(data)
        if not data:
            self._end(sock)
        elif self.kind == "echo":
            self._send(sock, data if self.echo else b"")
        else:
            about["head"] += data
            while b"\r\n\r\n" in about["head"]:
                head, _, about["head"] = about["head"].partition(b"\r\n\r\n")
                self._answer(sock, head)
            if len(about["head"]) > MOST_REQUEST:
                self._end(sock)

    def _answer(self, sock, head):
        first = head.split(b"\r\n")[0].decode(errors="replace").split(" ")
        method, path = (first + ["", ""])[:2]
        body = self.pages.get(path, self.pages.get("*"))
        status = "200 OK" if body is not None else "404 Not Found"
        if method not in ("GET", "HEAD"):
            status, body = "405 Method Not Allowed", b""
        body = b"not here\n" if body is None else body
        peer = self.open[sock]["peer"]
        if len(self.records) < MOST_RECORDS:
            self.records.append({"time": time.time(), "peer": peer, "method": method, "path": path, "status": int(status[:3]), "sent": len(body)})
        keep = b"connection: close" not in head.lower() and first[-1] == "HTTP/1.1"
        text = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nContent-Type: text/plain\r\nConnection: {'keep-alive' if keep else 'close'}\r\n\r\n"
        self.open[sock]["last"] = not keep
        self._send(sock, text.encode() + (b"" if method == "HEAD" else body))

    def _send(self, sock, data):
        about = self.open.get(sock)
        if about is None:
            return
        about["left"] += data
        self._flush(sock)

    def _flush(self, sock):
        about = self.open[sock]
        with contextlib.suppress(BlockingIOError):
            try:
                while about["left"]:
                    done = sock.send(about["left"])
                    about["sent"] += done
                    about["left"] = about["left"][done:]
            except BlockingIOError:
                self.poll.modify(sock, selectors.EVENT_WRITE, self._flush)
                return
            except OSError:
                self._end(sock)
                return
        if about.get("last"):
            self._end(sock)
        else:
            self.poll.modify(sock, selectors.EVENT_READ, self._read)

    def _end(self, sock):
        about = self.open.pop(sock, None)
        if about is not None:
            about["ended"] = time.time()
            self.poll.unregister(sock)
            sock.close()

    def _datagrams(self, sock):
        with contextlib.suppress(OSError):
            for _ in range(512):
                data, address = sock.recvfrom(65536)
                peer = tuple(_plain(address))
                about = self.open.get(peer)
                if about is None:
                    if len(self.records) >= self.most:
                        self.dropped += 1
                        continue
                    about = {"time": time.time(), "peer": list(peer), "packets": 0, "received": 0, "sent": 0}
                    self.open[peer] = about
                    self.records.append(about)
                about["packets"] += 1
                about["received"] += len(data)
                if self.echo:
                    about["sent"] += sock.sendto(data, address)

    def state(self):
        keys = ("time", "peer", "method", "path", "status", "packets", "received", "sent", "ended")
        records = [{key: one[key] for key in keys if key in one} for one in list(self.records)]
        return {"port": self.port, "records": records, "start": self.start, "why": self.why, "dropped": self.dropped}

    def close(self):
        with contextlib.suppress(OSError):
            self._wake.send(b"x")
        self.thread.join(5)
        self._wake.close()


def serve(netns, kind, port, pages, echo, seconds, most):
    number = next(_numbers)
    server = _servers[number] = Server(netns, kind, port, pages, echo, seconds, most)
    return {"server": number, "port": server.port}


@quick
def log(number):
    return _servers[number].state()


def close_server(number):
    server = _servers[number]
    server.close()
    return server.state()


def _family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def _words(error):
    return errno.errorcode.get(error.errno, "") or str(error) if not isinstance(error, TimeoutError) else "timed out"


def connect(netns, address, port, count, timeout):
    """Connections that are kept open: for each (local port, milliseconds, error)."""
    socks, told = [], []
    for _ in range(count):
        sock = in_netns(netns, socket.socket, _family(address), socket.SOCK_STREAM)
        sock.settimeout(timeout)
        start = time.perf_counter()
        error = ""
        try:
            sock.connect((address, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as failed:
            error = _words(failed)
        socks.append(None if error else sock)
        told.append([sock.getsockname()[1], (time.perf_counter() - start) * 1000, error])
        if error:
            sock.close()
    number = next(_numbers)
    _groups[number] = socks
    return {"group": number, "told": told}


def exchange(number, size, timeout):
    """Send `size` bytes over each connection and await them back: (milliseconds, bytes that came back, error) each.

    All are sent before any is awaited, so that those that do not answer take `timeout` seconds together.
    """
    data = os.urandom(min(size, 1 << 20))
    found = [[None, 0, "not connected"] for _ in _groups[number]]
    with selectors.DefaultSelector() as poll:
        for place, sock in enumerate(_groups[number]):
            if sock is None:
                continue
            sock.setblocking(False)
            about = [place, data, time.perf_counter()]
            found[place][2] = "timed out"
            poll.register(sock, selectors.EVENT_READ | selectors.EVENT_WRITE, about)
        end = time.monotonic() + timeout
        while poll.get_map() and time.monotonic() < end:
            for key, events in poll.select(max(0, end - time.monotonic())):
                _step(poll, key, events, found, size)
    for place, sock in enumerate(_groups[number]):
        if sock is not None and found[place][2] not in ("", "timed out"):
            sock.close()
            _groups[number][place] = None
    return found


def _step(poll, key, events, found, size):
    sock, about = key.fileobj, key.data
    mine = found[about[0]]
    try:
        if events & selectors.EVENT_WRITE:
            about[1] = about[1][sock.send(about[1]) :]
            if not about[1]:
                poll.modify(sock, selectors.EVENT_READ, about)
        if events & selectors.EVENT_READ:
            data = sock.recv(65536)
            mine[1] += len(data)
            if not data:
                mine[2] = "closed by the other end"
                poll.unregister(sock)
            elif mine[1] >= size:
                mine[0], mine[2] = (time.perf_counter() - about[2]) * 1000, ""
                poll.unregister(sock)
    except BlockingIOError:
        pass
    except OSError as error:
        mine[2] = _words(error)
        poll.unregister(sock)


def disconnect(number):
    for sock in _groups.pop(number, ()):
        if sock is not None:
            sock.close()


def http(number, token, netns, address, port, path, host, count, timeout, interval, most):
    """GET requests, a connection each: dicts of `ms`, `port`, `status`, `body` (at most `most` bytes), `bytes`, `error`."""
    found = []
    request = f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode()
    with stoppable(number, token) as event:
        event.begun.set()
        for n in range(count):
            if event.is_set() or (n and interval and event.wait(interval)):
                break
            found.append(_get(netns, (address, port), request, timeout, most))
    return found


http.takes_number = True


def _get(netns, target, request, timeout, most):
    about = {"time": time.time(), "ms": None, "port": 0, "status": None, "body": b"", "bytes": 0, "error": ""}
    start = time.perf_counter()
    with in_netns(netns, socket.socket, _family(target[0]), socket.SOCK_STREAM) as sock:
        data = bytearray()
        try:
            sock.settimeout(timeout)
            sock.connect(target)
            about["port"] = sock.getsockname()[1]
            sock.sendall(request)
            while len(data) < most + MOST_REQUEST:
                left = timeout - (time.perf_counter() - start)
                if left <= 0:
                    raise TimeoutError
                sock.settimeout(left)
                part = sock.recv(65536)
                if not part:
                    break
                data += part
        except OSError as error:
            about["error"] = _words(error)
            return about
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        return about | {"error": "no HTTP answer"}
    return about | {"ms": (time.perf_counter() - start) * 1000, "status": int(words[1]), "bytes": len(body), "body": body[:most]}
