"""Exercise 01-sandbox: a rejected program repaired, so that it still does its work."""

import random

from . import Hint, load

SECTION = "1.5"
TASK = "a rejected program repaired, its work done"

_HEAD, _PLACE, _SLOTS, _LONGEST = 14, 23, 24, 1514


def check(lab, answer):
    obj = load(lab, answer, programs={"measure": "xdp"}, maps={})
    for name in ("lines", "protocols"):
        if name not in obj.globals:
            raise Hint(f"the global variable '{name}' is gone: it is the result of the program")
    if not isinstance(obj.globals["protocols"], list) or len(obj.globals["protocols"]) != _SLOTS:
        raise Hint(f"'protocols' has {_SLOTS} elements")
    lengths = [14, 15, 23, 24, 25, 2000, 3000, _LONGEST, *random.choices(range(16, _LONGEST + 1), k=60)]
    random.shuffle(lengths)
    seen, wrong_slot = [], []
    for number, length in enumerate(lengths):
        frame = _frame(length, number if number < 2 * _SLOTS else random.randrange(256))
        before = obj.globals["lines"], obj.globals["protocols"]
        verdict = obj.programs["measure"].test_run(frame).retval
        if verdict != 2:  # XDP_PASS, enum xdp_action of include/uapi/linux/bpf.h
            raise Hint("a packet does not pass: the program counts, and returns XDP_PASS whatever it finds", f"{length} bytes: {verdict}")
        seen.append((frame, obj.globals["lines"] - before[0]))
        slot = [i for i, (a, b) in enumerate(zip(before[1], obj.globals["protocols"])) if a != b]
        if slot != [min(p, _SLOTS - 1) for p in frame[_PLACE : _PLACE + 1]]:
            wrong_slot.append((frame, slot))
    _judge_lines(seen)
    _judge_slots(wrong_slot)


def _frame(length, protocol):
    """A frame with line ends anywhere, in its addresses and at its very end too; a long one has none behind its head."""
    body = bytearray(random.choices(b"\nabc\r", k=length) if length <= _LONGEST else b"\n" * _HEAD + bytes(length - _HEAD))
    if length <= _LONGEST:
        body[-1] = ord("\n")
    body[_PLACE : _PLACE + 1] = bytes([protocol])[: len(body) - _PLACE if length > _PLACE else 0]
    return bytes(body)


def _judge_lines(seen):
    right = [(frame, got, frame[_HEAD:].count(b"\n")) for frame, got in seen]
    wrong = [(frame, got, want) for frame, got, want in right if got != want]
    if not wrong:
        return
    frame, got, want = wrong[0]
    about = f"a packet of {len(frame)} bytes has {want} line ends, and {got} were counted"
    if all(got == 0 for _, got, _ in right):
        raise Hint("no line end is counted: add 1 to lines for each '\\n' behind the first 14 bytes", about)
    if all(got == f.count(b"\n") for f, got, _ in right):
        raise Hint("line ends in the Ethernet header are counted too: begin with byte 14", about)
    if all(got == f[_HEAD:-1].count(b"\n") for f, got, _ in right if len(f) <= _LONGEST):
        raise Hint("the last byte of a packet is not looked at: a byte at p lies inside when p + 1 is not beyond the end", about)
    if all(got == 0 for _, got, _ in wrong) and max(len(f) for f, *_ in wrong) < min((len(f) for f, got, _ in right if got), default=0):
        raise Hint("short packets are not looked at: compare with the end at each byte, not once for the longest packet", about)
    for bound in range(_HEAD + 1, _LONGEST):
        if all(got == f[_HEAD:bound].count(b"\n") for f, got, _ in right if len(f) <= _LONGEST):
            raise Hint("what lies far behind in a packet is not looked at: let the loop go on for all 1514 bytes of the longest packet", about)
    raise Hint("the count of line ends is not right", about)


def _judge_slots(wrong):
    if not wrong:
        return
    about = "; ".join(f"protocol {frame[_PLACE]}: slot {', '.join(map(str, slot)) or 'none'}" for frame, slot in wrong[:4] if len(frame) > _PLACE)
    if any(len(frame) <= _PLACE for frame, _ in wrong):
        raise Hint("a packet that ends before byte 23 has no protocol, and is counted all the same")
    if not any(slot for _, slot in wrong) and all(frame[_PLACE] >= _SLOTS for frame, _ in wrong):
        raise Hint("protocols from 24 on are not counted: each counts, in the last slot", about)
    if all(frame[_PLACE] >= _SLOTS for frame, _ in wrong):
        raise Hint("protocols from 24 on are not in the last slot", about)
    if not any(slot for _, slot in wrong):
        raise Hint("no protocol is counted: add 1 to the element of 'protocols' that byte 23 names", about)
    raise Hint("protocols are in the wrong slot: a mask with & changes numbers that were right; compare, and leave those alone that fit", about)
