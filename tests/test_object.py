"""bpflab.object and bpflab.compiler: C text, files and bytes to loaded programs, and what is refused on the way."""

import errno
import shutil
import subprocess

import pytest

import bpflab as bl
from bpflab import CSource

HEAD = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\n'
LICENCE = 'char LICENSE[] SEC("license") = "GPL";\n'
COUNTER = (
    HEAD
    + """
struct { __uint(type, BPF_MAP_TYPE_ARRAY); __uint(max_entries, 4); __type(key, u32); __type(value, u64); } seen SEC(".maps");
const volatile u32 step = 1;
u64 total = 100;
int limits[3] = { 1, 2, 3 };
char word[8];

SEC("syscall") int count(void *ctx)
{
    u32 zero = 0;
    u64 *n = bpf_map_lookup_elem(&seen, &zero);
    if (n)
        *n += step;
    total += step;
    return total;
}
"""
    + LICENCE
)


def test_c_text_with_globals(lab):
    with lab.load(COUNTER, step=5, limits=[7, 8, 9], word="hello") as obj:
        assert list(obj.programs) == ["count"] and list(obj.maps) == ["seen"]
        assert obj.programs["count"].test_run().retval == 105
        obj.globals["total"] = 1000
        assert obj.programs["count"].test_run().retval == 1005
        assert obj.globals["total"] == 1005
        assert obj.globals["limits"] == [7, 8, 9] and obj.globals["word"] == "hello" and obj.globals["step"] == 5
        assert obj.maps["seen"][0] == 10
        assert obj.programs["count"].info["map_ids"]


def test_files(lab, tmp_path):
    source = tmp_path / "counter.bpf.c"
    source.write_text(COUNTER)
    compiled = tmp_path / "counter.bpf.o"
    compiled.write_bytes(lab.compile(COUNTER))
    for given in (source, str(source), compiled, str(compiled), compiled.read_bytes()):
        with lab.load(given) as obj:
            assert obj.programs["count"].test_run().retval == 101


def test_other_sizes_and_only_some_programs(lab):
    two = COUNTER + 'SEC("syscall") int other(void *ctx) { return 2; }\n'
    with lab.load(two, programs=["other"], max_entries={"seen": 9}) as obj:
        assert list(obj.programs) == ["other"] and obj.maps["seen"].max_entries == 9
    with pytest.raises(bl.UnknownNameError, match="did you mean 'other'"):
        lab.load(two, programs=["othr"])


def test_clang_speaks_of_the_cell(lab):
    text = CSource(COUNTER.replace("*n += step;", "*n += stepp;"), "cell", line=2)
    with pytest.raises(bl.CompileError, match=r"cell:16:\d+: error: use of undeclared identifier 'stepp'") as caught:
        lab.load(text)
    assert "generated" not in caught.value.diagnostics


def test_the_verifier_speaks_of_the_line(lab):
    # of a hash: of an array with a constant index, newer verifiers know that the element is there
    text = COUNTER.replace("    if (n)\n    ", "").replace("TYPE_ARRAY", "TYPE_HASH")
    number = text.splitlines().index("    *n += step;") + 1
    with pytest.raises(bl.VerifierError, match="map_value_or_null") as caught:
        lab.load(text, name="counter")
    found = caught.value.explain()
    assert (found.line, found.text) == (number, "*n += step;")
    assert "processed" in caught.value.log and caught.value.errno == errno.EACCES
    assert f"counter:{number}" in str(caught.value)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"", "no ELF object"),
        (b"#!/bin/sh\n", "starts with 23 21 2f 62"),
        (b"\x7fELF\x02\x01", "cut short: 6 bytes"),
    ],
)
def test_no_object(lab, data, text):
    with pytest.raises(bl.ObjectError, match=text):
        lab.load(data)


def test_the_kernels_own_types(lab):
    task = lab.btf.find("task_struct", "struct")
    place = {member.name: member.offset for member in task.members}["tgid"]
    source = HEAD + 'SEC("raw_tp") int where(void *ctx) { return __builtin_offsetof(struct task_struct, tgid); }' + LICENCE
    with lab.load(source) as obj:
        assert obj.programs["where"].test_run().retval == place
    assert lab.btf is lab.btf


