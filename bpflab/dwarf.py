"""What the debug information of a program tells of functions that are not there any more: those that were inlined."""

from __future__ import annotations

import io

from elftools.common.exceptions import ELFError
from elftools.dwarf.die import DIE
from elftools.elf.elffile import ELFFile

_INLINED = (1, 3)  # DW_INL_inlined, DW_INL_declared_inlined (DWARF 5, 7.20)


def inlined_into(file: bytes, name: str) -> list[str] | None:
    """Functions that hold copies of an inlined function.

    Parameters
    ----------
    file : bytes
        An ELF file with .debug_info.

    Returns
    -------
    list of str or None
        Empty where the DWARF says that it was inlined and no copy is left; None where it says nothing of such a function.
    """
    try:
        found = ELFFile(io.BytesIO(file))
        if not found.has_dwarf_info() or name.encode() not in file:
            return None
        units = list(found.get_dwarf_info().iter_CUs())
        origins, holders = set(), []
        for unit in units:
            for die in unit.iter_DIEs():
                if die.tag == "DW_TAG_subprogram" and _text(die, "DW_AT_name") == name and _number(die, "DW_AT_inline") in _INLINED:
                    origins.add(die.offset)
                elif die.tag == "DW_TAG_inlined_subroutine":
                    holders.append(die)
        if not origins:
            return None
        into = [_holder(die) for die in holders if _origin(die) in origins]
        return list(dict.fromkeys(filter(None, into)))
    except ELFError:  # compressed in a way it does not know, or cut short: then it says nothing
        return None


def _text(die: DIE, attribute: str) -> str:
    found = die.attributes.get(attribute)
    return found.value.decode(errors="replace") if found and isinstance(found.value, bytes) else ""


def _number(die: DIE, attribute: str) -> int:
    found = die.attributes.get(attribute)
    return found.value if found and isinstance(found.value, int) else 0


def _origin(die: DIE) -> int | None:
    if "DW_AT_abstract_origin" not in die.attributes:
        return None
    return die.get_DIE_from_attribute("DW_AT_abstract_origin").offset


def _holder(die: DIE) -> str:
    """The function whose code an inlined copy is part of."""
    at = die.get_parent()
    while at is not None and at.tag != "DW_TAG_subprogram":
        at = at.get_parent()
    if at is None:
        return ""
    return _text(at, "DW_AT_name") or ("DW_AT_abstract_origin" in at.attributes and _text(at.get_DIE_from_attribute("DW_AT_abstract_origin"), "DW_AT_name")) or ""
