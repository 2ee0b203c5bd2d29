"""`./lab up`: a real JupyterLab on this computer, behind a token, that ends with everything it started."""

import json
import os
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from contextlib import contextmanager

import pytest
from cli_support import TREE, complaint, environment, lab
from waiting import until

from bpflab import notebook_server, trust


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def server(*arguments, **changes):
    """A running `./lab up`; gives the process, the address, and all that was printed before it."""
    command = [TREE / "lab", "up", "--no-browser", "--port", str(free_port()), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(**changes)) as up:
        try:
            printed = []
            while not printed or "token=" not in printed[-1]:
                line = up.stdout.readline()
                assert line, up.stderr.read()
                printed.append(line.rstrip("\n"))
            yield up, printed[-1], printed[:-1]
        finally:
            up.kill()


def get(address: str, **headers) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as err:
        return err.code, err.read()


@pytest.fixture(scope="module")
def running():
    with server() as up:
        yield up


def test_the_address_is_the_last_thing_said(running):
    _, address, before = running
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/lab\?token=[0-9a-f]{48}", address)
    assert before == ["JupyterLab is running; Ctrl-C stops it. Open this address:"]


def test_the_address_shows_jupyterlab(running):
    status, page = get(running[1])
    assert status == 200
    assert b"<title>JupyterLab</title>" in page


def test_nobody_gets_in_without_the_token(running):
    top = running[1].partition("/lab")[0]
    token = running[1].partition("token=")[2]
    assert get(f"{top}/api/contents")[0] == 403
    assert get(f"{top}/api/contents", Authorization="token 0")[0] == 403
    status, listing = get(f"{top}/api/contents", Authorization=f"token {token}")
    assert status == 200
    assert {"notebooks", "exercises"} <= {entry["name"] for entry in json.loads(listing)["content"]}


def test_it_listens_on_this_computer_only(running):
    port = int(running[1].split(":")[2].split("/")[0])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=10)


def test_it_asks_nothing_of_the_internet(running):
    status, page = get(running[1])
    config = json.loads(re.search(rb'id="jupyter-config-data" type="application/json">\s*(\{.*?\})\s*</script>', page, re.S)[1])
    assert status == 200
    assert config["news"] == {"disabled": True}
    del config["fullMathjaxUrl"]  # of an older front end; JupyterLab has MathJax in it
    assert not [value for value in map(str, config.values()) if "http" in value and "127.0.0.1" not in value]


def test_chapters_are_trusted_before_they_are_run(running):
    top, token = running[1].partition("/lab")[0], running[1].partition("token=")[2]
    name = next(iter(sorted(trust.committed(TREE))))

    def trusted():
        _, file = get(f"{top}/api/contents/{name}", Authorization=f"token {token}")
        return all(cell["metadata"]["trusted"] for cell in json.loads(file)["content"]["cells"] if cell["cell_type"] == "code")

    until(trusted, f"{name} is trusted", seconds=60)


def test_the_first_visit_opens_the_first_page(running):
    top, token = running[1].partition("/lab")[0], running[1].partition("token=")[2]
    status, kept = get(f"{top}/lab/api/workspaces/default", Authorization=f"token {token}")
    assert status == 200
    assert (TREE / notebook_server.FIRST_PAGE).exists()
    assert f"notebook:{notebook_server.FIRST_PAGE}" in json.loads(kept)["data"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_one_signal_ends_it_and_its_kernels(number):
    with server() as (up, address, _):
        top, token = address.partition("/lab")[0], address.partition("token=")[2]
        body = json.dumps({"path": "notebooks/x.ipynb", "type": "notebook", "name": "", "kernel": {"name": "python3"}})
        request = urllib.request.Request(f"{top}/api/sessions", body.encode(), {"Authorization": f"token {token}"})
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status == 201
        kernels = children(up.pid)
        assert kernels
        up.send_signal(number)
        assert up.wait(timeout=60) == 0
        assert not any(os.path.exists(f"/proc/{pid}") for pid in kernels)


def children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(word) for word in file.read().split()]


def test_your_own_token():
    with server(JUPYTER_TOKEN="of-my-own") as (_, address, __):
        assert address.endswith("/lab?token=of-my-own")


def test_a_port_that_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = lab("up", "--no-browser", "--port", port)
    assert done.returncode == 1
    assert complaint(done) == f"cannot listen on port {port}: another program has it; ./lab up takes a free one itself"
    assert "token" not in done.stdout
