"""bpflab.map: each map type is written, read and emptied in the kernel."""

import errno
import ipaddress
import json

import numpy as np
import pytest

import bpflab as bl

FLOW = np.dtype([("saddr", "u4"), ("daddr", "u4"), ("sport", "u2"), ("dport", "u2"), ("proto", "u4"), ("zone", "u4")])
COUNT = np.dtype([("packets", "u8"), ("bytes", "u8")])


@pytest.fixture
def make(lab):
    """Create maps that are closed after the test."""
    made = []

    def create(*arguments, **options):
        made.append(lab.create_map(*arguments, **options))
        return made[-1]

    yield create
    for one in made:
        one.close()


@pytest.mark.parametrize("kind", ["hash", "lru_hash", "array"])
def test_one_entry_at_a_time(make, kind):
    m = make(kind, "u32", "s64", 8)
    m[3] = -(2**63)
    assert m[3] == -(2**63)
    assert 3 in m
    assert m.get(3) == -(2**63)
    m.update(3, 5, "exist")
    assert m[3] == 5
    assert (3, 5) in m.items()


def test_delete_pop_and_what_is_not_there(make):
    m = make("hash", "char[8]", "u64", 8, name="names")
    m["one"] = 1
    m["two"] = 2
    assert m.pop("one") == 1
    assert "one" not in m
    assert m.pop("one", None) is None
    assert m.get("one", 7) == 7
    del m["two"]
    for missing in (lambda: m["two"], lambda: m.pop("two"), lambda: m.__delitem__("two")):
        with pytest.raises(KeyError, match="two"):
            missing()
    assert len(m) == 0 and m.items() == [] and len(m.to_frame()) == 0


def test_u64_is_exact(make):
    m = make("hash", "u64", "u64", 2)
    m[2**64 - 1] = 2**53 + 1
    assert m[2**64 - 1] == 2**53 + 1
    frame = m.to_frame()
    assert frame.value.dtype == np.uint64 and frame.value[0] == 2**53 + 1 and frame.key[0] == 2**64 - 1


@pytest.mark.parametrize("batch", [100, 5000])
def test_bulk_read_and_write_agree(make, batch):
    """5000 entries travel through shared memory, 100 with the answer."""
    m = make("hash", FLOW, COUNT, 5000)
    keys, values = np.zeros(batch, FLOW), np.zeros(batch, COUNT)
    keys["saddr"] = np.random.default_rng().permutation(batch)
    keys["dport"] = 443
    values["bytes"] = keys["saddr"].astype("u8") * 3 + 2**40
    assert m.update_batch(keys, values) == batch
    frame = m.to_frame()
    assert list(frame.columns) == ["saddr", "daddr", "sport", "dport", "proto", "zone", "packets", "bytes"]
    assert len(frame) == batch == len(m)
    assert (frame.bytes == frame.saddr.astype("u8") * 3 + 2**40).all()
    assert sorted(frame.saddr) == list(range(batch))
    assert m[{"saddr": 7, "dport": 443}].bytes == 21 + 2**40
    taken = m.to_frame(remove=True)
    assert len(taken) == batch and len(m) == 0


def test_clear(make):
    hashed, array = make("hash", "u32", "u32", 50), make("array", "u32", "u32", 5)
    hashed.update_batch(range(50), range(50))
    array.update_batch(range(5), [9] * 5)
    assert hashed.clear() == 50 and len(hashed) == 0 and hashed.clear() == 0
    assert array.clear() == 5 and array.values() == [0] * 5


@pytest.mark.parametrize("kind", ["percpu_hash", "percpu_array", "lru_percpu_hash"])
@pytest.mark.parametrize("value", ["u32", COUNT], ids=["u32", "struct"])
def test_per_cpu(lab, make, kind, value):
    m = make(kind, "u32", value, 4)
    each = [(i + 1) * 10 for i in range(lab.ncpus)]
    m[2] = each if value == "u32" else [(n, n + 1) for n in each]
    keys, values = m.to_numpy()
    assert values.shape == (len(keys), lab.ncpus)
    frame = m.to_frame().set_index("key")
    if value == "u32":
        assert m[2] == each
        assert [frame.loc[2, f"cpu{i}"] for i in range(lab.ncpus)] == each
    else:
        assert [v.bytes for v in m[2]] == [n + 1 for n in each]
        assert [frame.loc[2, f"packets.cpu{i}"] for i in range(lab.ncpus)] == each
    with pytest.raises(TypeError, match=f"list of {lab.ncpus} values"):
        m[2] = 1


