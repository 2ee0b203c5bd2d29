# hint: the order of the list changes the table: two balancers that list the same back ends in another order must agree; sort the names
import hashlib


def preferences(name, size):
    """Every slot once, in an order that is the name's own; size is a prime."""
    digest = hashlib.sha256(name.encode()).digest()
    first, step = int.from_bytes(digest[:8]) % size, int.from_bytes(digest[8:16]) % (size - 1) + 1
    return [(first + turn * step) % size for turn in range(size)]


def answer(names, size):
    table, wishes = [None] * size, [iter(preferences(name, size)) for name in names]
    for turn in range(size):
        mine = turn % len(names)
        table[next(slot for slot in wishes[mine] if table[slot] is None)] = names[mine]
    return table