def test_cut_short_anywhere(lab):
    whole = lab.compile(COUNTER)
    for size in range(0, len(whole), 97):
        with pytest.raises(bl.ObjectError):
            lab.load(whole[:size])


def test_a_program_of_this_computer_is_no_object(lab):
    with pytest.raises(bl.ObjectError, match="not for BPF"):
        lab.load(open("/bin/true", "rb").read())


def test_legacy_maps_section(lab):
    text = """
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct bpf_map_def { unsigned type, key_size, value_size, max_entries, map_flags; };
struct bpf_map_def SEC("maps") counts = { .type = BPF_MAP_TYPE_ARRAY, .key_size = 4, .value_size = 8, .max_entries = 1 };
SEC("socket") int count(void *ctx) { int zero = 0; return bpf_map_lookup_elem(&counts, &zero) != 0; }
char LICENSE[] SEC("license") = "GPL";
"""
    with pytest.raises(bl.ObjectError, match=r"dropped that in 1\.0(?s:.*)SEC\(\"\.maps\"\)"):
        lab.load(text)


def test_names_that_do_not_exist(lab, tmp_path):
    with lab.load(COUNTER) as obj:
        with pytest.raises(bl.UnknownNameError, match="no program named 'cont' .* did you mean 'count'"):
            obj.programs["cont"]
        with pytest.raises(bl.UnknownNameError, match="no map named 'sean' .* did you mean 'seen'"):
            obj.maps["sean"]
        with pytest.raises(bl.UnknownNameError, match="did you mean 'total'"):
            obj.globals["totl"]
    with pytest.raises(bl.UnknownNameError, match="did you mean 'step'"):
        lab.load(COUNTER, stepp=1)
    with pytest.raises(bl.ObjectError, match="no such file"):
        lab.load(tmp_path / "none.bpf.o")
    with pytest.raises(OverflowError, match="global 'step'"):
        lab.load(COUNTER, step=2**40)


def test_closed_object(lab):
    obj = lab.load(COUNTER)
    obj.close()
    obj.close()
    with pytest.raises(bl.BpfError, match="closed with its object"):
        obj.maps["seen"][0]
    with pytest.raises(bl.BpfError):
        obj.programs["count"].test_run()
    with lab.load(COUNTER) as again:
        assert again.maps["seen"][0] == 0


