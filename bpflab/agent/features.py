"""What this kernel can do, found out by doing it."""

import contextlib
import threading

# they register what they try
from . import tries_cgroups, tries_maps, tries_network, tries_sockets, tries_tracing  # noqa: F401
from .syscalls import CLONE_NEWNET, unshare
from .tiny import Failed, Kernel, Trial, catalogue, returns

_KINDS = ("attach", "map type", "helper", "command", "setting")
# what programs and errors call a feature, where that is not its name in the catalogue
_ALSO = {
    "tp": "tracepoint",
    "raw_tracepoint": "raw_tp",
    "raw_tracepoint.w": "raw_tp.w",
    "raw_tracepoint_writable": "raw_tp.w",
    "ksyscall": "kprobe",
    "kretsyscall": "kretprobe",
    "perf event": "perf_event",
    "xdp": "xdp generic",
    "tc": "clsact",
    "tc_cls_act": "clsact",
    "lsm programs": "lsm",
    "trace_iter": "iter",
}


def _attempt(name, kernel):
    """Why a feature is not there; "" when it is."""
    try:
        with Trial(kernel) as trial:
            catalogue[name][2](trial)
    except Failed as error:
        return str(error)
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _attempts(names, kernel, found, own_netns=False):
    """Try some features in this thread."""
    reason = ""
    if own_netns:
        try:
            unshare(CLONE_NEWNET)
        except OSError as error:
            reason = f"it wants a network namespace, and there is none to be had: {error}"
    for name in names:
        found[name] = reason or _attempt(name, kernel)


@contextlib.contextmanager
def _kernel():
    kernel = Kernel()
    try:
        yield kernel
    finally:
        kernel.close()


def _in_threads(lists, kernel):
    found = {}
    threads = [threading.Thread(target=_attempts, args=(names, kernel, found, net)) for names, net in lists]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def table():
    """Try everything.

    Returns
    -------
    list of (feature, kind, available, how, reason)
    """
    places = {name: one[3] for name, one in catalogue.items()}
    here = [name for name, place in places.items() if not place]
    # detaching waits for grace periods of the kernel, so that several at a time take little longer than one
    lists = [(here[i::6], False) for i in range(6)]
    lists.append(([name for name, place in places.items() if place == "net"], True))
    lists += [([name], False) for name, place in places.items() if place == "thread"]
    with _kernel() as kernel:
        found = _in_threads(lists, kernel)
    rows = [(name, kind, not found[name], how, found[name]) for name, (kind, how, _, _) in catalogue.items()]
    return sorted(rows, key=lambda row: _KINDS.index(row[1]))


def loads(number):
    """Why the smallest program of a type (enum bpf_prog_type) does not load; "" when it does."""
    try:
        with _kernel() as kernel, Trial(kernel) as trial:
            trial.load(number, returns(0))
    except Failed as error:
        return str(error)
    return ""


def names():
    """What it is known how to try."""
    return sorted(catalogue)


def boot():
    """What tells one start of a kernel from another."""
    with open("/proc/sys/kernel/random/boot_id") as file:
        return file.read().strip()


def missing(feature):
    """Why a feature is not there at all; None when it is, or when it is not known how to try it."""
    word = feature.lower()
    if word.startswith("perf event "):
        word = "hardware perf events" if word.split()[-1] in _HARDWARE else "perf_event"
    if word not in catalogue:
        word = word.removesuffix(".s")
        word = _ALSO.get(word, word)
    if word not in catalogue:
        return None
    with _kernel() as kernel:
        return _in_threads([([word], catalogue[word][3] == "net")], kernel)[word] or None


_HARDWARE = {
    *("cpu-cycles", "instructions", "cache-references", "cache-misses"),
    *("branch-instructions", "branch-misses"),
}
