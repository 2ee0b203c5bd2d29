"""The agent's loop: requests come in over the channel, answers go out.

A request is `(number, "module.function", arguments)`; the answer is
`(number, True, value)` or `(number, False, {"type", "errno", "message", ...})`.
Functions marked `quick` run in the loop itself; the others in threads, so that
a long command does not hold up a map read.
"""

import importlib
import os
import queue
import threading


class Refused(Exception):
    """An error that carries more than a text (a verifier log, what libbpf said)."""

    def __init__(self, kind, message, errno=0, **extra):
        super().__init__(message)
        self.payload = {"type": kind, "message": message, "errno": errno, **extra}


def quick(function):
    """Mark a function that never blocks, so that it may run in the agent's loop."""
    function.quick = True
    return function


cancelled = {}  # request number -> function that ends it early


def _describe(error):
    if isinstance(error, Refused):
        return error.payload
    if isinstance(error, OSError):
        return {"type": "OSError", "errno": error.errno or 0, "message": error.strerror or str(error)}
    import traceback  # dear to import, and no part of a start that goes well

    return {"type": type(error).__name__, "errno": 0, "message": str(error), "traceback": traceback.format_exc()}


class _Workers:
    """Threads that are started when all others are busy and reused afterwards."""

    def __init__(self):
        self.jobs = queue.SimpleQueue()
        self.idle = 0
        self.lock = threading.Lock()

    def submit(self, *job):
        with self.lock:
            start = self.idle <= self.jobs.qsize()
        self.jobs.put(job)
        if start:
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while True:
            with self.lock:
                self.idle += 1
            function, *arguments = self.jobs.get()
            with self.lock:
                self.idle -= 1
            function(*arguments)


def serve(channel, silence, parent_package):
    """Answer requests until the channel closes, then undo what the kernel would not undo by itself.

    `silence`: seconds without a request after which the notebook counts as gone; None waits for ever.
    """
    from . import ownership

    modules = {}
    workers = _Workers()

    def answer(number, function, arguments):
        try:
            reply = (number, True, function(*arguments))
        except BaseException as error:  # noqa: BLE001 - every error belongs to the caller on the other side
            reply = (number, False, _describe(error))
        try:
            channel.send(reply)
        except OSError:
            pass  # the notebook is gone; the loop below sees it as well
        except Exception as error:  # a value execnet cannot carry is our own mistake, but must not hang the caller
            channel.send((number, False, {"type": "TypeError", "errno": 0, "message": f"answer of {function}: {error}"}))

    try:
        try:
            channel.send((0, True, ownership.begin()))
        except Exception as error:  # whatever it is, the notebook is to know
            channel.send((0, False, _describe(error)))
            return
        while True:
            number, name, arguments = channel.receive(silence)
            if name == "cancel":
                stop = cancelled.get(arguments[0])
                if stop:
                    stop()
                continue
            module, _, attribute = name.partition(".")
            try:
                if module not in modules:
                    modules[module] = importlib.import_module(f"{parent_package}.{module}")
                function = getattr(modules[module], attribute)
            except (ImportError, AttributeError) as error:
                channel.send((number, False, {"type": "NotImplementedError", "errno": 0, "message": str(error)}))
                continue
            if getattr(function, "takes_number", False):
                arguments = (number, *arguments)
            if getattr(function, "quick", False):
                answer(number, function, arguments)
            else:
                workers.submit(answer, number, function, arguments)
    except (EOFError, channel.TimeoutError):
        pass
    finally:
        ownership.end()
        # threads may sit in a system call; the kernel closes all we own when the process ends
        os._exit(0)
