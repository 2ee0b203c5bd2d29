"""BCC texts: maps, events, programs, errors, and the check of the headers."""

from __future__ import annotations

import json
import subprocess
import warnings

import pytest

import bpflab as bl
from bpflab import bcc, bcc_types
from bpflab.errors import BpfError, CompileError, LabError, NotSupportedError, UnknownNameError, VerifierError

EXEC = """
struct data_t { u32 pid; char comm[16]; u64 seen[2]; };
BPF_PERF_OUTPUT(events);
BPF_RINGBUF_OUTPUT(ring, 4);
BPF_HASH(runs, u32, u64);
TRACEPOINT_PROBE(sched, sched_process_exec) {
    struct data_t data = {};
    data.pid = args->pid;
    data.seen[1] = 5;
    bpf_get_current_comm(data.comm, sizeof(data.comm));
    events.perf_submit(args, &data, sizeof(data));
    ring.ringbuf_output(&data, sizeof(data), 0);
    runs.increment(data.pid);
    return 0;
}
"""


@pytest.fixture(autouse=True)
def header_warning_is_tested_below():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bcc.BccWarning)
        yield


@pytest.fixture(scope="module")
def execs(lab):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bcc.BccWarning)
        obj = lab.bcc(EXEC)
    with obj:
        yield obj


def test_it_is_the_same_kind_of_object(execs):
    assert isinstance(execs, bl.object.Object)
    assert set(execs.maps) == {"events", "ring", "runs"}
    assert execs.maps["runs"].type == "hash"
    program = execs.programs["tracepoint__sched__sched_process_exec"]
    assert (program.type, program.section) == ("tracepoint", "tp/sched/sched_process_exec")
    assert program.info["id"] == program.id


def test_nothing_is_attached_by_itself(lab, execs):
    lab.sh("true")
    assert len(execs.maps["runs"]) == 0


def test_perf_events_and_ring_events(lab, execs):
    perf, ring = execs.events("events"), execs.events("ring")
    with execs.programs["tracepoint__sched__sched_process_exec"].attach():
        pid = lab.sh("exec /bin/true & echo $!; wait").stdout.strip()
        seen = perf.read(seconds=0.1), ring.read(seconds=0.1)
    for frame in seen:
        row = frame[frame["pid"] == int(pid)].iloc[0]
        assert (row["comm"], row["seen[0]"], row["seen[1]"]) == ("true", 0, 5)
    assert perf.lost == 0
    assert execs.maps["runs"][int(pid)] == 1
    perf.close(), ring.close()


def test_events_by_the_name_of_their_struct(execs):
    assert execs.events("events", type="struct data_t").type.name == "data_t"
    with pytest.raises(UnknownNameError, match="data_t"):
        execs.events("events", type="struct date_t")


TYPES = """
enum kind { FIRST, OTHER = 7 };
struct inner { u8 x; u16 y; };
struct key_t {
    u32 pid; enum kind kind; char name[16]; struct inner one; struct inner two[2];
    unsigned low:3; unsigned high:5; bool flag; union { u32 whole; u16 half[2]; }; void *address;
};
BPF_HASH(typed, struct key_t, struct inner);
struct tight { u8 a; u64 b; } __attribute__((packed));
BPF_ARRAY(packed, struct tight, 3);
struct grid { u32 cell[2][3]; };
BPF_ARRAY(grids, struct grid, 2);
BPF_PERCPU_ARRAY(each, u64, 4);
BPF_HISTOGRAM(dist);
BPF_QUEUE(line, u64, 3);
BPF_STACK_TRACE(stacks, 16);
struct prefix { u32 length; u32 address; };
BPF_LPM_TRIE(prefixes, struct prefix, u32, 4);
BPF_ARRAY_OF_MAPS(outer, "grids", 2);
BPF_PROG_ARRAY(jumps, 2);
TRACEPOINT_PROBE(sched, sched_process_exec) {
    struct key_t key = {};
    struct inner value = {.x = 1, .y = 2};
    key.pid = 9; key.kind = OTHER; key.name[0] = 'n'; key.one.y = 3; key.two[1].x = 4;
    key.low = 5; key.high = 9; key.flag = 1; key.whole = 0x20001; key.address = (void *)0xffff888000000001;
    typed.update(&key, &value);
    int zero = 0;
    struct tight *found = packed.lookup(&zero);
    if (found) { found->a = 200; found->b = 0xfedcba9876543210; }
    u64 *own = each.lookup(&zero);
    if (own) *own += 1;
    dist.increment(bpf_log2l(5));
    return 0;
}
"""


