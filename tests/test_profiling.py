"""Profiles of real programs: names, shares, containers, what is over, what is not known."""

from __future__ import annotations

import base64
import collections
import contextlib
import json
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ET

import hot
import numpy as np
import pandas as pd
import pytest
import waiting

import bpflab as bl
from bpflab import profiling
from bpflab.errors import LabError
from bpflab.profiling import record

HZ = 499
WHOLE = ["main", "outer", "alpha", "burn"]


@pytest.fixture(scope="module")
def place(lab):
    with hot.folder(lab) as path:
        yield path


@pytest.fixture(scope="module")
def busy(lab, place):
    """A plain C program, running."""
    with lab.spawn([hot.build(lab, f"{place}/busy")]) as process:
        yield process


def names_of(stacks) -> set[str]:
    return {name for line in stacks.folded() for name in line.split(";")}


def holds(stacks, path: list[str]) -> bool:
    """Whether some stack has these functions, one calling the next."""
    return any(";".join(path) in line for line in stacks.folded())


def looked_at(lab, command, seconds: float = 0.6):
    """A profile of a command while it runs."""
    with lab.spawn(command) as process:
        return lab.profile(seconds, hz=HZ, pid=process)


def test_functions_and_their_shares(lab, busy):
    stacks = lab.profile(1, hz=HZ, pid=busy)
    assert holds(stacks, WHOLE), stacks.folded()
    frame = stacks.to_frame()
    assert set(frame.columns) == {"process", "pid", "samples", "user", "kernel"}
    assert set(frame.pid) == {busy.pid} and set(frame.process) == {"busy"}
    assert frame.samples.sum() == stacks.total == sum(stacks.folded().values()) > 20
    total = stacks.top(100).set_index("function").total
    # 3 of 4 samples: 5 standard deviations of a binomial
    share, n = total["alpha"] / (total["alpha"] + total["beta"]), total["alpha"] + total["beta"]
    assert abs(share - 0.75) < 5 * (0.75 * 0.25 / n) ** 0.5
    assert total["main"] >= total["outer"] >= total["alpha"] > total["beta"]
    assert stacks.lost == 0 and stacks.lost_mappings == 0


def test_all_processes(lab, busy):
    stacks = lab.profile(0.6, hz=HZ)
    assert holds(stacks, WHOLE)
    # no CPU is looked at more often than asked for
    assert 0 < stacks.total + stacks.idle <= 1.1 * HZ * stacks.seconds * lab.online + 2
    assert len(set(stacks.to_frame().pid)) > 1 or stacks.idle
    assert f"at {HZ} Hz" in repr(stacks) and "distinct stacks" in repr(stacks)


@pytest.mark.parametrize("flags", ["-pie -fPIE", "-no-pie -fno-pie", "-static"])
def test_position_of_the_code(lab, place, flags):
    path = hot.build(lab, f"{place}/placed{flags.split()[0]}", flags=flags)
    stacks = looked_at(lab, [path])
    assert holds(stacks, WHOLE)
    assert stacks.incomplete <= 0.1 * stacks.total, "each stack reaches the beginning of its thread"


CPP = """
namespace deep { template <typename T> struct Box { T operator()(T n) const __attribute__((noinline));
  static __attribute__((noinline)) T twice(const Box &b, T n) { return b(n) + b(n + 1); } }; }
template <typename T> T deep::Box<T>::operator()(T n) const { volatile T s = 0; for (T i = 0; i < n; i++) s += i; return s; }
template struct deep::Box<long>;
int main() { deep::Box<long> b; for (volatile long t = 0;;) t += deep::Box<long>::twice(b, 100000); }
"""


def test_cpp_names_are_demangled(lab, place):
    stacks = looked_at(lab, [hot.build(lab, f"{place}/cpp", CPP, compiler="g++", suffix="c++")])
    assert {"deep::Box<long>::operator()(long) const", "deep::Box<long>::twice(deep::Box<long> const&, long)"} <= names_of(stacks)
    assert not stacks.mangled


