"""Probes in user programs that would break them are refused, and names that are not there explained."""

from __future__ import annotations

import platform
import re

import pytest
from waiting import until

import bpflab as bl
from bpflab import elf, uprobes
from bpflab.errors import BpfError, LabError, NotSupportedError, UnknownNameError

TEXT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
char LICENSE[] SEC("license") = "GPL";
__u64 seen;
__s64 result;
SEC("uprobe") int count(struct pt_regs *ctx) { __sync_fetch_and_add(&seen, 1); result = (int)PT_REGS_RC(ctx); return 0; }
SEC("uretprobe/SECTION") int at_section(void *ctx) { return 0; }
SEC("usdt") int at_usdt(struct pt_regs *ctx) { return 0; }
SEC("raw_tp/sched_swich") int raw(void *ctx) { return 0; }
SEC("kprobe") int kernel(void *ctx) { return 0; }
SEC("perf_event") int sample(void *ctx) { return 0; }
SEC("usdt/libc.so.6:libc:no_such_probe") int usdt_at_section(struct pt_regs *ctx) { return 0; }
"""


@pytest.fixture(scope="module")
def leak(lab):
    with lab.workload("leak", rate=500) as leak:
        yield leak


@pytest.fixture
def obj(lab):
    with lab.load(TEXT.replace("SECTION", "/bin/bash:main")) as obj:
        yield obj


@pytest.fixture
def count(obj):
    return obj.programs["count"]


@pytest.fixture
def parse_line(lab, leak):
    return elf.of(lab, leak.binary).function("parse_line")


# -- instruction boundaries


def test_an_offset_inside_of_an_instruction(lab, count, leak, parse_line):
    """Each byte of the function: where an instruction begins it attaches, elsewhere it is refused."""
    binary = elf.of(lab, leak.binary)
    begins = {at for at, _, _ in uprobes.instructions(lab, binary, parse_line.offset, parse_line.size)}
    assert parse_line.offset in begins and 5 < len(begins) < parse_line.size
    for offset in range(parse_line.offset, parse_line.offset + 24):
        if offset in begins:
            count.attach_uprobe(leak.binary, offset).detach()
        else:
            with pytest.raises(LabError, match=r"parse_line\+0x[0-9a-f]+\) is inside of the instruction '.*', which begins at 0x"):
                count.attach_uprobe(leak.binary, offset)
    assert leak.returncode is None


def test_an_offset_in_a_binary_without_symbols(lab, count, parse_line):
    """strip leaves the table for unwinding, which says where functions begin."""
    with lab.workload("leak", strip=True, rate=500) as stripped:
        with pytest.raises(LabError, match="a function without a name.*inside of the instruction"):
            count.attach_uprobe(stripped.binary, parse_line.offset + 2)
        with count.attach_uprobe(stripped.binary, parse_line.offset):
            until(lambda: count._object.globals["seen"], "a call of the function")


ODD = """
.globl odd
.type odd, @function
odd: jmp 1f
.byte 0x06, 0xe8
1: nop
nop
nop
nop
ret
.size odd, . - odd
.globl main
main: ret
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="assembly of x86-64")
def test_an_offset_behind_what_is_no_instruction(lab, count, tmp_path):
    """Data between instructions: taken for a call by whoever reads on. Where instructions begin cannot be told then."""
    path = f"{tmp_path}/odd"
    lab.sh(["gcc", "-x", "assembler", "-o", path, "-"], input=ODD)
    binary = elf.of(lab, path)
    odd = binary.function("odd")
    texts = {at - odd.offset: text for at, _, text in uprobes.instructions(lab, binary, odd.offset, odd.size)}
    assert texts[2].startswith(".byte") and texts[3].startswith("call")
    count.attach_uprobe(path, odd.offset + 5).detach()
    with pytest.raises(LabError, match="inside of the instruction 'jmp"):
        count.attach_uprobe(path, odd.offset + 1)


def test_an_offset_in_no_code(count, leak):
    with pytest.raises(LabError, match="offset 0xc of .* is in no function"):
        count.attach_uprobe(leak.binary, 12)


# -- names


def test_a_function_that_was_inlined(count, leak):
    with pytest.raises(UnknownNameError, match="'checksum'.*the compiler inlined it into 'cache_add'.*noinline"):
        count.attach_uprobe(leak.binary, "checksum")


