"""Exercise 03-percpu-hash: totals and the busiest CPU, read from a per-CPU map."""

import random

from . import Hint, call

SECTION = "3.9.5"
TASK = "totals and busiest CPU of a per-CPU map"


def check(lab, answer):
    for size in random.sample(range(5, 40), 2):
        m, values = _filled(lab, size)
        want = {key: (sum(each), each.index(max(each))) for key, each in values.items()}
        got = call(answer, m)
        if not isinstance(got, dict):
            raise Hint(f"answer(m) returned {type(got).__name__}, not a dict", seen=repr(got))
        if set(got) != set(want):
            raise Hint(
                "the keys of the dict are not those of the map",
                seen=f"keys of the map: {sorted(want)}; yours: {list(got)}",
            )
        if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in got.values()):
            raise Hint(
                "each value of the dict is a pair: (total over all CPUs, number of the busiest CPU)", seen=repr(got)
            )
        pairs = {key: tuple(pair) for key, pair in got.items()}
        if pairs != want:
            raise _diagnose(pairs, want, values)


def _filled(lab, size):
    """Make a map of random values, beyond 2**53 so that floats round them, and no CPU as busy as another."""
    m = lab.create_map("percpu_hash", "u32", "u64", 64, name="work")
    values = {key: random.sample(range(1 << 54, 1 << 56), m.ncpus) for key in random.sample(range(1 << 32), size)}
    for key, each in values.items():
        m[key] = each
    return m, values


def _diagnose(got, want, values):
    key = next(k for k in want if got[k] != want[k])
    seen = f"key {key} holds {values[key]}: {want[key]}, your answer says {got[key]}"
    total = {k: pair[0] for k, pair in got.items()}
    if all(total[k] == want[k][0] for k in want):
        return Hint(
            "the totals are right, but not the CPUs: give the number of the CPU with the largest value, "
            "not the value itself",
            seen,
        )
    if all(total[k] == values[k][0] for k in want):
        return Hint(
            "the totals are those of CPU 0 alone: a per-CPU entry has one value for each CPU, "
            "and only their sum is the count",
            seen,
        )
    if all(abs(total[k] - want[k][0]) <= want[k][0] >> 50 for k in want):
        return Hint(
            "the totals are nearly right: they went through floating point, which is exact only up to 2**53; "
            "stay with integers",
            seen,
        )
    columns = {sum(each) % (1 << 64) for each in zip(*values.values())}
    if set(total.values()) <= columns:
        return Hint(
            "the totals are summed over the keys: in to_numpy() a row is a key and a column is a CPU, "
            "so sum along axis 1",
            seen,
        )
    return Hint("the totals are not the sums over all CPUs", seen)
