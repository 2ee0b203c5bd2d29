"""What this computer can do: each line found by trying, each gap with its remedy.

Standard library only at the top, so that `./lab doctor` works before the set-up; what only a lab can try is added
where the packages are there.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from . import compiler, setup_steps

if TYPE_CHECKING:
    import pandas as pd

SET_UP = "./lab up --setup-only installs it"
ANOTHER_KERNEL = "this kernel cannot; a virtual machine with one of Debian's kernels may: bl.Lab('vm'), ./lab vm --help"
REMEDIES = {"setting": "whoever runs this computer decided so; the workbook works without"}
DEBIAN_PYTHON = "/usr/bin/python3"
EM_BPF = 247  # e_machine of a BPF object (include/uapi/linux/elf-em.h)

SMALLEST = """\
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
SEC("socket") int smallest(void *ctx) { return 0; }
"""

# What is run to see whether a tool works, and where its version stands in what it prints.
TOOLS = {
    "bpftool": (["bpftool", "version"], r"bpftool v(\S+)"),
    "bpftrace": (["bpftrace", "--version"], r"bpftrace v(\S+)"),
    "tcpdump": (["tcpdump", "--version"], r"tcpdump version (\S+)"),
    "ip": (["ip", "-V"], r"iproute2-([^\s,]+)"),
    "tc": (["tc", "-V"], r"iproute2-([^\s,]+)"),
    "gcc": (["gcc", "-dumpfullversion"], r"(\S+)"),
}


class Finding(NamedTuple):
    """One line of the doctor's table.

    Attributes
    ----------
    name : str
        What was tried.
    ok : bool
    found : str
        What came of it.
    remedy : str
        What to do; empty when it works.
    needed : bool
        Nothing works without it.
    kind : str
        "computer", or what `Lab.features` calls it ("attach", "map type", ...).
    """

    name: str
    ok: bool
    found: str
    remedy: str = ""
    needed: bool = False
    kind: str = "computer"


def examine(tree: Path, lab: bool = True) -> list[Finding]:
    """Try everything.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    lab : bool
        Start a lab and try what its kernel can do; not possible before the set-up.
    """
    findings = [_system(), _python(), _venv(tree), _packages(), _root(), _clang(), _libbpf(), _btf()]
    findings += [_tool(name) for name in TOOLS]
    findings += [_bcc(), _headers(), *_file_systems()]
    return findings + _lab() if lab else findings


def _system() -> Finding:
    name = platform.system()
    if name != "Linux":
        return Finding("system", False, name, "BPF is Linux's: use a lab machine that runs it", needed=True)
    try:
        name = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        name = "a Linux that does not say its name"
    return Finding("system", True, f"{name}, Linux {platform.release()}, {platform.machine()}", needed=True)


def _python() -> Finding:
    return Finding("python", True, f"{platform.python_version()}, {sys.executable}", needed=True)


def _venv(tree: Path) -> Finding:
    if setup_steps.is_ready(tree):
        return Finding(".venv", True, f"as {setup_steps.RUN_LOCK} says", needed=True)
    there = setup_steps.venv_python(tree).exists()
    found = f"is not what {setup_steps.RUN_LOCK} says" if there else "not made yet"
    return Finding(".venv", False, found, "./lab up --setup-only makes it", needed=True)


def _packages() -> Finding:
    missing = setup_steps.missing_packages(tests=False)
    if missing is None:
        return Finding("packages", False, "this is not Debian or a relative of it", "the tools below must come otherwise")
    if missing:
        return Finding("packages", False, f"missing: {' '.join(missing)}", "./lab up --setup-only installs them")
    return Finding("packages", True, f"all {len(setup_steps.RUN_PACKAGES)} of Debian's are installed")


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", True, "you are root", needed=True)
    if not shutil.which("sudo"):
        return Finding("root", False, "you are not root, and there is no sudo", "become root, or install sudo", needed=True)
    if subprocess.run(["sudo", "-n", "true"], capture_output=True, stdin=subprocess.DEVNULL).returncode:
        remedy = "a notebook cannot type it: start with `sudo ./lab up`, or let sudo run without one for you"
        return Finding("root", False, "sudo asks for a password", remedy, needed=True)
    return Finding("root", True, "sudo makes you root", needed=True)


def _clang() -> Finding:
    clang = compiler.clang()
    if not clang:
        return Finding("clang", False, "no clang with the bpf target", SET_UP, needed=True)
    headers = f"/usr/include/{platform.machine()}-linux-gnu"
    command = [clang, "-O2", "-g", "-target", "bpf", "-idirafter", headers, "-x", "c", "-c", "-", "-o", "-"]
    done = subprocess.run(command, input=SMALLEST.encode(), capture_output=True)
    if done.returncode:
        wrong = next((line for line in done.stderr.decode(errors="replace").splitlines() if "error" in line), "it failed")
        return Finding("clang", False, wrong, "its headers come with libbpf-dev and linux-libc-dev", needed=True)
    if int.from_bytes(done.stdout[18:20], "little") != EM_BPF:
        return Finding("clang", False, f"{clang} made something that is no BPF object", SET_UP, needed=True)
    version = subprocess.run([clang, "-dumpversion"], capture_output=True, text=True).stdout.strip()
    return Finding("clang", True, f"{version} compiled a BPF program", needed=True)


def _libbpf() -> Finding:
    try:
        library = ctypes.CDLL("libbpf.so.1")
        library.libbpf_version_string.restype = ctypes.c_char_p
        return Finding("libbpf", True, library.libbpf_version_string().decode(), needed=True)
    except (OSError, AttributeError) as error:
        return Finding("libbpf", False, str(error), SET_UP, needed=True)


def _btf() -> Finding:
    path = "/sys/kernel/btf/vmlinux"
    try:
        with open(path, "rb") as file:
            magic = file.read(2)
    except OSError as error:
        remedy = "the kernel must be built with CONFIG_DEBUG_INFO_BTF: stock kernels of Debian 12 are"
        return Finding("kernel BTF", False, f"{path}: {error.strerror}", remedy, needed=True)
    # BTF_MAGIC (include/uapi/linux/btf.h), in the byte order of the machine
    ok = int.from_bytes(magic, sys.byteorder) == 0xEB9F
    return Finding("kernel BTF", ok, f"{path}, {os.path.getsize(path) / 1e6:.1f} MB", "" if ok else "it is damaged", True)


def _tool(name: str) -> Finding:
    command, pattern = TOOLS[name]
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if not path:
        return Finding(name, False, "not found", SET_UP)
    done = subprocess.run([path, *command[1:]], capture_output=True, text=True, errors="replace")
    found = re.search(pattern, done.stdout + done.stderr)
    if done.returncode or not found:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["it said nothing"]
        return Finding(name, False, last[0], f"run it by hand: {' '.join(command)}")
    return Finding(name, True, found[1])


def _bcc() -> Finding:
    code = "import bcc; bcc.BPF; print(getattr(bcc, '__version__', '?'), bcc.__file__)"
    done = subprocess.run([DEBIAN_PYTHON, "-E", "-P", "-c", code], capture_output=True, text=True)
    if not done.returncode:
        version, path = done.stdout.split(maxsplit=1)
        return Finding("bcc", True, f"{version}, {os.path.dirname(path)}")
    wrong = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
    if "no attribute 'BPF'" in wrong:
        return Finding("bcc", False, f"{DEBIAN_PYTHON} has another project of that name", "pip uninstall bcc; " + SET_UP)
    return Finding("bcc", False, wrong, SET_UP)


def _headers() -> Finding:
    release = platform.release()
    # Debian keeps those that all flavours share in a folder of their own, which "source" leads to
    if any(os.path.exists(f"/lib/modules/{release}/{name}/include/linux/sched.h") for name in ("build", "source")):
        return Finding("bcc headers", True, f"those of the running kernel, {release}")
    remedy = (
        f"apt-get install linux-headers-{release}, where Debian has it; without them BCC is right for tracepoint "
        "arguments and helpers, and wrong for the kernel's own structures"
    )
    return Finding("bcc headers", False, f"none for the running kernel, {release}", remedy)


def _file_systems() -> list[Finding]:
    known = Path("/proc/filesystems").read_text().split() if os.path.exists("/proc/filesystems") else []
    mounts = Path("/proc/self/mounts").read_text() if os.path.exists("/proc/self/mounts") else ""
    findings = []
    for name, kind in (("bpffs", "bpf"), ("tracefs", "tracefs"), ("cgroup2", "cgroup2")):
        place = re.search(rf"^\S+ (\S+) {kind} ", mounts, re.MULTILINE)
        if place:
            findings.append(Finding(name, True, f"mounted at {place[1]}"))
        elif kind not in known:
            findings.append(Finding(name, False, "this kernel does not have it", "use a machine with a stock kernel"))
        elif kind == "cgroup2":
            findings.append(Finding(name, False, "not mounted", "mount -t cgroup2 none /sys/fs/cgroup/unified"))
        else:
            findings.append(Finding(name, True, "not mounted; a lab mounts its own"))
    return findings


def _lab() -> list[Finding]:
    from .errors import LabError
    from .lab import Lab

    try:
        with Lab(quiet=True) as lab:
            findings = [Finding("lab", True, f"a program was loaded on {lab.machine}, Linux {lab.release}", needed=True)]
            for row in lab.features().itertuples():
                found, remedy = (row.how, "") if row.available else (row.reason, REMEDIES.get(row.kind, ANOTHER_KERNEL))
                name = f"{row.kind} {row.feature.removeprefix('map ')}"
                findings.append(Finding(name, bool(row.available), found, remedy, kind=row.kind))
            return findings
    except LabError as error:
        what, _, remedy = str(error).partition("; ")
        return [Finding("lab", False, what, remedy or "mend the lines above first", needed=True)]


def doctor() -> pd.DataFrame:
    """Say what this computer can do.

    Returns
    -------
    pandas.DataFrame
        Columns `name`, `ok` (bool), `found`, `remedy`, `needed` (bool), `kind`; one row for each thing that was tried.
    """
    import pandas as pd

    return pd.DataFrame(examine(Path(__file__).resolve().parent.parent), columns=Finding._fields)


def report(tree: Path, as_json: bool = False, lab: bool = True) -> int:
    """Print the findings; returns 1 when something is missing that everything needs, else 0."""
    findings = examine(tree, lab)
    if as_json:
        print(json.dumps([finding._asdict() for finding in findings], indent=1))
    else:
        print(_table(findings))
    return int(any(finding.needed and not finding.ok for finding in findings))


def _table(findings: list[Finding]) -> str:
    """The computer line by line; of the kernel's features one line for all of a kind that work, and each that does not."""
    shown = [finding for finding in findings if finding.kind == "computer"]
    for kind in dict.fromkeys(finding.kind for finding in findings if finding.kind != "computer"):
        those = [finding for finding in findings if finding.kind == kind]
        work = [finding.name.removeprefix(f"{kind} ") for finding in those if finding.ok]
        if work:
            shown.append(Finding(kind, True, f"{len(work)} of {len(those)}: {', '.join(work)}"))
        shown += sorted((finding for finding in those if not finding.ok), key=lambda finding: finding.remedy)
    wide = max(len(finding.name) for finding in shown)
    indent = " " * (wide + 6)
    wrap = textwrap.TextWrapper(
        width=max(shutil.get_terminal_size((100, 24)).columns - 1, wide + 46),
        break_on_hyphens=False,
        break_long_words=False,
    )
    lines = []
    for finding, after in zip(shown, [*shown[1:], None]):
        head = f"{'ok' if finding.ok else 'no'}  {finding.name:{wide}}  "
        wrap.initial_indent, wrap.subsequent_indent = head, indent
        lines += wrap.wrap(finding.found) or [head.rstrip()]
        # several gaps with one remedy: once is enough
        if finding.remedy and (after is None or after.remedy != finding.remedy):
            wrap.initial_indent, wrap.subsequent_indent = f"{indent}-> ", f"{indent}   "
            lines += wrap.wrap(finding.remedy)
    return "\n".join([*lines, "", _verdict(findings)])


def _verdict(findings: list[Finding]) -> str:
    gaps = [finding for finding in findings if not finding.ok]
    if stopping := [finding.name for finding in gaps if finding.needed]:
        return f"Nothing works without: {', '.join(stopping)}."
    if gaps:
        return f"The workbook works here; of {len(findings)} things that were tried, {len(gaps)} this computer cannot do."
    return f"The workbook works here, and all {len(findings)} things that were tried do."