def test_per_cpu_arrays_have_a_column_each(lab, make):
    m = make("percpu_hash", "u32", "u32[2]", 4)
    m[1] = [[cpu, cpu + 10] for cpu in range(lab.ncpus)]
    frame = m.to_frame()
    assert len(frame.columns) == 1 + 2 * lab.ncpus
    assert m.items() == [(1, [[cpu, cpu + 10] for cpu in range(lab.ncpus)])]


def test_sizes_instead_of_types(make):
    """A number of bytes is bytes, also where the kernel would refuse types for it."""
    m = make("array", 4, 8)
    m[bytes(4)] = b"12345678"
    assert m.items() == [([0, 0, 0, 0], list(b"12345678"))]


def test_lpm_trie(make):
    m = make("lpm_trie", np.dtype([("prefixlen", "u4"), ("addr", "u1", 4)]), "u32", 100)
    for prefix, value in {"10.0.0.0/8": 1, "10.1.0.0/16": 2, "0.0.0.0/0": 3}.items():
        m[prefix] = value
    assert m["10.1.2.3/32"] == 2
    assert m["10.2.2.3/32"] == 1
    assert m["192.0.2.1/32"] == 3
    assert dict(zip(*(m.to_frame()[c] for c in ("prefix", "value")))) == {"10.0.0.0/8": 1, "10.1.0.0/16": 2, "0.0.0.0/0": 3}
    del m["0.0.0.0/0"]
    assert "192.0.2.1/32" not in m
    with pytest.raises(ValueError, match="host bits"):
        m["10.0.0.1/8"] = 1
    with pytest.raises(ValueError, match="IPv6"):
        m["fd00::/8"] = 1


def test_lpm_trie_of_ipv6(make):
    m = make("lpm_trie", np.dtype([("prefixlen", "u4"), ("addr", "u1", 16)]), "u32", 10)
    m["fd00::/8"] = 6
    assert m["fd12::1/128"] == 6 and list(m.to_frame().prefix) == ["fd00::/8"]


def test_queue_and_stack(make):
    for kind, order in (("queue", [1, 2, 3]), ("stack", [3, 2, 1])):
        m = make(kind, None, "u32", 3, name=kind)
        for value in (1, 2, 3):
            m.push(value)
        assert m.peek() == order[0]
        with pytest.raises(bl.BpfError, match="full with max_entries = 3") as caught:
            m.push(4)
        assert caught.value.errno == errno.E2BIG
        assert [m.pop(), m.pop(), m.pop()] == order
        assert m.peek() is None and m.pop(default=None) is None
        with pytest.raises(KeyError, match="empty"):
            m.pop()
        for keyed in (lambda m=m: m[0], lambda m=m: m.to_frame(), lambda m=m: m.items()):
            with pytest.raises(TypeError, match="no keys: use push, pop and peek"):
                keyed()


def test_queue_that_drops_the_oldest(make):
    m = make("queue", None, "u32", 2)
    for value in (1, 2, 3):
        m.push(value, replace=True)
    assert [m.pop(), m.pop()] == [2, 3]


def test_bloom_filter(make):
    m = make("bloom_filter", None, "u32", 1000)
    for value in range(0, 100, 2):
        m.push(value)
    assert all(value in m for value in range(0, 100, 2))
    assert sum(value in m for value in range(1_000_000, 1_000_100)) < 50


def test_map_of_maps(make):
    inner = make("array", "u32", "u64", 2, name="inner")
    inner[1] = 77
    outer = make("hash_of_maps", "u32", None, 4, name="outer", inner=inner)
    outer[5] = inner
    assert outer.inner(5)[1] == 77
    assert outer[5] == inner.id
    with pytest.raises(TypeError, match="holds no maps"):
        inner.inner(0)
    with pytest.raises(TypeError, match="needs inner="):
        make("array_of_maps", "u32", None, 4)


def test_flags(make):
    m = make("hash", "u32", "u32", 4)
    with pytest.raises(bl.BpfError, match="no such key") as caught:
        m.update(1, 1, "exist")
    assert caught.value.errno == errno.ENOENT
    m.update(1, 1, "noexist")
    with pytest.raises(bl.BpfError, match="there already") as caught:
        m.update(1, 2, "noexist")
    assert caught.value.errno == errno.EEXIST and m[1] == 1
    with pytest.raises(ValueError, match="any, noexist, exist"):
        m.update(1, 1, "maybe")


