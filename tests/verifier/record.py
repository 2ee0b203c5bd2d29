"""Record what kernels say of the corpus: run it as root with the workbook's Python, once for each kind of machine.

PYTHONPATH=. .venv/bin/python tests/verifier/record.py local vm:6.1 vm:6.12 [NAME ...]

Each program of this folder, or each that is named, is loaded on each machine; the verifier's log goes to logs/KERNEL/NAME.log. A log of more
than LIMIT characters keeps its end, which is what the kernel itself keeps when its buffer is full. A program that a
kernel accepts has no log there. The local machine also gives lines.json: for each
program, the source line of each instruction, from its object.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

import bpflab as bl
from bpflab.verifier import lines

sys.path.insert(0, str(Path(__file__).parents[1]))
from rejected import FOLDER, Rejected, corpus  # noqa: E402

LIMIT = 24_000


def log_of(lab: bl.Lab, one: Rejected) -> str | None:
    """The verifier's log of a program, None when the kernel accepts it."""
    if "without" in one.header:
        return log_without(lab, one, one.header["without"])
    try:
        lab.load(one.path).close()
    except bl.VerifierError as error:
        return error.log
    return None


def log_without(lab: bl.Lab, one: Rejected, capability: str) -> str | None:
    """The log when the loader lacks a capability (and CAP_SYS_ADMIN, which stands for it)."""
    data = base64.b64encode(lab.compile(one.source, name=one.path.name)).decode()
    lab.sh("base64 -d > /tmp/bpflab-record.o", input=data)
    dropped = f"-{capability},-sys_admin"
    done = lab.sh(
        f"setpriv --bounding-set {dropped} --inh-caps {dropped} bpftool -d prog load /tmp/bpflab-record.o /sys/fs/bpf/recorded;"
        " status=$?; rm -f /tmp/bpflab-record.o /sys/fs/bpf/recorded; exit $status",
        check=False,
    )
    if done.returncode == 0:
        return None
    said = re.search(r"BEGIN PROG LOAD LOG --\n(.*?)-- END PROG LOAD LOG", done.stderr, re.S)
    if not said:
        raise SystemExit(f"{one.name} without {capability}: no log in\n{done.stderr}")
    return said[1]


def lines_of(lab: bl.Lab, one: Rejected) -> dict:
    """Where each source line begins, and the operations, of the program that is rejected."""
    table = lines.of_program(lab.compile(one.source, name=one.path.name), one.header["program"])
    return {"lines": [[insn, place.line or 0] for insn, place in table], "codes": table.codes.hex()}


def kept(log: str) -> str:
    """What is stored of a log."""
    return log if len(log) <= LIMIT else log[log.index("\n", len(log) - LIMIT) + 1 :]


def main(arguments: list[str]) -> None:
    names = {one.name for one in corpus()}
    wanted = names.intersection(arguments) or names
    for machine in (one for one in arguments if one not in names):
        with bl.Lab(machine) as lab:
            folder = FOLDER / "logs" / ".".join(lab.kernel.split(".")[:2])
            folder.mkdir(parents=True, exist_ok=True)
            for one in corpus():
                if one.name not in wanted:
                    continue
                where = folder / f"{one.name}.log"
                try:
                    log = log_of(lab, one)
                except bl.LabError as error:
                    print(f"{machine} {one.name}: {error}")
                    continue
                if log is None:
                    print(f"{machine} {one.name}: accepted")
                    where.unlink(missing_ok=True)
                else:
                    where.write_text(kept(log))
            if machine == "local":
                rows = (f'"{one.name}": {json.dumps(lines_of(lab, one))}' for one in corpus())
                (FOLDER / "lines.json").write_text("{\n" + ",\n".join(rows) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