def test_demangling_of_rust_and_others(lab):
    mangled = [
        "_RNvCs1234_7mycrate3foo",
        "_ZN4core3fmt9Formatter9write_str17h0123456789abcdefE",
        "_ZN66_$LT$alloc..vec..Vec$LT$T$GT$$u20$as$u20$core..ops..drop..Drop$GT$4drop17h0123456789abcdefE",
        "main.(*Server).handle",
        "_Z3fooi",
        "plain",
    ]
    (found,), good = lab.ask("mappings.demangle", [mangled])
    assert good
    assert found == [
        "mycrate::foo",
        "core::fmt::Formatter::write_str",
        "<alloc::vec::Vec<T> as core::ops::drop::Drop>::drop",
        "main.(*Server).handle",
        "foo(int)",
        "plain",
    ]


def test_shared_objects(lab, place):
    library = hot.build(lab, f"{place}/libalpha.so", hot.C.replace("int main(void)", "int spin(void)"), "-shared -fPIC")
    path = hot.build(lab, f"{place}/uses", "int spin(void); int main(void) { return spin(); }", f"-L{place} -lalpha -Wl,-rpath,{place}")
    stacks = looked_at(lab, [path])
    assert holds(stacks, ["main", "spin", *WHOLE[1:]])
    files = stacks.top(100).set_index("function").file
    assert files["alpha"] == library and files["main"] == path


def test_names_of_any_bytes(lab, place):
    """A path that is no UTF-8, with a newline; a thread that calls itself what XML does not allow."""
    source = hot.C.replace("int main(void) {", '#include <sys/prctl.h>\nint main(void) { prctl(PR_SET_NAME, "a;\\x1b\\n<b>");')
    path = hot.build(lab, f"{place}/plain", source)
    lab.sh(["sh", "-c", f"mv {path} \"$(printf '{place}/odd\\377\\nname')\""])
    with lab.spawn(["sh", "-c", f"exec {place}/odd*"]) as process:
        waiting.until(lambda: "<b>" in lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout, "its name")
        stacks = lab.profile(0.6, hz=HZ, pid=process)
    assert holds(stacks, WHOLE)
    assert set(stacks.to_frame().process) == {"a;??<b>"} and all(line.startswith("a:??<b>;") for line in stacks.folded())
    ET.fromstring(stacks.flamegraph().svg)
    json.dumps(stacks.to_speedscope()).encode()


def test_stripped_binaries_are_counted(lab, place):
    path = hot.build(lab, f"{place}/stripped")
    lab.sh(["strip", path])
    stacks = looked_at(lab, [path])
    assert not {"burn", "alpha"} & names_of(stacks) and "[stripped]" in names_of(stacks)
    row = stacks.unresolved.set_index("file").loc[path]
    assert row.why == "stripped" and row.frames >= stacks.total
    assert re.search(rf"% of frames have no symbol: [\d,]+ in {path} \(stripped\)", repr(stacks))


def test_debug_file_that_comes_later(lab, place):
    path = hot.build(lab, f"{place}/later", flags="-g")
    lab.sh(f"objcopy --only-keep-debug {path} {place}/kept && strip {path} && cp {place}/kept {place}/later.debug && "
           f"objcopy --add-gnu-debuglink={place}/later.debug {path} && rm {place}/later.debug")  # fmt: skip
    with lab.spawn([path]) as process:
        assert "alpha" not in names_of(lab.profile(0.5, hz=HZ, pid=process))
        lab.sh(f"mv {place}/kept {place}/later.debug")
        assert holds(lab.profile(0.5, hz=HZ, pid=process), WHOLE)


def test_dynamic_symbols_of_stripped_libraries(lab, place):
    """.dynsym stays when a library is stripped, and has what it exports."""
    path = hot.build(lab, f"{place}/libexports.so", hot.C.replace("int main(void)", "int spin(void)"), "-shared -fPIC")
    lab.sh(["strip", path])
    user = hot.build(lab, f"{place}/uses2", "int spin(void); int main(void) { return spin(); }", f"-L{place} -lexports -Wl,-rpath,{place}")
    assert {"spin", "alpha", "outer"} <= names_of(looked_at(lab, [user]))