@pytest.fixture(scope="module")
def typed(lab):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bcc.BccWarning)
        obj = lab.bcc(TYPES)
    with obj, obj.programs["tracepoint__sched__sched_process_exec"].attach():
        lab.sh("/bin/true")
        yield obj


def test_keys_are_laid_out_as_the_program_has_them(typed):
    ((key, value),) = typed.maps["typed"].items()
    assert (key.pid, key.kind, key.name, key.one.y, key.two[1].x) == (9, 7, "n", 3, 4)
    assert (key.low, key.high, key.flag) == (5, 9, True)
    assert (key.whole, key.half, key.address) == (0x20001, [1, 2], 0xFFFF888000000001)
    assert (value.x, value.y) == (1, 2)
    assert typed.maps["typed"][key] == value


def test_packed_structs_and_exact_u64(typed):
    first = typed.maps["packed"][0]
    assert (first.a, first.b) == (200, 0xFEDCBA9876543210)
    assert typed.maps["packed"].value_size == 9


def test_what_bcc_describes_wrong_stays_bytes(typed):
    """It forgets the second length of an array of arrays; a guess would be worse than bytes."""
    assert typed.maps["grids"].value_type.size == 24
    assert typed.maps["grids"][0] == [0] * 24


def test_other_kinds_of_maps(lab, typed):
    assert sum(typed.maps["each"][0]) >= 1
    assert typed.maps["dist"][3] >= 1
    typed.maps["line"].push(4)
    assert typed.maps["line"].pop() == 4
    assert typed.maps["stacks"].type == "stack_trace"
    assert {m.type for m in typed.maps.values()} >= {"lpm_trie", "array_of_maps", "prog_array", "percpu_array"}


PLACES = """
#include <uapi/linux/ptrace.h>
BPF_HASH(seen, u32, u64);
int calls(struct pt_regs *ctx) { seen.increment(1); return 0; }
int returns(struct pt_regs *ctx) { if (PT_REGS_RC(ctx) > 1) seen.increment(2); return 0; }
int samples(struct bpf_perf_event_data *ctx) { seen.increment(3); return 0; }
int switches(struct bpf_raw_tracepoint_args *ctx) { seen.increment(4); return 0; }
int frames(struct xdp_md *ctx) { return XDP_DROP; }
int packets(struct __sk_buff *skb) { seen.increment(5); return -1; }
int any(void *ctx) { seen.increment(6); return 0; }
"""


@pytest.fixture
def places(lab):
    with lab.bcc(PLACES) as obj:
        yield obj


def _count(obj, number):
    return obj.maps["seen"].get(number, 0)


def test_uprobe_and_uretprobe(lab, places):
    with (
        places.programs["calls"].attach_uprobe("libc.so.6", "getppid"),
        places.programs["returns"].attach_uprobe("libc.so.6", "getppid", retprobe=True),
    ):
        lab.sh(["/usr/bin/python3", "-S", "-c", "import os; os.getppid()"])
    assert _count(places, 1) >= 1 and _count(places, 2) >= 1


def test_perf_event_raw_tracepoint_and_tracepoint(lab, places):
    programs = places.programs
    with (
        programs["samples"].attach(frequency=1000),
        programs["switches"].attach_raw_tracepoint("sched_switch"),
        programs["any"].attach_tracepoint("sched", "sched_process_exec"),
    ):
        lab.sh("for i in $(seq 20000); do :; done; /bin/true")
    assert min(_count(places, 3), _count(places, 4), _count(places, 6)) >= 1


