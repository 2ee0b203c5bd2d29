"""A network drawn in text: `client -- router -- server`."""

from __future__ import annotations

import re
from typing import NamedTuple

from ..errors import DrawingError

LONGEST = 10  # characters of a host's name: "veth-" and it are an interface's name, at most 15 (IFNAMSIZ, linux/if.h)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*", re.ASCII)
_TOKEN = re.compile(r"--+|[A-Za-z0-9_.]+(?:-[A-Za-z0-9_.]+)*|[][(),]", re.ASCII)
MTUS = range(1280, 65536)  # IPv6 needs 1280 (RFC 8200, 5); ETH_MAX_MTU is 65535


class Wire(NamedTuple):
    left: str
    right: str
    mtu: int | None = None


class Drawing(NamedTuple):
    """Who is there and what joins them, in the order of the text.

    Attributes
    ----------
    switches : dict of str to bool
        By name: whether it is a switch.
    wires : list of Wire
    """

    switches: dict[str, bool]
    wires: list[Wire]


def of_names(names: tuple[str, ...]) -> Drawing:
    """Hosts in a row.

    Raises
    ------
    ValueError, TypeError
        A name cannot be a host's, or comes twice.
    """
    if len(names) < 2:
        raise ValueError(
            f'a network needs two hosts or more, not {len(names)}: lab.netlab("a", "b"), or a drawing: lab.netlab("a -- b")'
        )
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f"a host's name is a text, not {type(name).__name__}")
        if why := _wrong(name):
            raise ValueError(why)
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"host name '{twice.pop()}' comes twice; give each host its own")
    return Drawing(dict.fromkeys(names, False), [Wire(*pair) for pair in zip(names, names[1:], strict=False)])


def _wrong(name: str) -> str:
    if not _NAME.fullmatch(name):
        return f"host name '{name}' must begin with a letter or digit and go on with those and -_. only"
    if len(name) > LONGEST:
        return f"host name '{name}' is too long: {len(name)} characters, at most {LONGEST}; take a shorter one"
    return ""


def parse(text: str) -> Drawing:
    """Read a drawing.

    A line joins what stands on both sides of `--`: `client -- router -- server`. A name in brackets is a switch: `router -- [sw]`.
    Several names join each: `[sw] -- b1, b2, b3`. `(mtu 9000)` at the end of a line is for its wires. `#` begins a comment.

    Raises
    ------
    DrawingError
        With the place that is not clear.
    """
    reader = _Reader(text)
    for number, line in enumerate(text.splitlines(), 1):
        reader.line(number, line)
    if not reader.wires:
        raise DrawingError("nothing is joined in the drawing of the network; write a line such as: client -- router -- server")
    reader.check_joined()
    return Drawing(reader.switches, reader.wires)