def test_what_stripped_go_binaries_keep(lab, place):
    """The table that Go's runtime reads for its own stack traces, here made for a C program's functions."""
    path = hot.build(lab, f"{place}/gopher")
    found = sorted((int(at, 16), name) for at, kind, name in (line.split() for line in lab.sh(["nm", path]).lines if len(line.split()) == 3)
                   if kind in "tT" and name in ("burn", "alpha", "beta", "outer", "main"))  # fmt: skip
    text = next(line.split() for line in lab.sh(["readelf", "-WS", path]).lines if " .text " in line)
    start = int(text[text.index("PROGBITS") + 1], 16)
    names, places = b"\0", []
    for _, name in found:
        places.append(len(names))
        names += f"main.{name}\0".encode()
    names += bytes(-len(names) % 8)
    starts = [at - start for at, _ in found]
    functions, entries = b"", []
    base = 8 * len(found) + 4
    for at, place_of_name in zip(starts, places):
        entries += [at, base + len(functions)]
        functions += struct.pack("<Ii", at, place_of_name)
    table = struct.pack(f"<{len(entries) + 1}I", *entries, starts[-1] + 0x40) + functions
    head = struct.pack("<IHBB8Q", 0xFFFFFFF1, 0, 1, 8, len(found), 0, start, 72, 0, 0, 0, 72 + len(names))
    lab.sh(["sh", "-c", f"base64 -d > {place}/pclntab"], input=base64.b64encode(head + names + table).decode())
    lab.sh(f"strip {path} && objcopy --add-section .gopclntab={place}/pclntab {path}")
    stacks = looked_at(lab, [path])
    assert holds(stacks, ["main.main", "main.outer", "main.alpha", "main.burn"]), stacks.folded()


@pytest.mark.parametrize("where", ["beside", "in .debug"])
def test_debug_link(lab, place, where):
    folder = f"{place}/linked-{where.split()[-1].strip('.')}"
    lab.sh(["mkdir", "-p", f"{folder}/.debug"])
    path = hot.build(lab, f"{folder}/linked", flags="-g -Wl,--build-id=none")
    debug = f"{folder}/linked.debug" if where == "beside" else f"{folder}/.debug/linked.debug"
    lab.sh(f"objcopy --only-keep-debug {path} {debug} && strip {path} && objcopy --add-gnu-debuglink={debug} {path}")
    assert holds(looked_at(lab, [path]), WHOLE)


def test_wrong_debug_file_is_not_believed(lab, place):
    """.gnu_debuglink has a CRC: a file of the same name from another build must not give names."""
    path = hot.build(lab, f"{place}/rebuilt", flags="-Wl,--build-id=none")
    debug = f"{place}/rebuilt.debug"
    lab.sh(f"objcopy --only-keep-debug {path} {debug} && strip {path} && objcopy --add-gnu-debuglink={debug} {path}")
    lab.sh(f"printf x >> {debug}")
    stacks = looked_at(lab, [path])
    assert "alpha" not in names_of(stacks) and "stripped" in repr(stacks)


def boxed(lab, place) -> list[str]:
    """A command: a stripped program that only its own mount namespace has, with its debug file there by build id."""
    path = hot.build(lab, f"{place}/boxed", flags="-g")
    build_id = re.search(r"Build ID: (\w+)", lab.sh(["readelf", "-n", path]).stdout)[1]
    folder = f"/usr/lib/debug/.build-id/{build_id[:2]}"
    inside = f"""
        mount -t tmpfs none /mnt && cp {path} /mnt/boxed && mkdir -p /usr/lib/debug && mount -t tmpfs none /usr/lib/debug
        mkdir -p {folder} && objcopy --only-keep-debug /mnt/boxed {folder}/{build_id[2:]}.debug && strip /mnt/boxed && exec /mnt/boxed"""
    return ["unshare", "-m", "sh", "-c", inside]


def test_container_with_a_debug_file(lab, place):
    """The container's own /usr/lib/debug is looked at, and a binary that only it can see."""
    with lab.spawn(boxed(lab, place)) as process:
        waiting.until(lambda: lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout == "boxed\n", "the program in its container")
        stacks = lab.profile(0.6, hz=HZ, pid=process)
    assert holds(stacks, WHOLE)
    assert lab.sh(["ls", "/mnt/boxed"], check=False).returncode


