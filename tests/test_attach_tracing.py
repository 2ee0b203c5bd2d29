"""Tracing programs at their places: attached, an event delivered, detached.

What this kernel may lack carries the mark `needs`: one body for both outcomes. Where the kernel has it, the event must
be delivered; where it has not, the lab must refuse, naming the feature, the machine and a next step (tests/lanes.py).
"""

from __future__ import annotations

import os
import struct
import subprocess
import warnings

import pytest
from waiting import until

import bpflab as bl
from bpflab.errors import BpfError, NotSupportedError, UnknownNameError

HEAD = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_core_read.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
__s64 value;
const volatile __u32 only;
struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __type(key, u32);
    __type(value, u32);
    __uint(max_entries, 4096);
} pids SEC(".maps");
static void saw(u32 pid) { u32 yes = 1; bpf_map_update_elem(&pids, &pid, &yes, BPF_ANY); seen++; }
static int mine(void) { return !only || bpf_get_current_pid_tgid() >> 32 == only; }
"""
COUNT = """
SEC("%s") int count(void *ctx) { if (mine()) __sync_fetch_and_add(&seen, 1); return 0; }
"""


@pytest.fixture
def load(lab):
    """`load(text, **globals)`: an object that is closed after the test."""
    loaded = []

    def one(text, **options):
        loaded.append(lab.load(HEAD + text, **options))
        return loaded[-1]

    yield one
    for obj in loaded:
        obj.close()


def opens_a_file(lab):
    lab.sh("cat /dev/null")


def gone_silent(obj, cause):
    """After detach the event delivers nothing more."""
    before = obj.globals["seen"]
    cause()
    return obj.globals["seen"] == before


# -- tracepoints


@pytest.mark.parametrize("section", ["tp/sched/sched_process_exec", "tracepoint/syscalls/sys_enter_execve"])
def test_tracepoint(lab, load, section):
    obj = load(COUNT % section)
    with obj.programs["count"].attach() as link:
        assert link.id and section in link.target
        lab.sh("/bin/true; /bin/true")
        assert obj.globals["seen"] >= 2
    assert link.detached


def test_tracepoint_named_at_attach(lab, load):
    obj = load(COUNT % "tp")
    program = obj.programs["count"]
    with program.attach_tracepoint("sched", "sched_process_exec"):
        lab.sh("/bin/true")
        assert obj.globals["seen"] >= 1
    with pytest.raises(UnknownNameError, match="did you mean 'sched_process_exec'"):
        program.attach_tracepoint("sched", "sched_process_exek")
    with pytest.raises(UnknownNameError, match="no tracepoint category named 'shed'.*'sched'"):
        program.attach_tracepoint("shed", "sched_switch")


def test_tracepoint_arguments(lab, load):
    obj = load("""
SEC("tp/sched/sched_process_exec") int count(struct trace_event_raw_sched_process_exec *ctx)
{
    saw(ctx->pid);
    return 0;
}""")
    with obj.programs["count"].attach():
        pid = lab.sh("/bin/true & echo $!; wait").stdout.strip()
    assert int(pid) in obj.maps["pids"]


@pytest.mark.parametrize("section", ["raw_tp/sched_process_exec", "raw_tracepoint/sched_process_exec", "raw_tp"])
def test_raw_tracepoint(lab, load, section):
    # its arguments: task, old pid, binary
    obj = load(
        """
SEC("SECTION") int count(struct bpf_raw_tracepoint_args *ctx)
{
    saw(BPF_CORE_READ((struct task_struct *)ctx->args[0], pid));
    return 0;
}""".replace("SECTION", section)
    )
    program = obj.programs["count"]
    link = program.attach() if "/" in section else program.attach_raw_tracepoint("sched_process_exec")
    pid = lab.sh("/bin/true & echo $!; wait").stdout.strip()
    link.detach()
    assert int(pid) in obj.maps["pids"]
    assert gone_silent(obj, lambda: lab.sh("/bin/true"))


def test_raw_tracepoint_that_is_not_there(lab, load):
    obj = load(COUNT % "raw_tp")
    with pytest.raises(UnknownNameError, match="raw tracepoint named 'no_such_tracepoint'.*nothing has that name"):
        obj.programs["count"].attach_raw_tracepoint("no_such_tracepoint")


def test_typed_raw_tracepoint(lab, load):
    obj = load("""
