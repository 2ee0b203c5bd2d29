"""A real JupyterLab and one notebook open in it, for tests that need a browser.

`Jupyter` is the server; `Notebook` is one open notebook: its page (Playwright) and its kernel (a second client of the same
kernel, so that a test can ask it while the browser looks on).
"""

import json
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path

import nbformat
from jupyter_client import BlockingKernelClient

ROOT = Path(__file__).resolve().parents[2]
START_S = 120  # a cold start on a busy machine
ANSWER_S = 120

DARK, LIGHT = "JupyterLab Dark", "JupyterLab Light"


class Jupyter:
    """A JupyterLab server of this Python, on a free port of the loopback, with directories of its own."""

    def __init__(self, directory):
        self.root = directory / "notebooks"
        self.root.mkdir()
        self.runtime = directory / "runtime"
        self.token = secrets.token_hex(16)
        settings = directory / "config" / "lab" / "user-settings" / "@jupyterlab" / "apputils-extension"
        settings.mkdir(parents=True)
        (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
        environment = {
            **os.environ,
            "JUPYTER_RUNTIME_DIR": str(self.runtime),
            "JUPYTER_CONFIG_DIR": str(directory / "config"),
            "JUPYTER_DATA_DIR": str(directory / "data"),
            "JUPYTERLAB_SETTINGS_DIR": str(directory / "config" / "lab" / "user-settings"),
            "JUPYTERLAB_WORKSPACES_DIR": str(directory / "workspaces"),
            "IPYTHONDIR": str(directory / "ipython"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
            "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        }
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
            "--ServerApp.ip=127.0.0.1", "--ServerApp.port=0", f"--ServerApp.root_dir={self.root}",
        ]  # fmt: skip
        environment["JUPYTER_TOKEN"] = self.token
        self.process = subprocess.Popen(
            command, env=environment, cwd=directory, text=True, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.log = []
        found = queue.SimpleQueue()
        threading.Thread(target=self._drain, args=(found,), daemon=True).start()
        try:
            self.url = found.get(timeout=START_S)
        except queue.Empty:
            self.url = None
        if self.url is None:
            self.close()
            raise RuntimeError("JupyterLab did not start:\n" + "".join(self.log[-30:]))

    def _drain(self, found):
        for line in self.process.stderr:
            self.log.append(line)
            address = re.search(r"(http://127\.0\.0\.1:\d+/)lab", line)
            if address:
                found.put(address[1])
        found.put(None)  # it ended; whoever waits for the address must not wait on

    def api(self, path, data=None, method="GET"):
        """The answer of the server's REST interface, as plain values."""
        request = urllib.request.Request(
            f"{self.url}api/{path}",
            data=None if data is None else json.dumps(data).encode(),
            method=method,
            headers={"Authorization": f"token {self.token}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def close(self):
        """End the server; it ends its kernels."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)  # its own session: the server and its kernels, nothing else
            self.process.wait()


class Notebook:
    """A notebook that is open in the browser, all its cells run.

    Attributes
    ----------
    page : playwright.sync_api.Page
    kernel : BlockingKernelClient
        A second client of the notebook's kernel.
    errors : list of str
        What scripts of widgets threw.
    outside : list of str
        Addresses outside this computer that the page asked for.
    """

    def __init__(self, jupyter, context, name, cells, theme=LIGHT):
        self.jupyter, self.name = jupyter, name
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, jupyter.root / name)
        self.errors, self.outside = [], []
        self.busy = False
        self.page = context.new_page()
        self.page.on("pageerror", self._note_error)
        self.page.on("request", self._note_request)
        # a workspace of its own: else JupyterLab would open what the test before had open
        workspace = re.sub(r"\W", "-", name)
        self.page.goto(f"{jupyter.url}lab/workspaces/{workspace}/tree/{name}?token={jupyter.token}")
        self.page.wait_for_function("window.jupyterapp?.started !== undefined")
        self.page.evaluate("async () => { await window.jupyterapp.started; await window.jupyterapp.restored }")
        self.theme(theme)
        self.page.locator(".jp-Notebook .jp-Cell").first.wait_for()
        session = self._wait_for_session()
        self.kernel_id = session["kernel"]["id"]
        self.kernel = BlockingKernelClient(connection_file=str(jupyter.runtime / f"kernel-{self.kernel_id}.json"))
        self.kernel.load_connection_file()
        self.kernel.start_channels()
        self.kernel.wait_for_ready(timeout=START_S)
        self.command("notebook:run-all-cells")

    def _note_error(self, error):
        if "blob:" in (
            error.stack or ""
        ):  # where a widget's module is loaded from; JupyterLab's own errors are its own
            self.errors.append(error.stack)

    def _note_request(self, request):
        if not request.url.startswith((self.jupyter.url, self.jupyter.url.replace("http", "ws", 1), "blob:", "data:")):
            self.outside.append(request.url)

    def _wait_for_session(self):
        self.page.wait_for_function(
            """() => { const panel = window.jupyterapp.shell.currentWidget;
                       return panel?.sessionContext?.session?.kernel?.status === 'idle' }""",
            timeout=START_S * 1000,
        )
        return next(s for s in self.jupyter.api("sessions") if s["path"] == self.name)

    def command(self, name, **arguments):
        """Run a command of JupyterLab and wait for its end."""
        return self.page.evaluate(
            "async ([name, args]) => { await window.jupyterapp.commands.execute(name, args) }", [name, arguments]
        )

    def run(self, code, wait=True):
        """Add a cell with `code` below the others, run it, and give its output (a locator)."""
        self.page.evaluate(
            """async ([code, wait]) => {
                 const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
                 notebook.activeCellIndex = notebook.widgets.length - 1;
                 await app.commands.execute('notebook:insert-cell-below');
                 notebook.activeCell.model.sharedModel.setSource(code);
                 const end = app.commands.execute('notebook:run-cell');
                 if (wait) await end;
               }""",
            [code, wait],
        )
        number = self.page.locator(".jp-Notebook .jp-Cell").count()
        mark = f"cell-{number}-{secrets.token_hex(4)}"
        self.page.locator(".jp-Cell.jp-mod-active").evaluate("(cell, mark) => (cell.dataset.test = mark)", mark)
        return self.page.locator(f"[data-test={mark}] .jp-OutputArea").first

    def delete_cells(self, keep=1):
        """Delete the cells below the first `keep`."""
        while self.page.evaluate("() => window.jupyterapp.shell.currentWidget.content.widgets.length") > keep:
            self.page.evaluate(
                """async () => {
                     const app = window.jupyterapp, notebook = app.shell.currentWidget.content;
                     notebook.activeCellIndex = notebook.widgets.length - 1;
                     await app.commands.execute('notebook:delete-cell');
                   }"""
            )

    def theme(self, name):
        """Change to the theme `name` and wait until it is there."""
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("name => document.body.dataset.jpThemeName === name", arg=name)

    def execute(self, code):
        """Run `code` in the notebook's kernel, beside the browser; gives what it printed and its last value's text.

        Raises
        ------
        AssertionError
            The code raised; the text is the traceback. Or the kernel is busy with a cell and does not answer: whoever asks
            it next, a fixture at its end for one, is told so at once and waits no more.
        """
        assert not self.busy, "the kernel has not answered before"
        said = []

        def heard(message):
            content = message["content"]
            if message["msg_type"] == "stream":
                said.append(content["text"])
            elif message["msg_type"] == "execute_result":
                said.append(content["data"]["text/plain"])
            elif message["msg_type"] == "error":
                raise AssertionError("\n".join(content["traceback"]))

        try:
            # after a cell that failed, or was interrupted, a kernel throws away what was sent to it meanwhile ("aborted")
            while True:
                reply = self.kernel.execute_interactive(code, timeout=ANSWER_S, output_hook=heard, store_history=False)
                if reply["content"]["status"] != "aborted":
                    break
        except TimeoutError:
            self.busy = True
            raise AssertionError(f"the kernel did not answer within {ANSWER_S} s; does a cell still run, or is it deaf to SIGINT?") from None
        return "".join(said)

    def restart_kernel(self):
        self.jupyter.api(f"kernels/{self.kernel_id}/restart", method="POST")

    def close(self):
        """Close the page and end the kernel."""
        self.kernel.stop_channels()
        for session in self.jupyter.api("sessions"):
            if session["path"] == self.name:
                self.jupyter.api(f"sessions/{session['id']}", method="DELETE")
        self.page.close()
