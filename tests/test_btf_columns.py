"""Arrays to columns: the same values as decode gives, row by row."""

import numpy as np
import pandas as pd
import pytest
from btf_support import ALL_CONSTRUCTS, compiled, vmlinux
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflab.btf import columns as columns_module
from bpflab.btf import ctype


def rows(t, n, seed=1):
    return np.random.default_rng(seed).bytes(t.size * n)


def flat(t, value, name=""):
    """What the columns of one decoded value should hold."""
    r = t.resolved
    if r.kind in ("struct", "union"):
        out = {}
        for f, one in zip((f for f in t.fields if not f.hidden), value, strict=True):
            out |= flat(f.type, one, f"{name}.{f.name}" if name else f.name)
        return out
    if isinstance(value, list) and _width(t) <= 16:
        return {k: v for i, one in enumerate(value) for k, v in flat(r.target, one, f"{name}[{i}]").items()}
    if r.kind in ("enum", "enum64"):
        value = next((n for n, v in t.enumerators.items() if v == value), str(value))
    return {name or "value": value}


def _width(t):
    r = t.resolved
    if r.kind == "array" and not t.is_text:
        return r.nelems * _width(r.target)
    return sum(_width(f.type) for f in t.fields) if r.kind in ("struct", "union") else 1


def check(t, data, n):
    got = t.columns(t.array(data, n))
    for i in range(n):
        want = flat(t, t.decode(data[i * t.size : (i + 1) * t.size]))
        assert list(got) == list(want)
        for name, value in want.items():
            cell = got[name][i]
            if isinstance(value, str):  # text that is no UTF-8 is shown with backslashes
                value = value.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
            if isinstance(cell, np.ndarray):
                cell = cell.tolist()
            elif isinstance(cell, np.generic):
                cell = cell.item()
            assert repr(cell) == repr(value), (name, i)


@pytest.mark.parametrize("target", ["bpf", "bpfeb"])
def test_every_construct(target):
    t = compiled(ALL_CONSTRUCTS + "struct all it;", target).find("struct all")
    check(t, rows(t, 40), 40)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_structs_of_the_kernel(data):
    t = data.draw(st.sampled_from([t for t in vmlinux().types("struct") if t.name and 0 < t.size <= 256]))
    check(t, rows(t, 3, data.draw(st.integers(0, 1 << 30))), 3)


def test_dtypes_of_columns():
    t = compiled(ALL_CONSTRUCTS + "struct all it;", "bpfeb").find("struct all")
    got = t.columns(t.array(rows(t, 5), 5))
    for name, dtype in {
        "s": "i2",
        "big": "u8",
        "port": "u2",
        "f": "f4",
        "yes": "?",
        "pointer": "u8",
        "bits.middle": "u4",
    }.items():
        assert got[name].dtype == np.dtype(dtype) and got[name].dtype.isnative, name
        assert got[name].flags.c_contiguous and got[name].flags.owndata
    assert isinstance(got["color"], pd.Categorical)
    assert got["bits.signed_one"].dtype == np.int32 and got["bits.flag"].dtype == np.bool_
    assert pd.DataFrame(got)["comm"].dtype == "str"
    assert "grid[1][2]" in got and "labels[1].mac[5]" in got and "number.halves[1]" in got


def test_u64_is_exact():
    t = ctype("u64")
    column = t.columns(t.array(b"\xff" * 16, 2), "count")["count"]
    assert column.dtype == np.uint64 and column[1] == (1 << 64) - 1
    huge = ctype("unsigned __int128")
    assert huge.columns(huge.array(b"\xff" * 16, 1))["value"][0] == (1 << 128) - 1


