"""A way to a lab machine: the command that starts an agent there, and what its failures mean."""

from __future__ import annotations

from ..errors import LabError, MachineLost
from .gateway import NotStarted


class Way:
    """How to start an agent, and what to say when there is none.

    Parameters
    ----------
    machine : str
        Name for messages ("local").
    command : list of str
        Starts a Python on the machine that runs `gateway.LINE`.
    far : bool
        It is another machine.
    """

    def __init__(self, machine: str, command: list[str], far: bool = False):
        self.machine = machine
        self.command = command
        self.far = far

    def not_started(self, error: NotStarted) -> LabError:
        """The error for the reader when no agent came up."""
        return MachineLost(f"the agent on {self.machine} did not start: {error}; run ./lab doctor")

    def lost(self, said: str) -> str:
        """Why the agent is gone, in words that follow "the lab on ... is over:"."""
        return f"the agent ended{f' ({said})' if said else ''}"

    def close(self) -> None:
        """The agent is gone and nothing more will come this way."""
