"""bpftrace: maps to frames, errors in words, and an end in any case."""

from __future__ import annotations

import signal
import threading
import time

import pandas as pd
import pytest

import bpflab as bl
from bpflab import bpftrace
from bpflab.errors import CommandError, CompileError, LabError, MachineLost, NotSupportedError, UnknownNameError

EXEC = 'tracepoint:sched:sched_process_exec /comm == "true"/'


def test_counts_sums_and_scalars(lab):
    found = lab.bpftrace(
        EXEC + '{ @n[comm] = count(); @sum[1, "x", comm] = sum(3); @one = 5; @name = comm; @pair[2] = (7, "a"); }',
        command="/bin/true",
    )
    assert list(found["@n"].columns) == ["key", "value"]
    assert found["@n"].to_dict("list") == {"key": ["true"], "value": [1]}
    assert found["@sum"].to_dict("list") == {"key0": [1], "key1": ["x"], "key2": ["true"], "value": [3]}
    assert found["@sum"]["key0"].dtype == "int64"
    assert found["@one"].to_dict("list") == {"value": [5]}
    assert found["@name"].to_dict("list") == {"value": ["true"]}
    assert found["@pair"]["value"][0] == (7, "a")
    assert found["one"] is found["@one"]


def test_histograms(lab):
    found = lab.bpftrace(
        'BEGIN { @h = hist(5); @h = hist(8); @h = hist(-3); @by[1, "b"] = hist(0);'
        " @l = lhist(3, 0, 10, 5); @l = lhist(12, 0, 10, 5); exit(); }"
    )
    h = found["@h"]
    assert list(h.columns) == ["low", "high", "count"]
    full = h[h["count"] > 0].astype("object").where(h.notna(), None)
    assert full.values.tolist() == [[None, -1, 1], [4, 7, 1], [8, 15, 1]]
    assert found["@by"].iloc[0].to_dict() == {"key0": 1, "key1": "b", "low": 0, "high": 0, "count": 1}
    line = found["@l"]
    assert line[["low", "count"]].values.tolist() == [[0, 1], [5, 0], [10, 1]]
    assert line["high"].tolist()[:2] == [4, 9] and pd.isna(line["high"].iloc[2])


def test_stats_and_averages(lab):
    found = lab.bpftrace(
        'BEGIN { @s = stats(3); @s = stats(5); @k["x", 2] = stats(3); @a = avg(4); @b[1] = avg(6); exit(); }'
    )
    assert found["@s"].to_dict("list") == {"count": [2], "average": [4], "total": [8]}
    assert found["@k"].to_dict("list") == {"key0": ["x"], "key1": [2], "count": [1], "average": [3], "total": [3]}
    assert found["@a"].to_dict("list") == {"average": [4]}
    assert found["@b"].to_dict("list") == {"key": [1], "average": [6]}


def test_printed_lines(lab):
    found = lab.bpftrace(
        'BEGIN { printf("one "); printf("line\\nand %d\\n", 2); cat("/proc/sys/kernel/ostype"); exit(); }'
    )
    assert found["printf"]["line"].tolist() == ["one line", "and 2", "Linux"]


def test_maps_that_the_program_prints_on_its_way(lab):
    found = lab.bpftrace("interval:ms:200 { @c[1] = sum(2); print(@c); clear(@c); @n++; if (@n == 3) { exit(); } }")
    assert [(name, frame["value"][0]) for name, frame in found.printed] == [("@c", 2)] * 3
    assert len(found["@c"]) == 0 and list(found["@c"].columns) == ["key", "value"]
    assert found["@n"]["value"][0] == 3


def test_a_comma_in_a_key_is_no_second_key(lab):
    found = lab.bpftrace('BEGIN { @one["a,b"] = 1; @two["a,b", 1] = 1; exit(); }')
    assert found["@one"]["key"].tolist() == ["a,b"]
    assert found["@two"]["key"].tolist() == ["a,b,1"]  # where it begins cannot be told: whole rather than wrong


