"""The order of tcx programs at one place of an interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .link import Link

EVERY = "all"
BEFORE, AFTER, ID, LINK = 1 << 3, 1 << 4, 1 << 5, 1 << 13  # BPF_F_BEFORE, ..., include/uapi/linux/bpf.h


def checked(direction: str) -> str:
    """A direction, if it is one."""
    if direction not in ("ingress", "egress"):
        raise ValueError(f"direction is ingress or egress, not {direction!r}")
    return direction


def order(before: Link | str | None, after: Link | str | None) -> tuple[int, int]:
    """Flags and the id of a link, as BPF_LINK_CREATE takes them (kernel/bpf/mprog.c); behind all when neither is given."""
    if before is not None and after is not None:
        raise ValueError(
            "give before or after, not both: a program that stands before one link cannot be moved by another"
        )
    other = after if before is None else before
    if other is None:
        return 0, 0
    flag = AFTER if before is None else BEFORE
    if other == EVERY:
        return flag, 0
    if not getattr(other, "id", 0) or not hasattr(other, "detach"):
        name = "before" if flag == BEFORE else "after"
        raise TypeError(f'{name} is a link of attach_tcx, or "{EVERY}", not {other!r}')
    other._refuse_detached()
    return flag | ID | LINK, other.id
