"""Chapters as they were committed are trusted, so that JupyterLab shows their stored outputs with all that belongs to them.

JupyterLab strips styles from the HTML of a notebook that its user has not run. Who runs ./lab up from a checkout runs its
code anyway; what somebody changed or put there afterwards stays untrusted until it is run.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

FOLDERS = ("notebooks", "exercises")


def committed(tree: Path) -> set[str]:
    """Paths of the notebooks that are just as in git's last commit.

    None without git, in what is no checkout, and in one that belongs to somebody else.
    """
    try:
        return _names(tree, "ls-tree", "-r") - _names(tree, "diff", "--relative")
    except (OSError, subprocess.CalledProcessError):
        return set()


def sign_committed(tree: Path) -> None:
    """Sign those notebooks for the Jupyter whose folders the environment names."""
    import nbformat
    from nbformat.sign import NotebookNotary

    notary = NotebookNotary()
    try:
        for name in committed(tree):
            notary.sign(nbformat.read(tree / name, as_version=4))
    finally:
        notary.store.close()


def _names(tree: Path, *command: str) -> set[str]:
    command = ["git", "-C", tree, *command, "--name-only", "-z", "HEAD", "--", *FOLDERS]
    said = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name for name in said.stdout.split("\0") if name.endswith(".ipynb")}