@pytest.mark.here
@pytest.mark.parametrize("began", ["before", "meanwhile"])
def test_container_that_is_over(lab, place, began):
    """Its last process ends while the profile runs, and with it all that only this mount namespace had."""
    command = boxed(lab, place)
    if began == "before":
        with lab.spawn(command) as process:
            waiting.until(lambda: lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout == "boxed\n", "the program in its container")
            stacks = in_the_background(lab, lambda: lab.sh(f"sleep 0.4; kill -9 {process.pid}"))
    else:
        stacks = in_the_background(lab, lambda: lab.sh(["timeout", "1.5", *command], check=False))
    rows = stacks.to_frame()
    assert rows[rows.process == "boxed"].user.str.contains("main;outer;alpha;burn").any(), stacks.unresolved


def test_container_of_another_user(lab, place):
    """A user, pid and mount namespace of uid 65534: root of the lab machine sees into it."""
    path = hot.build(lab, f"{place}/jailed")
    lab.sh(["chmod", "755", place])
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-Urpfm", "--mount-proc", path]
    with lab.spawn(command) as process:
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        waiting.until(lambda: lab.sh(["cat", children]).stdout.strip(), "the program in its container")
        pid = int(lab.sh(["cat", children]).stdout)
        waiting.until(lambda: lab.sh(["cat", f"/proc/{pid}/comm"]).stdout == "jailed\n", "its exec")
        stacks = lab.profile(0.6, hz=HZ, pid=pid)
    assert holds(stacks, WHOLE) and set(stacks.to_frame().pid) == {pid}


def test_deleted_binary(lab, place):
    path = hot.build(lab, f"{place}/deleted")
    with lab.spawn([path]) as process:
        waiting.until(lambda: lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout == "deleted\n", "its exec")
        lab.sh(["rm", path])
        assert holds(lab.profile(0.6, hz=HZ, pid=process), WHOLE)


@pytest.mark.here
def test_replaced_binary_gives_no_wrong_names(lab, place):
    """A file of the same path that is another build is not believed once its process is over."""
    path = hot.build(lab, f"{place}/replaced")
    other = hot.build(lab, f"{place}/replacement", hot.C.replace("alpha", "omega").replace("300000", "299999"))
    stacks = in_the_background(lab, lambda: lab.sh(f"timeout 0.4 {path}; mv {other} {path}", check=False))
    assert "omega" not in names_of(stacks)
    assert "replaced" in stacks.unresolved.file.str.rsplit("/", n=1).str[-1].tolist()


@contextlib.contextmanager
def meanwhile(lab, work, name: str = "on_cpu"):
    """Call `work` in a thread as soon as a profiler's program is in the kernel."""
    seen = programs(lab, name)

    def run():
        waiting.until(lambda: programs(lab, name) - seen, "the program in the kernel", 30)
        lab.sh("sleep 0.1")  # it is attached right after it was loaded
        work()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def stop() -> None:
    """What Ctrl-C and the stop button do."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def in_the_background(lab, work):
    """A profile of everything while `work` runs, from its beginning to its end."""
    with meanwhile(lab, lambda: (work(), stop())):
        stacks = lab.profile(120, hz=HZ)
    assert stacks.interrupted
    return stacks


def programs(lab, name: str = "on_cpu") -> set[int]:
    """Ids of the profilers' programs in the kernel."""
    return {p["id"] for p in json.loads(lab.sh("bpftool -j prog list").stdout) if p.get("name") == name}


@pytest.mark.here
def test_processes_that_are_over(lab, place):
    """They begin and end while the profile runs; the kernel's records say what they had mapped."""
    path = hot.build(lab, f"{place}/brief")
    stacks = in_the_background(lab, lambda: lab.sh(f"for i in 1 2 3; do timeout 0.15 {path}; done", check=False))
    rows = stacks.to_frame()
    rows = rows[rows.process == "brief"]
    assert len(set(rows.pid)) >= 2
    assert rows.user.str.contains("outer;alpha;burn").any()
    assert path not in stacks.unresolved.file.tolist()