def test_a_wrong_name_has_near_ones(count, leak):
    with pytest.raises(UnknownNameError, match="did you mean 'parse_line'"):
        count.attach_uprobe(leak.binary, "parse_lime")
    with pytest.raises(UnknownNameError, match="none of its .* functions is like it"):
        count.attach_uprobe(leak.binary, "qqq")


def test_a_function_of_cpp_by_the_name_in_its_source(lab, count):
    with lab.workload("cpp") as cpp:
        for name in ("shop::Basket::total", "shop::Basket::total() const"):
            with pytest.raises(UnknownNameError, match="the compiler calls it '_ZNK4shop6Basket5totalEv'"):
                count.attach_uprobe(cpp.binary, name)
        with count.attach_uprobe(cpp.binary, "_ZNK4shop6Basket5totalEv", pid=cpp.pid):
            until(lambda: count._object.globals["seen"], "a call of the method")


def test_a_binary_without_symbols(lab, count):
    with lab.workload("leak", strip=True) as stripped, pytest.raises(UnknownNameError, match="stripped of all symbols: give the offset"):
        count.attach_uprobe(stripped.binary, "parse_line")


def test_a_wrong_usdt_probe(lab, obj, leak):
    with lab.workload("web") as web, pytest.raises(UnknownNameError, match="did you mean 'web:request__done'"):
        obj.programs["at_usdt"].attach_usdt(web.binary, "web", "request_done")
    with pytest.raises(UnknownNameError, match="it has no USDT probes"):
        obj.programs["at_usdt"].attach_usdt(leak.binary, "web", "request__done")


def test_a_wrong_usdt_probe_of_a_section(obj):
    with pytest.raises(UnknownNameError, match="USDT probe named 'libc:no_such_probe'"):
        obj.programs["usdt_at_section"].attach()


INDEXED = r"""
#include <unistd.h>
/* what sys/sdt.h writes where the compiler has an argument in an array */
#define NOTE(name, arguments) \
    asm volatile("990: nop\n.pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 992f-991f,994f-993f,3\n" \
            "991: .asciz \"stapsdt\"\n992: .balign 4\n993: .8byte 990b\n.8byte 0\n.8byte 0\n.asciz \"shop\"\n" \
            ".asciz \"" name "\"\n.asciz \"" arguments "\"\n994: .balign 4\n.popsection\n" \
            :: "a"(rows), "b"(n))
long rows[8] = { 70, 71, 72, 73, 74, 75, 76, 77 };
int main(void)
{
    for (long n = 0;; n = (n + 1) % 8) {
        NOTE("sale", "-4@%%ebx 8@(%%rax,%%rbx,8)");
        NOTE("named", "8@rows+8(%%rip)");
        usleep(1000);
    }
}
"""
ELEMENT = """
#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>
char LICENSE[] SEC("license") = "GPL";
u64 found, seen;
SEC("uprobe") int at_place(struct pt_regs *ctx)
{
    u64 n = ctx->bx;
    bpf_probe_read_user(&found, sizeof(found), (void *)(ctx->ax + ctx->bx * 8));
    if (found == 70 + n)
        seen++;
    return 0;
}
SEC("usdt") int BPF_USDT(at_usdt, u64 n, u64 sold) { found = sold; return 0; }
"""


PRELINKED = r"""
/* two notes of one place; the second as if the file had been moved by 64 bytes after it was linked (LSB, prelink(8)) */
#define NOTE(name, moved) \
    ".pushsection .note.stapsdt,\"\",\"note\"\n.balign 4\n.4byte 2f-1f,4f-3f,3\n1: .asciz \"stapsdt\"\n2: .balign 4\n" \
    "3: .8byte place - " moved "\n.8byte _.stapsdt.base - " moved "\n.8byte 0\n.asciz \"shop\"\n.asciz \"" name "\"\n.asciz \"\"\n" \
    "4: .balign 4\n.popsection\n"
asm(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n.weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
    "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n");
int main(void)
{
    asm volatile("place: nop\n" NOTE("here", "0") NOTE("moved", "64"));
    return 0;
}
"""


