"""The explorer between table and browser: real maps, described and changed, and the thread that answers views."""

import contextlib
import contextvars
import ipaddress
import queue

import numpy as np
import pytest

import bpflab as bl
from bpflab import kinds
from bpflab.widgets.changes import Refused
from bpflab.widgets.feed import Feed
from bpflab.widgets.maptypes import NOTES, UNLISTED
from bpflab.widgets.mapview import MapView

SOURCE = r"""
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
enum conn_state { CONN_NEW, CONN_OPEN, CONN_CLOSED };
struct conn_value {
    struct bpf_spin_lock lock;
    unsigned int urgent : 1, retries : 3;
    int delta : 4;
    enum conn_state state;
    bool seen;
    __u64 packets;
    union { __u32 number; __u8 bytes[4]; } tag;
    __u32 ports[3];
    struct in6_addr peer;
    struct { __u16 a, b; } pairs[2];
};
struct conn_key { __u8 proto; __be32 addr; };
struct {
    __uint(type, BPF_MAP_TYPE_HASH);
    __type(key, struct conn_key);
    __type(value, struct conn_value);
    __uint(max_entries, 8);
} conns SEC(".maps");
struct {
    __uint(type, BPF_MAP_TYPE_PROG_ARRAY);
    __type(key, __u32);
    __type(value, __u32);
    __uint(max_entries, 4);
} jumps SEC(".maps");
SEC("socket") int target(struct __sk_buff *skb) { return 0; }
struct {
    __uint(type, BPF_MAP_TYPE_RINGBUF);
    __type(value, __u64);
    __uint(max_entries, 4096);
} ring SEC(".maps");
SEC("socket") int tell(struct __sk_buff *skb) { __u64 event = 1; bpf_ringbuf_output(&ring, &event, 8, 0); return 0; }
struct {
    __uint(type, BPF_MAP_TYPE_STACK_TRACE);
    __uint(key_size, 4);
    __uint(value_size, 127 * 8);
    __uint(max_entries, 16);
} stacks SEC(".maps");
SEC("raw_tp/sys_enter") int trace(void *ctx) { bpf_get_stackid(ctx, &stacks, BPF_F_USER_STACK); return 0; }
SEC("socket") int jump(struct __sk_buff *skb) { bpf_tail_call(skb, &jumps, 1); return 1; }
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(SOURCE, name="conns") as obj:
        yield obj


@pytest.fixture
def conns(obj):
    m = obj.maps["conns"]
    m.clear()
    m[(6, "10.0.0.1")] = {"packets": 7, "state": 1, "retries": 5, "delta": -3, "ports": [1, 2, 3]}
    return view_of(m)


def view_of(m):
    view = MapView(m)
    view.refresh()
    return view


def cells(view, row=0, **state):
    page = view.page(**state)
    return dict(zip([column["id"] for column in page["columns"]], page["rows"][row]["cells"], strict=True))


def raw(view, row=0):
    return bytes.fromhex(view.page()["rows"][row]["key"])


def test_every_member_of_a_struct_has_a_column_and_the_kernels_own_have_none(conns):
    shown = cells(conns)
    assert "value.lock" not in " ".join(shown)
    assert shown["key.proto"] == "6"
    assert shown["key.addr"] == "10.0.0.1"
    assert shown["value.retries"] == "5"
    assert shown["value.delta"] == "-3"
    assert shown["value.state"] == "CONN_OPEN"
    assert shown["value.seen"] == "false"
    assert shown["value.ports"] == "1, 2, 3"
    assert shown["value.peer"] == "::"
    assert shown["value.tag.number"] == "0"


@pytest.mark.parametrize(
    ("column", "text", "shown"),
    [
        ("urgent", "1", "1"),
        ("retries", "7", "7"),
        ("delta", "-8", "-8"),
        ("state", "CONN_CLOSED", "CONN_CLOSED"),
        ("state", "0", "CONN_NEW"),
        ("seen", "true", "true"),
        ("packets", "18446744073709551615", "18446744073709551615"),
        ("packets", "0x10", "16"),
        ("ports", "[7, 8, 9]", "7, 8, 9"),
        ("ports", "7 8 9", "7, 8, 9"),
        ("peer", "2001:db8::1", "2001:db8::1"),
        ("tag.bytes", "1, 2, 3, 4", "1, 2, 3, 4"),
    ],
)
def test_one_member_is_changed_and_the_others_stay(conns, column, text, shown):
    before = cells(conns)
    conns.changes.edit(raw(conns), f"value.{column}", text)
    conns.refresh()
    after = cells(conns)
    assert after[f"value.{column}"] == shown
    ours = ("value.tag", "rate", f"value.{column}")
    assert {k: v for k, v in after.items() if not k.startswith(ours)} == {
        k: v for k, v in before.items() if not k.startswith(ours)
    }


@pytest.mark.parametrize(
    ("column", "text", "why"),
    [
        ("retries", "8", "retries is unsigned int : 3: 8 is out of range 0..7"),
        ("delta", "8", "8 is out of range -8..7"),
        ("delta", "x", "'x' is not an integer"),
        ("state", "OPENED", "it has no 'OPENED', but"),
        ("seen", "2", "2 is out of range 0..1"),
        ("packets", "1.5", "1.5 (float) is not an integer"),
        ("ports", "1, 2", "2 values given, 3 needed"),
        ("ports", "1, 2, x", "'x'"),
        ("peer", "10.0.0.1", "10.0.0.1"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(conns, column, text, why):
    before = conns.map[(6, "10.0.0.1")]
    with pytest.raises(Refused) as refused:
        conns.changes.edit(raw(conns), f"value.{column}", text)
    assert why in str(refused.value)
    assert refused.value.field == f"value.{column}"
    assert conns.map[(6, "10.0.0.1")] == before


def test_a_member_that_no_line_of_text_can_say_is_not_offered(conns):
    offered = {column["id"]: column for column in conns.page()["columns"]}
    assert not offered["value.pairs"]["edit"]
    assert offered["value.pairs"]["why"]


def test_keys_that_differ_in_padding_are_marked(conns):
    padded = bytearray(conns.map.key_type.encode((6, "10.0.0.1")))
    padded[1] = 0xFF
    conns.map[bytes(padded)] = {"packets": 9}
    conns.refresh()
    rows = {row["padding"]: row for row in conns.page()["rows"]}
    assert bytes.fromhex(rows[True]["key"]) == padded
    assert rows[True]["cells"][:2] == rows[False]["cells"][:2]
    conns.changes.edit(bytes(padded), "value.packets", "10")
    assert conns.map[bytes(padded)].packets == 10
    assert conns.map[(6, "10.0.0.1")].packets == 7
    conns.refresh()
    assert (conns.table.new, conns.table.changed, conns.table.gone) == (0, 1, 0)


def test_an_entry_that_is_gone_is_not_made_again(conns):
    key = raw(conns)
    conns.map.clear()
    for change in (lambda: conns.changes.edit(key, "value.packets", "1"), lambda: conns.changes.delete(key)):
        with pytest.raises(Refused, match="this entry is gone"):
            change()
    assert len(conns.map) == 0


def test_inserting_leaves_out_what_is_left_empty(conns):
    conns.changes.insert({"key.proto": "17", "key.addr": "10.0.0.2", "value.packets": "3", "value.state": " "})
    value = conns.map[(17, "10.0.0.2")]
    assert (value.packets, value.state) == (3, 0)
    with pytest.raises(Refused, match="17, 10.0.0.2 is there already"):
        conns.changes.insert({"key.proto": "17", "key.addr": "10.0.0.2"})


def test_a_program_array_names_its_programs(obj):
    m = obj.maps["jumps"]
    m[1] = obj.programs["target"]
    view = view_of(m)
    assert cells(view) == {"key": "1", "value": f"target (id {obj.programs['target'].id})"}
    assert view.page(query="target")["matched"] == 1
    assert view.head()["said"] == "1 of 4 slots used"
    view.changes.delete(raw(view))
    view.refresh()
    assert view.page()["rows"] == []


def test_a_call_stack_is_a_list_of_addresses(obj, lab):
    with obj.programs["trace"].attach():
        lab.sh("true")
    view = view_of(obj.maps["stacks"])
    assert view.page()["matched"]
    assert cells(view)["value"].startswith("0x")


def test_a_ring_buffer_shows_how_full_it_is_and_keeps_its_events(obj):
    view = view_of(obj.maps["ring"])
    obj.programs["tell"].test_run(bytes(64), repeat=3)
    view.refresh()
    assert view.head()["said"] == "48 of 4,096 bytes wait to be read"
    with obj.events("ring") as events:
        assert len(events.read()) == 3
    view.refresh()
    assert view.head()["said"] == "0 of 4,096 bytes wait to be read"
    assert "wrote 48 bytes" in view.head()["note"]


def test_an_object_knows_which_program_uses_which_map(obj):
    with contextlib.closing(bl.explore(obj)) as widget:
        maps = {m["token"]: m["name"] for m in widget._overview["maps"]}
        used = {p["name"]: [maps[token] for token in p["maps"]] for p in widget._overview["programs"]}
    assert used == {"target": [], "jump": ["jumps"], "tell": ["ring"], "trace": ["stacks"]}


KEYED = ("hash", "lru_hash", "percpu_hash", "lru_percpu_hash", "hash_of_maps", "devmap_hash", "sockhash")
SHAPES = {kind: ("u32", "u32") for kind in (*KEYED, *(k for k in kinds.MAP_TYPES if k.endswith(("array", "map"))))}
SHAPES |= {"queue": (None, "u32"), "stack": (None, "u32"), "bloom_filter": (None, "u32")}
SHAPES |= {"array_of_maps": ("u32", "u32"), "stack_trace": ("u32", "u64[127]"), "ringbuf": (None, None)}
SHAPES |= {
    "lpm_trie": (np.dtype([("prefixlen", "u4"), ("data", "u1", (4,))]), "u32"),
    "reuseport_sockarray": ("u32", "u64"),
}


@pytest.mark.parametrize("kind", sorted(SHAPES))
def test_each_type_is_shown_as_what_it_is(lab, kind):
    key, value = SHAPES[kind]
    inner = lab.create_map("hash", "u32", "u32", 4, name="inner") if kind.endswith("of_maps") else None
    m = lab.create_map(kind, key, value, 4096 if kind == "ringbuf" else 4, name="it", inner=inner)
    view = view_of(m)
    page = view.page()
    assert page["head"]["type"] == kind
    assert page["head"]["said"]
    assert (page["columns"] == []) == (kind in UNLISTED)
    if kind not in ("hash", "percpu_hash"):
        assert NOTES[kind] in page["head"]["note"]
    view.refresh()
    assert "failed" not in page["head"]["note"]
    m.close()


def test_the_text_for_frontends_without_widgets(lab):
    m = lab.create_map("hash", "u32", "u64", 100, name="counts")
    for i in range(12):
        m[i] = 2**64 - 1 - i
    with contextlib.closing(bl.explore(m)) as widget:
        lines = repr(widget).splitlines()
        data = widget._repr_mimebundle_()
    assert lines[0] == "hash map 'counts', u32 → u64, 12 of 100 entries"
    assert lines[1].split() == ["key", "value"]
    assert len(lines) == 13
    assert lines[12] == "... 2 more"
    data = data[0] if isinstance(data, tuple) else data
    assert data["text/plain"] == "\n".join(lines)


def test_what_cannot_be_explored(lab):
    with pytest.raises(TypeError, match="explore takes a map or an object, not int"):
        bl.explore(5)
    with lab.load(
        '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nSEC("socket") int f(void *c) { return 0; }', name="bare"
    ) as bare:
        with pytest.raises(bl.LabError, match="object 'bare' has no maps to explore"):
            bl.explore(bare)
    m = lab.create_map("hash", "u32", "u64", 8, name="gone")
    m.close()
    with pytest.raises(bl.BpfError, match="closed"):
        bl.explore(m)


class Heard:
    """A view without a browser: what the feed sends."""

    def __init__(self, m):
        self.answers = queue.Queue()
        self.view = MapView(m)
        self.feed = Feed(self.answers.put, {self.view.token: self.view})

    def want(self, seq, fresh=True, **state):
        self.feed.hear({"do": "want", "view": "v", "seq": seq, "fresh": fresh, "map": self.view.token, **state})

    def ask(self, what, **details):
        self.feed.hear({"do": what, "id": "1", "map": self.view.token, **details})

    def next(self):
        return self.answers.get(timeout=30)


@pytest.fixture
def heard(fresh_lab):
    m = fresh_lab.create_map("hash", "u32", "u64", 100, name="counts")
    m[1] = 10
    heard = Heard(m)
    yield heard
    thread = heard.feed.thread
    heard.feed.close()
    if thread:
        thread.join(30)
        assert not thread.is_alive()


def test_a_page_is_answered_at_once_and_a_refresh_in_its_time(heard):
    heard.want(1, fresh=False)
    page = heard.next()
    assert (page["say"], page["seq"], page["rows"][0]["cells"][:2]) == ("page", 1, ["1", "10"])
    heard.view.map[1] = 11
    heard.want(2, fresh=False, query="key=1")
    assert heard.next()["rows"][0]["cells"][1] == "10"  # another page of the same snapshot
    heard.want(3)
    page = heard.next()
    assert page["rows"][0]["cells"][1] == "11"
    assert page["changes"] == {"new": 0, "changed": 1, "gone": 0}


def test_a_change_is_seen_on_the_next_page(heard):
    heard.want(1, fresh=False)
    heard.next()
    heard.ask("edit", key="01000000", column="value", text="99")
    assert heard.next() == {"say": "done", "id": "1", "ok": True, "message": "changed value of 1"}
    heard.want(2, fresh=False)
    assert heard.next()["rows"][0]["cells"][1] == "99"


def test_only_the_latest_wish_of_a_view_is_answered(heard):
    for seq in range(1, 30):  # put past the feed, whose thread is not there yet
        heard.feed._requests.put(
            (
                {"do": "want", "view": "v", "seq": seq, "fresh": False, "map": heard.view.token},
                contextvars.copy_context(),
            )
        )
    heard.want(30, fresh=False)
    assert heard.next()["seq"] == 30
    assert heard.answers.empty()


def test_nothing_is_read_for_a_view_that_does_not_ask(heard):
    heard.want(1)
    heard.next()
    heard.want(2)
    heard.feed.hear({"do": "rest", "view": "v"})
    heard.ask("read", key="01000000", column="value")
    assert heard.next()["text"] == "10"
    assert heard.feed._wants == {}


def test_a_lab_that_ends_ends_the_view(heard, fresh_lab):
    heard.want(1)
    heard.next()
    fresh_lab.close()
    heard.want(2)
    answer = heard.next()
    assert (answer["say"], answer["seq"]) == ("ended", 2)
    assert "lab = bl.Lab()" in answer["message"]
    heard.ask("edit", key="01000000", column="value", text="1")
    answer = heard.next()
    assert not answer["ok"]
    assert "lab = bl.Lab()" in answer["message"]


def test_requests_that_make_no_sense_are_answered(heard):
    for request in ({"do": "fly"}, {"do": "edit", "key": "zz"}, {"do": "insert"}):
        heard.feed.hear({"id": "1", "map": heard.view.token, **request})
        assert not heard.next()["ok"]
    heard.feed.hear({"id": "1", "map": "0", "do": "delete", "key": ""})
    assert "not open any more" in heard.next()["message"]


def test_the_refresh_rate_follows_the_cost(heard):
    heard.view.cost = 0.001
    assert heard.feed.every(heard.view) == 1
    heard.view.cost = 2.0
    assert heard.feed.every(heard.view) == 12


def test_ipv6_prefixes(lab):
    key = np.dtype([("prefixlen", "u4"), ("data", "u1", (16,))])
    view = view_of(lab.create_map("lpm_trie", key, "u32", 8, name="routes6"))
    view.changes.insert({"key": "2001:db8::/32", "value": "5"})
    view.refresh()
    assert cells(view)["key"] == "2001:db8::/32"
    assert view.page(query="2001:db8:1::9")["matched"] == 1
    with pytest.raises(Refused) as refused:
        view.changes.insert({"key": str(ipaddress.ip_network("10.0.0.0/8")), "value": "1"})
    assert refused.value.field == "key"
