"""What the kernel holds, as far as a lab could leave something in it.

Programs, maps and links, network namespaces, cgroups, pins, queueing disciplines, the processes
of labs and their records. Other labs may be at work on the same kernel: what only processes hold
that this test run did not start is not counted.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

RUN = "BPFLAB_TEST_RUN"  # in the environment of every process that this test run starts
LAB = re.compile(r"bpflab-(\d+)-\d+")  # a lab's name, with the agent's pid (bpflab/agent/ownership.py)
SUDO = [] if os.geteuid() == 0 else ["sudo", "-n"]


def take() -> dict[str, set[str]]:
    """Look at the kernel.

    Returns
    -------
    dict of set
        By kind: "program", "map", "link", "namespace", "cgroup", "pin", "qdisc", "process", "record".
    """
    ours = {pid for pid in processes() if _is_ours(pid)}
    foreign = _held_by_others(ours)
    listed = {}
    for kind, key in (("program", "prog_id"), ("map", "map_id"), ("link", "link_id")):
        things = _listed(key[:-3])
        listed[kind] = {
            f"{t['id']} {t.get('type', '')} {t.get('name', '')}" for t in things if (key, t["id"]) not in foreign
        }
    return {
        **listed,
        "namespace": _namespaces(ours),
        "cgroup": {path for path in _cgroups() if not _of_another_lab(path, ours)},
        "pin": _pins(ours),
        "qdisc": _qdiscs(),
        "process": _lab_processes(ours),
        "record": {str(path) for path in Path("/run/bpflab").glob("*.undo") if not _of_another_lab(path.name, ours)},
    }


def left(before: dict[str, set[str]], patience: float = 10.0) -> list[str]:
    """Say what is there that was not there before.

    The kernel frees a program after a grace period and gives no notice of it, so what is
    too much is looked at again until it is gone or the patience is.

    Parameters
    ----------
    before : dict
        From `take`.
    patience : float
        Seconds.

    Returns
    -------
    list of str
        One line for each thing; empty when nothing is left.
    """
    end = time.monotonic() + patience
    while True:
        now = take()
        extra = [f"{kind} {one}" for kind in now for one in sorted(now[kind] - before[kind])]
        if not extra or time.monotonic() > end:
            return extra
        time.sleep(0.05)


def _listed(what: str) -> list[dict]:
    """What bpftool lists. It gives up when a thing goes away while it looks at it, and is then asked again."""
    for chance in range(20, 0, -1):
        try:
            return json.loads(_run("bpftool", "-j", what, "list") or "[]")
        except RuntimeError:
            if chance == 1:
                raise


def _run(*command: str) -> str:
    done = subprocess.run([*SUDO, *command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def processes() -> list[int]:
    return [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]


def _is_ours(pid: int) -> bool:
    """Whether this run started it. What may not be looked at (sudo's side of a lab, for a user) counts as ours."""
    try:
        return f"{RUN}={os.environ.get(RUN)}".encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except PermissionError:
        return True
    except OSError:
        return False


def _held_by_others(ours: set[int]) -> set[tuple[str, int]]:
    """(kind, id) of each BPF thing that processes hold of which none is ours."""
    held: dict[bool, set] = {True: set(), False: set()}
    for pid in processes():
        with contextlib.suppress(OSError):
            for fd in os.scandir(f"/proc/{pid}/fdinfo"):
                with contextlib.suppress(OSError):
                    found = re.findall(r"^(prog_id|map_id|link_id):\s*(\d+)", Path(fd.path).read_text(), re.M)
                    held[pid in ours].update((kind, int(number)) for kind, number in found)
    return held[False] - held[True]


def _of_another_lab(name: str, ours: set[int]) -> bool:
    """Whether a name belongs to a lab that lives and is none of ours."""
    found = LAB.search(name)
    return bool(found) and int(found[1]) not in ours and os.path.exists(f"/proc/{found[1]}")


def _lab_processes(ours: set[int]) -> set[str]:
    """Agents, watchers (which have an environment of their own, but name their lab) and what labs started."""
    found = set()
    for pid in processes():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            lab = LAB.search(command) and not _of_another_lab(command, ours)
            agent = pid in ours and Path(f"/proc/{pid}/comm").read_text().strip() == "bpflab-agent"
            started = pid in ours and b"BPFLAB_LAB=" in Path(f"/proc/{pid}/environ").read_bytes()
            if command and (lab or agent or started):  # a zombie has no command line
                found.add(f"{pid} {' '.join(command.split())[:80]}")
    return found


def _namespaces(ours: set[int]) -> set[str]:
    """Network namespaces that our processes are in or have mounted, and those that have a name."""
    found = set()
    for pid in ours:
        with contextlib.suppress(OSError):
            found.add(os.readlink(f"/proc/{pid}/ns/net"))
            mounts = Path(f"/proc/{pid}/mountinfo").read_text()
            found.update(line.split()[3] for line in mounts.splitlines() if " - nsfs " in line and "net:[" in line)
    with contextlib.suppress(OSError):
        found.update(f"/run/netns/{name}" for name in os.listdir("/run/netns"))
    return found - {os.readlink("/proc/self/ns/net")}


def _cgroups() -> set[str]:
    tops = re.findall(r"^\S+ (\S+) cgroup2 ", Path("/proc/self/mounts").read_text(), re.M)
    return {folder for top in tops for folder, _, _ in os.walk(top)}


def _pins(ours: set[int]) -> set[str]:
    """Everything pinned on a bpffs that is mounted for us or for a process of ours."""
    found, seen = set(), set()
    for pid in (os.getpid(), *ours):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                device, place = line.split()[2], line.split()[4]
                if " - bpf " in line and device not in seen:
                    seen.add(device)
                    pins = Path(f"/proc/{pid}/root{place}").rglob("*")
                    found.update(f"{device} {place}/{pin.name}" for pin in pins if not pin.is_dir())
    return found


def _qdiscs() -> set[str]:
    listed = json.loads(_run("tc", "-j", "qdisc", "show") or "[]")
    return {f"{q.get('dev')} {q.get('kind')} {q.get('handle', '')}" for q in listed}
