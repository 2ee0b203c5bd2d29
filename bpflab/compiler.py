"""C to a CO-RE object: clang once, then a cache by content."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from . import kinds
from .errors import CompileError, LabError, NotSupportedError

if TYPE_CHECKING:
    from .lab import Lab


class CSource(str):
    """C text that remembers where its first line stands in a notebook cell.

    Attributes
    ----------
    name : str
        For messages and for the object.
    line : int
        Line of the cell that the text starts on.
    """

    def __new__(cls, text: str, name: str = "program", line: int = 1):
        self = super().__new__(cls, text)
        self.name, self.line = name, line
        return self


def cache_folder() -> Path:
    """Where objects and vmlinux.h are kept: $XDG_CACHE_HOME/bpflab, or a folder of this process if that is not writable."""
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bpflab"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _own_folder()


@functools.cache
def _own_folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="bpflab-"))


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that no other process sees half of it; a full disk is no reason to fail, the cache is only skipped."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(fd, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except OSError:
        os.unlink(name)
        raise


@functools.cache
def clang() -> str | None:
    """A clang that has the bpf target, or None."""
    for name in ("clang", *(f"clang-{n}" for n in range(22, 10, -1))):
        path = shutil.which(name)
        if path:
            listed = subprocess.run([path, "--print-targets"], capture_output=True, text=True)
            if listed.returncode or "bpf" in listed.stdout:  # clang before 13 cannot list them; compiling will tell
                return path
    return None


@functools.cache
def _identity(path: str) -> str:
    stat = os.stat(os.path.realpath(path))
    return f"{os.path.realpath(path)} {stat.st_size} {stat.st_mtime_ns}"


def vmlinux_folder(lab: Lab) -> Path:
    """The folder of a lab machine's vmlinux.h; see `Lab.vmlinux`."""
    identity = lab.ask("machine.vmlinux_identity")
    if identity is None:
        raise NotSupportedError("BTF", lab.where, "there is no /sys/kernel/btf/vmlinux")
    header = cache_folder() / "vmlinux" / identity / "vmlinux.h"
    if not header.exists():
        data = lab.call("vmlinux.h cannot be made; install bpftool", "machine.vmlinux_h")
        try:
            header.parent.mkdir(parents=True, exist_ok=True)
            write_whole(header, data)
        except OSError as error:
            raise LabError(f"{header} cannot be written: {error.strerror.lower()}; make room, or set XDG_CACHE_HOME") from None
    return header.parent


_TARGET_ARCH = {"x86_64": "x86", "aarch64": "arm64", "riscv64": "riscv", "s390x": "s390", "ppc64le": "powerpc"}


def compile_c(source: str, arch: str, vmlinux: Path, name: str = "program", line: int = 1) -> bytes:
    """Compile C text to a BPF object with BTF.

    Parameters
    ----------
    source : str
        With `#include "vmlinux.h"` and libbpf's headers.
    arch : str
        Of the machine that will run it ("x86_64"): decides __TARGET_ARCH_, hence where PT_REGS_PARM1 looks.
    vmlinux : pathlib.Path
        Folder with the lab machine's vmlinux.h.
    name, line : str, int
        What the text is called in diagnostics, and the number of its first line.

    Returns
    -------
    bytes
        An ELF object.

    Raises
    ------
    CompileError
        With clang's lines.
    LabError
        There is no clang.
    """
    program = clang()
    if not program:
        raise LabError("there is no clang with the bpf target on this computer; run ./lab up, or: apt install clang")
    arguments = _arguments(arch, str(vmlinux), os.uname().machine)

    def run(file: str, text: str) -> tuple[int, str, bytes]:
        with tempfile.TemporaryDirectory(prefix="bpflab-") as folder:
            out = Path(folder) / "out.o"
            Path(folder, file).write_text(text)
            done = subprocess.run(
                [program, *arguments, "-x", "c", "-c", file, "-o", str(out)], cwd=folder, capture_output=True, text=True
            )
            return done.returncode, done.stderr, b"" if done.returncode else out.read_bytes()

    return _kept([_identity(program), *arguments], source, name, line, run)


