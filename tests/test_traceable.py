"""Searching what can be traced: names, places, signatures, near names, and cells that really trace."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import bpflab as bl
from bpflab import traceable
from bpflab.errors import BpfError, LabError, UnknownNameError
from bpflab.traceable import formats, search
from bpflab.traceable.catalog import Group, Place
from bpflab.traceable.recipes import recipe

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def catalog(lab):
    return traceable.catalog(lab)


# -- searching a list


GROUP = Group("tracepoint", "", ["sched_switch\tsched", "sys_enter_open\tsyscalls", "sys_enter_openat\tsyscalls", "sys_exit_openat\tsyscalls"])


@pytest.mark.parametrize(
    "text, lines",
    [
        ("openat", [2, 3]),
        ("OPENAT enter", [2]),
        ("syscalls:sys_enter_openat", [2]),
        ("sched", [0]),
        ("sys_enter_*", [1, 2]),
        ("sys_enter_open", [1, 2]),
        ("sys_*_openat", [2, 3]),
        ("enter_*", []),
        ("*switch", [0]),
        ("", [0, 1, 2, 3]),
        ("zebra", []),
        ("open.t", []),
    ],
)
def test_words_and_patterns(text, lines):
    assert search.matches(GROUP, text) == lines


def test_the_best_match_comes_first():
    places = [Place("kernel function", name, "vmlinux") for name in ("do_vfs_read", "vfs_readv", "vfs_read", "preadvfs_reads")]
    assert [place.name for place in search.rank(places, "vfs_read")] == ["vfs_read", "vfs_readv", "do_vfs_read", "preadvfs_reads"]


def test_a_list_as_long_as_a_kernels_is_searched_as_its_lines_are():
    """The search runs over one text; what it finds must be what a look at each line finds."""
    lines = [f"{a}_{b}_{n % 97}" for n in range(1000) for a in ("tcp", "udp", "vfs") for b in ("read", "write", "recv", "x")] * 10
    group = Group("kernel function", "vmlinux", lines)
    assert len(group) == 120_000
    assert search.matches(group, "tcp rec 13") == [i for i, line in enumerate(lines) if "tcp" in line and "rec" in line and "13" in line]


def test_near_names():
    names = Group("kernel function", "vmlinux", [f"function_{n}" for n in range(50_000)] + ["do_sys_openat2", "vfs_read\tmodule"])
    assert traceable.near("do_sys_opnat2", [names]) == ["do_sys_openat2"]
    assert traceable.near("vfs_raed", [names]) == ["vfs_read"]
    assert traceable.near("qqqqqq", [names]) == []


def test_a_format_file():
    text = (
        "name: x\nID: 1\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n"
        "\tfield:char comm[16];\toffset:8;\tsize:16;\tsigned:0;\n\tfield:const char * name;\toffset:24;\tsize:8;\tsigned:0;\n"
        "\tfield:__data_loc char[] text;\toffset:32;\tsize:4;\tsigned:0;\n\nprint fmt: \"%s\", REC->comm\n"
    )
    found = formats.parse(text)
    assert [(f.type, f.name, f.offset, f.size) for f in found.fields] == [
        ("char[16]", "comm", 8, 16), ("const char *", "name", 24, 8), ("__data_loc char[]", "text", 32, 4),
    ]  # fmt: skip
    assert found.fields[2].text_at and not found.fields[0].text_at
    assert found.printed == '"%s", REC->comm'


# -- a real kernel's


def test_tracepoints(lab):
    found = lab.events("openat", kind="tracepoint").set_index("name")
    assert found.loc["sys_enter_openat", "where"] == "syscalls"
    assert "const char *filename" in found.loc["sys_enter_openat", "signature"]
    assert set(found["kind"]) == {"tracepoint"}


def test_kernel_functions_have_their_c_signature(lab):
    found = lab.events("vfs_read")
    first = found[found["kind"] == "kernel function"].iloc[0]
    assert first["name"] == "vfs_read" and first["where"] == "vmlinux"
    assert first["signature"] == "ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)"


def test_it_says_where_the_list_of_functions_comes_from(lab):
    said = lab.events("vfs_read").attrs["kernel functions"]
    hidden = lab.sh("cat /sys/kernel/tracing/available_filter_functions | head -1", check=False)
    assert said.startswith("kallsyms" if "not permitted" in hidden.stderr or not hidden.stdout else "available_filter_functions")


def test_everything_is_in_the_list(lab):
    every = lab.events()
    counts = every["kind"].value_counts()
    assert counts["tracepoint"] == int(lab.sh('find /sys/kernel/tracing/events -mindepth 2 -maxdepth 2 -type d -not -path "*/ftrace/*" | wc -l').stdout)
    assert counts["kernel function"] > 20_000 and counts["perf event"] == 13


def test_functions_and_probes_of_a_binary(lab):
    with lab.workload("web") as web:
        found = lab.events(binary=web.binary).set_index("name")
        assert found.loc["handle_request", "kind"] == "user function"
        assert found.loc["web:request__done", "kind"] == "USDT"
        assert found.loc["web:request__done", "signature"] == "8-byte unsigned, 4-byte signed, 8-byte unsigned, 4-byte signed"
        of_process = lab.events("request", pid=web.pid)
        assert set(of_process["where"]) == {web.binary}
        assert "malloc" in set(lab.events("malloc", pid=web.pid)["name"])


def test_names_of_cpp_are_found_as_they_are_written(lab):
    with lab.workload("cpp") as cpp:
        found = lab.events("Basket::total", binary=cpp.binary).iloc[0]
    assert found["name"] == "_ZNK4shop6Basket5totalEv" and found["signature"] == "shop::Basket::total() const"


@pytest.mark.parametrize(
    "options, error, text",
    [
        ({"kind": "tracepoints"}, UnknownNameError, "did you mean 'tracepoint'"),
        ({"binary": "no-such-program"}, LabError, "no program or library 'no-such-program'"),
        ({"binary": "/etc/passwd"}, LabError, "no 64-bit ELF file"),
        ({"pid": 2**22 - 1}, BpfError, "no process 4194303"),
        ({"pid": 2}, LabError, "thread of the kernel"),
    ],
)
def test_what_there_is_not(lab, options, error, text):
    with pytest.raises(error, match=text):
        lab.events("", **options)


@pytest.mark.here
def test_an_agent_without_permission_says_so():
    """Root without CAP_SYS_ADMIN and CAP_PERFMON, as in a container."""
    code = """
    import bpflab as bl
    lab = bl.Lab("local", quiet=True)
    text = '''
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    SEC("tp/syscalls/sys_enter_openat") int count(void *ctx) { return 0; }
    char LICENSE[] SEC("license") = "GPL";'''
    print(len(lab.events("vfs_read")) > 0)
    for what in (lambda: lab.events("openat", kind="tracepoint"), lambda: lab.load(text)):
        try:
            what()
        except bl.BpfError as error:
            print(type(error).__name__, error)
    lab.close()
    """
    words = ["setpriv", "--bounding-set=-sys_admin,-perfmon", "--inh-caps=-all", sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[0] == "True", done.stderr
    for line, what in zip(lines[1:], ("the tracepoints cannot be listed", "program 'count' is not loaded as tracepoint"), strict=True):
        assert line.startswith(f"BpfError {what}: the agent on local is root without CAP_SYS_ADMIN and CAP_PERFMON"), line
        assert "give it those capabilities" in line


# -- the ready cells


def trace(lab, place, cause, seconds="0.5"):
    """Run the two cells of a place as a reader would, and give the frame."""
    program, read = recipe(traceable.catalog(lab), place)
    head, _, text = program.partition("\n")
    name = head.removeprefix("%%bpf ")
    with lab.load(text, name=name) as obj, lab.spawn(cause):
        space = {name: obj}
        exec(read.replace("seconds=2", f"seconds={seconds}"), space)
        assert space["events"].lost == 0
        return space["frame"]


OPENS = "while true; do cat /etc/hostname >/dev/null; done"


def test_a_cell_for_a_system_call(lab, catalog):
    frame = trace(lab, catalog.find("tracepoint", "sys_enter_openat"), OPENS)
    assert "/etc/hostname" in set(frame[frame.comm == "cat"].filename)
    assert list(frame.columns) == ["time_ns", "pid", "comm", "dfd", "filename", "flags", "mode"]
    assert (frame[frame.filename == "/etc/hostname"].dfd == -100).all()


def test_a_cell_for_a_tracepoint_with_a_text(lab, catalog):
    frame = trace(lab, catalog.find("tracepoint", "sched_process_exec"), OPENS)
    assert "/usr/bin/cat" in set(frame.filename) and (frame.pid == frame.old_pid).any()


def test_a_cell_for_a_usdt_probe(lab, catalog):
    with lab.workload("web", rate=200) as web:
        # a visitor of its own asks for a page that is not there, however busy the machine is
        ask = f"while true; do (printf 'GET /none HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3 >/dev/null) 3<>/dev/tcp/127.0.0.1/{web.port}; done"
        frame = trace(lab, catalog.find("USDT", "web:request__done", web.binary), ask, seconds="2")
    assert set(frame.arg3) == {200, 404} and (frame.arg2 > 0).all() and frame.arg1.is_monotonic_increasing


def test_a_cell_for_a_user_function(lab, catalog):
    with lab.workload("leak", rate=500) as leak:
        frame = trace(lab, catalog.find("user function", "parse_line", leak.binary), "true")
    assert (frame.arg0.diff().dropna() == 1).all() and set(frame.pid) == {leak.pid}


def test_a_cell_for_a_perf_event(lab, catalog):
    frame = trace(lab, catalog.find("perf event", "page-faults"), OPENS)
    assert "cat" in set(frame.comm)


@pytest.mark.needs("kprobe")
def test_a_cell_for_a_kernel_function(lab, catalog):
    frame = trace(lab, catalog.find("kernel function", "vfs_read"), OPENS)
    assert {"file", "buf", "count", "pos"} <= set(frame.columns) and "cat" in set(frame.comm)


def test_cells_for_any_tracepoint_load(lab, catalog):
    """Every hundredth: formats with arrays, texts, names that C has for itself."""
    places = [catalog.tracepoints.place(n) for n in range(0, len(catalog.tracepoints), 100)]
    for place in places:
        lab.load(recipe(catalog, place).program.partition("\n")[2]).close()


def test_names_that_c_and_python_take(catalog):
    """9p:9p_client_req begins with a digit, and is there only where the module is."""
    from bpflab.traceable import recipes

    place = Place("tracepoint", "9p_client_req", "9p")
    catalog._formats[place] = formats.parse("\tfield:__u32 type;\toffset:8;\tsize:4;\tsigned:0;\n")
    program, read = recipes.recipe(catalog, place)
    assert "struct t9p_client_req_args {" in program and program.startswith("%%bpf t9p_client_req_events\n")
    compile(read, "cell", "exec")


def test_a_name_that_is_not_there(catalog):
    with pytest.raises(UnknownNameError, match="did you mean 'sys_enter_openat'"):
        catalog.find("tracepoint", "sys_enter_opneat")


def test_a_lab_that_is_forgotten_is_not_kept_open(machine):
    lab = bl.Lab(machine, quiet=True)
    lab.events("malloc", binary="libc.so.6")
    connection = lab._connection
    del lab
    import gc

    from waiting import until

    gc.collect()
    until(lambda: not connection.alive, "the end of the forgotten lab")


def test_the_name_itself_comes_before_better_kinds():
    found = search.rank([Place(kind, name, "") for kind, name in [
        ("tracepoint", "x_read_more"), ("tracepoint", "spread"), ("kernel function", "read_more"), ("kernel function", "read"),
        ("tracepoint", "sys_exit_read"), ("tracepoint", "sys_enter_read"), ("kernel function", "read_it"),
    ]], "read")  # fmt: skip
    assert [place.name for place in found] == ["read", "read_it", "read_more", "x_read_more", "sys_enter_read", "sys_exit_read", "spread"]


def test_only_what_is_like_a_name_is_offered():
    group = Group("user function", "x", ["do_sys_openat2", "do_sys_open", "do_close_on_exec", "parse_line"])
    assert traceable.near("do_sys_opnat2", [group]) == ["do_sys_openat2", "do_sys_open"]
    assert traceable.near("parse_configuration_file", [group]) == []
    assert traceable.near("qqq", [group]) == []


def test_a_saved_notebook_shows_what_was_searched(lab):
    """Of a widget it would show nothing: a table of the best hits."""
    browser = bl.browse(lab, "openat")
    table = browser._repr_mimebundle_()[0]["text/html"]
    wanted = lab.events("openat")
    assert re.findall(r"<th>(.*?)</th>", table) == ["kind", "name", "where"] and table.count("<tr>") == 9 <= len(wanted)
    cells = re.findall(r"<td>(.*?)</td>", table)
    assert [name.rpartition(":")[2] for name in cells[1::3]] == wanted.name[:8].tolist()
    assert f"and {len(wanted) - 8:,} more" in browser._table()
    browser.text = "<no such thing>"
    assert "&lt;no such thing&gt;" in browser._table() and "more" not in browser._table() and "<td>" not in browser._table()
    browser.close()
