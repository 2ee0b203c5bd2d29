"""From C text or an ELF file to a loaded object, and what to say when that fails."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import kinds
from .btf import Btf
from .btf.maps import map_def
from .compiler import CSource
from .errors import BpfError, NotSupportedError, ObjectError, UnknownNameError, VerifierError
from .machines import AgentError
from .map import Map
from .object import Named, Object
from .program import Program
from .refusal import not_permitted

if TYPE_CHECKING:
    from .lab import Lab


def read_source(lab: Lab, source: str | Path, name: str | None) -> tuple[bytes, str, str | None]:
    """ELF bytes, a name, and the C text if there was one, for what `Lab.load` was given."""
    if isinstance(source, Path) or (isinstance(source, str) and "\n" not in source and source.endswith((".o", ".c"))):
        path = Path(source).expanduser()
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ObjectError(f"'{path}' cannot be read: {error.strerror.lower()}; give C text, a .bpf.c or a .bpf.o") from None
        name = name or path.name.split(".")[0]
        if path.suffix == ".c":
            text = CSource(data.decode(errors="replace"), path.name)
        else:
            return check_elf(data, str(path)), name, None
    elif isinstance(source, bytes):
        return check_elf(source, name or "the object"), name or "object", None
    elif isinstance(source, str):
        text = source
    else:
        raise TypeError(f"load takes C text, a path or the bytes of an object, not {type(source).__name__}")
    name = name or getattr(source, "name", None) or "program"
    text = CSource(text, getattr(text, "name", None) or name, getattr(text, "line", 1))
    return lab.compile(text, name=text.name, line=text.line), name, text


def check_elf(data: bytes, what: str) -> bytes:
    """Refuse bytes that are no BPF object, in words that libelf does not have."""
    if data[:4] != b"\x7fELF":
        start = data[:4].hex(" ") or "nothing"
        raise ObjectError(f"{what} is no ELF object (it starts with {start}); compile it with clang -target bpf")
    if len(data) < 64:
        raise ObjectError(f"{what} is cut short: {len(data)} bytes, less than an ELF header; compile it again")
    if data[4] != 2:
        raise ObjectError(f"{what} is a 32-bit ELF file, and BPF objects are 64-bit; compile it with clang -target bpf")
    order = "<" if data[5] == 1 else ">"
    kind, machine = struct.unpack_from(order + "HH", data, 16)
    if machine != 247:  # EM_BPF
        raise ObjectError(f"{what} is an ELF file for machine {machine}, not for BPF (247); compile it with clang -target bpf")
    table, size, count = *struct.unpack_from(order + "Q", data, 40), *struct.unpack_from(order + "HH", data, 58)
    if table + size * count > len(data):
        raise ObjectError(
            f"{what} is cut short: its section table ends at byte {table + size * count}, "
            f"the file at {len(data)}; compile or copy it again"
        )
    return data


_LEGACY = (
    "{what} has maps in the section 'maps', as programs of 2019 do (struct bpf_map_def); libbpf dropped that in 1.0 "
    "(2022). Write each map as\n"
    "    struct {{\n"
    "        __uint(type, BPF_MAP_TYPE_HASH);\n"
    "        __type(key, u32);\n"
    "        __type(value, u64);\n"
    "        __uint(max_entries, 1024);\n"
    '    }} counts SEC(".maps");'
)


def load(lab: Lab, source, name: str | None, variables: dict[str, Any], programs=None, max_entries=None, replaces=None) -> Object:
    """See `Lab.load`."""
    data, name, text = read_source(lab, source, name)
    try:
        opened = lab.ask("objects.open_object", data, name)
    except AgentError as error:
        said = "; ".join(error.payload.get("said", []))
        if "legacy map definitions" in said:
            raise ObjectError(_LEGACY.format(what=f"'{name}'")) from None
        raise ObjectError(f"'{name}' is no object that libbpf can open: {said or error}; compile it with clang -target bpf -g") from None
    handle = opened["handle"]
    try:
        return load_opened(lab, name, text, data, opened, variables, programs, max_entries, replaces)
    except BaseException:
        if lab.alive:
            lab.ask("objects.close", handle)
        raise


def load_opened(lab, name, text, elf, opened, variables, wanted=None, max_entries=None, replaces=None) -> Object:
    """Load what ``objects.open_object`` opened."""
    handle = opened["handle"]
    where = f"object '{name}'"
    btf = Btf(opened["btf"]) if opened["btf"] else None
    sections = {m["name"]: m for m in opened["maps"] if m["internal"]}
    # libbpf calls .data "NAME.data", but .data.mine as it is (internal_map_name in libbpf.c)
    places = {s: _variables(btf, s) or _variables(btf, s[s.rindex(".") :]) for s in sections}
    known = {v: (s, t, offset) for s, found in places.items() for v, (t, offset) in found.items()}
    initial: dict[str, bytearray] = {}
    for variable, value in variables.items():
        if variable not in known:
            raise UnknownNameError("global variable", variable, known, where)
        section, kind, offset = known[variable]
        data = initial.setdefault(section, bytearray(sections[section]["initial"]))
        data[offset : offset + kind.size] = kind.encode(value, f"global '{variable}'")
    definitions = {}
    sizes = {}
    for m in opened["maps"]:
        if not m["internal"] and btf is not None:
            definitions[m["name"]] = map_def(btf, m["name"])
            kind = kinds.name_of(kinds.MAP_TYPES, m["type"])
            # a type of the events may stand in the definition; the kernel wants to hear of no value there
            if kind in kinds.RING_MAPS and m["value_size"]:
                sizes[m["name"]] = 0
            elif kind == "perf_event_array" and m["value_size"] not in (0, 4):
                sizes[m["name"]] = 4
    wanted = [wanted] if isinstance(wanted, str) else wanted
    for one in wanted or ():
        Named("program", where, {p["name"]: p for p in opened["programs"]})[one]
    for one in max_entries or ():
        Named("map", where, {m["name"]: m for m in opened["maps"] if not m["internal"]})[one]
    settings = {
        "initial": {s: bytes(data) for s, data in initial.items()},
        "value_size": sizes,
        "max_entries": max_entries or {},
        "programs": list(wanted) if wanted is not None else None,
        "replaces": _replacements(opened["programs"], wanted, replaces),
    }
    try:
        loaded = lab.ask("objects.load", handle, settings)
    except AgentError as error:
        raise _refused(lab, error.payload, name, text, elf, opened["programs"]) from None
    maps, data = {}, {}
    for m in opened["maps"]:
        about = loaded["maps"].get(m["name"])
        if about is None:
            continue
        if m["internal"]:
            data[m["name"]] = (Map(lab, about), places[m["name"]])
            continue
        about["name"] = m["name"]  # the kernel's is cut to 15 characters
        found = definitions.get(m["name"])
        kind = kinds.name_of(kinds.MAP_TYPES, m["type"])
        fd_value = kind in kinds.FD_VALUE_MAPS or kind in kinds.RING_MAPS
        maps[m["name"]] = Map(lab, about, found and found.key, found.value if found and not fd_value else None)
        maps[m["name"]].definition = found
    programs = {
        p["name"]: Program(lab, loaded["programs"][p["name"]], p, handle)
        for p in opened["programs"]
        if p["name"] in loaded["programs"]
    }
    return Object(lab, name, handle, btf, programs, maps, data, text, elf)


def _near_function(lab: Lab, name: str) -> str:
    """What to do about a function that BTF has no type of."""
    from . import traceable

    listed = traceable.catalog(lab)
    if name in listed.symbols:
        return "the kernel has the function, but no type for it: SEC(\"kprobe\") can be attached to it"
    close = traceable.near(name, [listed.typed])
    return ("did you mean " + " or ".join(f"'{one}'" for one in close) + "? " if close else "") + f"lab.events('{name}') looks for it"


def _replacements(programs: list[dict], wanted, target: Program | None) -> dict[str, tuple[int, str]]:
    """What each freplace program replaces: a program's descriptor, and a function of it."""
    found = {}
    for one in programs:
        kind, _, function = one["section"].partition("/")
        if kind == "freplace" and (wanted is None or one["name"] in wanted):
            if target is None or not function:
                raise TypeError(
                    f"program '{one['name']}' is to replace a function of a loaded program: write SEC(\"freplace/FUNCTION\"), "
                    "and say whose with load(..., replaces=obj.programs['name'])"
                )
            found[one["name"]] = (target.fd, function)
    return found