def test_detached_links_deliver_no_more(lab, places):
    link = places.programs["any"].attach_tracepoint("sched", "sched_process_exec")
    link.detach()
    lab.sh("/bin/true")
    assert _count(places, 6) == 0


def test_socket_and_xdp_test_run(lab, places):
    assert places.programs["frames"].test_run(bytes(64)).retval == 1
    with places.programs["packets"].attach_socket("lo"):
        lab.sh("ip link set lo up; echo x > /dev/udp/127.0.0.1/9")
    assert _count(places, 5) >= 1


def test_a_program_whose_type_nobody_knows_waits(places):
    program = places.programs["packets"]
    assert (program.id, program.type) == (None, None)
    with pytest.raises(BpfError, match="nothing tells its type.*load"):
        program.info  # noqa: B018 - it is asked for
    with pytest.raises(TypeError, match="attach_socket"):
        program.attach()
    assert program.load("socket_filter").type == "socket_filter"
    with pytest.raises(TypeError, match="loaded as socket_filter"):
        program.load("xdp")


def test_tail_call_to_a_program_of_the_text(lab):
    text = """
BPF_PROG_ARRAY(jumps, 2);
int second(struct xdp_md *ctx) { return 7; }
int first(struct xdp_md *ctx) { jumps.call(ctx, 1); return 0; }
"""
    with lab.bcc(text) as obj:
        assert obj.programs["first"].test_run(bytes(64)).retval == 0
        obj.maps["jumps"][1] = obj.programs["second"]
        assert obj.programs["first"].test_run(bytes(64)).retval == 7


def test_usdt_of_the_interpreter(lab):
    text = """
#include <uapi/linux/ptrace.h>
BPF_HASH(generations, u32, u64);
int on_gc(struct pt_regs *ctx) {
    int generation = -1;
    bpf_usdt_readarg(1, ctx, &generation);
    u32 key = generation;
    generations.increment(key);
    return 0;
}
"""
    script = 'import gc, sys\nprint("started", flush=True)\nfor line in sys.stdin: gc.collect(1)'
    fifo = lab.sh("mktemp -u").stdout.strip()
    lab.sh(["mkfifo", fifo])
    try:
        with lab.spawn(f"exec /usr/bin/python3 -S -c '{script}' < {fifo}") as target:
            opener = lab.spawn(f"exec 3> {fifo}; sleep 60 & echo open; wait")
            target.wait_for("started")
            pid = target.pid
            with lab.bcc(text, usdt={"on_gc": ("/usr/bin/python3", "python:gc__start", pid)}) as obj:
                with obj.programs["on_gc"].attach():
                    lab.sh(f"echo go > {fifo}")
                    opener.stop()
                    target.wait()
                assert obj.maps["generations"][1] == 1
    finally:
        lab.sh(["rm", fifo])


def test_usdt_that_is_not_there(lab):
    with pytest.raises(LabError, match="no USDT probe python:nope"):
        lab.bcc("int f(void *ctx) { return 0; }", usdt={"f": ("/usr/bin/python3", "python:nope")})
    with pytest.raises(TypeError, match="provider:probe"):
        lab.bcc("int f(void *ctx) { return 0; }", usdt={"f": "python3"})


def test_usdt_is_told_before_compiling(places):
    with pytest.raises(TypeError, match="lab.bcc\\(text, usdt="):
        places.programs["calls"].attach_usdt("python3", "python", "gc__start")