FORKS = hot.C.replace("int main(void) {", "#include <unistd.h>\nint main(void) { if (fork()) pause(); alarm(2);")


@pytest.mark.here
def test_children_have_their_parents_mappings(lab, place):
    path = hot.build(lab, f"{place}/forks", FORKS)
    stacks = in_the_background(lab, lambda: lab.sh(f"timeout 0.5 {path}; true", check=False))
    rows = stacks.to_frame()
    assert rows[rows.process == "forks"].user.str.contains("outer;alpha;burn").any()


@pytest.mark.here
def test_exec_changes_the_mappings(lab, place):
    """Two programs of one pid, at the same addresses: each stack belongs to the one that ran."""
    first = hot.build(lab, f"{place}/first", hot.C.replace("for (volatile long t = 0;;)", "for (volatile long t = 0, i = 0; i < 300; i++)").replace(
        "t += outer(); }", 't += outer(); execl(getenv("NEXT"), "second", (char *)0); }').replace(
        "#define", "#include <unistd.h>\n#include <stdlib.h>\n#define", 1), "-no-pie -fno-pie")
    second = hot.build(lab, f"{place}/second", hot.C.replace("alpha", "omega"), "-no-pie -fno-pie")
    stacks = in_the_background(lab, lambda: lab.sh(f"NEXT={second} timeout 1.5 {first}", check=False))
    rows = stacks.to_frame()
    rows = rows[rows.process.isin(["first", "second"])]
    assert set(rows.process) == {"first", "second"} and len(set(rows.pid)) == 1
    assert rows[rows.process == "first"].user.str.contains("alpha").any()
    assert not rows[rows.process == "first"].user.str.contains("omega").any()
    assert not rows[rows.process == "second"].user.str.contains("alpha").any()


JIT = """
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
__attribute__((noinline)) long hot(long n) { volatile long s = 0; for (long i = 0; i < n; i++) s += i; return s; }
int main(int argc, char **argv)
{
    /* push rbp; mov rbp, rsp; call *rsi; pop rbp; ret: a function that is in no file */
    static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd6, 0x5d, 0xc3};
    long (*made)(long, long (*)(long)) = mmap(0, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char name[64];
    memcpy((void *)made, code, sizeof(code));
    if (argc > 1) {
        snprintf(name, sizeof(name), "/tmp/perf-%d.map", getpid());
        FILE *f = fopen(name, "w");
        fprintf(f, "%lx %zx py::handler:/srv/app.py\\nhalf a li", (long)made, sizeof(code));
        fclose(f);
    }
    for (volatile long t = 0;;)
        t += made(100000, hot);
}
"""


@pytest.mark.here
@pytest.mark.parametrize("has_map", [True, False])
def test_code_made_while_running(lab, place, has_map):
    path = hot.build(lab, f"{place}/jit", JIT)
    with lab.spawn([path, *(["map"] if has_map else [])]) as process:
        waiting.until(lambda: lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout == "jit\n", "its exec")
        stacks = lab.profile(0.6, hz=HZ, pid=process)
        lab.sh(["rm", "-f", f"/tmp/perf-{process.pid}.map"])
    name = "py::handler:/srv/app.py" if has_map else "[made while running]"
    assert holds(stacks, ["main", name, "hot"])
    assert ("no /tmp/perf-PID.map" in repr(stacks)) != has_map


@pytest.mark.here
def test_agreement_with_perf(lab, busy, place):
    """The same process, at the same time: shares of each stack differ by no more than chance makes them."""
    data = f"{place}/perf.data"
    with lab.spawn(["perf", "record", "-q", "-F", "199", "-g", "-p", str(busy.pid), "-o", data]) as perf:
        ours = lab.profile(3, hz=199, pid=busy)
        lab.sh(["kill", "-INT", str(perf.pid)])
        perf.wait()
    text = lab.sh(["perf", "script", "-i", data, "-F", "comm,ip,sym"], timeout=120).stdout
    theirs = collections.Counter(_fold(block) for block in text.strip().split("\n\n"))
    mine = collections.Counter()
    for line, count in ours.folded().items():
        parts = line.split(";")
        mine[";".join(parts[parts.index("main") :] if "main" in parts else parts)] += count
    n, m = sum(mine.values()), sum(theirs.values())
    assert n > 50 and m > 50
    for stack in mine.keys() | theirs.keys():
        p, q = mine[stack] / n, theirs[stack] / m
        mean = (mine[stack] + theirs[stack]) / (n + m)
        assert abs(p - q) <= 5 * (mean * (1 - mean) * (1 / n + 1 / m)) ** 0.5 + 1 / min(n, m), (stack, p, q)
    assert {"main;outer;alpha;burn", "main;outer;beta;burn"} <= mine.keys() & theirs.keys()