def test_stacks_are_lines(lab):
    found = lab.bpftrace(EXEC + "{ @[kstack(3), comm] = count(); }", command="/bin/true")
    row = found["@"].iloc[0]
    lines = row["key0"].split("\n")
    assert len(lines) == 3 and not any(line != line.strip() for line in lines)
    assert any("exec" in line for line in lines) and row["key1"] == "true"


def test_seconds_are_counted_from_when_it_is_attached(lab):
    found = lab.bpftrace("tracepoint:sched:sched_switch { @ = count(); } interval:ms:100 { @ticks++; }", seconds=0.35)
    assert found["@"]["value"][0] > 0
    assert found["@ticks"]["value"][0] >= 2


def test_uprobe_and_profile(lab):
    found = lab.bpftrace(
        'uprobe:/lib/x86_64-linux-gnu/libc.so.6:getppid /pid == cpid && comm == "python3"/ { @calls = count(); }'
        " profile:hz:999 { @samples = count(); }",
        command="exec /usr/bin/python3 -S -c 'import os; [os.getppid() for _ in range(100000)]'",
    )
    assert found["@calls"]["value"][0] == 100000
    assert found["@samples"]["value"][0] > 0


@pytest.mark.needs("kprobe")
def test_kprobe(lab):
    found = lab.bpftrace("kprobe:do_sys_openat2 { @ = count(); }", command="/bin/true")
    assert found["@"]["value"][0] > 0


@pytest.mark.needs("fentry")
def test_kfunc(lab):
    found = lab.bpftrace("kfunc:vfs_read { @ = count(); }", command="/bin/cat /etc/hostname")
    assert found["@"]["value"][0] > 0


@pytest.mark.needs("hardware perf events")
def test_hardware(lab):
    assert lab.bpftrace("hardware:cpu-cycles:1000000 { @ = count(); }", seconds=0.2)["@"] is not None


# -- errors


def test_a_text_it_does_not_understand(lab):
    with pytest.raises(CompileError) as caught:
        lab.bpftrace("tracepoint:sched:sched_switch\n{ @ = cont(); }")
    text = str(caught.value)
    assert "line:2:7-11: ERROR: Unknown function: cont" in text
    assert text.splitlines()[-2:] == ["{ @ = cont(); }", "      ~~~~"]
    assert "RLIMIT" not in text
    with pytest.raises(CompileError, match="cell:3:7-11: ERROR"):
        lab.bpftrace(bl.CSource("tracepoint:sched:sched_switch\n{ @ = cont(); }", "cell", 2))


@pytest.mark.parametrize("text", ["BEGIN { @ = 1 ", 'BEGIN { system("id"); }', 'BEGIN { printf("%d", "x"); }'])
def test_more_of_them(lab, text):
    with pytest.raises(CompileError, match="ERROR"):
        lab.bpftrace(text)


def test_unsafe_is_asked_for(lab):
    found = lab.bpftrace('BEGIN { system("echo done"); exit(); }', unsafe=True)
    assert found["printf"]["line"].tolist() == ["done"]


def test_names_that_are_not_there(lab):
    with pytest.raises(UnknownNameError, match="did you mean 'sched_switch'"):
        lab.bpftrace("tracepoint:sched:sched_swich { @ = count(); }")
    with pytest.raises(UnknownNameError, match="tracepoint category"):
        lab.bpftrace("tracepoint:sched_:sched_switch { @ = count(); }")
    with pytest.raises(LabError, match="no probe of that name; list them"):
        lab.bpftrace("uprobe:/bin/bash:no_such_function { @ = count(); }")
    with pytest.raises(UnknownNameError, match="did you mean '@reads'"):
        lab.bpftrace("BEGIN { @reads = 1; exit(); }")["raeds"]


