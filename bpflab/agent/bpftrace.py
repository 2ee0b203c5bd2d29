"""Run bpftrace for a while, and end it as Ctrl-C does, so that it prints its maps."""

import contextlib
import os
import signal
import subprocess
import threading

from . import process
from .serve import Refused, cancelled

ATTACHED = b'"attached_probes"'  # with -f json the first line, once the programs are loaded
PATIENCE = 20  # seconds to detach and to print its maps in
KEPT = 64 << 20  # bytes of output


def run(number, words, command, seconds, timeout):
    """Run it.

    Parameters
    ----------
    command : str
        A line for bash to run meanwhile; "" for none.
    seconds : float or None
        Interrupt it so long after it has attached.
    timeout : float
        Interrupt it after this long if it does not end by itself.

    Returns
    -------
    dict
        As of a background process, and `timed_out`, `killed`, `cut` (its output was longer than what is kept).
    """
    if command:
        # -c takes words without quotes, so the line is in a file; it has no name and goes with its descriptor
        script = os.memfd_create("bpflab-command", os.MFD_CLOEXEC)
        os.write(script, b"exec > /dev/null 2>&1\n" + command.encode())
        words = [*words, "-c", f"/bin/bash /proc/{os.getpid()}/fd/{script}"]
    try:
        return _run(number, words, seconds, timeout)
    except Refused as refused:
        raise Refused("NoBpftrace", str(refused)) from None
    finally:
        if command:
            os.close(script)


run.takes_number = True


def _run(number, words, seconds, timeout):
    background = process.Background(process._start(words, "", "", None, subprocess.DEVNULL))
    background.LIMIT = KEPT
    interrupted = threading.Event()

    def cancel():
        interrupted.set()
        with background.printed:
            background.printed.notify_all()

    def wait_for(condition, limit):
        def over():
            return condition() or interrupted.is_set() or not background.reading

        with background.printed:
            return background.printed.wait_for(over, limit)

    cancelled[number] = cancel
    killed = False
    try:
        # the first bytes are looked at only: what comes later may be much
        attached = wait_for(lambda: ATTACHED in background.out[:4096], timeout)
        ended = attached and wait_for(lambda: False, timeout if seconds is None else seconds)
        if background.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(background.process.pid, signal.SIGINT)
            try:
                background.process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                killed = True
    finally:
        cancelled.pop(number, None)
        process._end(background.process)  # also what it started with -c
    background.process.wait()
    for reader in background.readers:
        reader.join(2)
    timed_out = not ended and (seconds is None or not attached)
    return {**background.state(), "timed_out": timed_out, "killed": killed, "cut": len(background.out) >= KEPT}
