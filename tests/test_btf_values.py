"""Python values to bytes and back, with clang's initialisers as the judge."""

import ctypes
import ipaddress

import numpy as np
import pytest
from btf_support import ALL_CONSTRUCTS, VALUE_OF_ALL, compiled, sections, value_of_all, vmlinux
from hypothesis import given, settings
from hypothesis import strategies as st

from bpflab.btf import Btf, build, ctype


@pytest.fixture(params=["bpf", "bpfeb"])
def case(request):
    """(Type of struct all, the bytes clang made of VALUE_OF_ALL)."""
    big = "#define BIG\n" if request.param == "bpfeb" else ""
    found = sections(big + ALL_CONSTRUCTS + VALUE_OF_ALL, request.param)
    t = Btf(found[".BTF"]).find("struct all")
    return t, found[".value"][: t.size]


def test_decode_reads_what_clang_wrote(case):
    t, data = case
    got = t.decode(data)
    assert type(got).__name__ == "all"
    assert got._asdict() == value_of_all(t.btf)
    assert t.decode_all(t.array(data * 3, 3)) == [got] * 3


def test_encode_writes_what_clang_wrote(case):
    t, data = case
    assert t.encode(value_of_all(t.btf)) == data
    assert t.encode(t.decode(data)) == data
    assert t.encode(tuple(value_of_all(t.btf).values())) == data
    assert t.encode(data) == data


def test_members_left_out_are_zero():
    t = compiled(ALL_CONSTRUCTS + "struct all it;").find("struct all")
    assert t.encode({}) == bytes(t.size)
    assert t.decode(t.encode({"i": 7})).i == 7


SCALARS = [
    "u8",
    "s8",
    "u16",
    "s16",
    "u32",
    "s32",
    "u64",
    "s64",
    "int",
    "long",
    "__int128",
    "unsigned __int128",
    "__be16",
    "__be64",
]


@pytest.mark.parametrize("text", SCALARS)
@given(data=st.data())
@settings(max_examples=30)
def test_integers_round_trip_and_are_kept_in_range(text, data):
    t = ctype(text)
    signed, bits = t.encoding == "signed", 8 * t.size
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    number = data.draw(st.integers(low, high))
    order = {"<": "little", ">": "big"}[t.order]
    assert t.encode(number) == number.to_bytes(t.size, order, signed=signed)
    assert t.decode(t.encode(number)) == number
    for wrong in (low - 1, high + 1):
        with pytest.raises(OverflowError) as e:
            t.encode(wrong, "key of map 'm'")
        assert str(e.value) == f"key of map 'm' is {text}: {wrong} is out of range {low}..{high}"


_CTYPES = {
    ctypes.c_uint8: "u1", ctypes.c_int16: "i2", ctypes.c_uint32: "u4", ctypes.c_int64: "i8", ctypes.c_double: "f8",
    ctypes.c_bool: "?", ctypes.c_float: "f4", ctypes.c_uint64: "u8",
}  # fmt: skip


def _structures(depth=2):
    """ctypes structures, nested, with arrays, packed or not."""
    leaf = st.sampled_from(list(_CTYPES))
    inner = leaf if depth == 0 else st.one_of(leaf, leaf, _structures(depth - 1))
    member = st.one_of(inner, st.builds(lambda t, n: t * n, inner, st.integers(1, 4)))

    def make(members, pack):
        space = {"_fields_": [(f"m{i}", m) for i, m in enumerate(members)]}
        if pack:
            space |= {"_pack_": pack}
        return type("made", (ctypes.Structure,), space)

    return st.builds(make, st.lists(member, min_size=1, max_size=5), st.sampled_from([0, 0, 1, 2]))


def _dtype(cls):
    """As np.dtype(cls), which gets offsets wrong where `_pack_` is 2."""
    if issubclass(cls, ctypes.Array):
        return np.dtype((_dtype(cls._type_), (cls._length_,)))
    if not issubclass(cls, ctypes.Structure):
        return np.dtype(_CTYPES[cls])
    names = [name for name, _ in cls._fields_]
    offsets = [getattr(cls, name).offset for name in names]
    formats = [_dtype(member) for _, member in cls._fields_]
    return np.dtype({"names": names, "formats": formats, "offsets": offsets, "itemsize": ctypes.sizeof(cls)})


def _plain(value):
    """A ctypes value as decode gives it."""
    if isinstance(value, ctypes.Structure):
        return tuple(_plain(getattr(value, name)) for name, _ in value._fields_)
    return [_plain(v) for v in value] if isinstance(value, ctypes.Array) else value


@given(cls=_structures(), data=st.data())
@settings(max_examples=120, deadline=None)
def test_ctypes_sees_the_same_layout_and_values(cls, data):
    t = ctype(_dtype(cls))
    assert t.size == ctypes.sizeof(cls)
    assert t.dtype == _dtype(cls)
    for name, _ in cls._fields_:
        assert t.dtype.fields[name][1] == getattr(cls, name).offset
    raw = data.draw(st.binary(min_size=t.size, max_size=t.size))
    theirs, ours = cls.from_buffer_copy(raw), t.decode(raw)
    assert repr(_as_tuple(ours)) == repr(_plain(theirs))
    # Padding is not a value, so bytes need not survive, but values do; repr() because of NaN.
    again = t.encode(ours)
    assert repr(t.decode(again)) == repr(ours)
    assert repr(t.decode_all(t.array(raw * 2, 2))) == repr([ours] * 2)