SEC("tp_btf/sched_process_exec")
int BPF_PROG(count, struct task_struct *task, pid_t old_pid, struct linux_binprm *binary)
{
    saw(task->pid);
    return 0;
}""")
    with obj.programs["count"].attach():
        pid = lab.sh("/bin/true & echo $!; wait").stdout.strip()
    assert int(pid) in obj.maps["pids"]


# -- samples


def test_perf_event_samples(lab, load):
    obj = load(COUNT % "perf_event")
    with obj.programs["count"].attach_perf_event("cpu-clock", frequency=999):
        lab.sh("for i in $(seq 20000); do :; done")
        until(lambda: obj.globals["seen"], "a sample")
    assert gone_silent(obj, lambda: lab.sh("for i in $(seq 5000); do :; done"))


def test_perf_event_of_one_process(lab, load):
    with lab.spawn("while :; do :; done") as busy:
        obj = load(COUNT % "perf_event", only=busy.pid)
        other = load(COUNT.replace("count(", "count(") % "perf_event")
        with (
            obj.programs["count"].attach_perf_event("cpu-clock", period=1_000_000, pid=busy.pid),
            other.programs["count"].attach_perf_event("cpu-clock", period=1_000_000, pid=busy.pid),
        ):
            until(lambda: obj.globals["seen"] > 3 and other.globals["seen"] > 3, "samples of the process")
        # the second object counts whatever comes: nothing but this process
        assert obj.globals["seen"] and other.globals["seen"]


def test_page_faults(lab, load):
    obj = load(COUNT % "perf_event")
    with obj.programs["count"].attach_perf_event("page-faults", period=1):
        lab.sh("/bin/true")
    assert obj.globals["seen"] > 10


@pytest.mark.needs("perf event cpu-cycles", "hardware perf events")
def test_hardware_event(lab, load):
    obj = load(COUNT % "perf_event")
    with obj.programs["count"].attach_perf_event("cpu-cycles", period=1_000_000):
        lab.sh("for i in $(seq 20000); do :; done")
        until(lambda: obj.globals["seen"], "a sample")


def test_perf_event_misuse(load):
    program = load(COUNT % "perf_event").programs["count"]
    with pytest.raises(UnknownNameError, match="'cpu-clock'"):
        program.attach_perf_event("cpu-clok")
    with pytest.raises(ValueError, match=r"give frequency .* or period .*, not both"):
        program.attach_perf_event(frequency=5, period=5)
    for what in ("frequency", "period"):
        for value in (0, -1):
            with pytest.raises(ValueError, match=f"{what} is {value}; give 1 or more, or leave it out for 99"):
                program.attach_perf_event(**{what: value})


# -- user space

TARGET = r"""
#include <stdio.h>
#include <sys/sdt.h>
__attribute__((noinline)) long add(long a, long b) { __asm__ volatile(""); return a + b; }
struct point { int x; };
int main(void) {
    char line[64];
    puts("ready"); fflush(stdout);
    for (int round = 0; fgets(line, sizeof line, stdin); round++) {
        long sum = add(round, 40);
        const char *text = line;
        int small = -5;
        DTRACE_PROBE3(demo, line, round, small, text);
        printf("%ld\n", sum); fflush(stdout);
    }
}
"""


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A program of ours, with a function and a USDT probe."""
    folder = tmp_path_factory.mktemp("target")
    (folder / "target.c").write_text(TARGET)
    subprocess.run(["gcc", "-O1", "-g", "-o", folder / "target", folder / "target.c"], check=True)
    return folder / "target"


def agent(lab) -> int:
    """Pid of the agent, which opens files for `lab.open`."""
    return int(lab.id.split("-")[1])