class _Reader:
    def __init__(self, text: str):
        self.switches: dict[str, bool] = {}
        self.wires: list[Wire] = []
        self._places: dict[str, tuple[int, str, int]] = {}  # where a name is first drawn
        self._joined: dict[frozenset, int] = {}

    def line(self, number: int, line: str) -> None:
        self.number, self.text = number, line
        self.tokens = self._tokens(line.partition("#")[0])
        self.next = 0
        if len(self.tokens) == 1:
            return
        groups = [self._group()]
        if not self._is("--"):
            self._fail("a '--' that joins it to another is missing" if self._is("") else "expected '--' here, or ',' and another name")
        while self._is("--"):
            self.next += 1
            groups.append(self._group())
        mtu = self._options()
        for left, right in zip(groups, groups[1:], strict=False):
            for a, _ in left:
                for b, place in right:
                    self._join(a, b, mtu, place)

    def _tokens(self, line: str) -> list[tuple[int, str]]:
        found, at = [], 0
        while at < len(line):
            if line[at].isspace():
                at += 1
                continue
            match = _TOKEN.match(line, at)
            if not match:
                what = "a single '-' joins nothing; write '--'" if line[at] in "-–—" else f"'{line[at]}' means nothing in a drawing"
                raise self._error(at, what)
            found.append((at, match[0]))
            at = match.end()
        return [*found, (len(line.rstrip()), "")]

    def _is(self, kind: str) -> bool:
        text = self.tokens[self.next][1]
        return text.startswith("--") if kind == "--" else text == kind

    def _error(self, at: int, what: str, number: int = 0, text: str | None = None) -> DrawingError:
        return DrawingError(what, number or self.number, at, (self.text if text is None else text).rstrip())

    def _fail(self, what: str):
        raise self._error(self.tokens[self.next][0], what)

    def _group(self) -> list[tuple[str, int]]:
        found = [self._node()]
        while self._is(","):
            self.next += 1
            found.append(self._node())
        return found

    def _node(self) -> tuple[str, int]:
        switch = self._is("[")
        self.next += switch
        at, name = self.tokens[self.next]
        if not name or not re.match(r"[\w.]", name):
            self._fail("the name of a switch is missing after '['" if switch else "the name of a host is missing here")
        if why := _wrong(name):
            self._fail(why)
        self.next += 1
        if switch:
            if not self._is("]"):
                self._fail(f"']' is missing after the switch '{name}'")
            self.next += 1
        if self.switches.setdefault(name, switch) != switch:
            first = self._places[name][0]
            raise self._error(at, f"'{name}' is a {'host' if switch else 'switch'} in line {first}; write {name if switch else f'[{name}]'} or take another name")
        self._places.setdefault(name, (self.number, self.text, at))
        return name, at

    def _options(self) -> int | None:
        mtu = None
        if self._is("("):
            self.next += 1
            words = []
            while not self._is(")"):
                if self._is(""):
                    self._fail("')' is missing")
                words.append(self.tokens[self.next])
                self.next += 1
            self.next += 1
            if len(words) != 2 or words[0][1] != "mtu" or not words[1][1].isdigit():
                raise self._error(words[0][0] if words else self.tokens[self.next - 1][0], "in parentheses goes '(mtu 9000)' and nothing else")
            mtu = int(words[1][1])
            if mtu not in MTUS:
                raise self._error(words[1][0], f"an MTU of {mtu:,} cannot be; from {MTUS[0]:,} (IPv6 needs it) to {MTUS[-1]:,} it can")
        if not self._is(""):
            self._fail("the line should end here")
        return mtu

    def _join(self, a: str, b: str, mtu: int | None, at: int) -> None:
        if a == b:
            raise self._error(at, f"'{a}' is joined to itself")
        pair = frozenset((a, b))
        if pair in self._joined:
            raise self._error(at, f"'{a}' and '{b}' are joined already, in line {self._joined[pair]}")
        self._joined[pair] = self.number
        self.wires.append(Wire(a, b, mtu))

    def check_joined(self) -> None:
        """All in one piece, and switches in no ring, where a frame would go round for ever."""
        islands, rings = {name: name for name in self.switches}, {name: name for name in self.switches}
        for wire in self.wires:
            a, b = root(rings, wire.left), root(rings, wire.right)
            if self.switches[wire.left] and self.switches[wire.right]:
                if a == b:
                    number, text, at = self._places[wire.right]
                    raise self._error(at, "switches in a ring would send a frame round for ever (nothing here speaks STP); leave one wire out", number, text)
                rings[a] = b
            islands[root(islands, wire.left)] = root(islands, wire.right)
        first = next(iter(self.switches))
        for name in self.switches:
            if root(islands, name) != root(islands, first):
                number, text, at = self._places[name]
                raise self._error(at, f"nothing joins '{name}' to '{first}'; every host has to reach every other", number, text)


def root(parents: dict, one):
    """The one that stands for all that are joined with `one`."""
    while parents[one] != one:
        parents[one] = one = parents[parents[one]]
    return one