def test_names():
    t = ctype(np.dtype([("a", "u4"), ("in", [("b", "u2"), ("c", "u2", (2,))])]))
    array = t.array(bytes(24), 2)
    assert list(t.columns(array)) == ["a", "in.b", "in.c[0]", "in.c[1]"]
    assert list(t.columns(array, "v")) == ["v.a", "v.in.b", "v.in.c[0]", "v.in.c[1]"]
    assert list(ctype("u32").columns(np.zeros(2, "u4"))) == ["value"]
    assert list(ctype("u32").columns(np.zeros(2, "u4"), "key")) == ["key"]
    assert list(ctype("u8[2]").columns(np.zeros((3, 2), "u1"), "key")) == ["key[0]", "key[1]"]


def test_long_arrays_stay_in_one_column():
    t = ctype("u16[17]")
    column = t.columns(t.array(rows(t, 3), 3), "v")["v"]
    assert column.dtype == object and column[2].tolist() == t.decode(rows(t, 3)[68:])


def test_strides_and_percpu_arrays():
    t, data = ctype(np.dtype([("n", "u4"), ("m", "u2")])), rows(ctype("u64"), 8)
    array = t.array(data, 8, stride=8)
    assert array.base is not None and not array.flags.owndata
    assert t.columns(array)["m"].tolist() == np.frombuffer(data, "u2")[2::4].tolist()
    per_cpu = array.reshape(4, 2)
    assert t.columns(per_cpu[:, 1])["n"].tolist() == np.frombuffer(data, "u4")[2::4].tolist()
    text = ctype("char[4]")
    assert text.array(b"ab\0\0....cdef....", 2, stride=8).tolist() == [b"ab", b"cdef"]
    grid = ctype("u16[2]")
    assert grid.array(bytes(range(16)), 2, stride=8).tolist() == [[0x100, 0x302], [0x908, 0xB0A]]


def test_arrays_check_their_buffer():
    t = ctype("u64")
    assert len(t.array(b"", 0)) == 0
    assert len(t.array(bytes(12 + 8), 2, stride=12)) == 2  # the last one needs no padding
    with pytest.raises(ValueError, match="3 values of .*u64.*, 8 bytes apart, take 24 bytes; the buffer has 20"):
        t.array(bytes(20), 3)
    with pytest.raises(ValueError, match="stride 4 is less than the 8 bytes"):
        t.array(bytes(20), 2, stride=4)


def test_columns_keep_nothing_of_the_buffer():
    """A ring's memory is written again while the frame lives on."""
    t, data = ctype("u32"), bytearray(16)
    column = t.columns(t.array(data, 4))["value"]
    data[:] = b"\xff" * 16
    assert column.tolist() == [0, 0, 0, 0]


def test_enum_columns():
    t = vmlinux().find("enum tcp_ca_state")
    column = t.columns(np.array([4, 0, 77, 0], "u4"), "state")["state"]
    assert list(column) == ["TCP_CA_Loss", "TCP_CA_Open", "77", "TCP_CA_Open"]
    assert list(column.categories) == [*t.enumerators, "77"]


def test_text_columns():
    t = ctype("char[12]")
    data = [b"bash", b"", b"bash\0garbage", b"\xff\xfe", b"twelve chars", b"bash"]
    column = t.columns(np.array(data, "S12"), "comm")["comm"]
    assert list(column) == ["bash", "", "bash", "\\xff\\xfe", "twelve chars", "bash"]
    assert list(t.columns(np.array([], "S12"), "comm")["comm"]) == []
    many = [f"name {i}".encode() for i in range(3000)]
    assert list(t.columns(np.array(many, "S12"))["value"]) == [m.decode() for m in many]


def test_different_texts_with_the_same_hash_stay_different():
    a, b = columns_module.MIX[:2]
    words = np.array([[10, 20], [(10 + b) % (1 << 64), (20 - a) % (1 << 64)]], np.uint64)
    first, second = (words * np.array([a, b], np.uint64)).sum(axis=1)
    assert first == second  # 10a + 20b either way
    codes, first = columns_module._distinct(words)
    assert codes.tolist() == [0, 1] and first.tolist() == [0, 1]
