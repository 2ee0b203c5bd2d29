"""Which machine answers what an experiment needs: told by trying, not by version or configuration."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import UnknownNameError


def listed(needs: str | Sequence[str]) -> list[str]:
    """ "kprobe" or ("kprobe", "lsm") as a list."""
    return [needs] if isinstance(needs, str) else list(needs)


def lacking(connection, needs: Sequence[str]) -> dict[str, str]:
    """What a machine lacks of the needs, and what its kernel said; each is tried in its smallest form.

    Raises
    ------
    UnknownNameError
        It is not known how to try one of them.
    """
    if not needs:
        return {}
    known = connection.ask("features.names")
    for need in needs:
        if need not in known:
            raise UnknownNameError("feature", need, known, "lab.features()")
    reasons = {need: connection.ask("features.missing", need) for need in needs}
    return {need: reason for need, reason in reasons.items() if reason}
