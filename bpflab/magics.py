"""Cell magics: %%bpf, %%sh and %%bpftrace, all on the lab machine of the newest open lab.

`import bpflab` registers them in IPython. Where no lab is open, they open one.
"""

from __future__ import annotations

import argparse
import ast
import shlex
import sys

from IPython.core.error import UsageError
from IPython.core.magic import Magics, cell_magic, magics_class

from . import charts, tracebacks
from .compiler import CSource
from .errors import CommandError
from .lab import Lab
from .object import Object


class _Parser(argparse.ArgumentParser):
    """An argument parser that complains as IPython does, and does not end the kernel."""

    def error(self, message):
        if message.startswith("the following arguments are required"):
            message = "a NAME is missing"
        raise UsageError(f"{self.prog}: {message}; write {self.format_usage().removeprefix('usage: ').strip()}")

    def parse(self, line: str) -> argparse.Namespace:
        try:
            words = shlex.split(line)
        except ValueError as exc:
            self.error(str(exc).lower())
        return self.parse_intermixed_args(words)


_bpf = _Parser(prog="%%bpf", usage="%%%%bpf NAME [--source] [global=value ...]", add_help=False)
_bpf.add_argument("name")
_bpf.add_argument("values", nargs="*")
_bpf.add_argument("--source", action="store_true")

_bpftrace = _Parser(prog="%%bpftrace", usage="%%%%bpftrace NAME [--seconds N]", add_help=False)
_bpftrace.add_argument("name")
_bpftrace.add_argument("--seconds", type=float)


@magics_class
class LabMagics(Magics):
    """The cell magics."""

    @cell_magic
    def bpf(self, line, cell):
        """%%bpf NAME [--source] [global=value ...]

        Compile the cell's C text, load it and bind the `Object` to NAME. An object that an earlier run
        of the cell left under that name is closed. `global=value` sets a global variable before the load;
        the value is a Python expression without blanks. With --source the text itself is bound instead,
        as a `CSource`. Errors count lines as the cell does: line 1 is the %%bpf line.
        """
        options = _bpf.parse(line)
        self._refuse_no_name(options.name, "%%bpf")
        source = CSource(cell, name=options.name, line=2)
        if options.source:
            if options.values:
                raise UsageError("%%bpf: global=value needs a load; leave --source out, or the values")
            self.shell.user_ns[options.name] = source
            return
        lab = Lab.current()
        values = self._globals(options.values)
        old = self.shell.user_ns.get(options.name)
        if isinstance(old, Object):
            old.close()
        obj = lab.load(source, **values)
        self.shell.user_ns[options.name] = obj
        print(_what_is_in(options.name, obj))

    @cell_magic
    def sh(self, line, cell):
        """%%sh

        Run the cell with sh on the lab machine, as root, and print what it writes. A status that is not 0 is an error.
        """
        if line.strip():
            raise UsageError("%%sh takes no arguments; write the commands below it")
        try:
            result = Lab.current().sh(cell)
        except CommandError as exc:
            if exc.result is None:
                raise
            _show(exc.result)
            raise CommandError(f"the cell ended with status {exc.result.returncode}", exc.result) from None
        _show(result)

    @cell_magic
    def bpftrace(self, line, cell):
        """%%bpftrace NAME [--seconds N]

        Run the cell with bpftrace on the lab machine, until it exits or for N seconds, and bind
        NAME to a dict of DataFrames by map name.
        """
        options = _bpftrace.parse(line)
        self._refuse_no_name(options.name, "%%bpftrace")
        self.shell.user_ns[options.name] = Lab.current().bpftrace(CSource(cell, name=options.name, line=2), seconds=options.seconds)

    def _refuse_no_name(self, name, magic):
        if not name.isidentifier():
            raise UsageError(f"{magic}: '{name}' is no Python name; begin the cell with {magic} NAME")

    def _globals(self, words) -> dict:
        values = {}
        for word in words:
            name, sign, text = word.partition("=")
            if not sign or not name.isidentifier():
                raise UsageError(f"%%bpf: '{word}' is not of the form global=value; write for example limit=10")
            try:
                values[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                try:
                    values[name] = self.shell.ev(text)
                except Exception as exc:  # whatever an expression of the reader's may raise
                    raise UsageError(f"%%bpf: the value of {name}, {text!r}, cannot be worked out: {exc}; give a Python expression") from None
        return values


def _show(result) -> None:
    sys.stdout.write(result.stdout)
    sys.stderr.write(result.stderr)


def _what_is_in(name: str, obj: Object) -> str:
    programs = ", ".join(f"{p.name} ({p.type})" for p in obj.programs.values())
    maps = ", ".join(f"{m.name} ({m.type})" for m in obj.maps.values())
    parts = [f"{kind} {text}" for kind, text in (("programs:", programs), ("maps:", maps)) if text]
    return f"{name}: loaded; " + "; ".join(parts)


def register() -> None:
    """Make the magics known to the IPython that runs this, if one does, and how it shows charts and mistakes."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is not None:
        shell.register_magics(LabMagics)
        charts.register(shell)
        tracebacks.register(shell)