def _variables(btf: Btf | None, section: str) -> dict[str, tuple[Any, int]]:
    """Variables of a data section by name, as (type, offset)."""
    if btf is None:
        return {}
    try:
        return {name: (kind, offset) for name, (kind, offset, _) in btf.datasec(section).items()}
    except UnknownNameError:
        return {}  # string constants, for instance, have a section but no variables


def _refused(lab: Lab, payload: dict, name: str, text: str | None, elf: bytes, programs: list[dict]) -> Exception:
    number, failed, log = payload["errno"], payload.get("program", ""), payload.get("log", "")
    said = [line for line in payload.get("said", []) if "BEGIN PROG LOAD LOG" not in line]
    if failed and log.strip():
        from .verifier import lines  # and with it a hundred expressions, which few need

        return VerifierError(failed, log, number, text, lines.of_program(elf, failed))
    about = next((p for p in programs if p["name"] == failed), None)
    if about:
        kind = kinds.name_of(kinds.PROG_TYPES, about["type"])
        section = about["section"]
        if kind == "unspec":
            return ObjectError(
                f"program '{failed}' has SEC(\"{section}\"), which the libbpf of {lab.machine} does not know; "
                'write what it is, such as SEC("xdp") or SEC("tp/syscalls/sys_enter_openat")'
            )
        if number == errno.ESRCH and "/" in section:
            return BpfError(
                f"program '{failed}' was not loaded: the kernel's BTF has no '{section.partition('/')[2]}', as "
                f"SEC(\"{section}\") wants; {_near_function(lab, section.partition('/')[2])}",
                number,
            )
        feature = f"{section.partition('/')[0]} (program '{failed}')"
        denied = number == errno.EPERM and not_permitted(lab, number, f"program '{failed}' is not loaded as {kind}")
        if denied:
            return denied
        if number in (errno.EPERM, errno.EINVAL, errno.ENOTSUP, 524):
            reason = f"the kernel refused a {kind} program with {errno.errorcode.get(number, number)} and no verifier log"
            return NotSupportedError(feature, lab.where, reason, number)
    missing = next((m for line in said if (m := re.search(r"extern \(func ksym\) '(\w+)': not found", line))), None)
    if missing:
        return NotSupportedError(
            f"the kernel's function {missing[1]}()",
            lab.where,
            errno=number,
            remedy="a newer kernel may have it; declared __ksym __weak, the object loads without it, and bpf_ksym_exists() tells",
        )
    text = f"object '{name}' was not loaded: {'; '.join(said) or payload['message']}"
    if any(re.search(r"map '.*': failed to create", line) for line in said) and number == errno.EINVAL:
        text += "; see that the definition of the map has a type, a max_entries above 0, a key and a value that are not empty"
    return BpfError(text, number)
