"""Cell magics, in an IPython shell."""

from __future__ import annotations

import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output

import bpflab as bl
from bpflab import magics

C = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>

const volatile __u32 answer = 41;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} numbers SEC(".maps");

SEC("xdp")
int give(struct xdp_md *ctx)
{
	__u32 key = 0;

	bpf_map_update_elem(&numbers, &key, &key, BPF_ANY);
	return answer;
}

char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def shell():
    shell = InteractiveShell.instance()
    shell.colors = "nocolor"
    magics.register()
    yield shell
    InteractiveShell.clear_instance()


@pytest.fixture
def run(shell, lab):
    """Run a cell; its result, and what it printed, errors as a reader sees them included."""
    assert bl.Lab.current() is lab

    def run(cell):
        with capture_output() as printed:
            result = shell.run_cell(cell)
        return result, printed.stdout + printed.stderr

    yield run
    for value in list(shell.user_ns.values()):
        if isinstance(value, bl.object.Object):
            value.close()


def test_bpf_loads_and_says_what_is_in_it(run, shell):
    result, printed = run("%%bpf obj\n" + C)
    assert result.success
    assert printed == "obj: loaded; programs: give (xdp); maps: numbers (array)\n"
    assert shell.user_ns["obj"].programs["give"].test_run(bytes(64)).retval == 41


def test_bpf_sets_globals(run, shell):
    shell.user_ns["wish"] = 2
    assert run("%%bpf obj answer=wish*3\n" + C)[0].success
    assert shell.user_ns["obj"].programs["give"].test_run(bytes(64)).retval == 6
    assert run("%%bpf obj answer=0x10\n" + C)[0].success
    assert shell.user_ns["obj"].programs["give"].test_run(bytes(64)).retval == 16


def test_bpf_run_again_closes_what_it_loaded_before(run, shell):
    run("%%bpf obj\n" + C)
    first = shell.user_ns["obj"]
    run("%%bpf obj\n" + C)
    assert first.closed and not shell.user_ns["obj"].closed


def test_source_binds_the_text_that_knows_its_line(run, shell, lab):
    result, printed = run("%%bpf text --source\n" + C)
    assert result.success and printed == ""
    text = shell.user_ns["text"]
    assert isinstance(text, bl.CSource) and text == C and text.line == 2
    with lab.load(text) as obj:
        assert list(obj.programs) == ["give"]


def test_compile_error_counts_as_the_cell_does(run, shell):
    cell = "%%bpf broken\n" + C.replace("return answer;", "return question;")
    line = cell[: cell.index("question")].count("\n") + 1
    result, printed = run(cell)
    assert isinstance(result.error_in_exec, bl.CompileError)
    assert f"broken:{line}:" in printed
    assert "question" in printed
    assert "Traceback" not in printed and ".py" not in printed
    assert "broken" not in shell.user_ns


def test_verifier_error_counts_as_the_cell_does(run):
    cell = "%%bpf broken\n" + C.replace("return answer;", "return *(__u32 *)(long)ctx->data;")
    line = cell[: cell.index("ctx->data;")].count("\n") + 1
    result, printed = run(cell)
    assert isinstance(result.error_in_exec, bl.VerifierError)
    assert f"broken:{line}: " in printed
    assert "Traceback" not in printed and ".py" not in printed


@pytest.mark.parametrize(
    "line, message",
    [
        ("", "a NAME is missing; write %%bpf NAME"),
        ("obj answer=41+missing", "the value of answer, '41+missing', cannot be worked out: name 'missing' is not defined"),
        ("my-object", "'my-object' is no Python name"),
        ("obj --sauce", "unrecognized arguments: --sauce"),
        ("obj answer", "'answer' is not of the form global=value"),
        ("obj --source answer=1", "leave --source out"),
        ("obj 'answer=1", "no closing quotation"),
    ],
)
def test_a_wrong_bpf_line_is_one_line_of_error(run, line, message):
    result, printed = run(f"%%bpf {line}\n{C}")
    assert not result.success
    assert printed.startswith("UsageError: ") and message in printed
    assert len(printed.strip().splitlines()) == 1


def test_a_wrong_line_leaves_the_object_of_before(run, shell):
    run(f"%%bpf obj\n{C}")
    result, _ = run(f"%%bpf obj answer=missing\n{C}")
    assert not result.success and not shell.user_ns["obj"].closed


def test_an_unknown_global_offers_the_near_one(run):
    result, printed = run("%%bpf obj anser=1\n" + C)
    assert isinstance(result.error_in_exec, bl.UnknownNameError)
    assert "did you mean 'answer'?" in printed


def test_sh_runs_on_the_machine_and_prints(run, lab):
    result, printed = run("%%sh\nuname -r\necho to the side >&2")
    assert result.success
    assert printed == f"{lab.release}\nto the side\n"


def test_sh_fails_with_what_it_printed(run):
    result, printed = run("%%sh\necho before\nfalse")
    assert isinstance(result.error_in_exec, bl.CommandError)
    assert printed.splitlines()[0] == "before"
    assert "ended with status 1" in printed and "Traceback" not in printed


def test_sh_takes_no_arguments(run):
    assert "takes no arguments" in run("%%sh ls\nls")[1]


def test_bpftrace_binds_frames_by_map(run, shell):
    result, printed = run("%%bpftrace traced\nBEGIN { @answer[1] = 42; @answer[2] = 43; exit(); }")
    assert result.success, printed
    frame = shell.user_ns["traced"]["answer"]
    assert sorted(frame.iloc[:, -1]) == [42, 43]


def test_bpftrace_names_the_line_of_the_cell(run):
    assert "traced:3:" in run("%%bpftrace traced\nBEGIN {\n  no_such_function(); }")[1]


def test_bpftrace_ends_after_the_seconds(run, shell):
    result, printed = run("%%bpftrace traced --seconds 0.5\nBEGIN { @answer = 42; }")
    assert result.success, printed
    assert shell.user_ns["traced"]["answer"]["value"].tolist() == [42]


def test_magics_say_what_they_take(run):
    assert "write %%bpftrace NAME [--seconds N]" in run("%%bpftrace\nBEGIN { exit(); }")[1]


def test_magics_come_with_the_import(shell):
    assert {"bpf", "sh", "bpftrace"} <= set(shell.magics_manager.magics["cell"])
    assert isinstance(shell.magics_manager.registry["LabMagics"], magics.LabMagics)
