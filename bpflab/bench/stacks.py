"""1,000,000 stack samples folded and named, and a flame graph of 50,000 stacks in the browser."""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from .. import stacks
from ..errors import LabError, NotSupportedError
from ..lab import Lab
from . import Measure
from .programs import bcc_script

SAMPLES, DISTINCT, DEPTH, FUNCTIONS = 1_000_000, 50_000, 12, 3_000
ROUNDS = 3
LIMIT_S = 2.0


def _program(folder: Path) -> tuple[Path, np.ndarray]:
    """A program of many functions that waits, and an address within each of them."""
    text = ["#include <unistd.h>\n"]
    text += [f"long function_{n}(long x) {{ return x * {n} + (x >> {n % 13}); }}\n" for n in range(FUNCTIONS)]
    text.append("int main(void) { for (;;) pause(); }\n")
    (folder / "many.c").write_text("".join(text))
    path = folder / "many"
    done = subprocess.run(["gcc", "-O0", "-no-pie", "-fno-pie", "-o", path, folder / "many.c"], capture_output=True, text=True)
    if done.returncode:
        raise LabError(f"the program to be symbolised does not build: {done.stderr.strip()[-300:]}; run ./lab up, which installs gcc")
    listed = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    return path, np.array([int(at, 16) + 8 for at in re.findall(r"^(\w+) T function_", listed, re.MULTILINE)], np.uint64)


def _kernel_addresses(lab: Lab) -> np.ndarray:
    """Addresses within functions of the kernel that have one name only, and no namesake."""
    found = stacks.symbols(lab)
    lines = [line.split() for line in lab.sh("cat /proc/kallsyms").lines]
    starts, many = np.unique(np.array([int(line[0], 16) for line in lines if line[1] in "tTwW"], np.uint64), return_counts=True)
    own = set(starts[many == 1].tolist())
    sizes = np.diff(found.starts)
    good = [n for n in np.flatnonzero(sizes > 64).tolist() if int(found.starts[n]) in own and found.starts[n] < found.end_of_text]
    return found.starts[np.array(good)] + np.uint64(16)


def _stacks(pool: np.ndarray, draws: np.random.Generator) -> np.ndarray:
    rows = pool[draws.integers(0, len(pool), (DISTINCT, DEPTH))]
    rows[np.arange(DEPTH) >= draws.integers(DEPTH // 2, DEPTH + 1, DISTINCT)[:, None]] = 0
    return rows


def _fold() -> Iterator[tuple[float, float, int, str]]:
    with tempfile.TemporaryDirectory() as name, Lab("local", quiet=True) as lab:
        folder, draws = Path(name), np.random.default_rng(5)
        path, functions = _program(folder)
        with lab.spawn([str(path)]) as process:
            user, kernel = _stacks(functions, draws), _stacks(_kernel_addresses(lab), draws)
            indices = draws.integers(0, DISTINCT, SAMPLES).astype(np.uint32)
            rows = [";".join(" ".join(str(a) for a in part if a) for part in pair) for pair in zip(user.tolist(), kernel.tolist())]
            (folder / "distinct").write_text("\n".join(rows))
            (folder / "samples").write_bytes(indices.tobytes())
            users, kernels = user[indices], kernel[indices]
            for _ in range(ROUNDS):
                start = time.perf_counter()
                ours = stacks.fold(lab, kernels, users, pid=process)
                folded = ours.folded()
                taken = time.perf_counter() - start
                theirs = bcc_script(lab, "bcc_stacks.py", str(process.pid), *(str(folder / f) for f in ("distinct", "samples", "out")))[0]
                same = {line.rpartition(" ")[0]: int(line.rpartition(" ")[2]) for line in (folder / "out").read_text().splitlines()}
                mine = {line.partition(";")[2]: count for line, count in folded.items()}
                wrong = sum(count for line, count in mine.items() if same.get(line) != count)
                yield taken, theirs, wrong, f"{len(mine):,} distinct stacks, {wrong:,} samples with other names"


CELL = """
import random
draws = random.Random(7)
stacks = {}
while len(stacks) < 50_000:
    path = ["main"]
    for depth in range(draws.randint(8, 30)):
        path.append(f"function_{draws.choice('aaabcd')}{depth}")
    stacks[";".join(path)] = draws.randint(1, 50)
import bpflab as bl
bl.flamegraph({"a;b": 1})
print("ready")
"""
# seconds from the start of the cell until a click has zoomed
PLAY = """async () => {
  const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
  const until = async (check) => { for (;;) { const found = check(); if (found) return found; await new Promise(requestAnimationFrame) } };
  await app.commands.execute('notebook:insert-cell-below');
  notebook.activeCell.model.sharedModel.setSource('bl.flamegraph(stacks)');
  const start = performance.now();
  app.commands.execute('notebook:run-cell');
  const root = await until(() => [...document.querySelectorAll('.bpflab-flame')].find(e => Number(e.dataset.boxes) > 1000 && e.dataset.drawn && !e.dataset.timed));
  root.dataset.timed = '1';
  const canvas = root.querySelector('canvas'), box = canvas.getBoundingClientRect();
  canvas.dispatchEvent(new MouseEvent('click', {bubbles: true, clientX: box.left + box.width / 3, clientY: box.bottom - 18 * 3.5}));
  await until(() => root.dataset.zoomed);
  return (performance.now() - start) / 1000;
}"""


def _browser() -> Iterator[tuple[float, float, int]]:
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "browser"))
    try:
        from conftest import ARGUMENTS, chromium_path
        from lab_page import Jupyter, Notebook
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise NotSupportedError("a browser for figures", "this computer", f"{error}", remedy="./lab test --setup-only installs it") from None
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        jupyter = Jupyter(Path(name))
        try:
            browser = playwright.chromium.launch(executable_path=chromium_path(), args=[*ARGUMENTS, "--no-sandbox"])
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            notebook = Notebook(jupyter, context, "flame.ipynb", [CELL])
            notebook.page.get_by_text("ready", exact=True).wait_for(timeout=60_000)
            for _ in range(ROUNDS):
                yield notebook.page.evaluate(PLAY), LIMIT_S, 0
            notebook.close()
            browser.close()
        finally:
            jupyter.close()


MEASURES = [
    Measure("1,000,000 stack samples folded and named", "bcc's sym and ksym, each distinct stack once", 10, _fold),
    Measure("a flame graph of 50,000 stacks, from the cell to the first zoom", "limit", 1, _browser),
]