def test_a_usdt_probe_of_a_file_that_was_moved(lab, tmp_path):
    path = f"{tmp_path}/moved"
    lab.sh(["gcc", "-x", "c", "-o", path, "-"], input=PRELINKED)
    here, moved = elf.of(lab, path).usdt
    assert (here.name, moved.name) == ("here", "moved") and here.offset == moved.offset > 0


@pytest.mark.skipif(platform.machine() != "x86_64", reason="assembly of x86-64")
def test_a_usdt_argument_in_an_array(lab, tmp_path):
    """What libbpf before 1.7 cannot read: the message names the argument, and the place and way by which it can be read."""
    path = f"{tmp_path}/shop"
    lab.sh(["gcc", "-O2", "-x", "c", "-o", path, "-"], input=INDEXED)
    with lab.load(ELEMENT) as obj, lab.spawn([path]) as shop:
        with pytest.raises(NotSupportedError) as refused:
            obj.programs["at_usdt"].attach_usdt(path, "shop", "sale")
        said = str(refused.value)
        assert "ENOENT" not in said, "the kernel was not asked"
        assert f"USDT probe shop:sale of {path} not supported" in said and "its argument 2, '8@(%rax,%rbx,8)', is an element of an array" in said
        place, base, index, scale = re.search(r"attach_uprobe\('.*', (0x[0-9a-f]+)\), and read the argument at ctx->(\w+) \+ ctx->(\w+) \* (\d)", said).groups()
        assert (base, index, scale) == ("ax", "bx", "8")
        with obj.programs["at_place"].attach_uprobe(path, int(place, 16), pid=shop.pid):
            until(lambda: obj.globals["seen"] > 5, "elements of the array, by the way that the message says")
        with pytest.raises(NotSupportedError, match=r"its argument 1, '8@rows\+8\(%rip\)', is in a place that it does not know"):
            obj.programs["at_usdt"].attach_usdt(path, "shop", "named")


def test_a_wrong_raw_tracepoint(obj):
    with pytest.raises(UnknownNameError, match="raw tracepoint named 'sched_swich'.*did you mean 'sched_switch'"):
        obj.programs["raw"].attach()


@pytest.mark.needs("kprobe")
def test_kernel_functions_that_are_not_there(lab, obj):
    kernel = obj.programs["kernel"]
    with pytest.raises(UnknownNameError, match="did you mean 'do_sys_openat2'"):
        kernel.attach_kprobe("do_sys_opnat2")
    # static inline in include/linux/sched.h: in no kernel's symbols
    with pytest.raises(UnknownNameError, match="kernel function named 'task_pid_nr'"):
        kernel.attach_kprobe("task_pid_nr")
    with pytest.raises(LabError, match=r"do_sys_openat2\+0x1.*no instruction begins there"):
        kernel.attach_kprobe("do_sys_openat2", offset=1)


@pytest.mark.needs("kprobe")
def test_a_kernel_function_that_the_compiler_cut(lab, obj):
    """One that is in kallsyms only with a suffix (.isra.0, .constprop.0, .part.0)."""
    names = lab.sh(r"awk '$2 ~ /[tT]/ {print $3}' /proc/kallsyms | grep -E '\.(isra|constprop|part)\.[0-9]+$' | head -200").lines
    every = set(lab.sh("awk '{print $3}' /proc/kallsyms").lines)
    cut = next(name.partition(".")[0] for name in names if name.partition(".")[0] not in every)
    with pytest.raises(UnknownNameError, match=rf"the compiler made .*'{cut}\."):
        obj.programs["kernel"].attach_kprobe(cut)


# -- processes


def test_a_process_that_is_gone(lab, count, leak):
    ended = lab.spawn("true")
    ended.wait()
    with pytest.raises(BpfError, match=f"there is no process {ended.pid} .* any more"):
        count.attach_uprobe(leak.binary, "parse_line", pid=ended.pid)
    with pytest.raises(BpfError, match=f"there is no process {ended.pid} .* any more"):
        count._object.programs["sample"].attach_perf_event(pid=ended.pid)
    with pytest.raises(BpfError, match=f"there is no process {ended.pid} .* any more"):
        count._object.programs["at_usdt"].attach_usdt(leak.binary, "web", "request__done", pid=ended.pid)