@pytest.mark.needs("kprobe")
def test_kprobe_by_name(lab):
    text = """
#include <uapi/linux/ptrace.h>
BPF_HASH(opens, u32, u64);
int kprobe__do_sys_openat2(struct pt_regs *ctx) { opens.increment(1); return 0; }
int kretprobe__do_sys_openat2(struct pt_regs *ctx) { opens.increment(2); return 0; }
"""
    with lab.bcc(text) as obj:
        with obj.programs["kprobe__do_sys_openat2"].attach(), obj.programs["kretprobe__do_sys_openat2"].attach():
            lab.sh("cat /dev/null")
        assert obj.maps["opens"][1] >= 1 and obj.maps["opens"][2] >= 1


@pytest.mark.needs("fentry")
def test_kfunc_by_name(lab):
    text = """
BPF_HASH(reads, u32, u64);
KFUNC_PROBE(vfs_read) { reads.increment(1); return 0; }
"""
    with lab.bcc(text) as obj:
        with obj.programs["kfunc__vfs_read"].attach():
            lab.sh("cat /etc/hostname")
        assert obj.maps["reads"][1] >= 1


# -- errors


def test_clangs_lines_are_the_texts_own(lab):
    text = "BPF_HASH(h, u32, u64);\nint f(struct pt_regs *ctx) {\n  return x;\n}\n"
    with pytest.raises(CompileError) as caught:
        lab.bcc(text)
    assert "program:3:10: error: use of undeclared identifier 'x'" in str(caught.value)
    assert "  return x;" in str(caught.value) and "/virtual/" not in str(caught.value)
    with pytest.raises(CompileError, match="cell:12:10: error"):
        lab.bcc(bl.CSource(text, "cell", 10))


def test_a_warning_is_no_error_line(lab):
    with pytest.raises(CompileError) as caught:
        lab.bcc("int f(void *ctx) {\n  int *p = 5;\n  return nothing;\n}\n")
    assert "warning" not in str(caught.value) and "program:3:" in str(caught.value)


def test_a_map_the_kernel_refuses_is_named(lab):
    with pytest.raises(BpfError, match="map 'prefixes'.*EINVAL"):
        lab.bcc("BPF_LPM_TRIE(prefixes, u64, u32, 4);\nint f(void *ctx) { return 0; }")


def test_missing_include_is_named(lab):
    with pytest.raises(CompileError, match="write #include <uapi/linux/ptrace.h>"):
        lab.bcc("int f(struct pt_regs *ctx) { return ctx->di; }\n")


def test_verifiers_lines_are_the_texts_own(lab):
    text = """#include <uapi/linux/ptrace.h>
BPF_HASH(h, u32, u64);
static int helper(int a) {
  return a + 1;
}
int fine(struct pt_regs *ctx, int first) {
  h.increment(helper(first));
  return 0;
}
TRACEPOINT_PROBE(sched, sched_process_exec) {
  u64 *p = h.lookup(&(u32){args->pid});
  return *p;
}
"""
    with pytest.raises(VerifierError) as caught:
        lab.bcc(bl.CSource(text, "cell", 2))
    found = caught.value.explain()
    assert caught.value.program == "tracepoint__sched__sched_process_exec"
    if " @ cell:" in caught.value.log:
        assert (found.file, found.line, found.text) == ("cell", 13, "return *p;")
    else:  # BCC gives the kernel the numbers only, and kernels before 6.7 print the text only
        assert (found.line, found.text) == (None, "")
    assert "map_value_or_null" in found.verdict
    assert "processed" in caught.value.log


def test_the_lab_goes_on_after_errors(lab):
    for bad in ("int f(", "KFUNC_PROBE(no_such_function_at_all) { return 0; }", "#error no"):
        with pytest.raises(LabError):
            lab.bcc(bad)
    with lab.bcc("int f(struct xdp_md *ctx) { return 2; }") as obj:
        assert obj.programs["f"].test_run(bytes(64)).retval == 2


def test_tracepoint_that_is_not_there(lab):
    with lab.bcc("int f(void *ctx) { return 0; }") as obj:
        with pytest.raises(UnknownNameError, match="sched_switch"):
            obj.programs["f"].attach_tracepoint("sched", "sched_swich")


