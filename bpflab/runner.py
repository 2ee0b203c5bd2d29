"""Run a notebook from top to bottom without a browser, and say what came of it."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import nbclient.exceptions
import nbformat
from traitlets.config import Config

from .errors import LabError, NotSupportedError, UnknownNameError
from .lab import Lab
from .notebook_server import jupyter_environment
from .progress_bar import Progress

CELL_SECONDS = 600  # the longest cell of the workbook takes well under a minute
ERROR_LINES = 15
REFUSAL = NotSupportedError.__name__


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


def run(tree: Path, chapter: str, html: Path | None = None, update: bool = False, machine: str | None = None) -> int:
    """Execute a chapter.

    A section that the machine refuses (`NotSupportedError`) does not end the run: it is named at the end.

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
    machine : str, optional
        The lab machine for all labs of the notebook that name none.

    Returns
    -------
    int
        0 when every cell worked or was refused for what the machine lacks, else 1.
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
    if machine:
        with Lab(machine):  # says what it is; one that is started stays for the notebook
            pass
    jupyter_environment(tree)
    failure, refused = execute(notebook, path, {"BPFLAB_MACHINE": machine} if machine else {}, keep_widgets=bool(html))
    if html:
        _write_html(notebook, path, html)
        print(f"written: {html}")
    if failure:
        print(failure, file=sys.stderr)
        return 1
    for section, reason in refused.items():
        print(f"  refused in '{section}': {reason}")
    if update:
        notebook.metadata = metadata  # without this Python's patch level and the state of widgets
        nbformat.write(notebook, path)
        print(f"updated: {path}")
    return 0


class _Client(nbclient.NotebookClient):
    """nbclient's own ends the kernel at Ctrl-C and goes on; this one stops, and ends the kernel on its way out."""

    async def run(self, environment):
        try:
            await self.async_execute(env=environment)
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


def execute(
    notebook, path: Path, variables: dict[str, str], *, keep_widgets: bool = False, forgiving: bool = False
) -> tuple[str | None, dict[str, str]]:
    """Run every cell.

    Parameters
    ----------
    notebook : nbformat.NotebookNode
        Gets the outputs; a cell that did not end has no execution count.
    path : pathlib.Path
        For messages; the cells run in its folder.
    variables : dict
        Environment of the notebook's kernel, beside ours.
    keep_widgets : bool
        Store the state of widgets too.
    forgiving : bool
        Go on after every error.

    Returns
    -------
    str or None
        What ended the run early, in words.
    dict
        What the machine refused, by section.
    """
    code = [n for n, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    titles, where = _titles(notebook), sections(notebook)
    progress = Progress(path.stem)
    refused: dict[str, str] = {}
    at = 0

    def started(cell, cell_index):
        nonlocal at
        at = cell_index
        client.allow_errors = forgiving or where[cell_index] in refused  # the rest of it wants what was refused
        if cell_index in code:
            n = code.index(cell_index)
            progress.show(f"cell {n + 1} of {len(code)}  {titles[cell_index]}", n / len(code))

    def failed(cell, cell_index, execute_reply):
        content = execute_reply["content"]
        if content["ename"] == REFUSAL:
            refused.setdefault(where[cell_index], content["evalue"])

    client = _Client(
        notebook,
        timeout=CELL_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
        store_widget_state=keep_widgets,
        record_timing=False,
        on_cell_start=started,
        on_cell_error=failed,
        allow_error_names=[REFUSAL],
        config=Config(KernelManager={"transport_encryption": "auto"}),
    )
    try:
        asyncio.run(client.run({**os.environ, **variables}))
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
        return None, refused
    if not any(output.output_type == "error" for output in notebook.cells[at].outputs):
        notebook.cells[at].execution_count = None
    n = code.index(at) + 1
    progress.end(f"stopped at cell {n} of {len(code)}")
    source = "\n".join(f"    {line}" for line in notebook.cells[at].source.splitlines())
    return f"cell {n} of {path.name} failed, in the section '{titles[at]}':\n\n{source}\n\n{reason}", refused


def sections(notebook) -> list[str]:
    """For each cell the title of its section: what a heading tagged book-ID begins, or any heading where none is tagged."""
    titles = _titles(notebook)
    tagged = [any(tag.startswith("book-") for tag in cell.metadata.get("tags", ())) for cell in notebook.cells]
    if not any(tagged):
        return titles
    found, title = [], titles[0]
    for begins, heading in zip(tagged, titles):
        title = heading if begins else title
        found.append(title)
    return found


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