def test_a_process_is_its_number_or_what_spawn_gave(lab, obj, count, leak):
    """The same of each that takes a process."""
    takes = [
        lambda pid: count.attach_uprobe(leak.binary, "parse_line", pid=pid),
        lambda pid: obj.programs["at_usdt"].attach_usdt(leak.binary, "web", "request__done", pid=pid),
        lambda pid: obj.programs["sample"].attach_perf_event(pid=pid),
        lambda pid: lab.events("parse_line", pid=pid),
        lambda pid: bl.browse(lab, pid=pid),
        lambda pid: lab.profile(0.1, pid=pid),
        lambda pid: lab.offcpu(0.1, pid=pid),
    ]
    for take in takes:
        with pytest.raises(TypeError, match="pid is 'leak'; give the number of a process, or what lab.spawn gave"):
            take("leak")
        with pytest.raises(ValueError, match="pid is 0; a process has a number above 0, and None stands for all"):
            take(0)
    with count.attach_uprobe(leak.binary, "parse_line", pid=leak):
        until(lambda: obj.globals["seen"], "a call in the process")
    found = lab.events("parse_line", pid=leak)
    assert found["name"].iloc[0] == "parse_line" and len(found) == len(lab.events("parse_line", pid=leak.pid))
    obj.programs["sample"].attach_perf_event(pid=leak).detach()


def test_a_process_in_a_mount_namespace_of_its_own(lab, obj, count, leak):
    """Its program lies where we see no file, as that of a container does."""
    script = f"mount -t tmpfs none /mnt && cp {leak.binary} /mnt/app && exec /mnt/app 500"
    with lab.spawn(["unshare", "-m", "sh", "-c", script]) as inside:
        inside.wait_for("running")
        assert lab.sh("test -e /mnt/app", check=False).returncode
        with count.attach_uprobe("/mnt/app", "parse_line", pid=inside.pid):
            until(lambda: obj.globals["seen"], "a call in the container")
        found = lab.events("parse_line", pid=inside.pid)
        assert found["where"].iloc[0] == f"/proc/{inside.pid}/root/mnt/app"
        with pytest.raises(LabError, match="sees no file /mnt/other"):
            count.attach_uprobe("/mnt/other", "parse_line", pid=inside.pid)


def test_another_file_by_the_same_path(lab, obj, count, leak):
    """A container's libc lies where ours does. Here another program lies where our /usr/bin/true is."""
    script = f"mount --bind {leak.binary} /usr/bin/true && exec /usr/bin/true 500"
    with lab.spawn(["unshare", "-m", "sh", "-c", script]) as inside:
        inside.wait_for("running")
        with pytest.raises(UnknownNameError, match="no function named 'parse_line' in /usr/bin/true"):
            count.attach_uprobe("/usr/bin/true", "parse_line")
        theirs = f"/proc/{inside.pid}/root/usr/bin/true"
        assert lab.events("parse_line", binary="/usr/bin/true", pid=inside)["where"].tolist() == [theirs]
        assert theirs in lab.events("parse_line", pid=inside)["where"].tolist()
        with count.attach_uprobe("/usr/bin/true", "parse_line", pid=inside):
            until(lambda: obj.globals["seen"], "a call in the other mount namespace")


def test_a_library_by_the_name_that_a_process_has_it_by(lab, obj, count, leak):
    with count.attach_uprobe("libc", "free", pid=leak.pid):
        until(lambda: obj.globals["seen"], "a call of free")
    with pytest.raises(LabError, match="has mapped no file 'libnothing'"):
        count.attach_uprobe("libnothing", "free", pid=leak.pid)


# -- returns


def test_return_instructions_see_what_a_uretprobe_sees(obj, count, leak):
    """parse_line gives the length of "line N": 6 to 11 characters."""
    with count.attach_uprobe(leak.binary, "parse_line", at="returns", pid=leak.pid) as link:
        assert "return instruction" in link.target
        until(lambda: obj.globals["seen"] > 20, "returns")
        assert 6 <= obj.globals["result"] <= 12
    seen = obj.globals["seen"]
    with count.attach_uprobe(leak.binary, "parse_line", retprobe=True, pid=leak.pid):
        until(lambda: obj.globals["seen"] > seen + 20, "returns")
        assert 6 <= obj.globals["result"] <= 12