def _as_tuple(value):
    if isinstance(value, tuple):
        return tuple(map(_as_tuple, value))
    return [_as_tuple(v) for v in value] if isinstance(value, list) else value


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_kernel_structs_round_trip(data):
    """Random bytes in random structs of the kernel: bitfields, unions and anonymous members as they really occur."""
    t = data.draw(st.sampled_from(_small_structs()))
    raw = data.draw(st.binary(min_size=t.size, max_size=t.size))
    value = t.decode(raw)
    again = t.encode(value)
    assert repr(t.decode(again)) == repr(value)
    assert repr(t.decode_all(t.array(raw, 1))) == repr([value])


def _small_structs():
    return [t for t in vmlinux().types("struct") if 0 < t.size <= 192 and t.name]


def test_text():
    t = ctype("char[8]")
    assert t.encode("bash") == b"bash\0\0\0\0" and t.encode("12345678") == b"12345678"
    assert t.encode(b"ab") == b"ab\0\0\0\0\0\0"
    assert t.decode(b"ab\0cdefg") == "ab"
    assert t.decode("é\0".encode().ljust(8, b"x")) == "é"
    foreign = b"\xff\xfeabcdef"
    assert t.encode(t.decode(foreign)) == foreign
    with pytest.raises(ValueError, match=r"^value is char\[8\]: '123456789' takes 9 bytes, 8 are there$"):
        t.encode("123456789")
    with pytest.raises(ValueError, match="9 bytes given, 8 needed"):
        t.encode(b"123456789")
    with pytest.raises(ValueError, match="NUL"):
        t.encode("a\0b")
    with pytest.raises(TypeError, match=r"5 \(int\) is not text"):
        t.encode(5)


def test_addresses():
    ten = bytes([10, 0, 0, 1])
    assert ctype("__be32").encode("10.0.0.1") == ctype("u8[4]").encode("10.0.0.1") == ten
    assert ctype("__be32").encode(ipaddress.ip_address("10.0.0.1")) == ten
    assert ctype("__be32").decode(ten) == int(ipaddress.ip_address("10.0.0.1"))
    six = ipaddress.ip_address("2001:db8::1")
    for t in (ctype("u8[16]"), ctype("__be32[4]"), vmlinux().find("in6_addr")):
        assert t.encode("2001:db8::1") == t.encode(six) == six.packed
    assert vmlinux().find("in_addr").encode("10.0.0.1") == ten
    assert ctype("u8[6]").encode("02:00:00:00:00:ff") == bytes([2, 0, 0, 0, 0, 255])
    assert ctype("__be16").encode(80) == b"\0\x50" and ctype("__be16").decode(b"\0\x50") == 80
    with pytest.raises(TypeError, match="declare it __be32, or give 16777226"):
        ctype("u32").encode("10.0.0.1")
    with pytest.raises(ValueError, match="300.*give an address"):
        ctype("__be32").encode("300.0.0.1")
    for t, wrong in [
        (ctype("u8[4]"), "10.0.0"),
        (ctype("u8[16]"), "10.0.0.1"),
        (ctype("u8[6]"), "02:00"),
        (ctype("u16[2]"), "x"),
    ]:
        with pytest.raises(ValueError, match="does not fit"):
            t.encode(wrong)


def test_enums_and_bools():
    t = vmlinux().find("enum tcp_ca_state")
    assert t.encode("TCP_CA_Loss") == t.encode(4) == (4).to_bytes(4, "little")
    assert t.decode(t.encode(77)) == 77  # a kernel may know more than its BTF says
    with pytest.raises(ValueError, match="no 'TCP_CA_Los', but TCP_CA_Loss"):
        t.encode("TCP_CA_Los")
    assert ctype("bool").encode(np.True_) == ctype("bool").encode(1) == b"\1"
    assert ctype("bool").decode(b"\2") is True
    assert ctype("bool[2]").decode(b"\2\0") == [True, False]
    with pytest.raises(OverflowError, match=r"2 is out of range 0\.\.1"):
        ctype("bool").encode(2)


def test_numpy_values():
    t = ctype(np.dtype([("a", "u4"), ("b", "S4")]))
    row = np.array([(7, b"xy")], t.dtype)[0]
    assert t.decode(t.encode(row)) == (7, "xy")
    assert ctype("u32").encode(np.uint64(9)) == ctype("u32").encode(9)
    assert ctype("double").encode(np.float32(0.5)) == ctype("double").encode(0.5)
    assert ctype("u16[3]").encode(np.array([1, 2, 3])) == ctype("u16[3]").encode((1, 2, 3))


