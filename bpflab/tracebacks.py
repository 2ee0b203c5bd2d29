"""Tracebacks that end in the reader's own cell.

A number that does not fit a u16 is a mistake of the cell that gave it: the frames of this package below that cell say
nothing to its reader, and they would put this computer's paths into the notebook. `LabError` shows only its message
anyway; this is for Python's own exceptions. What the verifier rejected is shown as HTML in a notebook.
"""

from __future__ import annotations

from types import TracebackType

from .errors import VerifierError

MISUSE = (TypeError, ValueError, OverflowError, KeyError)  # what the package raises besides its own errors
PACKAGE = __name__.partition(".")[0]


def ending_in_cell(trace: TracebackType | None, namespace: dict) -> TracebackType | None:
    """A traceback without what happened inside the package.

    Parameters
    ----------
    trace : traceback
    namespace : dict
        Globals of the cells (`shell.user_ns`).

    Returns
    -------
    traceback
        It ends with the last frame of a cell, if that one called the package; else it is `trace` itself.
    """
    frames = []
    following = trace
    while following is not None:
        frames.append(following)
        following = following.tb_next
    cells = [i for i, each in enumerate(frames) if each.tb_frame.f_globals is namespace]
    last = cells[-1] if cells else len(frames)
    below = frames[last + 1].tb_frame.f_globals.get("__name__", "") if last + 1 < len(frames) else ""
    if below.partition(".")[0] != PACKAGE:
        return trace
    short = None
    for each in reversed(frames[: last + 1]):
        short = TracebackType(short, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return short


def register(shell) -> None:
    """Have an IPython shell show misuse of the package, and rejected programs, this way."""
    from IPython.display import display

    def show(shell, kind, error, trace, tb_offset=None):
        if isinstance(error, VerifierError):
            if hasattr(shell, "kernel"):  # a notebook's, not a terminal's
                display(error.explain())
                shell._showtraceback(kind, error, [f"{kind.__name__}: {error.brief()}"])
            else:
                shell.showtraceback((kind, error, trace))
            return
        short = ending_in_cell(trace, shell.user_ns)
        if short is not trace:
            error.__suppress_context__ = True  # what the package was handling itself
        shell.showtraceback((kind, error, short))

    shell.set_custom_exc((*MISUSE, VerifierError), show)