def test_bcc_programs_go_to_return_instructions_too(lab, leak):
    import warnings

    text = """
    #include <uapi/linux/ptrace.h>
    BPF_ARRAY(lengths, u64, 32);
    int at_return(struct pt_regs *ctx) { int length = PT_REGS_RC(ctx) & 31; lengths.increment(length); return 0; }"""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        obj = lab.bcc(text)
    with obj, obj.programs["at_return"].attach_uprobe(leak.binary, "parse_line", at="returns", pid=leak.pid):
        until(lambda: sum(obj.maps["lengths"][n] for n in range(6, 13)) > 5, "lines of 6 to 12 characters")


def test_a_lab_that_is_killed_leaves_no_probe(machine):
    lab = bl.Lab(machine, quiet=True)
    other = bl.Lab(machine, quiet=True)
    with other:
        obj = lab.load(TEXT.replace("SECTION", "/bin/bash:main"))
        leak = lab.workload("leak", rate=500)
        links = [obj.programs["count"].attach_uprobe(leak.binary, name, at="returns") for name in ("parse_line", "cache_add")]
        number = obj.programs["count"].id
        assert len(links) == 2 and str(number) in other.sh("bpftool prog list").stdout
        other.sh(["kill", "-9", str(lab._connection.about["pid"])])
        until(lambda: f"{number}: " not in other.sh("bpftool prog list").stdout, "the end of the program")
        until(lambda: other.sh(["test", "-e", f"/proc/{leak.pid}"], check=False).returncode, "the end of the workload")
    lab.close()


def test_returns_of_what_does_not_return(lab, count, leak):
    with pytest.raises(UnknownNameError, match="no function named 'nothing'"):
        count.attach_uprobe(leak.binary, "nothing", at="returns")
    with pytest.raises(LabError, match="has no return instruction"):
        count.attach_uprobe(leak.binary, "main", at="returns")
    with pytest.raises(ValueError, match="at is 'entry' or 'returns'"):
        count.attach_uprobe(leak.binary, "main", at="exit")


def test_every_return_of_libc_is_found(lab):
    """Against objdump, over functions of many shapes."""
    binary = elf.of(lab, "libc.so.6")
    for name in ("malloc", "printf", "getenv", "qsort_r"):
        function = binary.function(name)
        # a library's code lies in the file where it lies in memory, when the first segment begins at 0
        lines = lab.sh(f"objdump -d --start-address={function.offset} --stop-address={function.offset + function.size} {binary.path}").lines
        wanted = [int(line.split(":")[0], 16) for line in lines if "\tret" in line or "\trepz ret" in line or "\tbnd ret" in line]
        assert uprobes.returns(lab, binary, name) == wanted and wanted


# -- Go


@pytest.fixture
def go(lab):
    with lab.workload("go", rate=300) as go:
        yield go


def test_a_uretprobe_on_go_is_refused(lab, count, go):
    with pytest.raises(LabError, match="no uretprobe on the Go program .*at='returns'.*force=True"):
        count.attach_uprobe(go.binary, "main.work", retprobe=True)
    with lab.load(TEXT.replace("SECTION", f"{go.binary}:main.work")) as other, pytest.raises(LabError, match="no uretprobe on the Go program"):
        other.programs["at_section"].attach()
    assert go.returncode is None


def test_return_instructions_of_go(obj, count, go):
    """main.add gives n + 1 until it gives n."""
    with count.attach_uprobe(go.binary, "main.add", at="returns", pid=go.pid):
        until(lambda: obj.globals["seen"] > 50, "returns in Go")
    first = obj.globals["result"]
    assert first > 0 and go.returncode is None
    with count.attach_uprobe(go.binary, "main.work", at="returns", pid=go.pid):
        until(lambda: obj.globals["seen"] > 150, "returns while stacks move")
    assert go.returncode is None


def test_what_a_forced_uretprobe_does_to_go(lab, count, go):
    with count.attach_uprobe(go.binary, "main.work", retprobe=True, force=True):
        result = go.wait(20)
    assert result.returncode == 2 and "unexpected return pc for main.work" in result.stderr


def test_go_is_known_by_its_sections(lab, go, leak):
    assert elf.of(lab, go.binary).go and not elf.of(lab, leak.binary).go