def _fold(block: str) -> str:
    """A block of `perf script`: the thread, then a line for each function, the innermost first. From main on."""
    frames = [line.split(None, 1)[1].strip() for line in block.splitlines()[1:] if line.strip()][::-1]
    return ";".join(frames[frames.index("main") :] if "main" in frames else frames)


NAPS = """
#include <signal.h>
#include <unistd.h>
static volatile int told;
static void tell(int signal) { told = signal; }
__attribute__((noinline)) int nap(int us) { return usleep(us) + 1; }
/* the system call itself: the C library's functions hide who called them, being without frame pointers */
__attribute__((noinline)) long later(void) { long r; __asm__ volatile("syscall" : "=a"(r) : "a"(34 /* pause */) : "rcx", "r11", "memory"); return r; }
int main(int argc, char **argv)
{
    signal(SIGUSR1, tell);
    while (argc > 1 && !told)
        ;
    if (told)
        told += later();
    for (volatile int t = 0;;)
        t += nap(20000);
}
"""


def test_waits(lab, place):
    path = hot.build(lab, f"{place}/naps", NAPS)
    with lab.spawn([path]) as process:
        stacks = lab.offcpu(1, pid=process)
        none = lab.offcpu(0.3, pid=process, min_us=1_000_000)
    frame = stacks.to_frame()
    assert set(frame.columns) == {"process", "pid", "us", "waits", "user", "kernel"}
    naps = frame[frame.user.str.contains("nap|clock_nanosleep") & frame.kernel.str.contains("nanosleep")]
    assert 10 <= naps.waits.sum() <= 51
    assert naps.waits.sum() * 20_000 <= naps.us.sum() + 20_000
    # it does nothing else: nearly all of the second
    assert 0.7e6 < stacks.total <= 1.05e6 * stacks.seconds
    # the functions of the tracepoint that looked are not what it waited in
    assert frame.kernel.str.endswith("schedule").all(), frame.kernel.tolist()
    assert len(none) == 0 and "nothing was seen" in repr(none)


@pytest.mark.here
def test_a_wait_that_is_not_over_counts(lab, place):
    """It begins while we look, and does not end."""
    path = hot.build(lab, f"{place}/naps2", NAPS)
    with lab.spawn([path, "long"]) as process:
        waiting.until(lambda: "naps2" in lab.sh(["cat", f"/proc/{process.pid}/comm"]).stdout, "its exec")

        def work():
            lab.sh(["kill", "-USR1", str(process.pid)])
            lab.sh("sleep 0.4")
            stop()

        with meanwhile(lab, work, "off_cpu"):
            stacks = lab.offcpu(120, pid=process)
    asleep = stacks.to_frame()
    asleep = asleep[asleep.user.str.contains("later")]
    assert asleep.waits.tolist() == [1] and 0.35e6 < asleep.us.sum() < 1e6 * stacks.seconds


def test_preemption_is_not_waiting(lab, busy):
    """A program that never blocks has no waits; where CPUs are contended, `preempted` shows that it had to go."""
    blocked = lab.offcpu(0.5, pid=busy)
    assert blocked.total < 0.05e6
    crowd = [lab.spawn(["sh", "-c", "while :; do :; done"]) for _ in range(lab.online)]
    try:
        assert lab.offcpu(1, pid=busy, preempted=True).total > blocked.total
    finally:
        for one in crowd:
            one.stop()