def test_full_frozen_and_out_of_range(make):
    m = make("hash", "u32", "u32", 2, name="small")
    with pytest.raises(bl.BpfError, match="2 of 5 entries written, then stopped: it is full"):
        m.update_batch(range(5), range(5))
    m.freeze()
    assert m.frozen
    with pytest.raises(bl.BpfError, match="map 'small': not written at key 0: it is frozen"):
        m[0] = 9
    array = make("array", "u32", "u32", 2)
    with pytest.raises(bl.BpfError, match="0 to 1"):
        array[2] = 1
    with pytest.raises(bl.BpfError, match="cannot be deleted; write a zero"):
        del array[0]
    assert m[0] == 0 and array[1] == 0


@pytest.mark.parametrize(
    ("key", "value", "error", "text"),
    [
        ("x", 1, TypeError, "key of map 'typed'"),
        (2**32, 1, OverflowError, "0..4294967295"),
        (-1, 1, OverflowError, "out of range"),
        (b"123", 1, ValueError, "3 bytes given, 4 needed"),
        (1, 70000, OverflowError, "value of map 'typed'"),
        (1, None, TypeError, "value of map 'typed'"),
    ],
)
def test_values_that_do_not_fit(make, key, value, error, text):
    m = make("hash", "u32", "u16", 4, name="typed")
    with pytest.raises(error, match=text):
        m[key] = value
    m[1] = 2
    assert m.items() == [(1, 2)]


def test_batch_of_the_wrong_length_or_type(make):
    m = make("hash", "u32", "u16", 4)
    with pytest.raises(ValueError, match="3 keys, but 2 values"):
        m.update_batch([1, 2, 3], [1, 2])
    with pytest.raises(OverflowError):
        m.update_batch(np.array([1]), np.array([70000]))
    assert m.update_batch([], []) == 0 and len(m) == 0


def test_kernel_knows_the_types(lab, make):
    """A map made from Python has BTF, so that bpftool prints names."""
    m = make("hash", FLOW, COUNT, 4, name="typed")
    m[{"saddr": 1}] = {"bytes": 5}
    (entry,) = json.loads(lab.sh(f"bpftool -j map dump id {m.id}").stdout)
    assert entry["formatted"] == {
        "key": {"saddr": 1, "daddr": 0, "sport": 0, "dport": 0, "proto": 0, "zone": 0},
        "value": {"packets": 0, "bytes": 5},
    }


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("hash", "u32", "u32", 0), "max_entries 0"),
        (("array", "u64", "u32", 1), "an array's key is u32"),
        (("queue", "u32", "u32", 1), "a queue has no key"),
        (("ringbuf", None, None, 1000), "a power of 2"),
    ],
)
def test_refused_creations_say_what_was_asked(make, arguments, text):
    with pytest.raises(bl.BpfError, match=text):
        make(*arguments)


def test_unknown_type_offers_the_near_one(make):
    with pytest.raises(bl.UnknownNameError, match="lru_hash"):
        make("lruhash", "u32", "u32", 1)


def test_pins(lab, make):
    m = make("hash", "u32", "u32", 4, name="kept")
    path = m.pin("kept")
    assert path == "/sys/fs/bpf/kept" and m.pins == [path]
    m[1] = 2
    m.close()
    again = lab.pinned("kept")
    assert again[1] == 2 and again.key_type.name == "u32"
    with pytest.raises(bl.BpfError, match="closed"):
        m[1]
    lab.unpin("kept")
    with pytest.raises(bl.BpfError, match="no map can be opened at /sys/fs/bpf/kept"):
        lab.pinned("kept")
    with pytest.raises(ValueError, match="begins with /sys/fs/bpf/"):
        again.pin("/tmp/kept")
    again.close()


def test_next_key_walks_and_ends(make):
    m = make("hash", "u32", "u32", 8)
    m.update_batch(range(8), range(8))
    seen, key = [], m.next_key()
    while key is not None:
        seen.append(key)
        key = m.next_key(key)
    assert sorted(seen) == list(range(8))