def test_libbpf_is_still_heard_after_bcc(fresh_lab):
    no_room = """
    #include "vmlinux.h"
    #include <bpf/bpf_helpers.h>
    struct {
        __uint(type, BPF_MAP_TYPE_HASH);
        __type(key, int);
        __type(value, int);
    } empty SEC(".maps");
    SEC("xdp") int f(struct xdp_md *ctx) { return bpf_map_lookup_elem(&empty, &(int){0}) ? 1 : 2; }
    """
    fresh_lab.bcc(EXEC).close()
    with pytest.raises(LabError, match="failed to create"):
        fresh_lab.load(no_room)


def test_closing_unloads(fresh_lab):
    obj = fresh_lab.bcc(EXEC)
    program, runs = obj.programs["tracepoint__sched__sched_process_exec"], obj.maps["runs"]
    link = program.attach()
    ids = program.id, runs.id
    obj.close()
    assert link.detached
    with pytest.raises(BpfError, match="closed"):
        runs[1]
    with pytest.raises(BpfError, match="unloaded"):
        program.attach()
    pid = fresh_lab.id.split("-")[1]
    held = fresh_lab.sh(f"cat /proc/{pid}/fdinfo/*", check=False).stdout.split("\n")  # some close meanwhile
    assert "pos:\t0" in held
    assert f"prog_id:\t{ids[0]}" not in held and f"map_id:\t{ids[1]}" not in held


def test_two_labs_compile_at_once(machine):
    with bl.Lab(machine, quiet=True) as one, bl.Lab(machine, quiet=True) as two:
        objects = [lab.bcc(EXEC) for lab in (one, two)]
        links = [obj.programs["tracepoint__sched__sched_process_exec"].attach() for obj in objects]
        one.sh("/bin/true")
        assert all(len(obj.maps["runs"]) for obj in objects)
        one.close()
        two.sh("/bin/true")
        assert len(objects[1].maps["runs"]) > 1
        links[1].detach()


# -- the machine


def test_headers_of_another_kernel_are_told(fresh_lab):
    about = fresh_lab.ask("bcc.headers")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fresh_lab.bcc(EXEC).close()
        fresh_lab.bcc(EXEC).close()
    ours = [w for w in caught if w.category is bcc.BccWarning]
    assert len(ours) == (about["found"] != about["running"])
    for warning in ours:
        text = str(warning.message)
        assert about["found"] in text and fresh_lab.release in text
        assert "may be wrong" in text and "tracepoint arguments and helpers are right" in text and "\n" not in text
        assert warning.filename == __file__


def test_tracepoint_arguments_and_helpers_are_right_with_any_headers(lab):
    """And the fields of task_struct are, where the headers are those of the running kernel."""
    text = """
#include <linux/sched.h>
struct pids { u32 argument, field; };
BPF_HASH(seen, u32, struct pids);
TRACEPOINT_PROBE(sched, sched_process_exec) {
    struct task_struct *task = (struct task_struct *)bpf_get_current_task();
    u32 helper = bpf_get_current_pid_tgid();
    struct pids pids = {.argument = args->pid, .field = task->pid};
    seen.update(&helper, &pids);
    return 0;
}
"""
    about = lab.ask("bcc.headers")
    with lab.bcc(text) as obj, obj.programs["tracepoint__sched__sched_process_exec"].attach():
        pids = lab.sh("for i in 1 2 3; do /bin/true & echo $!; wait; done").stdout.split()
        for pid in map(int, pids):
            found = obj.maps["seen"][pid]
            assert found.argument == pid
            assert found.field == pid or about["found"] != about["running"]


def test_no_bcc_is_said_with_its_remedy(fresh_lab):
    """An agent whose Python finds no package bcc: it is started in a mount namespace without it."""
    fresh_lab.sh("mkdir -p /run/bpflab/nothing")
    pid = fresh_lab.id.split("-")[1]
    fresh_lab.sh(f"nsenter -t {pid} -m mount --bind /run/bpflab/nothing /usr/lib/python3/dist-packages/bcc")
    with pytest.raises(NotSupportedError, match="apt install python3-bpfcc.*PyPI"):
        fresh_lab.bcc(EXEC)
    fresh_lab.sh("rmdir /run/bpflab/nothing", check=False)


