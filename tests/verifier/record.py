"""Record what kernels say of the corpus: run it as root with the workbook's Python, once for each kind of machine.

PYTHONPATH=. .venv/bin/python tests/verifier/record.py local vm:6.1 vm:6.12 [NAME.bpf.c ...]

Each program of this folder, or each that is named, is loaded on each machine; the verifier's log goes to logs/KERNEL/NAME.log. A log of more
than LIMIT characters keeps its end, which is what the kernel itself keeps when its buffer is full. A program that a
kernel accepts has no log there, and says so in its header (`accepted`). The local machine also gives lines.json: for each
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

FOLDER = Path(__file__).parent
LIMIT = 24_000


def header(path: Path) -> dict[str, str]:
    """What a program's first comment says must be said of it."""
    comment = path.read_text().partition("*/")[0]
    return dict(re.findall(r"^ \* (\w+): (.*)$", comment, re.M))


def log_of(lab: bl.Lab, path: Path) -> str | None:
    """The verifier's log of a program, None when the kernel accepts it."""
    without = header(path).get("without")
    if without:
        return _log_without(lab, path, without)
    try:
        lab.load(path).close()
    except bl.VerifierError as error:
        return error.log
    return None


def _log_without(lab: bl.Lab, path: Path, capability: str) -> str | None:
    """The log when the loader lacks a capability (and CAP_SYS_ADMIN, which stands for it)."""
    text = path.read_text()
    data = base64.b64encode(lab.compile(bl.CSource(text, path.name), name=path.name)).decode()
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
        raise SystemExit(f"{path.name} without {capability}: no log in\n{done.stderr}")
    return said[1]


def lines_of(lab: bl.Lab, path: Path) -> dict:
    """Where each source line begins, and the operations, of the program that is rejected."""
    text = path.read_text()
    table = lines.of_program(lab.compile(bl.CSource(text, path.name), name=path.name), header(path)["program"])
    return {"lines": [[insn, place.line or 0] for insn, place in table], "codes": table.codes.hex()}


def kept(log: str) -> str:
    """What is stored of a log."""
    return log if len(log) <= LIMIT else log[log.index("\n", len(log) - LIMIT) + 1 :]


def main(arguments: list[str]) -> None:
    machines = [one for one in arguments if not one.endswith(".bpf.c")]
    named = [one for one in arguments if one.endswith(".bpf.c")]
    for machine in machines:
        with bl.Lab(machine) as lab:
            folder = FOLDER / "logs" / ".".join(lab.kernel.split(".")[:2])
            folder.mkdir(parents=True, exist_ok=True)
            tables = {}
            for path in sorted(FOLDER.glob("*.bpf.c")):
                if machine == "local":
                    tables[path.name.removesuffix(".bpf.c")] = lines_of(lab, path)
                if named and path.name not in named:
                    continue
                name = path.name.removesuffix(".bpf.c")
                where = folder / f"{name}.log"
                try:
                    log = log_of(lab, path)
                except bl.LabError as error:
                    print(f"{machine} {name}: {error}")
                    continue
                if log is None:
                    print(f"{machine} {name}: accepted")
                    where.unlink(missing_ok=True)
                else:
                    where.write_text(kept(log))
            if tables:
                rows = ",\n".join(f'"{name}": {json.dumps(table)}' for name, table in tables.items())
                (FOLDER / "lines.json").write_text("{\n" + rows + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
