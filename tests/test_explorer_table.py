"""The explorer's table on real arrays, without a browser and without a kernel."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bpflab.widgets.addresses import Address, Prefix, parse_prefix
from bpflab.widgets.cells import Bool, Enum, List, Number, QueryError, Rate, Raw, Text
from bpflab.widgets.table import Table, as_bytes, hash_rows, match

VALUE = np.dtype([("packets", "<u8"), ("bytes", "<u8"), ("comm", "S16")])


def key(dtype="u4"):
    return Number("key", "key", "key", lambda keys, values: keys, dtype)


def counters():
    columns = [
        key(),
        Number("value.packets", "packets", "value", lambda keys, values: values["packets"], "__u64"),
        Number("value.bytes", "bytes", "value", lambda keys, values: values["bytes"], "__u64"),
        Text("value.comm", "comm", "value", lambda keys, values: values["comm"], "char[16]"),
    ]
    return Table(columns, rate=Rate("rate", "per second", "rate", None), rate_of=columns[1])


def entries(pids, packets, comm="bash"):
    values = np.zeros(len(pids), VALUE)
    values["packets"] = packets
    values["bytes"] = np.asarray(packets) * 100
    values["comm"] = comm
    return np.asarray(pids, "u4"), values


def column(page, number):
    return [row["cells"][number] for row in page.rows]


def test_a_page_is_text_and_keeps_every_bit_of_a_u64():
    table = Table([key("__u64"), Number("value", "value", "value", lambda keys, values: values)])
    big = 2**64 - 1
    table.refresh(np.array([2**53 + 1], "u8"), np.array([big], "u8"), at=0.0)
    page = table.page()
    assert page.rows[0]["cells"] == [str(2**53 + 1), str(big)]
    assert bytes.fromhex(page.rows[0]["key"]) == (2**53 + 1).to_bytes(8, "little")


def test_first_refresh_lights_nothing():
    table = counters()
    table.refresh(*entries([1, 2], [10, 20]), at=0.0)
    assert (table.new, table.changed, table.gone) == (0, 0, 0)
    assert not any(row["new"] or row["changed"] for row in table.page().rows)
    assert column(table.page(), 4) == ["", ""]


def test_what_changed_since_the_last_refresh():
    table = counters()
    table.refresh(*entries([1, 2, 3], [10, 20, 30]), at=0.0)
    table.refresh(*entries([4, 1, 2], [40, 15, 20]), at=2.0)
    assert (table.new, table.changed, table.gone) == (1, 1, 1)
    rows = {row["cells"][0]: row for row in table.page().rows}
    assert rows["4"]["new"]
    assert rows["1"]["changed"] == [1, 2]
    assert not rows["2"]["new"] and not rows["2"]["changed"]
    assert [rows[pid]["cells"][4] for pid in "412"] == ["", "+2.5", "0"]


def test_changes_are_found_when_the_kernel_keeps_its_order():
    table = counters()
    keys, values = entries(np.arange(1000), np.arange(1000))
    table.refresh(keys, values, at=0.0)
    after = values.copy()
    after["packets"][[7, 999]] += 1
    table.refresh(keys.copy(), after, at=1.0)
    assert (table.new, table.changed, table.gone) == (0, 2, 0)


def test_a_key_that_the_kernel_lists_twice_is_not_counted_as_gone():
    table = counters()
    table.refresh(*entries([1, 2], [1, 1]), at=0.0)
    table.refresh(*entries([1, 2, 1], [1, 1, 1]), at=1.0)
    assert (table.new, table.gone) == (0, 0)


def test_empty_and_full_again():
    table = counters()
    table.refresh(*entries([], []), at=0.0)
    assert table.page().rows == []
    table.refresh(*entries([1], [1]), at=1.0)
    assert (table.new, table.page().rows[0]["new"]) == (1, True)
    table.refresh(*entries([], []), at=2.0)
    assert table.gone == 1
    assert table.page(sort="value.packets", query="bash").rows == []


def test_a_counter_that_wraps_has_a_small_rate():
    table = counters()
    table.refresh(*entries([1], np.array([2**64 - 5], "u8")), at=0.0)
    table.refresh(*entries([1], np.array([5], "u8")), at=1.0)
    assert table.rates().tolist() == [10.0]


def test_sorting_is_stable_both_ways_and_undone_by_none():
    table = counters()
    table.refresh(*entries([5, 3, 9, 1], [2, 7, 2, 7]), at=0.0)
    assert column(table.page(sort="value.packets"), 0) == ["5", "9", "3", "1"]
    assert column(table.page(sort="value.packets", descending=True), 0) == ["3", "1", "5", "9"]
    assert column(table.page(), 0) == ["5", "3", "9", "1"]


def test_sorting_by_rate_puts_rows_without_one_last():
    table = counters()
    table.refresh(*entries([1, 2], [0, 0]), at=0.0)
    table.refresh(*entries([3, 1, 2], [9, 5, 8]), at=1.0)
    assert column(table.page(sort="rate", descending=True), 0) == ["2", "1", "3"]


def test_paging_past_the_end_gives_the_last_page():
    table = counters()
    table.refresh(*entries(np.arange(105), np.zeros(105)), at=0.0)
    page = table.page(offset=5000, limit=50)
    assert (page.offset, len(page.rows), page.matched, page.total) == (100, 5, 105, 105)


@pytest.mark.parametrize(
    ("query", "pids"),
    [
        ("", [12, 123, 1234, 5]),
        ("12", [12, 123, 1234]),
        ("bash", [12, 123]),
        ("BASH", [12, 123]),
        ("packets>20", [123, 1234, 5]),
        ("packets >= 20 key<1000", [12, 123, 5]),
        ("key=12", [12]),
        ("value.packets = 0x1e", [123]),
        ("comm=cat", [1234, 5]),
        ('comm="cat" 5', [5]),
        ("comm!=cat key!=12", [123]),
        ("nothing", []),
        ("1e40", []),
    ],
)
def test_search(query, pids):
    table = counters()
    keys, values = entries([12, 123, 1234, 5], [20, 30, 40, 50])
    values["comm"] = ["bash", "Bash", "cat", "cat"]
    table.refresh(keys, values, at=0.0)
    assert column(table.page(query), 0) == [str(pid) for pid in pids]


@pytest.mark.parametrize("query", ["nosuch=1", "packets=many", "value=1", "> 5", "="])
def test_a_search_that_cannot_be_read_says_why(query):
    table = counters()
    table.refresh(*entries([1], [1]), at=0.0)
    with pytest.raises(QueryError) as error:
        table.page(query)
    assert str(error.value)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=50), st.integers(-(10**6), 10**6))
def test_numbers_are_found_by_the_digits_they_begin_with(numbers, wanted):
    array = np.array(numbers, "i8")
    mask = key().find(array, str(wanted))
    if wanted == 0:
        assert mask.tolist() == [x == 0 for x in numbers]
    else:
        assert mask.tolist() == [str(x).startswith(str(wanted)) for x in numbers]


@given(
    st.lists(st.binary(min_size=20, max_size=20), max_size=40),
    st.lists(st.binary(min_size=20, max_size=20), max_size=40),
)
def test_match_finds_every_key_again(old, new):
    old, new = (np.array(list(dict.fromkeys(rows)), "V20") for rows in (old + new[: len(new) // 2], new))
    before = match(hash_rows(old), hash_rows(new))
    where = {bytes(row): i for i, row in enumerate(as_bytes(old))}
    assert before.tolist() == [where.get(bytes(row), -1) for row in as_bytes(new)]


@given(st.sets(st.integers(0, 2**64 - 1), max_size=40))
def test_small_keys_are_their_own_hash(keys):
    array = np.array(sorted(keys), "u8")
    assert hash_rows(array).tolist() == sorted(keys)


def test_a_million_entries():
    rng = np.random.default_rng(3)
    n = 1_000_000
    keys = np.zeros(n, [("saddr", "<u4"), ("daddr", "<u4"), ("id", "<u8"), ("port", "<u4")])
    keys["id"], keys["port"] = rng.permutation(n), rng.integers(0, 65536, n)
    values = entries(np.zeros(n), rng.integers(0, 2**40, n))[1]
    table = counters()
    table.columns[0] = Number("key.id", "id", "key", lambda keys, values: keys["id"])
    table.refresh(keys, values, at=0.0)
    again = rng.permutation(n)[: n - 10]
    later = values[again].copy()
    later["packets"][:500] += 7
    table.refresh(keys[again], later, at=1.0)
    assert (table.new, table.changed, table.gone) == (0, 500, 10)
    page = table.page(sort="value.packets", descending=True, offset=500_000, limit=50)
    assert column(page, 1) == [str(x) for x in np.sort(later["packets"])[::-1][500_000:500_050]]
    assert table.page("rate = 7").matched == 500
    assert table.page("id=123456").matched == int((keys["id"][again] == 123456).sum())


def prefixes(*networks):
    return np.frombuffer(b"".join(parse_prefix(n, 4) for n in networks), np.uint8).reshape(-1, 8)


def lpm():
    return Prefix("key", "key", "key", lambda keys, values: as_bytes(keys))


def test_lpm_keys_read_as_prefixes():
    array = prefixes("10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32")
    assert lpm().text(array) == ["10.0.0.0/8", "0.0.0.0/0", "192.168.1.7/32"]
    v6 = np.frombuffer(parse_prefix("2001:db8::/32", 16), np.uint8).reshape(1, 20)
    assert lpm().text(v6) == ["2001:db8::/32"]
    odd = np.frombuffer(parse_prefix("0a0b/12", 2), np.uint8).reshape(1, 6)
    assert lpm().text(odd) == ["0a0b/12"]


def test_an_address_finds_the_prefixes_that_cover_it():
    array = prefixes("10.0.0.0/8", "0.0.0.0/0", "10.1.0.0/16", "10.1.2.3/32", "11.0.0.0/8")
    assert lpm().find(array, "10.1.2.3").tolist() == [True, True, True, True, False]
    assert lpm().find(array, "10.1.").tolist() == [False, False, True, True, False]
    assert lpm().compare(array, "=", "10.0.0.0/8").tolist() == [True, False, False, False, False]


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 32)), max_size=30))
def test_prefixes_sort_by_address_then_length(pairs):
    packed = b"".join(np.uint32(bits).tobytes() + address.to_bytes(4, "big") for address, bits in pairs)
    array = np.frombuffer(packed, np.uint8).reshape(-1, 8)
    column = lpm()
    order = np.argsort(column.order(array), kind="stable")
    assert [pairs[i] for i in order] == sorted(pairs)


@pytest.mark.parametrize(
    "text", ["10.0.0.0/33", "10.0.0/8", "10.0.0.0/x", "2001:db8::/32", "", "10.0.0.1/8", "10.0.0.0/"]
)
def test_a_prefix_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match="^key: |^key has "):
        parse_prefix(text, 4, "key")


@pytest.mark.parametrize("text", ["0a0b/17", "0a/8", "zz/1", "0a0b/", ""])
def test_a_prefix_of_other_bytes_is_refused_too(text):
    with pytest.raises(ValueError, match="^key: "):
        parse_prefix(text, 2, "key")


def test_addresses():
    column = Address("key", "key", "key", None)
    v4 = np.array([[10, 0, 0, 1], [10, 1, 2, 3], [192, 168, 0, 1]], np.uint8)
    assert column.text(v4) == ["10.0.0.1", "10.1.2.3", "192.168.0.1"]
    assert column.find(v4, "10.").tolist() == [True, True, False]
    assert column.find(v4, "1").tolist() == [True, True, True]
    assert column.find(v4, "10.1.2.3").tolist() == [False, True, False]
    assert column.find(v4, "bash").tolist() == [False, False, False]
    assert column.compare(v4, "<", "10.1.0.0").tolist() == [True, False, False]
    mac = np.array([[2, 0, 0, 0, 0, 0xAB]], np.uint8)
    assert column.text(mac) == ["02:00:00:00:00:ab"]
    assert column.find(mac, "02:00").tolist() == [True]
    v6 = np.frombuffer(ipaddress.ip_address("2001:db8::1").packed, np.uint8).reshape(1, 16)
    assert column.compare(v6, "=", "2001:db8::1").tolist() == [True]
    with pytest.raises(QueryError, match="2001:db8"):
        column.compare(v6, "=", "10.0.0.1")


def test_columns_of_every_kind():
    names = Enum("value", "value", "value", None, names={0: "CLOSED", 7: "LISTEN"})
    states = np.array([0, 7, 9], "u4")
    assert names.text(states) == ["CLOSED", "LISTEN", "9"]
    assert names.find(states, "list").tolist() == [False, True, False]
    assert names.compare(states, "=", "LISTEN").tolist() == [False, True, False]
    flags = Bool("value", "value", "value", None)
    assert flags.text(np.array([0, 1], "u1")) == ["false", "true"]
    assert flags.find(np.array([0, 1], "u1"), "TRUE").tolist() == [False, True]
    raw = Raw("value", "value", "value", None)
    blobs = as_bytes(np.array([b"\xde\xad\xbe\xef\x00\x00", b"\x00\x00\x00\x00\x00\x01"], "V6"))
    assert raw.text(blobs) == ["deadbeef 0000", "00000000 0001"]
    assert raw.find(blobs, "adbe").tolist() == [True, False]
    lists = List("value", "value", "value", None)
    slots = np.zeros((3, 64), "u8")
    slots[0, :3], slots[1] = [1, 0, 5], np.arange(64)
    texts = lists.text(slots)
    assert texts == ["1, 0, 5, then zeros", "0, 1, 2, 3, 4, 5, 6, 7, … 56 more", "0, then zeros"]
    assert lists.find(slots, "63").tolist() == [False, True, False]
    assert lists.text(np.array([[1, 0]], "u1")) == ["1, 0"]


def test_text_stops_at_the_first_nul():
    text = Text("value", "value", "value", None)
    assert text.text(np.array([b"sh\0rest", b"caf\xc3\xa9", b"\xff"], "S8")) == ["sh", "café", "\\xff"]