def test_no_headers_is_said_with_its_remedy(fresh_lab):
    pid = fresh_lab.id.split("-")[1]
    if fresh_lab.sh("test -d /lib/modules", check=False).returncode == 0:
        fresh_lab.sh(f"nsenter -t {pid} -m mount -t tmpfs none /lib/modules")
    with pytest.raises(NotSupportedError, match="apt install linux-headers"):
        fresh_lab.bcc(EXEC)


# -- what needs no machine


@pytest.mark.parametrize(
    "text, struct",
    [
        ("struct data_t d = {}; events.perf_submit(ctx, &d, sizeof(d));", "data_t"),
        ("struct data_t d; events.ringbuf_output(&d, sizeof(d), 0);", "data_t"),
        ("struct data_t *p = events.ringbuf_reserve(sizeof(struct data_t));", "data_t"),
        ("struct other d; more.ringbuf_output(&d, sizeof(d), 0);", "events"),
        ("events.perf_submit(ctx, what, 8);", "events"),
    ],
)
def test_struct_of_events_by_its_declaration(text, struct):
    assert bcc_types.event_struct(text, "events") == struct


def test_every_member_keeps_its_type():
    """Types are made and forgotten by the hundred here; none may be taken for another."""
    scalars = ["unsigned char", "short", "unsigned int", "long", "unsigned long long", "char", "_Bool", "int"]
    description = json.dumps(["s", [[f"m{i}", scalars[i % len(scalars)]] for i in range(200)], "struct_packed"])
    size = 25 * sum((1, 2, 4, 8, 8, 1, 1, 4))
    for _ in range(20):
        about = {"about": {"key_size": size, "value_size": 0}, "key": description, "leaf": "", "fields": []}
        key, _, _ = bcc_types.build({"one": about}, "").of("one")
        assert [m.type.resolved.name for m in key.members] == [scalars[i % len(scalars)] for i in range(200)]


def test_layout_is_the_compilers(tmp_path):
    """Members as BCC describes them against gcc's offsetof."""
    from bpflab.btf import Btf
    from bpflab.btf.build import Builder

    description = json.dumps(
        ["s", [["a", "unsigned char"], ["b", "unsigned int", 3], ["c", "unsigned int", 30], ["d", "unsigned short"],
               ["e", "char", [3]], ["f", ["in", [["x", "unsigned char"], ["y", "unsigned long long"]], "struct"], [2]],
               ["", [["u", "unsigned int"], ["v", "unsigned short", [3]]], "union"], ["g", "unsigned char"]], "struct"]
    )  # fmt: skip
    source = tmp_path / "s.c"
    source.write_text("""
#include <stddef.h>
#include <stdio.h>
struct in { unsigned char x; unsigned long long y; };
struct s { unsigned char a; unsigned b:3, c:30; unsigned short d; char e[3]; struct in f[2];
           union { unsigned u; unsigned short v[3]; }; unsigned char g; };
int main(void) {
    printf("%zu %zu %zu %zu %zu %zu", sizeof(struct s), offsetof(struct s, d), offsetof(struct s, e),
           offsetof(struct s, f), offsetof(struct s, v), offsetof(struct s, g));
}
""")
    subprocess.run(["gcc", source, "-o", tmp_path / "s"], check=True)
    size, *offsets = map(int, subprocess.run([tmp_path / "s"], capture_output=True, text=True).stdout.split())
    builder = Builder()
    number, found, _ = bcc_types._add(builder, json.loads(description))
    kind = Btf(builder.blob()).type(number)
    at = {m.name: m.offset for m in kind.members}
    assert found == kind.size == size
    assert [at[n] for n in ("d", "e", "f", "", "g")] == offsets
