"""Run a notebook from top to bottom without a browser, and say what came of it."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import nbclient.exceptions
import nbformat
from traitlets.config import Config

from .errors import LabError, UnknownNameError
from .notebook_server import jupyter_environment
from .progress_bar import Progress

CELL_SECONDS = 600  # the longest cell of the workbook takes well under a minute
ERROR_LINES = 15


def find(tree: Path, chapter: str) -> Path:
    """The notebook that a person means.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    chapter : str
        Number ("3", "03"), the start of a name ("03-ma", "maps"), or the path of any notebook.

    Raises
    ------
    UnknownNameError
        There is no such chapter; the message names those there are.
    LabError
        More than one fits.
    """
    path = Path(chapter)
    if path.suffix == ".ipynb" and path.exists():
        return path.resolve()
    chapters = {each.stem: each for each in sorted((tree / "notebooks").glob("[0-9]*.ipynb"))}

    def fits(name):
        number, _, title = name.partition("-")
        same = chapter.isdecimal() and number.isdecimal() and int(chapter) == int(number)
        return same or (chapter and not chapter.isdecimal() and (name.startswith(chapter) or title.startswith(chapter)))

    found = [name for name in chapters if fits(name)]
    if not found:
        raise UnknownNameError("chapter", chapter, chapters, "notebooks/")
    if len(found) > 1:
        raise LabError(f"{chapter!r} could be {' or '.join(found)}; give more of the name")
    return chapters[found[0]]


def run(tree: Path, chapter: str, html: Path | None = None, update: bool = False) -> int:
    """Execute a chapter.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    chapter : str
        See `find`.
    html : pathlib.Path, optional
        Where to write the notebook with its results, also when a cell failed.
    update : bool
        Store the results in the notebook, when every cell worked.

    Returns
    -------
    int
        0 when every cell worked, else 1.
    """
    path = find(tree, chapter)
    if html and not html.absolute().parent.is_dir():
        raise LabError(f"cannot write {html}: there is no folder {html.absolute().parent}; make it first")
    try:
        notebook = nbformat.read(path, as_version=4)
    except (nbformat.reader.NotJSONError, nbformat.ValidationError) as error:
        first = str(error).splitlines()[0]
        raise LabError(f"{path} is no notebook: {first}; give the path of an .ipynb file") from None
    metadata = notebook.metadata.copy()
    jupyter_environment(tree)
    failure = _execute(notebook, path, keep_widgets=bool(html))
    if html:
        _write_html(notebook, path, html)
        print(f"written: {html}")
    if failure:
        print(failure, file=sys.stderr)
        return 1
    if update:
        notebook.metadata = metadata  # without this Python's patch level and the state of widgets
        nbformat.write(notebook, path)
        print(f"updated: {path}")
    return 0


class _Client(nbclient.NotebookClient):
    """nbclient's own ends the kernel at Ctrl-C and goes on; this one stops, and ends the kernel on its way out."""

    async def run(self):
        try:
            await self.async_execute()
        except nbclient.exceptions.DeadKernelError:
            if asyncio.current_task().cancelling():  # nbclient takes every cancellation for a dead kernel
                raise asyncio.CancelledError from None
            raise

    @asynccontextmanager
    async def async_setup_kernel(self, **kwargs):
        manager = self.create_kernel_manager()
        try:
            await self.async_start_new_kernel(**kwargs)
            await self.async_start_new_kernel_client()
            yield
        finally:
            if self.kc:
                self.kc.stop_channels()
            if manager.has_kernel:
                await manager.shutdown_kernel(now=bool(asyncio.current_task().cancelling()))


def _execute(notebook, path: Path, keep_widgets: bool) -> str | None:
    """Run every cell; returns what went wrong, in words."""
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    titles = _titles(notebook)
    progress = Progress(path.stem)
    at = 0

    def started(cell, cell_index):
        nonlocal at
        at = cell_index
        if cell_index in code:
            n = code.index(cell_index)
            progress.show(f"cell {n + 1} of {len(code)}  {titles[cell_index]}", n / len(code))

    client = _Client(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=keep_widgets,
        record_timing=False,
        on_cell_start=started,
        config=Config(KernelManager={"transport_encryption": "auto"}),
    )
    try:
        asyncio.run(client.run())
    except nbclient.exceptions.CellExecutionError:
        reason = _last_error(notebook.cells[at])
    except nbclient.exceptions.CellTimeoutError:
        reason = f"it did not end within {CELL_SECONDS} seconds and was stopped"
    except nbclient.exceptions.DeadKernelError:
        reason = "the notebook's kernel ended in the middle of it"
    except KeyboardInterrupt:
        progress.stop()
        raise
    else:
        progress.end(f"{len(code)} of {len(code)} cells ran")
        return None
    n = code.index(at) + 1
    progress.end(f"stopped at cell {n} of {len(code)}")
    source = "\n".join(f"    {line}" for line in notebook.cells[at].source.splitlines())
    return f"cell {n} of {path.name} failed, in the section '{titles[at]}':\n\n{source}\n\n{reason}"


def _titles(notebook) -> list[str]:
    """For each cell the heading that it stands under."""
    titles, title = [], ""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            headings = re.findall(r"^#+\s+(.+?)\s*$", cell.source, re.MULTILINE)
            title = headings[-1] if headings else title
        titles.append(title)
    return titles


def _last_error(cell) -> str:
    """The end of what a cell printed as its error, without colours and rules."""
    text = "\n".join(line for output in cell.outputs for line in output.get("traceback", ()))
    lines = re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines()
    return "\n".join([line for line in lines if line.strip("- ")][-ERROR_LINES:])


def _write_html(notebook, path: Path, html: Path) -> None:
    from nbconvert import HTMLExporter

    page, _ = HTMLExporter().from_notebook_node(notebook, resources={"metadata": {"name": path.stem}})
    html.write_text(page, encoding="utf-8")
