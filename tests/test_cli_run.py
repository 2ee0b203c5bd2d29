"""`./lab run`, `check` and `clean`: what they do, what they print, and how they end."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time

import nbformat
import pytest
from cli_support import TREE, complaint, environment, lab, own_mounts

BOOK = nbformat.v4


@pytest.fixture
def notebook(tmp_path):
    """Write a notebook from cells: a text that starts with # is a heading."""

    def write(*texts):
        cells = [BOOK.new_markdown_cell(t) if t.startswith("#") else BOOK.new_code_cell(t) for t in texts]
        path = tmp_path / "small book.ipynb"
        nbformat.write(BOOK.new_notebook(cells=cells, metadata={"kernelspec": {"name": "python3", "display_name": "x"}}), path)
        return path

    return write


def test_run_leaves_the_notebook_as_it_is(notebook):
    path = notebook("# One", "print(6 * 7)", "# Two", "import os; print(os.getcwd())")
    before = path.read_bytes()
    done = lab("run", path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 of 2 cells ran" in done.stdout
    assert path.read_bytes() == before


def test_run_update_stores_what_was_printed_and_nothing_else(notebook):
    path = notebook("# One", "print(6 * 7)", "import os; print(os.getcwd())")
    metadata = nbformat.read(path, 4).metadata
    done = lab("run", path, "--update")
    assert done.returncode == 0, done.stderr
    stored = nbformat.read(path, 4)
    assert [cell.outputs[0].text for cell in stored.cells if cell.cell_type == "code"] == ["42\n", f"{path.parent}\n"]
    assert stored.metadata == metadata
    assert all(cell.metadata == {} for cell in stored.cells)


def test_run_html_has_the_results(notebook, tmp_path):
    done = lab("run", notebook("# One", "print('forty' + '-two')"), "--html", "out.html", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "forty-two" in (tmp_path / "out.html").read_text()


def test_run_shows_the_cell_that_failed(notebook):
    path = notebook("# One", "good = 1", "## 3.2 Two", "def deep():\n    return no_such_name\n\ndeep()", "print('never')")
    before = path.read_bytes()
    done = lab("run", path, "--update")
    assert done.returncode == 1
    assert "stopped at cell 2 of 3" in done.stdout
    lines = done.stderr.splitlines()
    assert lines[0] == "cell 2 of small book.ipynb failed, in the section '3.2 Two':"
    assert "        return no_such_name" in lines
    assert lines[-1] == "NameError: name 'no_such_name' is not defined"
    assert "never" not in done.stdout + done.stderr
    assert path.read_bytes() == before


def test_run_says_when_the_kernel_dies(notebook):
    done = lab("run", notebook("# One", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"))
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "the notebook's kernel ended in the middle of it"


def test_run_unknown_chapter_names_those_there_are():
    done = lab("run", "77")
    assert done.returncode == 1
    line = complaint(done)
    assert line.startswith("no chapter named '77' in notebooks/")
    for path in (TREE / "notebooks").glob("[0-9]*.ipynb"):
        assert path.stem in line


def test_run_of_what_is_no_notebook(tmp_path):
    path = tmp_path / "broken.ipynb"
    path.write_text("{")
    done = lab("run", path)
    assert done.returncode == 1
    assert "broken.ipynb is no notebook" in complaint(done)


def test_run_with_nowhere_to_write(notebook, tmp_path):
    done = lab("run", notebook("# One", "1"), "--html", tmp_path / "no" / "out.html")
    assert done.returncode == 1
    assert "there is no folder" in complaint(done)


def test_run_interrupted_ends_its_kernel(notebook, tmp_path):
    mark = tmp_path / "pid"
    path = notebook("# One", f"import os, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)")
    started = subprocess.Popen(
        [TREE / "lab", "run", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    )
    with started:
        while not (mark.exists() and mark.read_text()):
            assert started.poll() is None
            time.sleep(0.05)
        started.send_signal(signal.SIGINT)
        _, error = started.communicate(timeout=60)
    assert started.returncode == 130
    assert error.splitlines()[-1] == "lab: interrupted"
    assert not os.path.exists(f"/proc/{mark.read_text()}")


def test_run_of_a_chapter_by_number():
    done = lab("run", "0", timeout=600)
    assert done.returncode == 0, done.stderr
    assert "00-start" in done.stdout


ANSWERS = TREE / "tests" / "exercises" / "03-hash-map"


def test_check_of_a_solution():
    done = lab("check", "03-hash-map", ANSWERS / "solution.bpf.c")
    assert (done.returncode, done.stdout) == (0, "03-hash-map: solved\n"), done.stderr


def test_check_of_a_wrong_answer_gives_a_hint():
    done = lab("check", "03-hash-map", ANSWERS / "wrong-overwrite.bpf.c")
    assert done.returncode == 1
    assert done.stdout.splitlines()[0] == "03-hash-map: not yet"
    assert done.stdout.splitlines()[1].startswith("hint: ")


def test_check_takes_a_path_as_seen_from_where_you_stand():
    done = lab("check", "03-hash-map", "solution.bpf.c", cwd=ANSWERS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("exercise", "file", "words"),
    [
        ("03-hash-mop", "solution.bpf.c", "did you mean '03-hash-map'"),
        ("03-hash-map", "no-such-file.c", "no-such-file.c"),
        ("03-hash-map", "/bin/true", "it is no text"),
    ],
)
def test_check_of_what_is_not_there(exercise, file, words):
    done = lab("check", exercise, file, cwd=ANSWERS)
    assert done.returncode == 2
    assert words in complaint(done)


LEAVE = """
import os, signal
import bpflab as bl
lab = bl.Lab("local", quiet=True)
print(lab.cgroup("left").path, lab.id, flush=True)
signal.pause()
"""


def test_clean_removes_what_a_dead_lab_left():
    """Notebook, agent and watcher all killed at once: nobody was there to sweep."""
    # with records of its own, for any other lab that starts meanwhile would sweep as well
    # and with no built programs, which another lab may be about to start
    private = "for dir in /run/bpflab /var/cache/bpflab; do mkdir -p $dir; mount -t tmpfs tmpfs $dir; done; "
    command = private + 'exec "$0" -c "$1"'
    apart = ["unshare", "--mount", "sh", "-c", command, sys.executable, LEAVE]
    with subprocess.Popen(apart, cwd=TREE, stdout=subprocess.PIPE, text=True) as left:
        group, name = left.stdout.readline().split()
        mounts = os.open(f"/proc/{left.pid}/ns/mnt", os.O_RDONLY)
        helpers = _processes_of(name, left.pid)
        for pid in [left.pid, *helpers]:
            os.kill(pid, signal.SIGSTOP)  # none may see another end and tidy up
        for pid in [left.pid, *helpers]:
            os.kill(pid, signal.SIGKILL)
    while any(os.path.exists(f"/proc/{pid}") for pid in helpers):
        time.sleep(0.01)
    assert os.path.isdir(group)
    clean = ["nsenter", f"--mount=/proc/self/fd/{mounts}", TREE / "lab", "clean"]
    try:
        for expected in (f"removed {name}: ", "nothing of ours was left\n"):
            done = subprocess.run(clean, pass_fds=[mounts], capture_output=True, text=True, env=environment())
            assert done.returncode == 0, done.stderr
            assert done.stdout.startswith(expected)
            assert not os.path.exists(group)
    finally:
        os.close(mounts)  # and with it the records: nobody else would know
        for folder in (group, os.path.dirname(group)):
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(folder)


def test_clean_removes_the_programs_that_labs_built(tmp_path):
    """All but one that runs; it goes the next time. In mounts of its own: other labs' programs stay."""
    script = f"""
mkdir -p /run/bpflab /var/cache/bpflab
mount -t tmpfs tmpfs /run/bpflab
mount -t tmpfs -o mode=0755 tmpfs /var/cache/bpflab
built=/var/cache/bpflab/workloads
{sys.executable} -c 'import bpflab as bl
from bpflab import workloads
lab = bl.Lab("local", quiet=True)
print(workloads.binary(lab, "leak"))
print(workloads.binary(lab, "leak", strip=True))'
ls $built | wc -l
cp /bin/sleep $built/sleep
$built/sleep 1000 &
{TREE}/lab clean
ls $built
kill $!
wait $! || true
{TREE}/lab clean
test ! -e $built && echo gone
{TREE}/lab clean
"""
    done = own_mounts(script, cwd=TREE)
    assert done.returncode == 0, done.stderr
    first, second, count, removed, kept, left, last, gone, nothing = done.stdout.splitlines()
    assert first.startswith("/var/cache/bpflab/workloads/leak-") and second == first + "-stripped" and count == "2"
    assert re.fullmatch(r"removed /var/cache/bpflab/workloads: 2 programs that labs had built to trace, 0\.\d MB", removed)
    assert kept == "kept /var/cache/bpflab/workloads/sleep, which runs now: a lab is open" and left == "sleep"
    assert last.startswith("removed /var/cache/bpflab/workloads: 1 program that labs had built")
    assert (gone, nothing) == ("gone", "nothing of ours was left")


@pytest.mark.parametrize("mode, owner, taken", [("0755", 0, "/var/cache"), ("0777", 0, "/run"), ("0775", 0, "/run"), ("0755", 65534, "/run")])
def test_programs_are_built_where_only_root_writes(mode, owner, taken):
    """Root runs what lies there; who else may write to the folder could put something else in its place."""
    script = f"""
mkdir -p /run/bpflab /var/cache/bpflab
mount -t tmpfs tmpfs /run/bpflab
mount -t tmpfs tmpfs /var/cache/bpflab
mkdir /var/cache/bpflab/workloads
chmod {mode} /var/cache/bpflab/workloads
chown {owner} /var/cache/bpflab/workloads
{sys.executable} -c 'import bpflab as bl
from bpflab import workloads
print(workloads.binary(bl.Lab("local", quiet=True), "leak"))'
"""
    done = own_mounts(script, cwd=TREE)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{taken}/bpflab/workloads/leak-")


def _processes_of(name: str, parent: int) -> list[int]:
    """The agent of a lab, which its name tells, and the watcher, which has the name on its command line."""
    found = [int(name.split("-")[1])]
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) not in (parent, *found):
            try:
                with open(f"{entry.path}/cmdline", "rb") as file:
                    if name.encode() in file.read():
                        found.append(int(entry.name))
            except OSError:
                pass
    return found


def test_run_on_a_machine_by_name(notebook):
    path = notebook("# One", "import bpflab as bl\nlab = bl.Lab()\nassert lab.machine == 'vm:6.12', lab.machine\nlab.close()")
    done = lab("run", path, "--machine", "vm:6.12")
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("lab on ")]
    assert lines[0].startswith("lab on vm:6.12: Linux 6.12.") and lines[0].endswith("chosen because asked for")


def test_run_on_a_machine_that_is_not_to_be_had(notebook):
    done = lab("run", notebook("# One", "1"), "--machine", "wm:6.12")
    assert done.returncode == 1
    assert "no lab machine named 'wm:6.12'" in complaint(done)


def test_run_names_what_the_machine_refused_and_goes_on(notebook):
    path = notebook("# One", "import bpflab as bl", "# Two", "lab = bl.Lab('local', 'xdp offload')", "lab.kernel", "# Three", "1")
    done = lab("run", path)
    assert done.returncode == 0, done.stderr
    assert "4 of 4 cells ran" in done.stdout
    assert "  refused in 'Two': xdp offload not supported on local, Linux" in done.stdout


def test_tests_on_a_machine_by_name():
    done = lab("test", "--machine", "wm", "--collect-only", "-q", "tests/test_map.py")
    assert done.returncode == 4 and "BPFLAB_TEST_MACHINES" in done.stdout + done.stderr
    done = lab("test", "--machine", "local", "--collect-only", "-q", "tests/test_map.py")
    assert done.returncode == 0 and "[local" in done.stdout