def test_read_while_it_changes(lab, make):
    """A million-entry map that another thread changes is read whole: every entry that stays is there, once."""
    import threading

    size = 1_000_000
    m = make("hash", "u32", "u64", size)
    numbers = np.arange(size // 2, dtype="u4")
    m.update_batch(numbers, numbers.astype("u8"))
    stop = threading.Event()

    def churn():
        moving = np.arange(size // 2, size // 2 + 20_000, dtype="u4")
        while not stop.is_set():
            m.update_batch(moving, moving.astype("u8"))
            lab.ask("maps.clear", m.fd, moving.tobytes(), len(moving))

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(3):
            keys, values = m.to_numpy()
            assert (keys == values).all()
            staying = keys[keys < size // 2]
            assert len(staying) == len(numbers) == len(np.unique(staying))
    finally:
        stop.set()
        thread.join()


def test_sizes_of_addresses_in_keys(make):
    m = make("hash", "__be32", "u32", 2)
    m["10.0.0.1"] = 1
    assert m.keys() == [int(ipaddress.ip_address("10.0.0.1"))]


def test_a_batch_is_one_row_of_keys(make):
    """Two columns of u32 are no u32 keys, though their bytes would do."""
    m = make("hash", "u32", "u32", 8, name="rows")
    with pytest.raises(TypeError, match="key of map 'rows'"):
        m.update_batch(np.array([[1, 2], [3, 4]], "u4"), np.array([1, 2], "u4"))
    for nothing in (5, np.array(5)):
        with pytest.raises(TypeError, match="map 'rows': a batch is"):
            m.update_batch(nothing, nothing)
    assert len(m) == 0


def test_a_batch_refused_as_a_whole_wrote_nothing(make):
    m = make("hash", "u32", "u32", 8)
    m.freeze()
    with pytest.raises(bl.BpfError, match="0 of 3 entries written, then stopped: it is frozen"):
        m.update_batch(range(3), range(3))


def test_what_an_array_does_not_do(make):
    m = make("array", "u32", "u32", 2)
    for attempt in (lambda: m.pop(1), lambda: m.to_frame(remove=True)):
        with pytest.raises(bl.BpfError, match="cannot be deleted; write a zero"):
            attempt()
    with pytest.raises(ValueError, match="any, noexist, exist"):
        m.update(1, 1, None)


@pytest.mark.parametrize(
    ("path", "error", "text"),
    [
        ("twice", bl.BpfError, "something has that name"),
        ("no/folder", bl.BpfError, "there is no such folder"),
        ("a.b", bl.BpfError, "have no '.'"),
        ("", ValueError, "names nothing"),
        ("..", ValueError, "names nothing"),
        ("/sys/fs/bpf/../../x", ValueError, "names nothing"),
        (None, TypeError, "NoneType"),
    ],
)
def test_pins_that_cannot_be(lab, make, path, error, text):
    m = make("hash", "u32", "u32", 4)
    m.pin("twice")
    try:
        with pytest.raises(error, match=text):
            m.pin(path)
    finally:
        m.unpin()


def test_a_closed_map_of_an_object_touches_nothing_of_others(lab, make):
    """Its number as a descriptor of the agent may be that of another map by now."""
    source = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __uint(max_entries, 4); __type(key, u32); __type(value, u32); } m SEC(".maps");
u32 number = 5;
"""
    obj = lab.load(source)
    obj.maps["m"].close()
    others = [make("hash", "u32", "u32", 4) for _ in range(3)]
    obj.close()
    others += [make("hash", "u32", "u32", 4) for _ in range(5)]
    for one in others:
        one[1] = 1
    for attempt in (lambda: obj.maps["m"][1], lambda: obj.maps["m"].fd, lambda: obj.globals["number"]):
        with pytest.raises(bl.BpfError, match="closed with its object"):
            attempt()
    with pytest.raises(bl.BpfError, match="closed with its object"):
        obj.globals["number"] = 6
    assert all(one.items() == [(1, 1)] for one in others)


def test_inner_maps_are_opened_once(make):
    inner = make("array", "u32", "u64", 2, name="inner")
    outer = make("array_of_maps", "u32", None, 4, inner=inner)
    outer[0] = inner
    assert outer.inner(0) is outer.inner(0)
    outer.inner(0).close()
    assert outer.inner(0)[1] == 0


def test_closing_a_map_after_its_lab(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u32", 4)
    fresh_lab.close()
    m.close()
    with pytest.raises(bl.BpfError, match="was closed; create or open it again"):
        m[1]


@pytest.mark.parametrize("name", ["mäp", "two words", "it's"])
def test_names_that_the_kernel_does_not_take(lab, name):
    with pytest.raises(ValueError, match="letters, digits, '_' and '.'"):
        lab.create_map("hash", "u32", "u32", 4, name=name)
