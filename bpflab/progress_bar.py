"""One line that says how far a long step has come.

Standard library only: the script `lab` uses it before there is a `.venv`.
"""

import shutil
import sys
import time

QUIET_SECONDS = 15.0


class Progress:
    """A line that is drawn over and over on a terminal, and seldom printed elsewhere.

    Parameters
    ----------
    title : str
        What is being done; stands at the start of every line.
    stream : text file, optional
        Where to write; standard output if not given.

    Notes
    -----
    In a log (no terminal) a line comes when the step starts, every 15 s while it works, and when it ends, so that
    a log stays short and a watcher still sees that something moves.
    """

    def __init__(self, title, stream=None):
        self._title = title
        self._stream = stream or sys.stdout
        self._live = self._stream.isatty()
        self._started = time.monotonic()
        self._spoke = 0.0

    def show(self, text, fraction=None):
        """Say what is being done now, and how much of the whole is done (0 to 1, where known)."""
        share = "" if fraction is None else f"{min(max(fraction, 0.0), 1.0):4.0%}  "
        line = f"  {self._title}  {share}{text}"
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{line[:width]}\x1b[K")
        elif time.monotonic() - self._spoke > QUIET_SECONDS:
            self._spoke = time.monotonic()
            self._write(line + "\n")

    def end(self, text="done"):
        """Close the line: what came of it, and how long it took."""
        seconds = time.monotonic() - self._started
        self._write(f"{self._start()}  {self._title}  {text} ({seconds:.0f} s)\n")

    def stop(self):
        """Leave the line, because something else must be said now."""
        if self._live:
            self._write(self._start())

    def _start(self):
        return "\r\x1b[K" if self._live else ""

    def _write(self, text):
        self._stream.write(text)
        self._stream.flush()