@pytest.fixture
def flow():
    source = """
    typedef unsigned short u16; typedef unsigned int u32;
    struct flow { u32 saddr; struct { u16 sport; u16 list[2]; } ports; int flags : 4; };
    struct flow it;
    """
    return compiled(source).find("struct flow")


@pytest.mark.parametrize(
    "value,error,text",
    [
        ({"ports": {"sport": 70000}}, OverflowError, "member 'ports.sport' is u16: 70000 is out of range 0..65535"),
        ({"ports": {"list": [1, -1]}}, OverflowError, "member 'ports.list[1]' is u16: -1 is out of range 0..65535"),
        ({"ports": {"list": [1]}}, ValueError, "member 'ports.list' is u16[2]: 1 values given, 2 needed"),
        ({"ports": {"list": 5}}, TypeError, "member 'ports.list' is u16[2]: 5 (int) is no sequence; give 2 values"),
        ({"flags": 8}, OverflowError, "member 'flags' is int: 8 is out of range -8..7"),
        ({"saddr": "x"}, TypeError, "member 'saddr' is u32: 'x' (str) is not an integer; give an int"),
        ({"saddr": 1.0}, TypeError, "member 'saddr' is u32: 1.0 (float) is not an integer; give an int"),
        ({"saddr": None}, TypeError, "member 'saddr' is u32: None (NoneType) is not an integer; give an int"),
    ],
)
def test_errors_name_the_member(flow, value, error, text):
    with pytest.raises(error) as e:
        flow.encode(value, "key of map 'flows'")
    assert str(e.value) == f"key of map 'flows': {text}"


@pytest.mark.parametrize(
    "value,error,text",
    [
        ({"sadr": 1}, ValueError, "it has no member 'sadr', but saddr"),
        ((1, 2), ValueError, "2 values given for its 3 members (saddr, ports, flags)"),
        (5, TypeError, "5 (int) given; give a dict or tuple of saddr, ports, flags"),
        ("x", TypeError, "'x' (str) given; give a dict or tuple of saddr, ports, flags"),
        (b"abc", ValueError, "3 bytes given, 12 needed"),
    ],
)
def test_errors_name_the_struct(flow, value, error, text):
    with pytest.raises(error) as e:
        flow.encode(value, "key of map 'flows'")
    assert str(e.value) == f"key of map 'flows' is struct flow: {text}"


def test_a_foreign_namedtuple_is_read_by_name(flow):
    import pandas as pd

    row = next(pd.DataFrame({"flags": [3], "saddr": [9]}).itertuples(index=False))
    assert flow.decode(flow.encode(row)) == (9, (0, [0, 0]), 3)


def test_unions():
    t = vmlinux().find("in6_addr").members[0].type
    assert t.encode({"u6_addr32": [1, 2, 3, 4]}) == bytes([0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4])
    assert t.encode(range(16)) == bytes(range(16)) == t.encode(t.decode(bytes(range(16))))
    changed = t.decode(bytes(16))._replace(u6_addr32=[1, 2, 3, 4])
    with pytest.raises(ValueError, match="disagree; give a dict with the one meant"):
        t.encode(changed)
    ip = vmlinux().find("iphdr")
    with pytest.raises(ValueError, match="disagree"):
        ip.encode(ip.decode(bytes(20))._replace(saddr=1))


def test_names_that_python_lacks():
    btf = compiled("struct lambda { int in; int _pad; int ok; int class; }; struct lambda it;")
    t = btf.find("struct lambda")
    value = t.decode(t.encode({"in": 1, "_pad": 2, "ok": 3, "class": 4}))
    assert value == (1, 2, 3, 4) and value.ok == 3 and value._fields == ("_0", "_1", "ok", "_3")
    assert t.encode(value) == t.encode((1, 2, 3, 4)) == t.encode(value._asdict())
    assert hash(value)


def test_what_the_kernel_keeps_to_itself_is_left_out():
    source = "struct bpf_spin_lock { unsigned val; }; struct v { struct bpf_spin_lock lock; int n; }; struct v it;"
    t = compiled(source).find("struct v")
    assert t.decode(bytes(4) + b"\7\0\0\0")._asdict() == {"n": 7}
    assert t.encode(7) == t.encode((7,)) == bytes(4) + b"\7\0\0\0"
    assert list(t.columns(t.array(bytes(8), 1))) == ["n"] and t.dtype.names == ("lock", "n")


def test_decode_takes_a_value_rounded_up_as_per_cpu_maps_give_it():
    assert ctype("u32").decode(b"\1\0\0\0\0\0\0\0") == 1
    with pytest.raises(ValueError, match="cannot be read from 5 bytes; give 4"):
        ctype("u32").decode(bytes(5))


def test_records_are_one_class_for_a_type():
    blob, key, value = build(np.dtype([("a", "u4")]), "u64")
    t = Btf(blob).type(key)
    assert type(t.decode(bytes(4))) is type(t.decode(bytes(4))) is t.record
    with pytest.raises(TypeError, match="no struct or union"):
        Btf(blob).type(value).record  # noqa: B018
