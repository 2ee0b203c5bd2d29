"""What is declared in several places must be the same in all of them."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

import bpflab

TREE = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
DEBIAN_12 = "3.11.2"  # its /usr/bin/python3, the oldest Python that must do


def pins(lock: str) -> dict[str, str]:
    found = re.findall(r"^([\w.-]+)==(\S+) \\$", (TREE / lock).read_text(), re.M)
    return {canonicalize_name(name): version for name, version in found}


def test_environment_yml_names_what_pyproject_names():
    text = (TREE / "environment.yml").read_text()
    listed = re.findall(r"^  - (\S+)$", text.partition("\ndependencies:\n")[2], re.M)
    expected = [f"python{PROJECT['requires-python']}", *PROJECT["dependencies"]]
    assert sorted(listed) == sorted(expected)


def test_environment_yml_says_where_bcc_comes_from():
    text = (TREE / "environment.yml").read_text()
    assert "python3-bpfcc" in text
    assert "Do NOT `pip install bcc`" in text


def test_locks_hold_what_pyproject_asks_for():
    run, test = pins("requirements.lock"), pins("requirements-test.lock")
    for text in PROJECT["dependencies"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(run[canonicalize_name(wanted.name)]), text
    for text in PROJECT["optional-dependencies"]["test"]:
        wanted = Requirement(text)
        assert wanted.specifier.contains(test[canonicalize_name(wanted.name)]), text


def imports(text: str) -> set[str]:
    return set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.M))


def distributions(modules: set[str]) -> set[str]:
    """The packages that modules come from; the standard library's are left out."""
    known = importlib.metadata.packages_distributions()
    return {canonicalize_name(name) for module in modules for name in known.get(module, [])}


def in_notebooks() -> set[str]:
    found = set()
    for path in [*TREE.glob("notebooks/*.ipynb"), *TREE.glob("exercises/*.ipynb")]:
        cells = json.loads(path.read_text())["cells"]
        found |= imports("\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))
    return found


def test_notebooks_import_only_what_every_reader_has():
    assert {"pandas", "pyelftools"} <= distributions(in_notebooks())
    assert distributions(in_notebooks()) - set(pins("requirements.lock")) == set()


def test_every_dependency_is_used():
    used = in_notebooks() | imports("\n".join(path.read_text() for path in (TREE / "bpflab").rglob("*.py")))
    used |= {"ipykernel", "ipywidgets"}  # what a notebook runs in, and what anywidget draws with
    assert {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} - distributions(used) == set()


def test_the_test_lock_holds_all_of_the_other():
    run, test = pins("requirements.lock"), pins("requirements-test.lock")
    assert run.items() <= test.items()


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-test.lock"])
def test_locks_are_whole_and_name_no_server(lock):
    text = (TREE / lock).read_text()
    entries = re.findall(r"^\S.*(?:\n .*)*", re.sub(r"^\s*#.*\n", "", text, flags=re.M), re.M)
    assert len(entries) == len(pins(lock)) > 20
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert not re.search(r"^--", text, re.M)


def test_installed_versions_are_the_locked_ones():
    for name, version in pins("requirements-test.lock").items():
        assert importlib.metadata.version(name) == version, name


def test_locked_versions_suit_debian_12():
    for name in pins("requirements-test.lock"):
        wanted = importlib.metadata.metadata(name).get("Requires-Python") or ""
        assert SpecifierSet(wanted).contains(DEBIAN_12), f"{name} wants Python {wanted}"


def test_versions_agree():
    newest = re.search(r"^## (\S+)", (TREE / "CHANGELOG.md").read_text(), re.M)[1]
    assert newest.rstrip(",") == PROJECT["version"]


def test_public_names_are_sorted_and_there():
    assert bpflab.__all__ == sorted(bpflab.__all__)
    for name in bpflab.__all__:
        assert getattr(bpflab, name) is not None
    # a submodule takes the place of a public name of the same spelling as soon as it is imported
    modules = {path.stem for path in (TREE / "bpflab").iterdir()}
    assert modules & set(bpflab.__all__) == set()


def test_package_data_covers_every_file_that_is_not_python():
    patterns = tomllib.loads((TREE / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["bpflab"]
    package = TREE / "bpflab"
    packed = {path for pattern in patterns for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert others - packed == set()


def test_licences_are_there():
    assert "Apache License" in (TREE / "LICENSE").read_text()
    assert "creativecommons.org/licenses/by/4.0" in (TREE / "LICENSE-text").read_text()


def test_linter_is_content():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "--output-format=concise"], cwd=TREE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
