"""The programs to trace: each does what it says, is built once, and ends with its lab."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from waiting import until

import bpflab as bl
from bpflab import setup_steps, workloads
from bpflab.errors import CommandError, NotSupportedError, UnknownNameError

C_NAMES = ("web", "leak", "lock", "disk", "cpp")


@pytest.mark.parametrize("name", [*C_NAMES, "go"])
def test_it_starts_and_ends(lab, name):
    with lab.workload(name) as made:
        assert lab.sh(["readlink", f"/proc/{made.pid}/exe"]).stdout.strip() == made.binary
        assert made.returncode is None
    assert lab.sh(["test", "-e", f"/proc/{made.pid}"], check=False).returncode


def test_it_is_built_once(lab):
    first = workloads.binary(lab, "leak")
    stat = lab.sh(["stat", "-c", "%i %Y", first]).stdout
    assert workloads.binary(lab, "leak") == first and lab.sh(["stat", "-c", "%i %Y", first]).stdout == stat


def test_pages_of_the_web_server(lab):
    with lab.workload("web", rate=0) as web:
        ask = f"exec 3<>/dev/tcp/127.0.0.1/{web.port}; printf 'GET %s HTTP/1.0\\r\\n\\r\\n' {{}} >&3; head -1 <&3"
        said = [lab.sh(ask.format(page)).stdout.strip() for page in ("/", "/search", "/report", "/no")]
    assert said == ["HTTP/1.0 200", "HTTP/1.0 200", "HTTP/1.0 200", "HTTP/1.0 404"]


def test_the_leak_leaks(lab):
    with lab.workload("leak", rate=0) as leak:
        def resident():
            return int(lab.sh(["awk", "/VmRSS/ {print $2}", f"/proc/{leak.pid}/status"]).stdout)

        first = resident()
        until(lambda: resident() > first + 2048, "two megabytes more")


def test_the_lock_is_fought_for(lab):
    with lab.workload("lock", threads=3) as lock:
        def names():
            return sorted(lab.sh(f"cat /proc/{lock.pid}/task/*/comm").lines)

        until(lambda: "greedy" in names() and names().count("modest") == 2, "three threads beside the first")
        # a thread that waits for a mutex sleeps in futex(2)
        until(lambda: "futex" in lab.sh(f"cat /proc/{lock.pid}/task/*/wchan", check=False).stdout, "a thread that waits")


def test_the_disk_writer_leaves_nothing(lab):
    with lab.workload("disk", rate=0) as disk:
        def written():
            return int(lab.sh(["awk", "/^wchar/ {print $2}", f"/proc/{disk.pid}/io"]).stdout)

        until(lambda: written() > 1 << 20, "a megabyte written")
        assert lab.sh(f"ls -l /proc/{disk.pid}/fd | grep deleted").stdout
    assert "bpflab-disk" not in lab.sh("ls /var/tmp").stdout


@pytest.mark.here
def test_it_ends_with_a_lab_that_is_killed():
    lab = bl.Lab("local", quiet=True)
    made = [lab.workload(name) for name in ("leak", "web")]
    os.kill(lab._connection.about["pid"], signal.SIGKILL)
    until(lambda: not any(Path(f"/proc/{one.pid}").exists() for one in made), "the end of the workloads")
    lab.close()


@pytest.mark.parametrize("name, options, error, text", [
    ("webb", {}, UnknownNameError, "did you mean 'web'"),
    ("web", {"rat": 3}, UnknownNameError, "did you mean 'rate'"),
    ("web", {"rate": -1}, ValueError, "0 or more, not -1"),
    ("web", {"rate": "fast"}, ValueError, "a number"),
])  # fmt: skip
def test_misuse(lab, name, options, error, text):
    with pytest.raises(error, match=text):
        lab.workload(name, **options)


def test_one_that_cannot_start(lab):
    with lab.workload("web") as web, pytest.raises(CommandError, match="did not print 'running'"):
        lab.workload("web", port=web.port)


def test_a_compiler_that_is_not_there(lab, monkeypatch):
    kind = workloads.WORKLOADS["go"]
    monkeypatch.setitem(workloads.WORKLOADS, "go", kind._replace(compiler=("go-of-no-machine", "build")))
    with pytest.raises(NotSupportedError, match="it has no 'go-of-no-machine' to build go.go with; install it there: apt install golang-go"):
        lab.workload("go")


@pytest.mark.parametrize("name", workloads.WORKLOADS)
def test_lab_up_sets_up_what_it_is_built_with(name):
    """Chapter 4 runs from top to bottom after `./lab up`, without a list of things to install by hand."""
    assert set(workloads.WORKLOADS[name].package.split()) <= set(setup_steps.RUN_PACKAGES)