def run(target, lines):
    """Run it on some lines; gives its pid."""
    process = subprocess.Popen([target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    process.communicate("".join(f"{line}\n" for line in lines))
    return process.pid


FUNCTIONS = """
SEC("uprobe") int BPF_KPROBE(enter, long a, long b)
{
    if (mine()) { __sync_fetch_and_add(&seen, 1); value = a * 1000 + b; }
    return 0;
}
SEC("uretprobe") int BPF_KRETPROBE(leave, long sum)
{
    if (mine()) { __sync_fetch_and_add(&seen, 1); value = sum; }
    return 0;
}"""


@pytest.mark.here
def test_uprobe_reads_arguments(target, load):
    obj = load(FUNCTIONS)
    with obj.programs["enter"].attach_uprobe(str(target), "add") as link:
        run(target, "abc")
        assert "add" in link.target
    assert (obj.globals["seen"], obj.globals["value"]) == (3, 2040)
    assert gone_silent(obj, lambda: run(target, "a"))


@pytest.mark.here
def test_uretprobe_reads_the_return_value(target, load):
    obj = load(FUNCTIONS)
    with obj.programs["leave"].attach_uprobe(str(target), "add", retprobe=True):
        run(target, "abc")
    assert (obj.globals["seen"], obj.globals["value"]) == (3, 42)


@pytest.mark.here
def test_uprobe_by_offset(target, load):
    lines = subprocess.run(["nm", target], capture_output=True, text=True, check=True).stdout.splitlines()
    offset = next(int(line.split()[0], 16) for line in lines if line.endswith(" T add"))
    obj = load(FUNCTIONS)
    with obj.programs["enter"].attach_uprobe(str(target), offset):
        run(target, "a")
    assert obj.globals["seen"] == 1


@pytest.mark.here
def test_uprobe_of_one_process(target, load):
    first, second = (
        subprocess.Popen([target], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    )
    try:
        for process in (first, second):
            assert process.stdout.readline() == "ready\n"
        obj = load(FUNCTIONS)
        with obj.programs["enter"].attach_uprobe(str(target), "add", pid=first.pid):
            second.communicate("a\nb\n")
            assert obj.globals["seen"] == 0
            first.communicate("a\n")
            assert obj.globals["seen"] == 1
    finally:
        for process in (first, second):
            process.kill()
            process.communicate()


@pytest.mark.here
def test_uprobe_as_its_section_says(target, load):
    obj = load(FUNCTIONS.replace('SEC("uprobe")', f'SEC("uprobe/{target}:add")'))
    with obj.programs["enter"].attach():
        run(target, "ab")
    assert obj.globals["seen"] == 2


def test_uprobe_of_a_library_by_name(lab, load):
    obj = load(COUNT % "uprobe")
    with obj.programs["count"].attach_uprobe("libc.so.6", "getppid"):
        os.getppid()
        lab.sh(["/usr/bin/python3", "-S", "-c", "import os; os.getppid()"])
    assert obj.globals["seen"] >= 1


@pytest.mark.here
def test_uprobe_that_has_no_place(target, load):
    program = load(FUNCTIONS).programs["enter"]
    with pytest.raises(UnknownNameError, match="no_such_function"):
        program.attach_uprobe(str(target), "no_such_function")
    with pytest.raises(bl.LabError, match="no program or library '/nowhere'.*whole path"):
        program.attach_uprobe("/nowhere", "add")


USDT = """
#include <bpf/usdt.bpf.h>
long first, second;
char text[8];
SEC("usdt") int on_line(struct pt_regs *ctx)
{
    long pointer = 0;
    if (!mine())
        return 0;
    bpf_usdt_arg(ctx, 0, &first);
    bpf_usdt_arg(ctx, 1, &second);
    bpf_usdt_arg(ctx, 2, &pointer);
    bpf_probe_read_user_str(text, sizeof text, (void *)pointer);
    value = bpf_usdt_arg_cnt(ctx);
    __sync_fetch_and_add(&seen, 1);
    return 0;
}"""


@pytest.mark.here
def test_usdt_of_a_program_of_ours(target, load):
    obj = load(USDT)
    with obj.programs["on_line"].attach_usdt(str(target), "demo", "line"):
        run(target, ["one", "two", "end"])
    values = obj.globals
    assert (values["seen"], values["value"]) == (3, 3)
    # a 4-byte argument keeps its sign
    assert (values["first"], values["second"], values["text"]) == (2, -5, "end\n")
    assert gone_silent(obj, lambda: run(target, ["one"]))


def test_usdt_of_the_interpreter(lab, load):
    """Debian's Python has probes with a semaphore, which is raised while somebody looks."""
    # any other Python of this computer may collect its generation 0 meanwhile: note which generations were seen
    obj = load(USDT.replace("bpf_probe_read_user_str", "if (0) bpf_probe_read_user_str").replace("value =", "value |= 1 << (first & 3), second ="))
    collect = ["/usr/bin/python3", "-S", "-c", "import gc; gc.disable(); gc.collect(1); gc.collect(2)"]
    with obj.programs["on_line"].attach_usdt("/usr/bin/python3", "python", "gc__start"):
        lab.sh(collect)
    assert obj.globals["value"] & 0b110 == 0b110
    assert gone_silent(obj, lambda: lab.sh(collect))


@pytest.mark.here
def test_usdt_that_is_not_there(target, load):
    with pytest.raises(UnknownNameError, match="demo:no_such_probe"):
        load(USDT).programs["on_line"].attach_usdt(str(target), "demo", "no_such_probe")


# -- iterators


def test_iterator_over_tasks(lab, load):
    obj = load("""
SEC("iter/task") int tasks(struct bpf_iter__task *ctx)
{
    struct task_struct *task = ctx->task;
    if (task && task->pid == task->tgid)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d %s\\n", task->tgid, task->comm);
    return 0;
}""")
    with obj.programs["tasks"].attach() as link, lab.spawn("exec sleep 1000") as sleeper:
        until(lambda: f"{sleeper.pid} sleep" in link.read().splitlines(), "the new process is listed")
        assert f"{agent(lab)} bpflab-agent" in link.read().splitlines()


def test_iterator_is_read_as_often_as_one_likes(load):
    obj = load("""
SEC("iter/bpf_map") int maps(struct bpf_iter__bpf_map *ctx)
{
    struct bpf_map *map = ctx->map;
    if (map)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%d\\n", map->id);
    return 0;
}""")
    with obj.programs["maps"].attach() as link:
        first = set(map(int, link.read().split()))
        made = load(
            'struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u32); __uint(max_entries, 1); } made SEC(".maps");'
        )
        second = set(map(int, link.read().split()))
    assert made.maps["made"].id in second - first


def test_iterator_over_the_elements_of_a_map(load, lab):
    obj = load("""
SEC("iter/bpf_map_elem") int elements(struct bpf_iter__bpf_map_elem *ctx)
{
    u32 *key = ctx->key;
    u64 *element = ctx->value;
    if (key && element)
        BPF_SEQ_PRINTF(ctx->meta->seq, "%u=%llu\\n", *key, *element);
    return 0;
}""")
    walked = lab.create_map("hash", "u32", "u64", 8)
    walked[1], walked[2] = 10, 1 << 63
    with obj.programs["elements"].attach_iter(walked) as link:
        assert sorted(link.read().split()) == ["1=10", f"2={1 << 63}"]
        del walked[1]
        assert link.read().split() == [f"2={1 << 63}"]
    walked.close()


def test_only_an_iterator_is_read(lab, load):
    with load(COUNT % "tp/sched/sched_process_exec").programs["count"].attach() as link:
        with pytest.raises(TypeError, match="no iterator"):
            link.read()


# -- run by hand


def test_syscall_program_changes_its_context(load):
    obj = load("""
struct arguments { u64 a, b, sum; };
SEC("syscall") int add(struct arguments *ctx)
{
    ctx->sum = ctx->a + ctx->b;
    return 7;
}""")
    done = obj.programs["add"].test_run(ctx=struct.pack("QQQ", 2, 40, 0))
    assert done.retval == 7
    assert struct.unpack("QQQ", done.ctx) == (2, 40, 42)


# -- what a kernel may lack


@pytest.mark.needs("kprobe")
@pytest.mark.parametrize("section", ["kprobe/do_sys_openat2", "kretprobe/do_sys_openat2", "ksyscall/openat"])
def test_kprobe(lab, load, section):
    obj = load(COUNT % section)
    with obj.programs["count"].attach():
        opens_a_file(lab)
        assert obj.globals["seen"]
    assert obj.globals["seen"]


@pytest.mark.needs("kprobe")
def test_kprobe_named_at_attach(lab, load):
    obj = load(COUNT % "kprobe")
    with obj.programs["count"].attach_kprobe("do_sys_openat2"):
        opens_a_file(lab)
    assert obj.globals["seen"]


@pytest.mark.needs("kprobe")
def test_kretprobe_named_at_attach(lab, load):
    obj = load(COUNT % "kretprobe")
    with obj.programs["count"].attach_kretprobe("do_sys_openat2"):
        opens_a_file(lab)
    assert obj.globals["seen"]


@pytest.mark.needs("kprobe.multi")
def test_kprobe_multi(lab, load):
    obj = load(COUNT % "kprobe.multi/do_sys_open*")
    with obj.programs["count"].attach():
        opens_a_file(lab)
    assert obj.globals["seen"]


@pytest.mark.needs("fentry")
def test_fentry(lab, load):
    obj = load('SEC("fentry/do_sys_openat2") int BPF_PROG(count, int dfd) { seen++; return 0; }')
    with obj.programs["count"].attach_fentry() as link:
        assert link.id
        opens_a_file(lab)
    assert obj.globals["seen"]


@pytest.mark.needs("fexit")
def test_fexit(lab, load):
    obj = load(
        """
SEC("fexit/do_sys_openat2")
int BPF_PROG(count, int dfd, const char *name, struct open_how *how, long result)
{
    seen++;
    if (bpf_get_current_pid_tgid() >> 32 == only)
        value = result < 0 ? result : value;
    return 0;
}""",
        only=agent(lab),
    )
    with obj.programs["count"].attach_fexit():
        with pytest.raises(bl.BpfError, match="ENOENT"):
            lab.open("/no/such/file")
    assert obj.globals["value"] == -2


@pytest.mark.needs("fmod_ret")
def test_fmod_ret(lab, load):
    text = """
SEC("fmod_ret/security_file_open") int BPF_PROG(count, struct file *file, int ret)
{
    if (bpf_get_current_pid_tgid() >> 32 != only)
        return ret;
    seen++;
    return value ? -1 : ret;
}"""
    obj = load(text, only=agent(lab))
    with obj.programs["count"].attach():
        lab.open("/etc/passwd").close()
        obj.globals["value"] = 1
        with pytest.raises(bl.BpfError, match="EPERM"):
            lab.open("/etc/passwd")
        obj.globals["value"] = 0
    assert obj.globals["seen"] >= 2


@pytest.mark.needs("lsm")
def test_lsm(lab, load):
    lab_features = lab.features().set_index("feature")
    obj = load(
        """
SEC("lsm/file_open") int BPF_PROG(count, struct file *file)
{
    if (bpf_get_current_pid_tgid() >> 32 != only)
        return 0;
    seen++;
    return value ? -1 : 0;
}""",
        only=agent(lab),
    )
    with obj.programs["count"].attach_lsm():
        if not lab_features.loc["lsm", "available"]:  # it attaches, but bpf is not among the kernel's lsm=
            raise NotSupportedError("lsm", lab.where, lab_features.loc["lsm", "reason"])
        lab.open("/etc/passwd").close()
        obj.globals["value"] = 1
        with pytest.raises(bl.BpfError, match="EPERM"):
            lab.open("/etc/passwd")
    lab.open("/etc/passwd").close()
    assert obj.globals["seen"] >= 2


@pytest.mark.needs("freplace")
def test_freplace(lab, load):
    base = load("""
__attribute__((noinline)) int verdict(struct xdp_md *ctx) { volatile int number = 1; return number; }
SEC("xdp") int frames(struct xdp_md *ctx) { return verdict(ctx); }""")
    frames = base.programs["frames"]
    assert frames.test_run(bytes(64)).retval == 1
    other = load('SEC("freplace/verdict") int better(struct xdp_md *ctx) { return 2; }', replaces=frames)
    with other.programs["better"].attach():
        assert frames.test_run(bytes(64)).retval == 2
    assert frames.test_run(bytes(64)).retval == 1


def test_freplace_wants_to_know_whose(load):
    with pytest.raises(TypeError, match="replaces=obj.programs"):
        load('SEC("freplace/verdict") int better(struct xdp_md *ctx) { return 2; }')


def test_a_function_that_is_not_there(lab, load):
    """Where fentry works, the name is wrong; where it does not, that is said first."""
    with pytest.raises((BpfError, NotSupportedError)) as caught:
        load('SEC("fentry/no_such_function") int BPF_PROG(count) { return 0; }')
    assert "no_such_function" in str(caught.value)


# -- misuse


@pytest.mark.parametrize("section", ["tp", "kprobe", "uprobe", "raw_tp", "usdt"])
def test_a_section_that_does_not_say_where(load, section):
    with pytest.raises(TypeError, match=f'SEC\\("{section}"\\) does not say where.*attach_'):
        load(COUNT % section).programs["count"].attach()


def test_two_programs_at_one_place(lab, load):
    objects = [load(COUNT % "tp/sched/sched_process_exec") for _ in range(2)]
    links = [obj.programs["count"].attach() for obj in objects]
    lab.sh("/bin/true")
    links[0].detach()
    counts = [obj.globals["seen"] for obj in objects]
    assert all(counts)
    lab.sh("/bin/true")
    assert objects[0].globals["seen"] == counts[0] and objects[1].globals["seen"] > counts[1]


def test_no_warning_is_given(load):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(COUNT % "tp/sched/sched_process_exec").programs["count"].attach().detach()