@pytest.mark.here
def test_stacks_that_find_no_room_are_counted(lab, tmp_path, monkeypatch):
    text = record.SOURCE.read_text()
    small = tmp_path / "small.bpf.c"
    small.write_text(text.replace("16 << 20", "4096"))
    monkeypatch.setattr(record, "SOURCE", small)
    stacks = in_the_background(lab, lambda: lab.sh("for i in $(seq 60); do /bin/true; done", check=False))
    stacks = lab.offcpu(0.6) if not stacks.lost else stacks
    assert stacks.lost > 0
    assert re.search(r"[\d,]+ (samples?|waits?) lost: no room", repr(stacks))


def test_short_stacks_are_told(lab, place):
    """Without frame pointers the callers are missing, and nothing in the stack says so: the end of it does."""
    source = hot.C.replace("static long burn(long n) {", 'static long burn(long n) { __asm__ volatile("xor %%ebp, %%ebp" ::: "rbp");')
    path = f"{place}/nofp"
    lab.sh(["sh", "-c", f"gcc -O2 -fomit-frame-pointer -x c -o {path} -"], input=source)
    stacks = looked_at(lab, [path])
    assert stacks.incomplete >= 0.5 * stacks.total
    assert "lost its outer end" in repr(stacks)


@pytest.mark.parametrize("hz", [0, -5, 10**7])
def test_impossible_frequencies(lab, hz):
    with pytest.raises(ValueError, match=f"hz is {hz}; give 1 to"):
        lab.profile(1, hz=hz)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf"), 10**6])
def test_impossible_times(lab, seconds):
    for what in (lab.profile, lab.offcpu):
        with pytest.raises(ValueError, match="seconds is .*; give more than 0"):
            what(seconds)


def test_other_misuse(lab, busy):
    with pytest.raises(TypeError, match="hz is 9.5"):
        lab.profile(1, hz=9.5)
    with pytest.raises(TypeError, match="seconds is '1'"):
        lab.profile("1")
    with pytest.raises(TypeError, match="pid is 'sh'"):
        lab.profile(1, pid="sh")
    with pytest.raises(ValueError, match="pid is 0"):
        lab.offcpu(1, pid=0)
    with pytest.raises(ValueError, match="min_us is -1"):
        lab.offcpu(1, min_us=-1)


def test_process_that_is_gone(lab):
    process = lab.spawn(["true"])
    process.wait()
    for what in (lab.profile, lab.offcpu):
        with pytest.raises(LabError, match=f"no process {process.pid} on .* any more; start it again"):
            what(1, pid=process)


@pytest.mark.here
def test_process_that_ends_meanwhile(lab, place):
    path = hot.build(lab, f"{place}/ends")
    start = time.monotonic()
    with lab.spawn([path]) as process:
        with meanwhile(lab, lambda: (lab.sh("sleep 0.4"), lab.sh(["kill", "-9", str(process.pid)]))):
            stacks = lab.profile(60, hz=HZ, pid=process)
    assert time.monotonic() - start < 40 and stacks.seconds < 30 and not stacks.interrupted
    assert holds(stacks, WHOLE), "it is over, and its file is still there"


def test_two_profiles_at_once(lab, busy):
    """On-CPU in one thread, off-CPU in another: neither sees the other's stacks, and both see all."""
    found = {}
    other = threading.Thread(target=lambda: found.update(waits=lab.offcpu(0.8)))
    other.start()
    samples = lab.profile(0.8, hz=HZ, pid=busy)
    other.join()
    assert holds(samples, WHOLE) and samples.unit == "samples"
    assert found["waits"].total > 0 and found["waits"].to_frame().kernel.str.endswith("schedule").all()


def test_threads_are_told_apart_from_processes(lab, place):
    source = hot.C.replace("int main(void) {", "#include <pthread.h>\nvoid *work(void *p) { for (volatile long t = 0;;) t += outer(); }\n"
                           "int main(void) { pthread_t t; pthread_create(&t, 0, work, 0);")  # fmt: skip
    path = hot.build(lab, f"{place}/threads", source, "-pthread")
    with lab.spawn([path]) as process:
        tasks = f"/proc/{process.pid}/task"
        waiting.until(lambda: len(lab.sh(["ls", tasks]).lines) == 2, "its second thread")
        thread = next(int(tid) for tid in lab.sh(["ls", tasks]).lines if int(tid) != process.pid)
        with pytest.raises(LabError, match=f"{thread} is a thread of process {process.pid}"):
            lab.profile(1, pid=thread)
        stacks = lab.profile(0.6, hz=HZ, pid=process)
    assert holds(stacks, ["work", *WHOLE[1:]]) and holds(stacks, WHOLE)


