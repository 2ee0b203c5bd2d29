"""Loaded objects: their programs, maps and global variables by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .btf import Btf
from .errors import UnknownNameError
from .map import Map
from .program import Program

if TYPE_CHECKING:
    from .lab import Lab


class Named(Mapping):
    """Programs or maps of an object by name; a wrong name offers the near ones."""

    def __init__(self, what: str, where: str, items: dict[str, Any]):
        self._what, self._where, self._items = what, where, items

    def __getitem__(self, name: str):
        try:
            return self._items[name]
        except KeyError:
            raise UnknownNameError(self._what, name, self._items, self._where) from None

    def __iter__(self):
        return iter(self._items)

    def __len__(self):
        return len(self._items)

    def __contains__(self, name):
        return name in self._items

    def get(self, name, default=None):
        return self._items.get(name, default)

    def __repr__(self):
        return f"<{self._what}s of {self._where}: {', '.join(self._items) or 'none'}>"


class Object:
    """A loaded BPF object: its programs, its maps, its global variables.

    Attributes
    ----------
    programs, maps : mapping
        Of `Program` and `Map` by name.
    globals : Globals
        The program's global variables, live: `obj.globals["limit"] = 5`.
    """

    def __init__(self, lab: Lab, name: str, handle: int, btf: Btf | None, programs, maps, data, source=None, elf: bytes | None = None):
        self._lab, self.name, self._handle = lab, name, handle
        self.btf = btf
        self.source = source
        self._elf = elf  # the object file, whose .BTF.ext knows the source lines of what libbpf loads
        where = f"object '{name}'"
        self.programs: Mapping[str, Program] = Named("program", where, programs)
        self.maps: Mapping[str, Map] = Named("map", where, maps)
        self.globals = Globals(where, data)
        self.closed = False
        self._all_maps = [*maps.values(), *(section for section, _ in data.values())]
        for one in [*programs.values(), *self._all_maps]:
            one._object = self

    def events(self, name: str | None = None, type: Any = None, **options):
        """The events of its ring buffer or perf buffer.

        Parameters
        ----------
        name : str, optional
            Which one, when there are several.
        type : str, optional
            The C struct of an event, when the map's definition does not say (`__type(value, struct event)`).
        """
        if name is None:
            found = [m for m in self.maps.values() if m.type in ("ringbuf", "perf_event_array")]
            if len(found) != 1:
                raise UnknownNameError("ring buffer", "", [m.name for m in found], f"object '{self.name}'")
            return found[0].events(type, **options)
        return self.maps[name].events(type, **options)

    def close(self) -> None:
        """Detach and unload everything; what is pinned or held by others stays."""
        if self.closed:
            return
        self.closed = True
        for program in self.programs.values():
            program._close_links()
        for one in self._all_maps:
            for link in one._links:
                link.detach()
            one.close()
        if self._lab.alive:
            self._lab.ask("objects.close", self._handle)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        state = ", closed" if self.closed else ""
        return (
            f"<object '{self.name}'{state}: programs {', '.join(self.programs) or 'none'}; "
            f"maps {', '.join(self.maps) or 'none'}>"
        )


class Globals:
    """Global variables of a program, as the kernel has them now."""

    def __init__(self, where: str, data: dict[str, tuple[Map, dict]]):
        self._where = where
        # name -> (type, offset, map); a map of one entry holds each section
        self._places = {
            name: (t, offset, section) for section, variables in data.values() for name, (t, offset) in variables.items()
        }

    def _place(self, name: str):
        try:
            return self._places[name]
        except KeyError:
            raise UnknownNameError("global variable", name, self._places, self._where) from None

    def __getitem__(self, name: str) -> Any:
        kind, offset, section = self._place(name)
        data = section._lookup(0)
        return kind.decode(data[offset : offset + kind.size])

    def __setitem__(self, name: str, value: Any) -> None:
        kind, offset, section = self._place(name)
        data = bytearray(section._lookup(0))
        data[offset : offset + kind.size] = kind.encode(value, f"global '{name}'")
        section.update(0, bytes(data))

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __iter__(self):
        return iter(self._places)

    def __repr__(self) -> str:
        return f"<globals of {self._where}: {', '.join(self._places) or 'none'}>"
