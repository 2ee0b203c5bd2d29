"""The script `lab` as a person meets it: its manual, its refusals, and the commands that need no set-up."""

import ast
import json
import os

import pytest
from cli_support import TREE, complaint, copy, environment, lab

COMMANDS = ["up", "test", "doctor", "run", "matrix", "check", "bench", "vm", "vagrant", "clean"]


def test_manual_names_every_command():
    done = lab("--help")
    assert done.returncode == 0
    assert done.stderr == ""
    section = done.stdout.partition("commands\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in section.splitlines()] == COMMANDS
    for part in ("usage", "examples", "files", "environment", "exit status"):
        assert f"\n{part}\n" in done.stdout
    assert max(map(len, done.stdout.splitlines())) < 110


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_has_its_own_help(command):
    done = lab(command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: ./lab {command}")


def test_no_command_shows_the_manual_and_fails():
    done = lab()
    assert done.returncode == 2
    assert done.stdout == lab("--help").stdout


def test_manual_before_the_setup(tmp_path):
    assert lab("--help", tree=copy(tmp_path)).stdout == lab("--help").stdout


def test_unknown_command_names_the_near_one():
    done = lab("docter")
    assert done.returncode == 2
    assert complaint(done) == "there is no command 'docter'; did you mean ./lab doctor?"


def test_unknown_command_with_no_near_one_names_the_manual():
    done = lab("xyzzy")
    assert done.returncode == 2
    assert complaint(done).endswith("./lab --help lists the commands")


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "8888.5"])
def test_a_port_that_is_none(port):
    done = lab("up", f"--port={port}")
    assert done.returncode == 2
    assert "from 1 to 65535" in complaint(done)


def test_unknown_option():
    done = lab("run", "03", "--fast")
    assert done.returncode == 2
    assert "--fast" in complaint(done)


@pytest.mark.parametrize("command", [["run", "03"], ["check", "03-queue", "x.c"], ["bench"], ["clean"]])
def test_only_up_and_test_set_up(tmp_path, command):
    done = lab(*command, tree=copy(tmp_path))
    assert done.returncode == 1
    assert "./lab up --setup-only" in complaint(done)
    assert not (tmp_path / ".venv").exists()


def test_any_python3_can_read_the_script():
    # an old one must get as far as the line that says what is needed
    ast.parse((TREE / "lab").read_text(), feature_version=(3, 7))


def test_doctor_tells_every_line_by_trying():
    done = lab("doctor", "--json")
    assert done.returncode == 0, done.stdout
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert set(findings) >= {"python", ".venv", "root", "clang", "libbpf", "bpftool", "bpftrace", "bcc", "lab"}
    assert all(finding["ok"] or finding["remedy"] for finding in findings.values())
    assert all(not finding["remedy"] for finding in findings.values() if finding["ok"])
    assert os.uname().release in findings["lab"]["found"]
    assert findings["map type hash"] == {
        "name": "map type hash",
        "ok": True,
        "found": "created one",
        "remedy": "",
        "needed": False,
        "kind": "map type",
    }


def test_doctor_as_text_leaves_nothing_out():
    findings = json.loads(lab("doctor", "--json").stdout)
    text = lab("doctor").stdout
    words = " ".join(text.split())
    lines = [line[4:] for line in text.splitlines() if line.startswith(("ok  ", "no  "))]
    for finding in findings:
        if finding["kind"] == "computer" or not finding["ok"]:
            assert any(line.startswith(f"{finding['name']} ") for line in lines), finding
        else:
            assert finding["name"].removeprefix(f"{finding['kind']} ") in words
        assert finding["remedy"] in words


def test_doctor_before_the_setup(tmp_path):
    done = lab("doctor", "--json", tree=copy(tmp_path))
    findings = {finding["name"]: finding for finding in json.loads(done.stdout)}
    assert done.returncode == 1
    assert findings[".venv"]["remedy"] == "./lab up --setup-only makes it"
    assert findings["clang"]["ok"]
    assert "lab" not in findings


def test_doctor_names_what_is_not_there(tmp_path):
    tree, tools = copy(tmp_path / "tree"), tmp_path / "bin"
    tools.mkdir()
    (tools / "python3").symlink_to("/usr/bin/python3")
    done = lab("doctor", tree=tree, env=environment(PATH=str(tools)))
    lines = done.stdout.splitlines()
    at = next(n for n, line in enumerate(lines) if line.startswith("no  clang"))
    assert "no clang" in lines[at]
    assert lines[at + 1].strip() == "-> ./lab up --setup-only installs it"
    assert lines[-1].startswith("Nothing works without") and "clang" in lines[-1]
    assert done.returncode == 1
