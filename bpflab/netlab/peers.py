"""What servers and clients on hosts tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from .host import Host


class Server:
    """A server on a host, until it is stopped; a context manager.

    Attributes
    ----------
    port : int
    """

    def __init__(self, host: Host, kind: str, about: dict):
        self.host, self.kind, self.port = host, kind, about["port"]
        self._number, self._lab = about["server"], host._lab
        self._state: dict | None = None

    def _ask(self) -> dict:
        return self._state or self._lab.ask("peers.log", self._number)

    @property
    def running(self) -> bool:
        return not self._ask()["why"]

    def log(self) -> pd.DataFrame:
        """What it has seen so far.

        Returns
        -------
        DataFrame
            `time` (seconds since its start), `peer`, `peer_port`; http: `method`, `path`, `status`, `sent` (bytes); echo: a row for each connection
            with `received`, `sent` (bytes), `open`; udp: a row for each sender with `packets`, `received`, `sent`.
        """
        about = self._ask()
        rows = about["records"]
        frame = pd.DataFrame(
            {
                "time": [row["time"] - about["start"] for row in rows],
                "peer": pd.array([row["peer"][0] for row in rows], dtype="str"),
                "peer_port": [row["peer"][1] for row in rows],
            }
        )
        for name in {"http": ("method", "path", "status", "sent"), "echo": ("received", "sent"), "udp": ("packets", "received", "sent")}[self.kind]:
            frame[name] = [row[name] for row in rows]
        if self.kind == "echo":
            frame["open"] = ["ended" not in row for row in rows]
        return frame

    def stop(self) -> None:
        """End it and its connections; `log` stays."""
        if self._state is None and self._lab.alive:
            self._state = self._lab.ask("peers.close_server", self._number)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_):
        self.stop()

    def __repr__(self) -> str:
        state = self._ask()["why"] or "running"
        return f"<{self.kind} server on '{self.host.name}', port {self.port}: {state}>"


class Responses:
    """What came of HTTP requests.

    Attributes
    ----------
    address : str
    sent, answered : int
    """

    def __init__(self, address: str, rows: list[dict]):
        self.address, self._rows = address, rows
        self.sent, self.answered = len(rows), sum(row["status"] is not None for row in rows)

    @property
    def text(self) -> str:
        """Body of the last answer."""
        return next((row["body"].decode(errors="replace") for row in reversed(self._rows) if row["status"] is not None), "")

    def to_frame(self) -> pd.DataFrame:
        """A row for each: `time` (seconds since the first), `port` (of this end), `status`, `ms`, `bytes`, `body` (text), `error`."""
        first = self._rows[0]["time"] if self._rows else 0
        return pd.DataFrame(
            {
                "time": [row["time"] - first for row in self._rows],
                "port": [row["port"] for row in self._rows],
                "status": pd.array([row["status"] for row in self._rows], dtype="Int32"),
                "ms": pd.array([row["ms"] for row in self._rows], dtype="Float64").astype("float64"),
                "bytes": [row["bytes"] for row in self._rows],
                "body": pd.array([row["body"].decode(errors="replace") for row in self._rows], dtype="str"),
                "error": pd.array([row["error"] for row in self._rows], dtype="str"),
            }
        )

    def __repr__(self) -> str:
        return f"<{self.sent} request{'s' * (self.sent != 1)} to {self.address}: {self.answered} answered>"

    def _repr_html_(self) -> str:
        return self.to_frame()._repr_html_()


class Connections:
    """TCP connections that are kept open; a context manager.

    Attributes
    ----------
    address : str
    port : int
    """

    def __init__(self, host: Host, address: str, port: int, about: dict):
        self.host, self.address, self.port = host, address, port
        self._lab, self._group, self._told = host._lab, about["group"], about["told"]
        self.closed = False

    @property
    def open(self) -> int:
        """How many were established."""
        return sum(not error for _, _, error in self._told)

    def to_frame(self) -> pd.DataFrame:
        """A row for each: `port` (of this end), `ms` until it was established, `error`."""
        return pd.DataFrame(self._told, columns=["port", "ms", "error"]).astype({"error": "str"})

    def exchange(self, size: int = 64, timeout: float = 2) -> pd.DataFrame:
        """Send bytes over each and await them back, as from a `tcp_server`.

        Returns
        -------
        DataFrame
            `port`, `ok`, `ms`, `received` (bytes), `error`.
        """
        if self.closed:
            raise ValueError(f"these connections to {self.address} are closed; open others with tcp_connect")
        if not 1 <= size <= 1 << 20:
            raise ValueError(f"size is 1 to {1 << 20:,} bytes, not {size:,}")
        rows = self._lab.ask("peers.exchange", self._group, size, timeout)
        frame = pd.DataFrame(rows, columns=["ms", "received", "error"]).astype({"ms": "float64", "error": "str"})
        frame.insert(0, "port", [port for port, _, _ in self._told])
        frame.insert(1, "ok", frame["error"] == "")
        return frame

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            if self._lab.alive:
                self._lab.ask("peers.disconnect", self._group)

    def __enter__(self) -> Connections:
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        return f"<{len(self._told)} connections from '{self.host.name}' to {self.address} port {self.port}: {self.open} open>"

    def _repr_html_(self) -> str:
        return self.to_frame()._repr_html_()
