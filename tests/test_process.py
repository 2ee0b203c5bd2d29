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