def compile_there(lab: Lab, source: str, name: str = "program", line: int = 1) -> bytes:
    """As `compile_c`, by the clang of a lab machine, where this computer cannot: see `compiles_here`."""
    identity = lab.ask("compile.identity")
    if identity is None:
        raise LabError(f"there is no clang on {lab.machine} nor here; install it on one of them: apt install clang libbpf-dev")
    arguments = _arguments(lab.arch, ".", lab.arch)

    def run(file: str, text: str) -> tuple[int, str, bytes]:
        return lab.call(f"'{name}' cannot be compiled on {lab.machine}", "compile.compile_c", arguments, file, text)

    return _kept([str(lab.ask("machine.vmlinux_identity")), identity, *arguments], source, name, line, run)


@functools.cache
def compiles_here() -> bool:
    """Whether this computer has a clang for BPF, and the headers that its programs include; a Mac never has those."""
    headers = any(os.path.exists(f"/usr/{place}include/bpf/bpf_helpers.h") for place in ("", "local/"))
    return headers and clang() is not None


def _arguments(arch: str, vmlinux: str, machine: str) -> list[str]:
    return [
        *("-O2", "-g", "-Wall", "-target", "bpf", f"-D__TARGET_ARCH_{_TARGET_ARCH.get(arch, arch)}"),
        *("-I", vmlinux),
        # usdt.bpf.h and others reach asm/, which Debian keeps by architecture; last, so that nothing of it shadows
        *("-idirafter", f"/usr/include/{machine}-linux-gnu"),
        *("-fno-ident", "-Wno-unused-function", "-Wno-missing-declarations", "-Wno-compare-distinct-pointer-types"),
        # the text is compiled as a file of its name: clang then copies the source lines into BTF, where the verifier's
        # log and bpftool find them; a fixed folder keeps objects alike wherever they are built
        *("-fdebug-compilation-dir=.", "-fno-crash-diagnostics"),
    ]


def _kept(parts: list[str], source: str, name: str, line: int, run: Callable[[str, str], tuple[int, str, bytes]]) -> bytes:
    """The object from the cache, else what `run` makes of a file's name and text."""
    text = "\n" * (line - 1) + source
    file = re.sub(r"[^\w.-]", "_", name).lstrip("-.")[:100] or "program"
    identity = "\0".join([*parts, file, text])
    cached = cache_folder() / "objects" / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}.bpf.o"
    if cached.exists():
        return cached.read_bytes()
    status, said, data = run(file, text)
    if status:
        raise CompileError(tidy(said), f"'{name}'")
    try:
        cached.parent.mkdir(exist_ok=True)
        write_whole(cached, data)
    except OSError:
        pass
    return data


def not_of_this_kernel(error: CompileError, where: str) -> NotSupportedError | None:
    """The cause, where C text names a map type that came after the kernel whose vmlinux.h it includes."""
    for name in re.findall(r"undeclared identifier 'BPF_MAP_TYPE_(\w+)'", error.diagnostics):
        if name.lower() in kinds.MAP_TYPES:
            reason = f"its vmlinux.h has no BPF_MAP_TYPE_{name}"
            return NotSupportedError(f"{name.lower()} maps", where, reason, remedy="a newer kernel may have them: bl.Lab('vm')")
    return None


def tidy(text: str) -> str:
    """Clang's output without the counts at its end and without warnings when there are errors.

    Of a crash of its BPF backend, which prints a hundred lines, what it could not translate and where.
    """
    crash = re.search(r"error in backend: (Cannot select: 0x\w+: \S+ = (\w+).*?, (\S+:\d+:\d+)$)?.*", text, re.M)
    if crash:
        if not crash[1]:
            return crash[0]
        return f"{crash[3]}: error: clang's BPF backend cannot translate {crash[2]}; try 64-bit operands, or an addition"
    blocks, keep = [], False
    for line in text.splitlines():
        start = re.match(r"(?:\S.*?:\d+:\d+: |\S.*: )?(fatal error|error|warning|note): ", line)
        if start and "warning" not in start[1]:
            keep = True
        elif start or re.fullmatch(r"\d+ (warning|error)s?( and \d+ errors?)? generated\.", line):
            keep = False
        elif line.startswith("In file included"):
            continue
        if keep:
            blocks.append(line)
    return "\n".join(blocks) or text
