"""The exceptions bpflab raises.

    LabError
    ├── BpfError (also OSError)          the kernel said no; errno is kept
    │   ├── VerifierError                the verifier rejected a program; .log is whole
    │   └── NotSupportedError            this machine cannot do it
    ├── CompileError                     clang or BCC refused the C text
    ├── ObjectError (also ValueError)    not an ELF object, cut short, or of an older format
    ├── DrawingError (also ValueError)   a network's drawing is not clear at one place
    ├── UnknownNameError (also KeyError) no program, map, type or exercise of that name
    ├── CommandError                     a command on the lab machine failed
    └── MachineLost (also ConnectionError)  the agent is gone

Plain misuse of a value (a text where a number belongs, 70000 in a u16) raises
Python's own `TypeError`, `ValueError` and `OverflowError`; a key that a map
does not hold raises `KeyError`.
"""

from __future__ import annotations

import difflib
import errno as _errno
import os


class LabError(Exception):
    """Base of everything bpflab raises on its own account."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints: the message and its notes. The package's own frames teach a reader nothing."""
        return [f"{type(self).__name__}: {self}", *getattr(self, "__notes__", ())]


def errno_name(number: int) -> str:
    """Name of an errno value ("ENOENT"), also the kernel's own 524 (include/linux/errno.h)."""
    if number == 524:
        return "ENOTSUPP"
    return _errno.errorcode.get(number, f"errno {number}")


class BpfError(LabError, OSError):
    """The kernel refused an operation on a BPF object.

    Attributes
    ----------
    errno : int
        The kernel's number, as `OSError` has it.
    """

    def __init__(self, message: str, errno: int = 0):
        # OSError picks a subclass from (errno, strerror) only for OSError itself, so two arguments are safe here
        super().__init__(errno, message)

    def __str__(self) -> str:
        if not self.errno:
            return self.strerror
        text = "not supported by the kernel" if self.errno == 524 else os.strerror(self.errno).lower()
        return f"{self.strerror} [{errno_name(self.errno)}: {text}]"


class VerifierError(BpfError):
    """The verifier rejected a program.

    Attributes
    ----------
    program : str
        Name of the program.
    log : str
        The verifier's log, whole.
    source : str or None
        The C text.
    lines : bpflab.verifier.lines.Lines or None
        Which line of it each instruction came from.
    """

    def __init__(self, program: str, log: str, errno: int = 0, source: str | None = None, lines=None):
        self.program = program
        self.log = log
        self.source = source
        self.lines = lines
        super().__init__(f"program '{program}' was rejected by the verifier", errno)

    def explain(self):
        """Say what the log means.

        Returns
        -------
        bpflab.verifier.Explanation
            Summary, the rejected line and the one with the cause, reason, what to try, and the verifier's path.
        """
        from . import verifier

        return verifier.explain(self.log, program=self.program, source=self.source, lines=self.lines)

    def __str__(self) -> str:
        return str(self.explain())

    def brief(self) -> str:
        """One line: the program, the line and what is wrong."""
        found = self.explain()
        place = f" at {found.file}:{found.line}" if found.line else ""
        return f"the verifier rejected program '{self.program}'{place}: {found.summary}"


class NotSupportedError(BpfError):
    """This machine cannot do what was asked; the message names what can.

    Attributes
    ----------
    feature : str
        What is missing ("kprobe", "LSM programs").
    machine : str
        Where it was tried ("local, Linux 6.18.44").
    """

    def __init__(self, feature: str, machine: str, reason: str = "", errno: int = 0, remedy: str = ""):
        self.feature = feature
        self.machine = machine
        self.reason = reason
        tail = f": {reason}" if reason else ""
        remedy = remedy or _elsewhere(machine)
        super().__init__(f"{feature} not supported on {machine}{tail}; {remedy}", errno)


def _elsewhere(machine: str) -> str:
    """Where to look for what a machine lacks."""
    if machine.startswith("vm:6.1,"):
        return "a newer kernel may have it: bl.Lab('vm:6.12')"
    if machine.startswith("vm"):
        return "Debian's kernels lack it too"
    return "a lab machine with a stock kernel may have it: bl.Lab('vm')"


class CompileError(LabError):
    """C text that does not compile.

    Attributes
    ----------
    diagnostics : str
        The compiler's lines, numbered as the cell or file is.
    """

    def __init__(self, diagnostics: str, what: str = "the program"):
        self.diagnostics = diagnostics
        super().__init__(f"{what} does not compile:\n{diagnostics.rstrip()}")


class ObjectError(LabError, ValueError):
    """Bytes that are not an object file bpflab can load."""


class DrawingError(LabError, ValueError):
    """The drawing of a network cannot be read.

    Attributes
    ----------
    line, column : int
        Where, both from 1; 0 when it is no single place.
    """

    def __init__(self, reason: str, line: int = 0, at: int = 0, text: str = ""):
        self.line, self.column = line, at + 1 if line else 0
        if line:
            reason = f"the drawing of the network is not clear at line {line}, column {at + 1}: {reason}\n    {text}\n    {''.join(c if c == chr(9) else ' ' for c in text[:at])}^"
        super().__init__(reason)


class UnknownNameError(LabError, KeyError):
    """Nothing has that name; the message offers the near ones, or says with `tail` why it is not there."""

    def __init__(self, what: str, name: str, known, where: str = "", *, tail: str = ""):
        self.name = name
        known = sorted(map(str, known))
        near = [] if tail else difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
        place = f" in {where}" if where else ""
        if tail:
            pass
        elif near:
            tail = "did you mean " + " or ".join(f"'{n}'" for n in near) + "?"
        elif not known:
            tail = "there is none"
        elif len(known) <= 12:
            tail = "there are: " + ", ".join(known)
        else:
            tail = f"there are {len(known)}, for example {', '.join(known[:5])}"
        self.message = f"no {what} named '{name}'{place}; {tail}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class CommandError(LabError):
    """A command on the lab machine ended with a status that is not zero, or not in time.

    Attributes
    ----------
    result : bpflab.process.CommandResult or None
        What it printed until then.
    """

    def __init__(self, message: str, result=None):
        self.result = result
        super().__init__(message)


class MachineLost(LabError, ConnectionError):
    """The agent ended or the connection to it broke; nothing of the lab is left in the kernel."""
