"""JupyterLab for the workbook: on this computer only, behind a token, with its own settings, without a network."""

import json
import os
import secrets
import signal
import socket
import sys
import threading
from pathlib import Path

FIRST_PORT = 8888
FIRST_PAGE = "notebooks/00-start.ipynb"


def jupyter_environment(tree):
    """Keep Jupyter's and IPython's settings, history and sockets in the workbook's folder.

    A start-up file or an extension in somebody's home must not change what a chapter does, and a chapter must not
    change their settings.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    """
    # by user: what root writes under sudo must not stand in the way of the tree's owner
    kept = tree / ".cache" / f"jupyter-{os.geteuid()}"
    kept.mkdir(parents=True, exist_ok=True)
    os.environ |= {
        "JUPYTER_CONFIG_DIR": str(kept),
        "JUPYTER_DATA_DIR": str(kept),
        "JUPYTER_RUNTIME_DIR": str(kept / "runtime"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "IPYTHONDIR": str(kept / "ipython"),
    }


def serve(tree, port=None, browser=True):
    """Run JupyterLab until Ctrl-C.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder; what JupyterLab shows.
    port : int, optional
        The only port to try; 8888 or the next free one if not given.
    browser : bool
        Open a browser, where there is a desktop.

    Returns
    -------
    int
        Exit status.
    """
    if port and (reason := _port_trouble(port)):
        print(f"lab: cannot listen on port {port}: {reason}; ./lab up takes a free one itself", file=sys.stderr)
        return 1
    jupyter_environment(tree)
    from jupyterlab.labapp import LabApp

    from .trust import sign_committed

    token = os.environ.get("JUPYTER_TOKEN") or secrets.token_hex(24)
    settings = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port or FIRST_PORT,
        "ServerApp.port_retries": 0 if port else 50,
        "ServerApp.root_dir": tree,
        "FileContentsManager.preferred_dir": "notebooks",
        "ServerApp.allow_root": True,  # as root only where there is no choice: see cli._leave_root
        # Without a desktop Python may find a text browser, which would take the terminal over.
        "ServerApp.open_browser": browser
        and (sys.platform == "darwin" or any(os.environ.get(n) for n in ("DISPLAY", "WAYLAND_DISPLAY"))),
        "IdentityProvider.token": token,
        "KernelManager.transport_encryption": "auto",
        "LabApp.news_url": None,
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LabApp.extension_manager": "readonly",
        "Application.log_level": "ERROR",
    }
    kept = Path(os.environ["JUPYTER_CONFIG_DIR"])
    _no_news(kept / "labconfig")
    _first_workspace(kept / "lab" / "workspaces")
    threading.Thread(target=sign_committed, args=(tree,), daemon=True).start()  # a second that nobody waits for
    server = LabApp.initialize_server(argv=[f"--{name}={value}" for name, value in settings.items()])
    # Ctrl-C needs no second thought here, and a closed terminal ends JupyterLab, its kernels and their labs too.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: signal.raise_signal(signal.SIGTERM))
    server.io_loop.add_callback(_announce, f"http://127.0.0.1:{server.port}/lab?token={token}")
    server.start()
    return 0


def _announce(address):
    print("JupyterLab is running; Ctrl-C stops it. Open this address:", flush=True)
    print(address, flush=True)


def _port_trouble(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except PermissionError:
            return "ports below 1024 are root's"
        except OSError:
            return "another program has it"
    return None


def _no_news(folder):
    """Keep JupyterLab from asking whether it may fetch news: the workbook works without a network."""
    folder.mkdir(parents=True, exist_ok=True)
    choice = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}
    (folder / "default_setting_overrides.json").write_text(json.dumps(choice))


def _first_workspace(folder):
    """Let the first visit open the first page; afterwards JupyterLab remembers what was open."""
    from jupyterlab_server.workspaces_handler import WorkspacesManager

    if any(folder.glob("*.jupyterlab-workspace")):
        return
    page = f"notebook:{FIRST_PAGE}"
    layout = {"main": {"dock": {"type": "tab-area", "currentIndex": 0, "widgets": [page]}, "current": page}}
    folder.mkdir(parents=True, exist_ok=True)
    data = {"layout-restorer:data": layout, page: {"data": {"path": FIRST_PAGE, "factory": "Notebook"}}}
    WorkspacesManager(str(folder)).save("default", json.dumps({"data": data, "metadata": {"id": "default"}}))
