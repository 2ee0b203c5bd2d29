"""bpflab.machines: the connection to an agent, and the memory shared with it, when the notebook does its worst."""

import gc
import multiprocessing
import os
import pathlib
import subprocess
import sys
import threading

import numpy as np
import pytest

import bpflab as bl
from bpflab.machines.shared import Buffers

MILLION = 1_000_000


def _interrupt_while(action, after: float) -> bool:
    """Whether a Ctrl-C so long after its start ended an action; one that ended before does not count."""
    timer = threading.Timer(after, os.kill, (os.getpid(), 2))
    timer.start()
    try:
        action()
        timer.join()  # it comes while this waits
        return False
    except KeyboardInterrupt:
        return True


def test_an_interrupt_in_the_middle_of_a_long_message(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u64", MILLION)
    keys, values = np.arange(MILLION, dtype="u4"), np.arange(MILLION, dtype="u8")
    for after in (0.002, 0.005, 0.01, 0.02, 0.03, 0.05):
        _interrupt_while(lambda: [m.update_batch(keys, values) for _ in range(5)], after)
        answer = []
        reader = threading.Thread(target=lambda answer=answer: answer.append(fresh_lab.sh("echo there").stdout), daemon=True)
        reader.start()
        reader.join(20)
        assert answer == ["there\n"], "the agent does not understand what it is asked any more"


def test_memory_that_an_interrupted_read_fills_is_nobody_elses(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u64", MILLION)
    m.update_batch(np.arange(MILLION, dtype="u4"), np.full(MILLION, 7, "u8"))
    taken = []
    buffers = fresh_lab._connection._buffers
    take = buffers.take

    def watched(size):
        found = take(size)
        taken.append(found[0])
        if len(taken) == 1:
            threading.Timer(0.005, os.kill, (os.getpid(), 2)).start()
        return found

    buffers.take = watched
    with pytest.raises(KeyboardInterrupt):
        for _ in range(50):
            m.to_numpy()
    interrupted = taken[-1]
    waiting = list(fresh_lab._connection._waiting.values())
    again = take(MILLION * 8)[0]
    assert not waiting or again != interrupted
    for future in waiting:
        future.result(20)


def test_a_forked_process_is_told_and_disturbs_nobody(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u64", 4)
    m[1] = 5
    context = multiprocessing.get_context("fork")
    said = context.Queue()

    def child():
        try:
            said.put(m[1])
        except bl.LabError as error:
            said.put(str(error))
        m.close()
        fresh_lab.close()

    process = context.Process(target=child)
    process.start()
    assert "belongs to the process that this one was forked from" in said.get(timeout=20)
    process.join(20)
    assert process.exitcode == 0 and m[1] == 5


def test_the_exit_of_a_forked_process_leaves_the_lab():
    """os.fork and a normal exit runs what is registered for the end of the process."""
    code = """if True:
        import os, sys
        import bpflab as bl
        lab = bl.Lab("local", quiet=True)
        child = os.fork()
        if not child:
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        print(lab.sh("echo still there").stdout)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "still there", done.stderr


def test_arrays_of_a_forked_process_do_not_change(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u64", 10_000)
    m.update_batch(np.arange(10_000, dtype="u4"), np.full(10_000, 7, "u8"))
    _, values = m.to_numpy()
    context = multiprocessing.get_context("fork")
    mine, theirs = context.Pipe()

    def child(values):
        theirs.recv()
        theirs.send(bool((values == 7).all()))

    process = context.Process(target=child, args=(values,))
    process.start()
    del values
    gc.collect()
    m.update_batch(np.arange(10_000, dtype="u4"), np.full(10_000, 8, "u8"))
    for _ in range(3):
        m.to_numpy()
    mine.send(None)
    assert mine.recv()
    process.join(20)


def test_numbers_of_numpy_and_paths_are_taken(fresh_lab, tmp_path):
    assert fresh_lab.create_map("hash", "u32", "u32", np.int64(16)).max_entries == 16
    assert fresh_lab.sh("pwd", cwd=pathlib.Path("/")).lines == ["/"]
    assert fresh_lab.sh(["echo", pathlib.Path("/a"), 5]).lines == ["/a 5"]
    with pytest.raises(TypeError, match="give numbers, text or bytes"):
        fresh_lab.sh("true", cwd=object())
    assert not fresh_lab._connection._waiting


def test_nothing_of_a_dead_agent_is_left_here():
    """Its process, its pipes and the shared memory go when the lab is closed."""
    before = set(os.listdir("/proc/self/fd")), threading.active_count()
    lab = bl.Lab("local", quiet=True)
    m = lab.create_map("array", "u32", "u64", 100_000)
    m.to_numpy()
    pid = int(lab.id.split("-")[1])
    with pytest.raises(bl.MachineLost):
        lab.sh(f"kill -9 {pid}; sleep 20")
    lab.close()
    gc.collect()
    assert (set(os.listdir("/proc/self/fd")), threading.active_count()) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def test_a_buffer_given_back_in_the_middle_of_a_take():
    """Garbage collection may do that in any line."""
    buffers = Buffers()
    held = [buffers.take(100_000)[1] for _ in range(3)]
    find = buffers._free.__class__.pop

    class Free(list):
        def pop(self, *where):
            held.clear()
            return find(self, *where)

    buffers._free = Free()
    first = buffers.take(100_000)[1]
    del first
    assert buffers.take(100_000)
    assert len(buffers._free) <= 2
    buffers.close()
