"""Exercise 02-closed-port: a control group whose processes may connect anywhere but to one port."""

import json
import random

from . import Hint, load

SECTION = "2.2.13"
TASK = "refuse connections to one port"

# listens on each port of 127.0.0.1, connects to each, and prints what came of it (0 or an errno); null when a port is taken
_CALLER = """
import errno, json, socket, sys
ports, listeners = json.loads(sys.argv[1]), []
try:
    for port in ports:
        listeners.append(socket.create_server(("127.0.0.1", port)))
except OSError:
    print("null")
    raise SystemExit
answers = []
for port in ports:
    with socket.socket() as caller:
        caller.settimeout(5)
        answers.append(caller.connect_ex(("127.0.0.1", port)))
print(json.dumps(answers))
"""
_EPERM = 1


def check(lab, answer):
    obj = load(lab, answer, programs={"guard": "cgroup_sock_addr"}, maps={})
    if "closed" not in obj.globals:
        raise Hint("the answer has no global variable named 'closed'")
    with lab.cgroup("guarded") as group, obj.programs["guard"].attach_cgroup(group):
        for _ in range(3):
            closed, swapped, other = _ports()
            obj.globals["closed"] = closed
            answers = _call(group, [closed, swapped, other])
            while answers is None:  # somebody listens there
                closed, swapped, other = _ports()
                obj.globals["closed"] = closed
                answers = _call(group, [closed, swapped, other])
            if answers != [_EPERM, 0, 0]:
                raise _diagnose([closed, swapped, other], answers)


def _ports():
    """A port, the one whose number has its two bytes the other way round, and another."""
    high, low = random.sample(range(0x20, 0x7F), 2)
    closed, swapped = high << 8 | low, low << 8 | high
    return closed, swapped, random.choice([p for p in range(0x2000, 0x7F00) if p not in (closed, swapped)])


def _call(group, ports):
    return json.loads(group.sh(["/usr/bin/python3", "-S", "-c", _CALLER, json.dumps(ports)]).stdout)


def _diagnose(ports, answers):
    closed, swapped, other = (answer == _EPERM for answer in answers)
    seen = f"closed is {ports[0]}; connections to ports {ports} ended with errno {answers} (0: connected, 1: refused by the program)"
    if not (closed or swapped or other):
        return Hint("the closed port was not refused: the program answers 0 for no, and 1 for go on", seen)
    if other and not closed:
        return Hint("only the closed port got through: 0 means no, and 1 means go on", seen)
    if swapped and not closed:
        return Hint(
            "the port with the two bytes the other way round was refused: ctx->user_port is in network byte order", seen
        )
    if closed and (swapped or other):
        return Hint("other ports were refused as well: only 'closed' is closed", seen)
    return Hint("not every connection ended as it should", seen)
