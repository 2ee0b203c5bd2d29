"""Exercise 03-lru-hash: a table of clients that a flood of strangers does not fill."""

import random

from . import Hint, load
from .packets import random_address, udp

SECTION = "3.9.9"
TASK = "a table of clients that strangers cannot fill"


def check(lab, answer):
    obj = load(lab, answer, programs={"remember": "xdp"}, maps={"clients": ("lru_hash", "hash", "lru_percpu_hash")})
    clients = obj.maps["clients"]
    if (clients.key_type.size, clients.value_type.size) != (4, 8):
        raise Hint("the key of 'clients' is the sender's __be32 address, its value a __u64")
    if clients.max_entries > 1024:
        raise Hint("'clients' may hold 1024 entries at most: a larger table fills as well, only later")

    def packet(sender):
        obj.programs["remember"].test_run(udp(sender))

    strangers = {random_address("10.0.0.0/8") for _ in range(2500)}
    regulars = {random_address("172.16.0.0/12"): 0 for _ in range(8)}
    for n, stranger in enumerate(strangers):
        packet(stranger)
        if n > 1200 and n % 40 == 0:
            for regular in random.sample(list(regulars), 6):
                packet(regular)
                regulars[regular] += 1
    got = {address: _count(clients.get(address.packed)) for address in regulars}
    if got != regulars:
        raise _diagnose(clients, regulars, got)


def _count(value):
    return sum(value) if isinstance(value, list) else value


def _diagnose(clients, regulars, got):
    seen = "packets sent and count in the map: " + ", ".join(f"{a}: {n} and {got[a]}" for a, n in regulars.items())
    if len(clients) == 0:
        return Hint("the table is empty: insert senders that are not there", seen)
    if not any(got.values()):
        return Hint(
            "clients that come when the table is full are never recorded: then an insert fails with E2BIG, "
            "and this type of map never makes room",
            seen,
        )
    if set(got.values()) == {1}:
        return Hint(
            "every count is 1: look the client up and add to what is there; an update starts its count anew", seen
        )
    return Hint("the counts of the clients that came again and again are not right", seen)
