"""Run notebooks under nbval, in one process for all of them, and say what each cell did."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import xml.etree.ElementTree as xml
from pathlib import Path

ROOT = Path(__file__).parent.parent
CELL_LIMIT = 120  # seconds


def strictly(paths: list[Path], report: Path, machine: str) -> dict[Path, dict[int, str]]:
    """Execute notebooks from top to bottom and compare every output that is not tagged nbval-ignore-output.

    Parameters
    ----------
    paths : list of Path
    report : Path
        Where to put nbval's report (JUnit XML).
    machine : str
        The lab machine they shall use.

    Returns
    -------
    dict
        For each notebook, what is wrong by number of the code cell (from 0); an empty text when the cell is right.
    """
    command = [
        *(sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", "/", "-p", "no:cacheprovider", "-q"),
        *("-p", "nbval.plugin", "--nbval", "--nbval-current-env", f"--nbval-cell-timeout={CELL_LIMIT}"),
        *(f"--junitxml={report}", "--color=no"),
        *map(str, paths),
    ]
    environment = {
        **os.environ,
        "BPFLAB_MACHINE": machine,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]).rstrip(
            os.pathsep
        ),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # it needs none of them, and they take seconds to load
    }
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if not report.exists():
        raise RuntimeError(f"nbval did not run: {done.stdout}{done.stderr}")
    found: dict[Path, dict[int, str]] = {path: {} for path in paths}
    for case in xml.parse(report).iter("testcase"):
        faults = [*case.iter("failure"), *case.iter("error"), *case.iter("skipped")]
        text = "\n".join(fault.text or fault.get("message", "") for fault in faults)
        path = next((p for p in paths if case.get("classname") == _dotted(p)), None)
        number = case.get("name", "").removeprefix("Cell ")
        if path is None or not number.isdigit():
            raise RuntimeError(f"nbval: {case.get('classname')} {case.get('name')}: {text}")
        found[path][int(number)] = re.sub(r"#x1B\[[\d;]*m", "", text)
    return found


def _dotted(path: Path) -> str:
    """A path as pytest writes it into JUnit's classname when its root is /."""
    return str(path).lstrip("/").replace("/", ".")
