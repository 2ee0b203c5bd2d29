"""Small programs to trace: built on the lab machine when they are first used, ended with the lab."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import CompileError, LabError, NotSupportedError, UnknownNameError
from ..machines import AgentError
from ..process import Process

if TYPE_CHECKING:
    from ..lab import Lab

_HERE = Path(__file__).parent
_C = ("-O2", "-g", "-fno-omit-frame-pointer", "-pthread")  # with what stacks need, as a distribution would build it


class Kind(NamedTuple):
    """A workload: its source, its compiler and the Debian package that has it, its options in the order of its arguments."""

    file: str
    compiler: tuple[str, ...]
    package: str
    options: dict[str, int]
    what: str


WORKLOADS = {
    "web": Kind("web.c", ("gcc", *_C), "gcc libc6-dev systemtap-sdt-dev", {"rate": 50, "port": 0}, "a web server, some of whose pages are slow, with USDT probes"),
    "leak": Kind("leak.c", ("gcc", *_C), "gcc libc6-dev", {"rate": 200}, "a C program that forgets to free"),
    "lock": Kind("lock.c", ("gcc", *_C), "gcc libc6-dev", {"threads": 4}, "threads that fight for a lock"),
    "disk": Kind("disk.c", ("gcc", *_C), "gcc libc6-dev", {"block": 16384, "rate": 100}, "a program that writes to the disk, with fsync"),
    "cpp": Kind("cpp.cpp", ("g++", "-std=c++17", *_C), "g++", {"rate": 100}, "a program in C++"),
    "go": Kind("go.go", ("go", "build"), "golang-go", {"rate": 100}, "a program in Go"),
}
# built like a workload, but it does nothing by itself
_TOOLS = {"calls": Kind("calls.c", ("gcc", "-O2", "-fno-omit-frame-pointer"), "gcc libc6-dev systemtap-sdt-dev", {}, "something to be traced many times")}


class Workload(Process):
    """A workload that runs.

    Attributes
    ----------
    name : str
    pid : int
    binary : str
        Its path on the lab machine, for `attach_uprobe` and `lab.events(binary=...)`.
    port : int or None
        Of "web": where it listens on 127.0.0.1.
    """

    def __init__(self, lab: Lab, command: list[str], about: dict, name: str):
        super().__init__(lab, command, about)
        self.name, self.binary = name, command[0]
        self.port: int | None = None

    def __repr__(self) -> str:
        port = f", port {self.port}" if self.port else ""
        return f"<workload {self.name}, process {self.pid}{port}: {WORKLOADS[self.name].what}>"


def start(lab: Lab, name: str, strip: bool = False, **options: int) -> Workload:
    """See `Lab.workload`."""
    if name not in WORKLOADS:
        raise UnknownNameError("workload", name, WORKLOADS)
    path = binary(lab, name, strip)
    kind = WORKLOADS[name]
    for option, value in options.items():
        if option not in kind.options:
            raise UnknownNameError("option", option, kind.options, f"workload '{name}'")
        if not isinstance(value, int) or value < 0:
            raise ValueError(f"{option} of workload '{name}' is a number, 0 or more, not {value!r}")
    command = [path, *(str(options.get(option, usual)) for option, usual in kind.options.items())]
    try:
        about = lab.ask("process.spawn", command, "", "", None)
    except AgentError as error:
        raise LabError(f"workload '{name}' does not start: {error}; see lab.sh('{' '.join(command)}')") from None
    made = Workload(lab, command, about, name)
    try:
        made.wait_for("running")
    except BaseException:
        made.stop()
        raise
    said = dict(word.split("=") for word in made.stdout.split() if "=" in word)
    made.port = int(said["port"]) if "port" in said else None
    return made


def binary(lab: Lab, name: str, strip: bool = False) -> str:
    """Path on the lab machine of a workload's program, built if it was not before.

    Raises
    ------
    NotSupportedError
        The machine has no compiler for it.
    """
    kind = {**WORKLOADS, **_TOOLS}[name]
    source = (_HERE / kind.file).read_bytes()
    identity = hashlib.sha256(b"\0".join([source, repr(kind.compiler).encode()])).hexdigest()[:16]
    try:
        built = lab.ask("workloads.build", f"{name}-{identity}", kind.file, source, list(kind.compiler), strip)
    except AgentError as error:
        raise error.blame(f"workload '{name}' cannot be built on {lab.machine}") from None
    if built["missing"]:
        remedy = f"install it there: apt install {kind.package}"
        raise NotSupportedError(f"workload '{name}'", lab.where, f"it has no '{built['missing']}' to build {kind.file} with", remedy=remedy)
    if built["said"]:
        raise CompileError(built["said"], f"workload '{name}' (apt install {kind.package} has what it needs)")
    return built["path"]
