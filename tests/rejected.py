"""The corpus of rejected programs in tests/verifier: what each must be told, and what kernels said of it."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path

from bpflab.compiler import CSource
from bpflab.verifier import Place
from bpflab.verifier.lines import Lines

FOLDER = Path(__file__).parent / "verifier"
KERNELS = ("6.1", "6.12", "6.18")


class Rejected:
    """A program of the corpus.

    Attributes
    ----------
    name : str
    path : Path
    source : CSource
    header : dict
        Its first comment: `program`, `kind`, the text of the lines that `fails` and that is the `cause` ("-" for none,
        "text (2)" for the second line with that text), a capability that the loader is `without`, a kernel that cannot
        take it because something is `missing`.
    """

    def __init__(self, path: Path):
        self.path, self.name = path, path.name.removesuffix(".bpf.c")
        self.source = CSource(path.read_text(), path.name)
        self.header = dict(re.findall(r"^ \* (\w+): (.*)$", self.source.partition("*/")[0], re.M))

    def line(self, which: str) -> int | None:
        """The number of the line that `fails`, or that is the `cause`."""
        text, _, nth = (
            self.header[which].partition(" (")
            if re.search(r" \(\d\)$", self.header[which])
            else (self.header[which], "", "")
        )
        found = [i for i, line in enumerate(self.source.splitlines(), 1) if line.strip() == text]
        assert text == "-" or nth or len(found) == 1, f"{self.name}: {text!r} stands on lines {found}"
        return found[int(nth[0]) - 1 if nth else 0] if found else None

    def log(self, kernel: str) -> str | None:
        """What a kernel said of it; None when it could not be asked."""
        path = FOLDER / "logs" / kernel / f"{self.name}.log"
        return path.read_text() if path.exists() else None

    @property
    def lines(self) -> Lines:
        """The line of each of its instructions."""
        table, text = _tables()[self.name], self.source.splitlines()
        starts = [
            (insn, Place(self.path.name, n or None, text[n - 1].strip() if n else "")) for insn, n in table["lines"]
        ]
        return Lines(starts, bytes.fromhex(table["codes"]))


@cache
def _tables() -> dict:
    return json.loads((FOLDER / "lines.json").read_text())


@cache
def corpus() -> tuple[Rejected, ...]:
    return tuple(Rejected(path) for path in sorted(FOLDER.glob("*.bpf.c")))
