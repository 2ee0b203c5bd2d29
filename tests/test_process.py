"""bpflab.process: commands on the lab machine, and what they leave in its agent."""

import os
from pathlib import Path

import pytest
from waiting import until

import bpflab as bl


def _agent(lab) -> int:
    return int(lab.id.split("-")[1])


def _open(lab) -> int:
    return len(os.listdir(f"/proc/{_agent(lab)}/fd"))


def _zombies(lab) -> list[str]:
    children = Path(f"/proc/{_agent(lab)}/task").glob("*/children")
    pids = [pid for path in children for pid in path.read_text().split()]
    states = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in pids}
    return [pid for pid, state in states.items() if state == "Z"]


@pytest.mark.here
def test_ended_commands_leave_no_descriptors_and_no_zombies(fresh_lab):
    lab = fresh_lab
    lab.spawn("true").wait()
    before = _open(lab)
    for _ in range(10):
        lab.spawn("true")  # nobody waits for it
        lab.spawn("echo said").wait()
        lab.spawn("sleep 100").stop()
        lab.sh("true")
    until(lambda: _open(lab) == before, "the pipes are closed")
    until(lambda: not _zombies(lab), "the children are reaped")


@pytest.mark.parametrize("command", [None, 5, [], {}])
def test_what_is_no_command(lab, command):
    for run in (lab.sh, lab.spawn):
        with pytest.raises(TypeError, match="a line for bash, or a list of its words"):
            run(command)
    with pytest.raises(bl.CommandError, match="embedded null byte"):
        lab.sh("echo \0")


@pytest.mark.here
def test_output_without_end(fresh_lab):
    """What prints for ever is ended before it fills the machine's memory."""
    with pytest.raises(bl.CommandError, match="'yes' prints more than is good here, and was ended; send it to a file") as caught:
        fresh_lab.sh("yes")
    assert 100_000_000 < len(caught.value.result.stdout) < 200_000_000
    peak = next(line for line in Path(f"/proc/{_agent(fresh_lab)}/status").read_text().splitlines() if "VmHWM" in line)
    assert int(peak.split()[1]) < 1_000_000, "kB of memory"


def test_much_output_input_and_bytes_that_are_no_text(lab):
    assert lab.sh("head -c 100000000 /dev/zero").stdout == "\0" * 100_000_000
    assert lab.sh("wc -c", input=b"x" * 5_000_000).lines == ["5000000"]
    assert lab.sh("true", input=b"x" * 5_000_000).returncode == 0  # nobody reads it
    assert lab.sh("cat").stdout == ""  # no input is an end of input, not a wait
    assert lab.sh("printf '\\377\\376ok'").stdout == "\ufffd\ufffdok"


def test_a_command_that_leaves_something_behind_with_its_output(fresh_lab):
    """What has left the session holds the pipes open; the command is over all the same when its time is."""
    with pytest.raises(bl.CommandError, match="was ended after 0.5 s") as caught:
        fresh_lab.sh("setsid sleep 30 & echo said", timeout=0.5)
    assert caught.value.result.stdout == "said\n"


def test_a_command_that_closes_its_output_and_runs_on(fresh_lab):
    with pytest.raises(bl.CommandError, match="was ended after 0.5 s"):
        fresh_lab.sh("exec >&- 2>&-; sleep 30", timeout=0.5)
