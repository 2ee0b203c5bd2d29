"""Exercise 03-concurrent-access: an odometer that several CPUs drive at once."""

import random
import re

from .. import errors
from . import Hint, load
from .cpus import two_cpus
from .packets import udp

SECTION = "3.8"
TASK = "an odometer of bytes and kibibytes that CPUs share"
# a round lasts long enough for two commands that start one after the other on a busy computer to meet
_ROUNDS = 4


def check(lab, answer):
    obj = load(lab, answer, programs={"measure": "xdp"}, maps={"meter": ("array", "percpu_array")})
    meter, measure = obj.maps["meter"], obj.programs["measure"]
    if meter.type == "percpu_array":
        raise Hint(
            "a per-CPU map keeps one odometer for each CPU; this one is shared, so 'meter' must be a plain array"
        )
    if not {"bytes", "kib"} <= set(getattr(meter[0], "_fields", ())):
        raise Hint("the value of 'meter' is a struct with the members bytes and kib")

    total = 0
    for _ in range(40):
        frame = udp("192.0.2.2", payload=bytes(random.randrange(0, 900)))
        measure.test_run(frame)
        total += len(frame)
        _one_cpu(meter[0], total)

    cpus = two_cpus(lab)
    for _ in range(_ROUNDS):
        sizes = random.randrange(64, 200), random.randrange(300, 900)
        times = random.randrange(1_000_000, 1_200_000)
        runs = " & ".join(
            f"head -c {size} /dev/zero | taskset -c {cpu} bpftool prog run id {measure.id} data_in - repeat {times}"
            for size, cpu in zip(sizes, cpus)
        )
        done = lab.sh(f"{runs} & wait").stdout
        if len(re.findall("Return value", done)) != 2:
            raise errors.CommandError(f"bpftool did not run the program twice: {done}; try ./lab doctor")
        total += times * sum(sizes)
        _both_cpus(meter[0], total)


def _one_cpu(now, total):
    seen = f"after {total} bytes: {now.kib} KiB and {now.bytes} bytes"
    if not (now.bytes or now.kib):
        raise Hint("the odometer stands at 0: add the length of each packet, data_end - data")
    if now.bytes >= 1024:
        raise Hint("bytes went beyond 1023: 1024 bytes carry one into kib", seen)
    if now.kib * 1024 + now.bytes != total:
        raise Hint("on a single CPU already, kib and bytes do not add up to the bytes of the packets", seen)


def _both_cpus(now, total):
    seen = f"after {total} bytes from two CPUs: {now.kib} KiB and {now.bytes} bytes"
    if now.bytes >= 1024:
        raise Hint(
            "the carry went wrong: two CPUs saw the same full kibibyte and both carried it; "
            "atomic adds guard one number each, the lock must hold both together",
            seen,
        )
    if now.kib * 1024 + now.bytes != total:
        raise Hint(
            "bytes were lost: two CPUs read the same old value and both wrote it back; "
            "let one at a time through, with a bpf_spin_lock in the value",
            seen,
        )
