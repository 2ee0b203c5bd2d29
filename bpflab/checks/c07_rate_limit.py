"""Exercise 07-rate-limit: a token bucket for each sender, that two CPUs may use at once."""

import random
import re
import time

from .. import errors
from . import Hint, load
from .cpus import two_cpus
from .packets import XDP_DROP, XDP_PASS, not_ip, random_address, udp

SECTION = "7.8"
TASK = "a token bucket for each sender"
_NEVER = 10**15  # ns; no token comes back while a check lasts
_ROUNDS = 2


def check(lab, answer):
    obj = load(lab, answer, programs={"limit": "xdp"}, maps={"buckets": ("hash",)})
    for name in ("interval", "burst"):
        if name not in obj.globals:
            raise Hint(f"the answer has no global variable named '{name}'")
    buckets = obj.maps["buckets"]
    if buckets.key_type.size != 4 or "tokens" not in {member.name for member in buckets.value_type.members}:
        raise Hint("the key of 'buckets' is an IPv4 address, its value a struct with the member tokens")
    _a_full_bucket(obj)
    _tokens_come_back(obj)
    _while_it_sends(obj)
    _no_more_than_a_bucket(obj)
    _two_at_once(lab, obj)


def _set(obj, interval, burst):
    obj.globals["interval"], obj.globals["burst"] = interval, burst
    obj.maps["buckets"].clear()


def _passed(obj, sender, count):
    """How many of so many packets pass; to another address each."""
    verdicts = [obj.programs["limit"].test_run(udp(sender, random_address("10.0.0.0/8"))).retval for _ in range(count)]
    strange = set(verdicts) - {XDP_DROP, XDP_PASS}
    if strange:
        raise Hint("a verdict is neither XDP_PASS nor XDP_DROP", seen=f"verdicts: {verdicts}")
    return verdicts.count(XDP_PASS)


def _senders(count):
    return random.sample([f"192.0.2.{n}" for n in range(1, 255)], count)


def _a_full_bucket(obj):
    burst = random.randrange(5, 12)
    _set(obj, _NEVER, burst)
    senders = _senders(3)
    for place, sender in enumerate(senders):
        passed = _passed(obj, sender, burst + 5)
        seen = f"burst is {burst}; of {burst + 5} packets of sender {place + 1}, {passed} passed"
        if passed == burst + 5:
            raise Hint("nothing is dropped: without a token a packet must not pass, and each packet takes one from the sender's bucket", seen)
        if place and not passed:
            raise Hint("a sender finds the bucket empty that another has emptied: the key is the sender's address", seen)
        if passed != burst:
            raise Hint("a new sender has a full bucket: 'burst' packets pass, and no more", seen)
    if obj.programs["limit"].test_run(not_ip(senders[0])).retval != XDP_PASS:
        raise Hint("a frame that is not IPv4 was dropped: read eth->h_proto before you read an address")


def _tokens_come_back(obj):
    interval = random.randrange(25, 35) * 10**6
    _set(obj, interval, 12)
    (sender,) = _senders(1)
    _passed(obj, sender, 16)
    emptied = time.monotonic()
    time.sleep(6.5 * interval / 1e9)
    waited = (time.monotonic() - emptied) * 1e9
    passed = _passed(obj, sender, 16)
    whole = (time.monotonic() - emptied) * 1e9
    seen = f"a token comes back in {interval / 1e6:.0f} ms; after {waited / 1e6:.0f} ms {passed} packets passed"
    if not passed:
        raise Hint("no token ever comes back: one for each 'interval' nanoseconds that went by", seen)
    if not min(12, waited // interval) <= passed <= whole // interval + 2:
        raise Hint("the wrong number of tokens came back: one for each 'interval' nanoseconds that went by", seen)


def _while_it_sends(obj):
    interval = random.randrange(25, 35) * 10**6
    _set(obj, interval, 2)
    (sender,) = _senders(1)
    _passed(obj, sender, 4)
    begin, passed = time.monotonic(), 0
    while time.monotonic() - begin < 12 * interval / 1e9:
        passed += _passed(obj, sender, 1)
    due = (time.monotonic() - begin) * 1e9 // interval
    seen = f"a token comes back in {interval / 1e6:.0f} ms; of a sender that never paused {passed} packets passed in {due:.0f} such times"
    if passed < due / 2:
        raise Hint("a sender who never pauses gets too few tokens back: what is left of an interval is lost each time; move 'last' on by whole intervals", seen)
    if passed > due + 2:
        raise Hint("a sender who never pauses gets too many tokens back: move 'last' on when tokens come back", seen)


def _no_more_than_a_bucket(obj):
    interval, burst = random.randrange(20, 30) * 10**6, random.randrange(2, 5)
    _set(obj, interval, burst)
    (sender,) = _senders(1)
    _passed(obj, sender, burst)
    time.sleep(30 * interval / 1e9)
    begin = time.monotonic()
    passed = _passed(obj, sender, 25)
    most = burst + (time.monotonic() - begin) * 1e9 // interval + 1
    if passed > most:
        seen = f"burst is {burst}; after a pause of 30 intervals {passed} of 25 packets passed"
        raise Hint("a bucket holds more than 'burst' tokens after a pause: what flows over is lost", seen)


def _two_at_once(lab, obj):
    cpus, limit = two_cpus(lab), obj.programs["limit"]
    burst = 100_000_000
    _set(obj, _NEVER, burst)
    (sender,) = _senders(1)
    limit.test_run(udp(sender))
    total = 1
    for _ in range(_ROUNDS):
        times = random.randrange(500_000, 600_000)
        frame = udp(sender).hex()
        one = f"printf %s {frame} | python3 -c 'import sys; sys.stdout.buffer.write(bytes.fromhex(sys.stdin.read()))'"
        runs = " & ".join(f"{one} | taskset -c {cpu} bpftool prog run id {limit.id} data_in - repeat {times}" for cpu in cpus)
        done = lab.sh(f"{runs} & wait").stdout
        if len(re.findall("Return value", done)) != 2:
            raise errors.CommandError(f"bpftool did not run the program twice: {done}; try ./lab doctor")
        total += 2 * times
    left = obj.maps["buckets"].to_frame()["tokens"].iloc[0]
    if burst - left != total:
        raise Hint(
            "packets passed and were not paid for: two CPUs took the same token; let one at a time to the bucket, with its bpf_spin_lock",
            f"{total:,} packets from two CPUs, {burst - left:,} tokens gone",
        )
