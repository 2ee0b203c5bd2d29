"""The checks of the exercises: one module for each, `c03_lpm_trie` for exercise "03-lpm-trie".

A check module has

    SECTION = "3.9.11"            the row of the book it belongs to
    TASK = "..."                  the task in a few words, for `bl.progress()`
    def check(lab, answer)        returns when the answer solves it, else raises `Hint`

A check judges behaviour: it loads the answer on a lab of its own, drives it with
values drawn anew for each run, and looks at packets, maps and events. It never
reads the answer's text. The text of a hint is the same in every run, so that a
notebook can store it; what varies from run to run goes into `seen`.
"""

from __future__ import annotations

import traceback

from .. import errors


class Hint(Exception):
    """The answer is not right yet.

    Parameters
    ----------
    text : str
        One line that names the mistake and where to look; the same in every run.
    seen : str
        What the check saw in this run: numbers, addresses.
    error : str
        The answer's own error (a compiler's lines, a verifier's reason), shown below the hint.
    """

    def __init__(self, text: str, seen: str = "", error: str = ""):
        self.text = text
        self.seen = seen
        self.error = error
        super().__init__(text)


def load(lab, answer, *, programs: dict[str, str], maps: dict[str, tuple[str, ...]], refused: str = ""):
    """Load an answer written in C.

    Parameters
    ----------
    lab : bpflab.Lab
    answer : str
        C text, as a `%%bpf answer --source` cell binds it.
    programs : dict
        Name and type ("xdp") of each program the task asks for.
    maps : dict
        Name of each map the task asks for, and the types it may have.
    refused : str
        The hint when the kernel refuses to create a map (libbpf says "failed to create").

    Returns
    -------
    bpflab.Object

    Raises
    ------
    Hint
        when it is no C text, does not compile, is rejected, or lacks a program or a map.
    """
    if not isinstance(answer, str):
        raise Hint(
            f"the answer is no C text but of type {type(answer).__name__}: "
            "begin its cell with %%bpf answer --source, and run it"
        )
    try:
        obj = lab.load(answer)
    except errors.CompileError as exc:
        raise Hint("the answer does not compile", error=exc.diagnostics.rstrip()) from exc
    except errors.VerifierError as exc:
        raise Hint(
            f"the verifier refuses program '{exc.program}'", seen=exc.log, error=_refusal(exc.explain())
        ) from exc
    except (errors.NotSupportedError, errors.MachineLost):
        raise
    except errors.LabError as exc:
        if refused and "failed to create" in str(exc):
            raise Hint(refused, seen=str(exc)) from exc
        raise Hint("the answer cannot be loaded", error=str(exc)) from exc
    for name, kind in programs.items():
        if name not in obj.programs:
            raise Hint(f"the answer has no program named '{name}'{_only(obj.programs)}")
        found = obj.programs[name].type
        if found != kind:
            raise Hint(f"program '{name}' is of type {found}; the task asks for {kind}: see its SEC()")
    for name, kinds in maps.items():
        if name not in obj.maps:
            raise Hint(f"the answer has no map named '{name}'{_only(obj.maps)}")
        if obj.maps[name].type not in kinds:
            raise Hint(f"map '{name}' is of type {obj.maps[name].type}; the task asks for {kinds[0]}")
    return obj


def _refusal(said) -> str:
    """What the verifier found, where it lies, and what to try, in a few lines."""
    lines = [f"line {said.line}: {said.text}"] if said.line else []
    lines.append(said.summary)
    if said.cause and said.cause.line:
        lines.append(f"the cause is in line {said.cause.line}: {said.cause.text}")
    if said.advice:
        lines.append(f"try: {said.advice}")
    return "\n".join(lines)


def _only(names) -> str:
    return f", only {', '.join(names)}" if names else ""


def call(answer, *arguments):
    """Call an answer written in Python.

    Returns
    -------
    object
        What it returned.

    Raises
    ------
    Hint
        when it is no function, or raised an error itself: with the answer's own line.
    """
    if not callable(answer):
        raise Hint(f"the answer is no function but of type {type(answer).__name__}: run the cell that defines it")
    try:
        return answer(*arguments)
    except (errors.NotSupportedError, errors.MachineLost):
        raise
    except Exception as exc:
        own = [f for f in traceback.extract_tb(exc.__traceback__) if f.filename == _file_of(answer)]
        line = f"line {own[-1].lineno}: {own[-1].line}\n" if own else ""
        raise Hint("the answer raised an error", error=f"{line}{type(exc).__name__}: {exc}") from exc


def _file_of(answer) -> str:
    code = getattr(answer, "__code__", None)
    return code.co_filename if code else ""
