"""Call stacks: addresses -> symbols -> folded stacks."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from .errors import NotSupportedError

if TYPE_CHECKING:
    from .lab import Lab
    from .map import Map
    from .profiling import Stacks

BPF_F_STACK_BUILD_ID = 1 << 5
# no function of the kernel is as long; an address farther from a symbol lies where none is
LONGEST = 1 << 20


class Symbols:
    """Functions of a kernel by address.

    Parameters
    ----------
    kallsyms : bytes
        Text of /proc/kallsyms.

    Attributes
    ----------
    end_of_text : numpy.uint64
        Where the kernel's own code ends; modules and BPF programs, which come and go, lie elsewhere.
    loaded : set of str
        What modules and programs there were, see `bpflab.agent.stacks.loaded`.
    """

    def __init__(self, kallsyms: bytes):
        lines = [line.split(None, 3) for line in kallsyms.splitlines()]
        text = [(int(line[0], 16), line[2].decode(), line[1] in b"TW") for line in lines if line[1] in b"tTwW"]
        # of several names for one address a global one says the most; sorted() keeps the kernel's order among equals
        text.sort(key=lambda symbol: (symbol[0], not symbol[2]))
        starts = np.array([symbol[0] for symbol in text], np.uint64)
        first = np.ones(len(starts), bool)
        first[1:] = starts[1:] != starts[:-1]
        self.starts = starts[first]
        self.names = np.array([symbol[1] for symbol in text], object)[first]
        self.loaded: set[str] = set()
        ends = [address for address, name, _ in text if name == "_etext"]
        self.end_of_text = np.uint64(ends[0] if ends else 0)

    @property
    def hidden(self) -> bool:
        """Whether the kernel gave zeros for all addresses."""
        return not len(self.starts) or int(self.starts[-1]) == 0

    def at(self, addresses: np.ndarray) -> np.ndarray:
        """Index of the function that each address (u64) is in; -1 for none."""
        found = np.searchsorted(self.starts, addresses, side="right") - 1
        found[(found >= 0) & (addresses - self.starts[np.maximum(found, 0)] >= LONGEST)] = -1
        return found

    def find(self, addresses) -> list[tuple[str | None, int]]:
        """(name, offset in the function) of each address; (None, address) where there is none."""
        wanted = np.asarray(addresses, np.uint64)
        pairs = zip(self.at(wanted).tolist(), wanted.tolist())
        return [(self.names[n], address - int(self.starts[n])) if n >= 0 else (None, address) for n, address in pairs]


_symbols: weakref.WeakKeyDictionary[Lab, Symbols] = weakref.WeakKeyDictionary()


def symbols(lab: Lab, again: bool = False) -> Symbols:
    """The kernel's functions, read once for each lab.

    Parameters
    ----------
    again : bool
        Read anew if modules or BPF programs have come.

    Raises
    ------
    NotSupportedError
        The kernel hides its addresses.
    """
    # what has gone does no harm: what comes to its place is new
    if lab not in _symbols or again and not _symbols[lab].loaded.issuperset(lab.ask("stacks.loaded")):
        loaded = set(lab.ask("stacks.loaded"))
        read = Symbols(lab.call("the kernel's symbols cannot be read", "stacks.kernel_symbols"))
        read.loaded = loaded
        if read.hidden:
            number = lab.ask("stacks.kptr_restrict")
            raise NotSupportedError(
                "kernel addresses",
                lab.where,
                f"the sysctl kernel.kptr_restrict is {number}, so all of /proc/kallsyms reads as 0",
                remedy="show them with lab.sh('sysctl -w kernel.kptr_restrict=0')",
            )
        _symbols[lab] = read
    return _symbols[lab]


def kernel(lab: Lab, addresses: Iterable[int], offsets: bool = False) -> list[str]:
    """Names of the kernel's functions at addresses.

    Parameters
    ----------
    addresses : array_like of u64
        As bpf_get_stack and stack_trace maps give them; zeros, which fill a stack up, are left out.
    offsets : bool
        Write where in the function, too: "vfs_read+0x1d".

    Returns
    -------
    list of str
        An address without a function stays a number: "0xffffffffc0001234".

    Raises
    ------
    NotSupportedError
        The kernel hides its addresses.
    """
    wanted = np.asarray(list(addresses) if not isinstance(addresses, np.ndarray) else addresses, np.uint64)
    wanted = wanted[wanted != 0]
    found = symbols(lab).find(wanted)
    if any(name is None for name, _ in found):
        found = symbols(lab, again=True).find(wanted)
    return [f"0x{at:x}" if name is None else f"{name}+{at:#x}" if offsets else name for name, at in found]


def of_map(m: Map, offsets: bool = False) -> dict[int, list[str]]:
    """All kernel stacks of a stack_trace map, by stack id.

    Parameters
    ----------
    m : Map
        Its value is an array of addresses, the innermost function first (kernel/bpf/stackmap.c). bpf_get_stackid
        must have filled it without BPF_F_USER_STACK: addresses of processes mean nothing to the kernel's symbols.

    Returns
    -------
    dict of int to list of str
        The innermost function first.
    """
    if m.type != "stack_trace":
        raise TypeError(f"map '{m.name}' is a {m.type}; only a stack_trace map holds stacks")
    if m.flags & BPF_F_STACK_BUILD_ID:
        raise TypeError(f"map '{m.name}' holds build ids of user programs (BPF_F_STACK_BUILD_ID), no addresses")
    ids, values = m.to_numpy()
    if not len(ids):
        return {}
    frames = np.frombuffer(np.ascontiguousarray(values).tobytes(), "<u8").reshape(len(ids), -1)
    distinct = np.unique(frames[frames != 0])
    names = dict(zip(distinct.tolist(), kernel(m._lab, distinct, offsets)))
    return {number: [names[a] for a in row if a] for number, row in zip(ids.tolist(), frames.tolist())}


def folded(stacks: Mapping[int, list[str]], counts: Mapping[int, int] | Iterable[tuple[int, int]]) -> dict[str, int]:
    """Stacks in the form that flame graphs are drawn from: "outermost;...;innermost", and how often.

    Parameters
    ----------
    stacks : mapping
        By id, the innermost function first, as `of_map` gives them.
    counts : mapping or pairs
        How often each id was seen, as `m.items()` of a map from stack id to a number gives it. A negative id is an
        error of bpf_get_stackid and counts as "[lost stack]".

    Returns
    -------
    dict of str to int
        Stacks that read alike are added up; the most frequent first.
    """
    total: dict[str, int] = {}
    for number, count in counts.items() if isinstance(counts, Mapping) else counts:
        frames = stacks.get(number) if number >= 0 else None
        line = ";".join(reversed(frames)) if frames else "[lost stack]"
        total[line] = total.get(line, 0) + int(count)
    return dict(sorted(total.items(), key=lambda pair: -pair[1]))


def fold(lab: Lab, kernel=None, user=None, pid=None, counts=None) -> Stacks:
    """Names for stacks that a program of yours has sent, and how often each was seen.

    Parameters
    ----------
    kernel, user : array_like of u64, shape (samples, depth), optional
        Addresses as bpf_get_stack gives them, the innermost first, with zeros behind the last: a column
        `u64 kernel[32]` of a ring buffer's events, or the values of a stack_trace map.
    pid : int or array_like or Process
        Whose `user` stacks they are: of one process, or one number for each sample. A process that is over has no
        names any more; `Lab.profile` follows mappings while it runs.
    counts : array_like of int, optional
        How often each sample counts; once if not given.

    Returns
    -------
    bpflab.profiling.Stacks

    Raises
    ------
    ValueError
        The shapes do not fit together.
    """
    from .profiling.fold import fold

    return fold(lab, kernel, user, pid, counts)
