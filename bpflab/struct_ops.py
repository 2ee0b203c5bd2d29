"""struct_ops: a kernel struct of functions, implemented in BPF (Documentation/bpf/, tools/testing/selftests/bpf)."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from .errors import BpfError, NotSupportedError
from .link import Link
from .machines import AgentError

if TYPE_CHECKING:
    from .map import Map

_HINTS = {
    errno.EEXIST: "one of this name is registered already; detach it, or choose another .name",
    errno.EINVAL: "the kernel checks its members; give all that the struct requires",
    errno.EBUSY: "it was attached before; load it again",
}


def attach(map: Map) -> Link:
    """See `Map.attach`."""
    if map.type != "struct_ops":
        raise TypeError(f"map '{map.name}' is a {map.type}; only a struct_ops map is attached, others belong to programs")
    map._refuse_closed()
    try:
        about = map._lab.ask("links.struct_ops", map._object._handle, map.name)
    except AgentError as error:
        number, said = error.payload["errno"], "; ".join(error.payload.get("said", []))
        if number in (errno.EOPNOTSUPP, 524):
            raise NotSupportedError(f"struct_ops map '{map.name}'", map._lab.where, said or str(error), number) from None
        hint = _HINTS.get(number, "see the kernel's registration of this struct for what it requires")
        raise BpfError(f"struct_ops map '{map.name}' does not attach: {said or error}; {hint}", number) from None
    link = Link(map._lab, None, f"struct_ops '{map.name}'", about)
    map._links.append(link)
    return link
