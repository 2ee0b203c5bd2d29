"""After any end of anything the kernel holds nothing of ours."""

import os
import shlex
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import kernelstate
import pytest
from jupyter_client import KernelManager
from waiting import until

import bpflab as bl

HERE = Path(__file__).parent
pytestmark = pytest.mark.here
SETUP = f"""
import sys; sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import bpflab as bl, everything, os
lab = bl.Lab({{machine!r}}, quiet=True)
kept = everything.make(lab)
print(lab._connection.about["pid"])
"""


class Notebook:
    """A real Jupyter kernel."""

    def __init__(self):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env={**os.environ, "PYTHONPATH": str(HERE.parent)})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        self.client.wait_for_ready(60)

    def run(self, code):
        """Run a cell; its standard output, and the name of its error or None."""
        text, error = [], []

        def take(message):
            if message["msg_type"] == "stream":
                text.append(message["content"]["text"])
            elif message["msg_type"] == "error":
                error.append("\n".join(message["content"]["traceback"]))

        self.client.execute_interactive(code, output_hook=take, timeout=120)
        return "".join(text), error[0] if error else None

    @property
    def pid(self):
        return self.manager.provisioner.pid

    def end(self):
        self.client.stop_channels()
        if self.manager.is_alive():
            self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def notebook():
    notebook = Notebook()
    yield notebook
    notebook.end()


def _close(notebook, agent):
    assert notebook.run("lab.close()")[1] is None


def _exception(notebook, agent):
    """An exception inside `with` ends the lab, and the error that comes out is the reader's own."""
    assert "ZeroDivisionError" in notebook.run("with lab:\n    1 / 0")[1]


def _shut_down(notebook, agent):
    notebook.manager.shutdown_kernel()


def _kill_notebook(notebook, agent):
    os.kill(notebook.pid, signal.SIGKILL)


def _kill_agent(notebook, agent):
    subprocess.run([*kernelstate.SUDO, "kill", "-9", agent], check=True)
    text, error = notebook.run("lab.sh('true')")
    assert "MachineLost" in error and "bl.Lab()" in error
    # the reader goes on in the same notebook
    assert notebook.run("with bl.Lab(quiet=True) as again:\n    print(again.sh('echo ready').stdout)")[0].strip() == "ready"


def _kill_both(notebook, agent):
    subprocess.run([*kernelstate.SUDO, "kill", "-9", agent, str(notebook.pid)], check=True)


ENDS = [_close, _exception, _shut_down, _kill_notebook, _kill_agent, _kill_both]


@pytest.mark.parametrize("end", ENDS, ids=lambda f: f.__name__.strip("_"))
def test_nothing_is_left(notebook, machine, end):
    before = kernelstate.take()
    text, error = notebook.run(SETUP.format(machine=machine))
    assert error is None, error
    there = kernelstate.left(before, patience=0)
    # the look itself works: it sees one of each
    assert {line.split()[0] for line in there} >= {"program", "map", "link", "namespace", "cgroup", "pin", "qdisc", "process"}
    end(notebook, text.strip())
    assert kernelstate.left(before) == []


def test_a_killed_watcher_is_made_good_by_the_next_lab(machine):
    """Agent and watcher both killed: the next lab sweeps."""
    before = kernelstate.take()
    script = SETUP.format(machine=machine) + "sys.stdout.flush(); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        agent = user.stdout.readline().strip()
        watchers = [p for p in kernelstate.processes() if b"marshal" in _command(p) and f"bpflab-{agent}-".encode() in _command(p)]
        assert len(watchers) == 1
        subprocess.run([*kernelstate.SUDO, "kill", "-9", str(watchers[0]), agent], check=True)
        user.kill()
    with bl.Lab(machine, quiet=True):
        pass
    assert kernelstate.left(before) == []


