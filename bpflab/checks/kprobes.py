"""A machine with kprobes for the exercises that need one."""

import contextlib

from .. import errors
from ..lab import Lab


@contextlib.contextmanager
def machine(lab):
    """The lab itself where its kernel has kprobes, else a virtual machine whose kernel has them.

    Raises
    ------
    NotSupportedError
        Neither has.
    """
    missing = lab.missing("kprobe")
    if missing is None:
        yield lab
        return
    try:
        other = Lab("vm:6.12", quiet=True)
    except errors.LabError as error:
        raise errors.NotSupportedError("kprobe", lab.where, missing, remedy=f"start a virtual machine: {error}") from error
    with other:
        yield other