def test_a_crash_of_bpftrace_is_told(lab):
    try:
        found = lab.bpftrace("rawtracepoint:sched_switch { @ = count(); }", seconds=0.2)
    except LabError as error:
        assert "broke off by itself" in str(error)
    else:
        assert found["@"]["value"][0] > 0


def test_no_bpftrace(fresh_lab):
    pid = fresh_lab.id.split("-")[1]
    fresh_lab.sh(f"nsenter -t {pid} -m mount --bind /dev/null /usr/bin/bpftrace")
    with pytest.raises((NotSupportedError, LabError), match="bpftrace"):
        fresh_lab.bpftrace("BEGIN { exit(); }")


def test_negative_seconds(lab):
    with pytest.raises(ValueError, match="seconds is -1"):
        lab.bpftrace("BEGIN { exit(); }", seconds=-1)


# -- it ends in any case


def _running(lab) -> list[str]:
    return lab.sh("pgrep -x bpftrace", check=False).lines


def test_it_does_not_run_for_ever(lab):
    before = _running(lab)
    with pytest.raises(CommandError, match="did not end within 8 s; give seconds=") as caught:
        lab.bpftrace('interval:ms:10 { printf("x\\n"); }', timeout=8)  # it starts in 3 s on an emulated machine
    assert "attached_probes" in caught.value.result.stdout
    assert set(_running(lab)) <= set(before)


def test_an_interrupt_ends_it(fresh_lab):
    """Ctrl-C, or the stop button of the notebook: a KeyboardInterrupt in the thread that waits."""
    before = _running(fresh_lab)
    started = threading.Event()

    def interrupt():
        with bl.Lab(fresh_lab.machine, quiet=True) as watcher:
            deadline = time.monotonic() + 20
            while set(_running(watcher)) <= set(before) and time.monotonic() < deadline:
                pass
        started.set()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        fresh_lab.bpftrace("interval:s:1 { @++; }", timeout=60)
    thread.join()
    assert started.is_set()
    deadline = time.monotonic() + 20
    while not set(_running(fresh_lab)) <= set(before):
        assert time.monotonic() < deadline, "bpftrace runs on"
    assert fresh_lab.bpftrace("BEGIN { @ = 1; exit(); }")["@"]["value"][0] == 1


def test_it_ends_with_the_lab(machine):
    lab = bl.Lab(machine, quiet=True)
    before = _running(lab)
    errors = []

    def trace():
        try:
            lab.bpftrace("interval:s:1 { @++; }", timeout=60)
        except MachineLost as error:
            errors.append(error)

    thread = threading.Thread(target=trace)
    thread.start()
    deadline = time.monotonic() + 20
    while set(_running(lab)) <= set(before):
        assert time.monotonic() < deadline
    lab.close()
    thread.join(20)
    assert errors
    with bl.Lab(machine, quiet=True) as other:
        assert set(_running(other)) <= set(before)


# -- what needs no machine


@pytest.mark.parametrize(
    "text, keys",
    [
        ("BEGIN { @ = 1; }", {"@": 0}),
        ("BEGIN { @a[pid] = 1; @a[1] = 2; }", {"@a": 1}),
        ("BEGIN { @a[comm, str(1, 2), (3, 4)] = 1; @b = @a[1]; }", {"@a": 3, "@b": 0}),
        ('BEGIN { printf("@no"); @x ["a,]", 2]++; }', {"@x": 2}),
        ("// @comment\nBEGIN { /* @another */ @y[kstack] = 1; }", {"@y": 1}),
    ],
)
def test_keys_of_a_program(text, keys):
    assert bpftrace._keys_of(text) == keys


def test_what_is_no_json_is_kept():
    found = bpftrace.parse(
        '{"type": "attached_probes", "data": {"probes": 1}}\nstray\n\n\n{"type": "lost_events", "data": {"events": 3}}\n'
    )
    assert found["printf"]["line"].tolist() == ["stray"]
    assert found.lost == 3