def _command(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_two_labs_do_not_disturb_each_other(machine):
    """The same names in both; one is killed; the other goes on."""
    sys.path.insert(0, str(HERE))
    import everything

    with bl.Lab(machine, quiet=True) as one:
        kept = everything.make(one)
        with bl.Lab(machine, quiet=True) as two:
            other = everything.make(two, alone=False)
            assert kept[0].maps["seen"].id != other[0].maps["seen"].id
            other[0].maps["seen"][9] = 2
            assert 9 not in kept[0].maps["seen"]
            os.kill(two._connection.about["pid"], signal.SIGKILL) if os.geteuid() == 0 else two.close()
        assert one.sh("true").returncode == 0
        assert one.pinned("everything-seen").id == kept[0].maps["seen"].id
        filters = "tc filter show dev lo ingress | grep -c direct-action"  # the killed one's are taken away by its watcher
        until(lambda: one.sh(filters).stdout.strip() == "1", "the end of the other's filter")
        assert kept[5]["a"].sh("echo here").stdout == "here\n"


def test_the_lab_that_made_clsact_may_end_first(machine):
    sys.path.insert(0, str(HERE))
    import everything

    before = kernelstate.take()
    filters = "tc filter show dev lo ingress | grep -c direct-action"
    with bl.Lab(machine, quiet=True) as two:
        with bl.Lab(machine, quiet=True) as one:
            everything.make(one)
            obj = two.load(everything.PROGRAMS, programs=["on_packet"])
            link = obj.programs["on_packet"].attach_tc("lo")
            assert two.sh(filters).stdout == "2\n"
        assert two.sh(filters).stdout == "1\n"
        link.detach()
        assert two.sh("tc qdisc show dev lo | grep -c clsact", check=False).stdout == "0\n"
    assert kernelstate.left(before) == []


def test_a_cell_that_is_run_again_leaves_one_lab(notebook, machine):
    """`lab = bl.Lab()` twice: the first one, which nobody can reach any more, ends."""
    cell = f"""
import gc, bpflab as bl
lab = bl.Lab({machine!r}, quiet=True)
obj = lab.load("#include <linux/bpf.h>\\n#include <bpf/bpf_helpers.h>\\nSEC('socket') int p(void *c) {{ return 0; }}".replace("'", '"'))
print(lab._connection.about["pid"])
del obj; _ = gc.collect()
"""
    first, second = (int(notebook.run(cell)[0]) for _ in range(2))
    _until(lambda: not os.path.exists(f"/proc/{first}"))
    assert os.path.exists(f"/proc/{second}")
    assert notebook.run("print(lab.sh('echo on').stdout)")[0].strip() == "on"


def test_an_agent_that_dies_in_the_middle_of_a_call(machine):
    lab = bl.Lab(machine, quiet=True)
    errors = []

    def call():
        try:
            lab.sh("sleep 1000; true", timeout=1000)
        except bl.MachineLost as error:
            errors.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    _until(lambda: any(b"sleep 1000; true" in _command(p) for p in kernelstate.processes()))
    subprocess.run([*kernelstate.SUDO, "kill", "-9", str(lab._connection.about["pid"])], check=True)
    thread.join(10)
    assert len(errors) == 1 and "Start a new one" in str(errors[0])
    with pytest.raises(bl.MachineLost):
        lab.create_map("hash", "u32", "u32", 1)
    lab.close()


def _until(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_interrupt_ends_the_command_and_keeps_the_lab(notebook, machine):
    """The stop button: the command on the lab machine ends too, and the lab answers as before."""
    notebook.run(f"import bpflab as bl; lab = bl.Lab({machine!r}, quiet=True)")
    notebook.client.execute("lab.sh('sleep 991; true', timeout=1000)")
    _until(lambda: any(b"sleep 991; true" in _command(p) for p in kernelstate.processes()))
    notebook.manager.interrupt_kernel()
    reply = notebook.client.get_shell_msg(timeout=20)
    assert reply["content"]["ename"] == "KeyboardInterrupt"
    _until(lambda: not any(b"sleep 991; true" in _command(p) for p in kernelstate.processes()))
    assert notebook.run("print(lab.sh('echo on').stdout)")[0].strip() == "on"


# -- who may


def _as_nobody(code, path="/usr/sbin:/usr/bin:/bin", rule=None):
    """Run Python as uid 65534, in a mount namespace in which sudo may have a rule: nothing of it stays behind."""
    steps = ["mount -t tmpfs -o mode=0777 none /mnt"]
    if rule:
        steps += [
            "mkdir -m 0755 /mnt/sudoers.d",
            f"echo {shlex.quote(rule)} > /mnt/sudoers.d/bpflab",
            "chmod 0440 /mnt/sudoers.d/bpflab",
            "mount --bind /mnt/sudoers.d /etc/sudoers.d",
        ]
    # the capability lets it read a Python that lies in root's home; it is no root for all that
    nobody = "/usr/bin/setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search --ambient-caps +dac_read_search"
    steps.append(f"cd / && exec env -i PATH={path} HOME=/mnt PYTHONPATH={HERE.parent} {nobody} {sys.executable} -B -c \"$0\"")
    script = " && ".join(steps)
    return subprocess.run(["unshare", "-m", "bash", "-c", script, textwrap.dedent(code)], capture_output=True, text=True)


LAB_AND_READ = """
import os, numpy as np, bpflab as bl
try:
    with bl.Lab(quiet=True) as lab:
        m = lab.create_map("hash", "u32", "u64", 20000)
        m.update_batch(np.arange(20000, dtype="u4"), np.arange(20000, dtype="u8"))
        print(os.getuid(), lab.sh("id -u").stdout.strip(), int(m.to_frame().value.sum()))
except bl.LabError as error:
    print(f"{type(error).__name__}: {error}")
"""


def test_a_user_with_sudo():
    """Jupyter's side is no root, the agent is; bulk data comes through shared memory all the same."""
    before = kernelstate.take()
    done = _as_nobody(LAB_AND_READ, rule="nobody ALL=(ALL) NOPASSWD: ALL")
    assert done.stdout.strip() == f"65534 0 {sum(range(20000))}", done.stderr
    assert kernelstate.left(before) == []


def test_a_user_whose_sudo_asks():
    done = _as_nobody(LAB_AND_READ)
    assert "LabError: the agent needs root, and sudo asks for a password" in done.stdout, done.stderr
    assert "sudo ./lab up" in done.stdout


def test_a_user_without_sudo():
    done = _as_nobody(LAB_AND_READ, path="/nowhere")
    assert "LabError: the agent needs root, and this computer has no sudo" in done.stdout, done.stderr


def test_unknown_machine():
    with pytest.raises(bl.UnknownNameError, match="no lab machine named 'locl'.* did you mean 'local'"):
        bl.Lab("locl")
