# hint: the shares are uneven: each back end should have about as many slots as another, so let them take turns
import hashlib


def answer(names, size):
    points = {int.from_bytes(hashlib.sha256(name.encode()).digest()[:8]) % size: name for name in sorted(names)}
    table, owner = [], points[max(points)]  # a ring: a slot belongs to the last point before it
    for slot in range(size):
        owner = points.get(slot, owner)
        table.append(owner)
    return table
