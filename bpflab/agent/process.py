"""Commands on the lab machine: run to their end, or in the background."""

import contextlib
import itertools
import os
import signal
import subprocess
import threading
import time

from . import ownership
from .netns import in_netns
from .serve import Refused, cancelled, quick

_numbers = itertools.count(1)
_running = {}


_ENTER = 'echo $$ > "$0/cgroup.procs" && exec "$@"'  # a child steps in by itself: the agent stays where it is


def _start(command, netns, cgroup, cwd, stdin):
    ownership.watch()
    words = ["/bin/bash", "-c", command] if isinstance(command, str) else list(command)
    if cgroup:
        words = ["/bin/sh", "-c", _ENTER, cgroup, *words]

    def popen():
        return subprocess.Popen(
            words,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd or "/",
            env=ownership.environment(),
            start_new_session=True,
        )

    try:
        return in_netns(netns, popen)
    except FileNotFoundError as error:
        raise Refused("NoCommand", f"there is no '{error.filename}' on the lab machine", error.errno) from None


def _end(process):
    """End a command with everything in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Background:
    """A command that runs on; what it prints is kept."""

    LIMIT = 4 << 20  # bytes kept of each stream; a workload that floods its output must not eat the machine

    def __init__(self, process):
        self.process = process
        self.out, self.err = bytearray(), bytearray()
        self.printed = threading.Condition()
        self.reading = 2  # streams that have not ended
        self.readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((process.stdout, self.out), (process.stderr, self.err))
        ]
        for reader in self.readers:
            reader.start()

    def _read(self, stream, kept):
        while data := os.read(stream.fileno(), 65536):
            with self.printed:
                self.keep(kept, data)
                self.printed.notify_all()
        stream.close()
        with self.printed:
            self.reading -= 1
            self.printed.notify_all()
        if stream is self.process.stdout:
            self.process.wait()  # or it would stay a zombie until somebody asks for it

    def keep(self, kept, data):
        kept += data
        del kept[: -self.LIMIT]

    def state(self):
        return {"pid": self.process.pid, "returncode": self.process.poll(), "stdout": bytes(self.out), "stderr": bytes(self.err)}


class Whole(Background):
    """A command of which all output is wanted, within reason."""

    LIMIT = 128 << 20

    def __init__(self, process):
        self.flooded = False
        super().__init__(process)

    def keep(self, kept, data):
        if len(kept) + len(data) > self.LIMIT:
            self.flooded = True
            _end(self.process)
        elif not self.flooded:
            kept += data

    def wait(self, timeout):
        """Whether it ended, and all it printed was read, in time."""
        start = time.monotonic()
        with self.printed:
            if not self.printed.wait_for(lambda: self.reading == 0, timeout):
                return False
        try:
            self.process.wait(None if timeout is None else max(0, timeout - (time.monotonic() - start)))
        except subprocess.TimeoutExpired:
            return False
        return True


def run(number, command, data, timeout, netns, cgroup, cwd):
    """Run a command to its end.

    Returns
    -------
    dict
        `returncode`, `stdout`, `stderr` (bytes), `timed_out`, `flooded` (it printed more than is kept, and was ended).
    """
    stdin = subprocess.PIPE if data is not None else subprocess.DEVNULL
    command = Whole(_start(command, netns, cgroup, cwd, stdin))
    process = command.process
    cancelled[number] = lambda: _end(process)
    try:
        if data is not None:
            threading.Thread(target=_feed, args=(process.stdin, data), daemon=True).start()
        timed_out = not command.wait(timeout)
        if timed_out:
            _end(process)
            command.wait(1)  # not for ever: what left the session keeps the pipes open, and is not ours to wait for
    finally:
        cancelled.pop(number, None)
    process.wait()
    return {**command.state(), "timed_out": timed_out, "flooded": command.flooded}


run.takes_number = True


def _feed(stream, data):
    with contextlib.suppress(OSError), stream:  # it may end without reading all of it
        stream.write(data)


def spawn(command, netns, cgroup, cwd):
    number = next(_numbers)
    background = _running[number] = Background(_start(command, netns, cgroup, cwd, subprocess.DEVNULL))
    return {"process": number, "pid": background.process.pid}


@quick
def state(number):
    return _running[number].state()


def wait(call, number, timeout):
    """Wait for the end of a command; its state, with `returncode` None when the time ran out."""
    background = _running[number]
    cancelled[call] = lambda: None
    try:
        background.process.wait(timeout)
        for reader in background.readers:
            reader.join(1)
    except subprocess.TimeoutExpired:
        pass
    finally:
        cancelled.pop(call, None)
    return background.state()


wait.takes_number = True


def wait_output(number, text, timeout):
    """Wait until a command has printed `text`, or ended; True when it printed it."""
    background = _running[number]
    with background.printed:
        background.printed.wait_for(
            lambda: text in background.out or text in background.err or not background.reading,
            timeout,
        )
        return text in background.out or text in background.err


def stop(number, how=signal.SIGTERM):
    """Ask a command to end, make it end after 2 s, and give its last state."""
    background = _running[number]
    with contextlib.suppress(ProcessLookupError):
        os.killpg(background.process.pid, how)
    try:
        background.process.wait(2)
    except subprocess.TimeoutExpired:
        pass
    _end(background.process)
    background.process.wait()
    for reader in background.readers:
        reader.join(1)
    return background.state()