def test_objects_are_cached_by_content(lab, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    shutil.copytree(lab.vmlinux.parent, tmp_path / "bpflab" / "vmlinux")
    first = lab.compile(COUNTER)
    (cached,) = (tmp_path / "bpflab" / "objects").iterdir()
    marked = first + b"\0"
    cached.write_bytes(marked)
    assert lab.compile(COUNTER) == marked  # it really came from the cache
    assert lab.compile(COUNTER + "\n// other\n") != marked


def test_full_disk_only_costs_the_cache(tmp_path):
    """A cache on a full disk: compiling still works."""
    script = f"""
        mount -t tmpfs -o size=4096k none {tmp_path} && mkdir -p {tmp_path}/bpflab/vmlinux &&
        cp -r "$1" {tmp_path}/bpflab/vmlinux/ && (head -c 8M /dev/zero > {tmp_path}/full || true) &&
        XDG_CACHE_HOME={tmp_path} exec "$2" -c '
import bpflab as bl
with bl.Lab(quiet=True) as lab, lab.load(open("{tmp_path}.c").read()) as obj:
    print(obj.programs["count"].test_run().retval)'
    """
    import sys

    (tmp_path.parent / f"{tmp_path.name}.c").write_text(COUNTER)
    with bl.Lab("local", quiet=True) as lab:
        vmlinux = str(lab.vmlinux)
    done = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", vmlinux, sys.executable], capture_output=True, text=True)
    assert done.stdout.strip() == "101", done.stderr


@pytest.mark.parametrize("name", ["v1.2", "../../x", "-o", "..", "x" * 300, "mön \"präg'"])
def test_any_name(lab, name):
    with lab.load(COUNTER + f"/* {name} */", name=name, step=5) as obj:
        assert obj.globals["total"] == 100 and obj.globals["step"] == 5


def test_sections_of_data_with_names_of_their_own(lab):
    text = HEAD + """
int first SEC(".data.mine") = 4;
const int second SEC(".rodata.mine") = 5;
static volatile int third = 6;
SEC("syscall") int sum(void *ctx) { return ++first + second + third; }
"""
    with lab.load(text + LICENCE, name="a.b", third=7) as obj:
        assert obj.programs["sum"].test_run().retval == 17
        assert [obj.globals[name] for name in ("first", "second", "third")] == [5, 5, 7]


def test_a_section_that_libbpf_does_not_know(lab):
    with pytest.raises(bl.ObjectError, match=r'SEC\("banana"\), which the libbpf of \S+ does not know'):
        lab.load(HEAD + 'SEC("banana") int f(void *ctx) { return 0; }' + LICENCE)


def test_a_kernel_function_that_does_not_exist(lab):
    with pytest.raises(bl.BpfError, match="BTF has no 'no_such_function', as SEC") as caught:
        lab.load(HEAD + 'SEC("fentry/no_such_function") int f(void *ctx) { return 0; }' + LICENCE)
    assert not isinstance(caught.value, bl.NotSupportedError)


def test_sizes_and_programs_of_names_that_do_not_exist(lab):
    with pytest.raises(bl.UnknownNameError, match="no map named 'sen'.*did you mean 'seen'"):
        lab.load(COUNTER, max_entries={"sen": 5})
    with pytest.raises(bl.UnknownNameError, match="no program named 'cont'.*did you mean 'count'"):
        lab.load(COUNTER, programs="cont")
    with lab.load(COUNTER, programs="count") as obj:
        assert list(obj.programs) == ["count"]


def test_a_definition_without_a_size(lab):
    text = 'struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, u32); __type(value, u32); } m SEC(".maps");'
    with pytest.raises(bl.BpfError, match="map 'm': failed to create.*max_entries above 0"):
        lab.load(HEAD + text)


def test_an_unloaded_program(lab):
    obj = lab.load(COUNTER)
    program = obj.programs["count"]
    obj.close()
    with lab.load(COUNTER):  # may have the descriptor now that the other had
        for attempt in (lambda: program.info, lambda: program.fd, program.stats, program.test_run, program.disassemble, program.attach):
            with pytest.raises((bl.BpfError, TypeError), match="unloaded with its object|takes no|attach"):
                attempt()


def test_a_detached_iterator(lab):
    with lab.load(HEAD + 'SEC("iter/task") int each(void *ctx) { return 0; }' + LICENCE) as obj:
        link = obj.programs["each"].attach()
        assert link.read() == "" and link.fd > 0
        link.detach()
        link.detach()
        for attempt in (link.read, lambda: link.fd):
            with pytest.raises(bl.BpfError, match="is over; attach the program again"):
                attempt()


def test_places_that_cannot_be(lab):
    text = """
SEC("tp/syscalls/sys_enter_opena") int near(void *ctx) { return 0; }
SEC("uprobe") int probe(void *ctx) { return 0; }
SEC("perf_event") int sample(void *ctx) { return 0; }
"""
    with lab.load(HEAD + text + LICENCE) as obj:
        near, probe, sample = (obj.programs[name] for name in ("near", "probe", "sample"))
        with pytest.raises(bl.UnknownNameError, match="did you mean 'sys_enter_openat'"):
            near.attach()
        with pytest.raises(ValueError, match="0 or more, not -5"):
            probe.attach_uprobe("libc.so.6", -5)
        with pytest.raises(bl.BpfError, match="an offset inside of the file"):
            probe.attach_uprobe("libc.so.6", 1 << 40)
        with pytest.raises(ValueError, match="cpus has no CPU"):
            sample.attach_perf_event(cpus=[])
        with pytest.raises(bl.BpfError, match="perf_event_max_sample_rate"):
            sample.attach_perf_event(frequency=10**9)
        for wrong in (near.attach_iter, near.attach_lsm, near.attach_fentry, near.attach_fexit):
            with pytest.raises(TypeError, match="this is for SEC"):
                wrong()


def test_a_loop_without_end_is_called_one(lab):
    text = 'SEC("xdp") int spin(struct xdp_md *c) { volatile int i = 0; while (1) i++; return 0; }'
    with pytest.raises(bl.VerifierError, match="infinite loop detected"):
        lab.load(HEAD + text + LICENCE)