@pytest.mark.here
def test_interrupt_keeps_what_was_seen(lab, busy):
    with meanwhile(lab, lambda: (lab.sh("sleep 0.4"), stop())):
        stacks = lab.profile(60, hz=HZ, pid=busy)
    assert stacks.interrupted and stacks.seconds < 40
    assert "burn" in names_of(stacks) and "stopped after" in repr(stacks)


@pytest.mark.here
def test_nothing_stays_after_kill(lab):
    """The notebook's process is killed in the middle of a profile."""
    code = "import bpflab as bl; lab = bl.Lab('local', quiet=True); print('up', flush=True); lab.profile(60)"
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env={**os.environ})
    assert child.stdout.readline() == "up\n"

    waiting.until(lambda: programs(lab), "the program in the kernel", 30)
    child.kill()
    child.wait()
    child.stdout.close()
    waiting.until(lambda: not programs(lab), "the end of the program", 30)


def test_files_for_other_tools(lab, busy, tmp_path):
    stacks = lab.profile(0.4, hz=HZ, pid=busy)
    made = stacks.to_speedscope(tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text()) == made
    assert sum(made["profiles"][0]["weights"]) == stacks.total
    graph = stacks.flamegraph()
    assert graph.svg.startswith("<svg")
    assert bl.flamegraph(stacks.to_frame()).tree.folded() == graph.tree.folded()


def test_raw_stacks_of_ones_own(lab, busy):
    """Addresses as a program of the reader's sends them, in rows with zeros behind the last."""
    base = int(lab.sh(f"grep -m1 r-xp.*/busy /proc/{busy.pid}/maps").stdout.split("-")[0], 16)
    offset = int(lab.sh(f"grep -m1 r-xp.*/busy /proc/{busy.pid}/maps").stdout.split()[2], 16)
    at = {name: base - offset + int(value, 16) + 4 for value, _, name in
          (line.split() for line in lab.sh(f"nm /proc/{busy.pid}/exe").lines if " T " in line or " t " in line)}  # fmt: skip
    kernel = int(lab.sh("grep -m1 ' T vfs_read$' /proc/kallsyms").stdout.split()[0], 16) + 4
    user = np.array([[at["alpha"], at["main"], 0, 0], [at["beta"], at["main"], 0, 7], [at["alpha"], at["main"], 0, 0]], np.uint64)
    stacks = bl.stacks.fold(lab, user=user, kernel=[[0, 0], [kernel, 0], [0, 0]], pid=busy, counts=[2, 5, 1])
    assert stacks.folded() == {"busy;main;beta;vfs_read": 5, "busy;main;alpha": 3}
    frame = pd.DataFrame({"kernel": [[kernel, 0], [kernel, kernel]]})
    assert bl.stacks.fold(lab, frame.kernel).folded() == {"stacks;vfs_read": 1, "stacks;vfs_read;vfs_read": 1}
    with pytest.raises(ValueError, match="say of which: pid="):
        bl.stacks.fold(lab, user=user)
    with pytest.raises(ValueError, match="user has 3 stacks and kernel 1"):
        bl.stacks.fold(lab, user=user, kernel=[[1]], pid=1)
    with pytest.raises(ValueError, match="1 dimensions; give a row"):
        bl.stacks.fold(lab, kernel=[1, 2])
    with pytest.raises(ValueError, match="counts has shape"):
        bl.stacks.fold(lab, kernel=[[1]], counts=[1, 2])


def test_nothing_to_see(lab):
    with lab.spawn(["sleep", "100"]) as process:
        stacks = lab.profile(0.3, pid=process)
        with pytest.raises(ValueError, match="has no stack to draw"):
            stacks.flamegraph()
    assert len(stacks) == 0 and stacks.to_frame().empty and stacks.folded() == {} and stacks.top().empty
    assert isinstance(stacks, profiling.Stacks)
