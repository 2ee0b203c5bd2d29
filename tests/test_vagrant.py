"""bl.Lab("vagrant") where it cannot be had, the Vagrantfile, and what a Mac needs; no machine is started here."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import bpflab as bl
from bpflab import vagrant_box
from bpflab.machines import vagrant

TREE = Path(__file__).resolve().parent.parent
PROVIDERS = ("virtualbox", "libvirt", "parallels", "vmware_desktop", "qemu")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a copy of the Vagrantfile, and a Vagrant that knows nothing."""
    for name in [name for name in os.environ if name.startswith(("VAGRANT", "BPFLAB_"))]:
        if name != "BPFLAB_TEST_RUN":
            monkeypatch.delenv(name)
    monkeypatch.setenv("VAGRANT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("VAGRANT_CHECKPOINT_DISABLE", "1")
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("VAGRANT_CWD", str(tmp_path / "work"))
    (tmp_path / "work" / "Vagrantfile").write_bytes((TREE / "Vagrantfile").read_bytes())
    (tmp_path / "work" / "vagrant").symlink_to(TREE / "vagrant")
    return tmp_path / "work"


def made(folder: Path, provider: str) -> None:
    """Vagrant's record of a machine."""
    place = folder / ".vagrant" / "machines" / "default" / provider
    place.mkdir(parents=True)
    (place / "id").write_text("5b8f2c1e-0000-4000-8000-3f1f0f0f0f0f")


def refusal() -> str:
    with pytest.raises(bl.LabError) as caught:
        bl.Lab("vagrant")
    assert "\n" not in str(caught.value)
    return str(caught.value)


# -- what is in the way, in one line


def test_no_vagrant(folder, monkeypatch):
    monkeypatch.setenv("PATH", str(folder))
    assert re.search("there is no Vagrant on this computer; install it .* vagrant up", refusal())


def test_no_vagrantfile(folder):
    (folder / "Vagrantfile").unlink()
    assert f"there is no Vagrantfile in {folder}; VAGRANT_CWD names the folder" in refusal()


def test_a_machine_that_was_never_made(folder):
    assert f"has not been made yet; make it in a terminal, which takes some minutes: cd {folder} && vagrant up" in refusal()
    assert not vagrant.is_candidate()


def test_a_provider_that_is_not_there(folder):
    made(folder, "virtualbox")
    assert "VirtualBox is not installed; install it, or name another provider in VAGRANT_DEFAULT_PROVIDER" in refusal()
    assert vagrant.is_candidate()


def test_a_plugin_that_is_not_there(folder, monkeypatch):
    made(folder, "parallels")
    monkeypatch.setenv("VAGRANT_DEFAULT_PROVIDER", "parallels")
    assert "its provider is not there; install one" in refusal()


def test_libvirt_that_does_not_answer(folder):
    made(folder, "libvirt")
    (folder / "Vagrantfile").write_text(
        (folder / "Vagrantfile").read_text() + f'Vagrant.configure("2") {{ |c| c.vm.provider("libvirt") {{ |vm| vm.socket = "{folder}/nothing" }} }}\n'
    )
    assert "libvirt does not answer; start it" in refusal()


def test_a_vagrantfile_with_an_error(folder):
    made(folder, "libvirt")
    (folder / "Vagrantfile").write_text("raise 'unfinished\n")
    assert "its Vagrantfile has an error; see: vagrant validate" in refusal()


# -- the Vagrantfile

# What the providers that are no part of Vagrant take, by their own documentation; their plugins are not in Debian.
PLUGINS = {
    "parallels": ("cpus", "memory"),
    "vmware_desktop": ("cpus", "memory", "gui"),
    "qemu": ("smp", "memory", "arch", "machine", "cpu", "net_device"),
}
PLUGIN = """
class {klass}Config < Vagrant.plugin("2", :config)
  attr_accessor {settings}
end
class {klass}Provider < Vagrant.plugin("2", :provider)
  def state
    Vagrant::MachineState.new(Vagrant::MachineState::NOT_CREATED_ID, "", "")
  end
end
class {klass}Plugin < Vagrant.plugin("2")
  name "{name}"
  provider(:{name}) {{ {klass}Provider }}
  config(:{name}, :provider) {{ {klass}Config }}
end
"""


def add_plugin(folder, provider, settings):
    klass = provider.title().replace("_", "")
    plugin = PLUGIN.format(klass=klass, name=provider, settings=", ".join(f":{name}" for name in settings))
    (folder / "Vagrantfile").write_text(plugin + (folder / "Vagrantfile").read_text())


def validate(provider, *words):
    env = {**os.environ, "VAGRANT_DEFAULT_PROVIDER": provider}
    return subprocess.run(["vagrant", "validate", *words], capture_output=True, text=True, env=env)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_vagrantfile_is_valid(folder, provider):
    if settings := PLUGINS.get(provider):
        add_plugin(folder, provider, settings)
    # without VirtualBox Vagrant reads its settings when told to take every provider as installed
    done = validate(provider, *(["--ignore-provider"] if provider == "virtualbox" else []))
    assert done.returncode == 0 and "validated successfully" in done.stdout, done.stdout + done.stderr
    assert not list((folder / ".vagrant").glob("machines/default/*/id"))


@pytest.mark.parametrize("provider", ["libvirt", *PLUGINS])
def test_a_setting_that_a_provider_does_not_have_is_found(folder, provider):
    """That the test above can fail."""
    if settings := PLUGINS.get(provider):
        add_plugin(folder, provider, settings)
    with open(folder / "Vagrantfile", "a") as file:
        file.write(f'Vagrant.configure("2") {{ |c| c.vm.provider("{provider}") {{ |vm| vm.warp = 9 }} }}\n')
    done = validate(provider)
    assert done.returncode != 0 and "warp" in done.stdout + done.stderr


def test_an_accelerator_that_there_is_not(folder):
    done = subprocess.run(["vagrant", "validate"], capture_output=True, text=True, env={**os.environ, "BPFLAB_ACCEL": "warp"})
    assert done.returncode != 0 and "BPFLAB_ACCEL is 'warp'; it may be kvm or tcg" in done.stderr


@pytest.mark.parametrize("script", ["provision.sh", "folders.sh"])
def test_the_scripts_are_for_any_shell(script):
    assert subprocess.run(["dash", "-n", TREE / "vagrant" / script]).returncode == 0


# -- a box, where none can be built


def box(path, **environment):
    return subprocess.run(
        [sys.executable, "-m", "bpflab.cli", "vagrant", "box", str(path)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment, "PYTHONPATH": str(TREE)},
    )


def test_a_box_does_not_overwrite(tmp_path):
    (tmp_path / "bpflab.box").write_text("mine")
    done = box(tmp_path)
    assert done.returncode == 1 and "exists already; remove it, or give another name" in done.stderr
    assert (tmp_path / "bpflab.box").read_text() == "mine"


def test_a_box_into_a_folder_that_there_is_not(tmp_path):
    done = box(tmp_path / "none" / "my.box")
    assert done.returncode == 1 and "for the box; make it first" in done.stderr


def test_a_box_without_the_tools(tmp_path, monkeypatch):
    monkeypatch.setattr(vagrant_box, "TOOLS", {"bpflab-no-such-tool": "some-package"})
    with pytest.raises(bl.LabError, match="install them: apt install some-package"):
        vagrant_box.build(tmp_path / "my.box", print)


def test_a_box_without_a_mirror(tmp_path):
    done = box(tmp_path / "my.box", BPFLAB_DEBIAN_MIRROR="http://127.0.0.1:9/debian")
    assert done.returncode == 1 and "BPFLAB_DEBIAN_MIRROR names another mirror" in done.stderr
    assert not list(tmp_path.iterdir()) and not list(Path("/var/tmp").glob("bpflab-box-*"))


# -- what a Mac needs beside Linux


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13", "3.14"])
def test_the_locks_hold_what_a_mac_needs(python):
    """The lock is made on Linux, where what is for macOS only is left out; pip would then refuse the whole of it."""
    names = {
        canonicalize_name(name)
        for lock in ("requirements.lock", "requirements-mac.lock")
        for name in re.findall(r"^([\w.-]+)==", (TREE / lock).read_text(), re.MULTILINE)
    }
    mac = {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64", "os_name": "posix"}
    mac |= {"python_version": python, "python_full_version": f"{python}.1", "extra": ""}
    lacking = set()
    for name in names - {"appnope"}:
        for text in importlib.metadata.requires(name) or []:
            wanted = Requirement(text)
            if (wanted.marker is None or wanted.marker.evaluate(mac)) and canonicalize_name(wanted.name) not in names:
                lacking.add(f"{name} needs {text}")
    assert not lacking
    assert "appnope" in names
