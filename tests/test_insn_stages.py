"""`bl.pipeline` and `Program.cfg`: every stage knows its source lines, and says what the kernel's own tools say."""

import re
import subprocess

import pytest

import bpflab as bl
from bpflab.insn import image

SOURCE = """#include "vmlinux.h"
#include <bpf/bpf_helpers.h>
struct { __uint(type, BPF_MAP_TYPE_HASH); __type(key, __u32); __type(value, __u64); __uint(max_entries, 8); } seen SEC(".maps");
int limit = 3;
static __noinline int twice(int n)
{
    return 2 * n + limit;
}
SEC("tc") int first(struct __sk_buff *skb)
{
    __u32 key = skb->len;
    __u64 *times = bpf_map_lookup_elem(&seen, &key);
    if (times)
        *times += 1;
    return twice(key);
}
SEC("xdp") int second(struct xdp_md *ctx)
{
    return 2;
}
char LICENSE[] SEC("license") = "GPL";
"""


@pytest.fixture(scope="module")
def obj(lab):
    with lab.load(SOURCE) as obj:
        yield obj


@pytest.fixture(scope="module")
def way(lab):
    return bl.pipeline(SOURCE)


def bare(text):
    return " ".join(text.split())


@pytest.mark.parametrize("name", ["first", "second"])
def test_xlated_reads_as_bpftool_prints_it(obj, name):
    program = obj.programs[name]
    made = image.xlated(program)
    ours = {pc: bare(text) for pc, text in enumerate(made.texts()) if text}
    found, line, own, apart, compared = {}, None, True, False, 0
    for text in program.disassemble().splitlines():
        match = re.match(r"\s*(\d+): \(..\) (.*)", text)
        if text.startswith(";") or text.endswith("):"):
            apart = False
        if text.startswith(";"):
            number = re.search(r"line_num:(\d+)", text)
            own = number[1] != "0"  # line 0 is the compiler's own, which goes with the line before or with none
            line = int(number[1]) or line
        elif match:
            found[int(match[1])] = bare(match[2])
            known = made.lines[int(match[1])]
            assert (known.line if known else None) in ((line, None) if apart or not own else (line,))
            apart = apart or match[2].startswith(("goto", "exit"))
    assert found.keys() == ours.keys()
    for pc, text in found.items():
        if "map[id" in text or text.startswith("call"):
            assert ours[pc].split()[0] == text.split()[0]
        else:
            assert ours[pc] == text
            compared += 1
    assert compared > 1


def test_what_libbpf_gave_is_followed_into_functions(obj):
    made = image.given(obj.programs["first"], image.Code(obj._elf))
    assert [name for _, name in made.functions] == ["first", "twice"]
    texts = made.texts()
    assert "call twice" in texts
    assert any("map seen" in text for text in texts)
    start = made.functions[1][0]
    assert 5 <= made.lines[start].line <= 7
    whole = image.Code(obj._elf).whole("first")
    # the same instructions; only what is relocated differs
    assert [i.code for i in whole.insns] == [i.code for i in made.insns]
    assert whole.lines == made.lines and whole.functions == made.functions


def test_a_line_at_every_stage(way):
    assert list(way.ways.programs) == ["first", "second"]
    became = way.of_line(14)  # *times += 1
    assert list(became) == ["bytecode", "verifier", "xlated", "JIT", "hook", "maps"]
    for stage in ("bytecode", "xlated"):
        assert [text for text in became[stage] if "+= 1" in text or "+ 1" in text]
    assert any("+= 1" in text and "R1" in text for text in became["verifier"])
    assert way.of_line(12)["maps"] == ["hash, 8 entries at most; key __u32, value __u64"]
    assert any(text.startswith("call") for text in way.of_line(15)["xlated"])
    assert way.of_line(7)["bytecode"]  # of the function that it calls
    assert way.of_line(18, "second")["bytecode"] == ["r0 = 2", "exit"] or way.of_line(19, "second")["bytecode"]
    with pytest.raises(bl.UnknownNameError, match="no program named 'secnd' in the pipeline of .*did you mean 'second'"):
        way.of_line(18, "secnd")
    assert [row.text for row in way.ways.source] == SOURCE.rstrip().splitlines()
    assert "accepted" in repr(way)


def test_machine_code_where_the_kernel_gives_it(lab, obj, way):
    stage = {stage.title: stage for stage in way.ways.programs["first"]}["JIT"]
    if not lab.call("the JIT's code", "insns.dump", obj.programs["first"].fd)["jited"]:
        assert "keeps the machine code to itself" in stage.note or "did not translate" in stage.note
        return
    assert len(stage.rows) > 20
    names = [row.text for row in stage.rows if row.kind == "title"]
    assert names == ["first:", "twice:"]
    lit = [row for row in stage.rows if 14 in row.lines]
    assert lit
    if lab.arch == "x86_64":
        assert any(row.text.startswith("ret") or "return_thunk" in row.text for row in stage.rows)
        assert "call twice" in [row.text for row in stage.rows if 15 in row.lines]
        assert any("lookup_elem" in row.text for row in stage.rows if row.text.startswith("call"))


def test_the_lines_of_a_notebook_cell(lab):
    shifted = bl.CSource(SOURCE, name="cell", line=5)
    way = bl.pipeline(shifted)
    assert way.ways.source[0].place == "5"
    assert way.of_line(18)["bytecode"] and not [t for t in way.of_line(1)["bytecode"]]


def test_a_refused_program_is_shown_as_far_as_it_came(lab):
    way = bl.pipeline(SOURCE.replace("    if (times)\n", ""))
    stages = {stage.title: stage for stage in way.ways.programs["first"]}
    assert "refused" in stages["verifier"].note
    assert "map_value_or_null" in way.ways.refused
    assert stages["bytecode"].rows and not stages["xlated"].rows
    assert stages["xlated"].note == "not there: the object was not loaded"
    assert any("mem access" in row.text for row in stages["verifier"].rows)


def test_it_leaves_nothing_loaded(lab):
    mine = lambda: {row.split(":")[0] for row in lab.sh("bpftool prog list").lines if re.match(r"\d+:", row)}  # noqa: E731
    before = mine()
    bl.pipeline(SOURCE)
    assert mine() <= before


def test_loaded_objects_and_programs(obj):
    way = bl.pipeline(obj)
    assert list(way.ways.programs) == ["first", "second"]
    assert way.of_line(14)["xlated"]
    stage = {stage.title: stage for stage in way.ways.programs["first"]}["verifier"]
    assert "give its source" in stage.note
    assert list(bl.pipeline(obj.programs["second"]).ways.programs) == ["second"]


def test_the_hook_says_what_it_is_attached_to(lab, obj):
    net = lab.netlab("a", "b")
    hook = lambda: next(stage for stage in bl.pipeline(obj.programs["second"]).ways.programs["second"] if stage.title == "hook").note  # noqa: E731
    assert hook().endswith("not attached")
    with obj.programs["second"].attach_xdp(net["a"].dev) as link:
        assert link.target in hook()
    assert hook().endswith("not attached")


def test_an_object_file_alone(lab, tmp_path):
    path = tmp_path / "two.bpf.o"
    path.write_bytes(lab.compile(SOURCE, name="two.bpf.c"))
    way = bl.pipeline(path)
    assert way.of_line(14)["bytecode"]
    assert "*times += 1;" in [row.text for row in way.ways.source]  # the text is in BTF


@pytest.mark.parametrize("wrong, kind", [(5, TypeError), (b"nothing", bl.ObjectError), ("int x", bl.CompileError), ([], TypeError), ("int x;\n", bl.LabError)])
def test_bad_input_of_the_pipeline(lab, wrong, kind):
    with pytest.raises(kind):
        bl.pipeline(wrong)


def test_a_closed_object(lab):
    with lab.load(SOURCE) as obj:
        pass
    with pytest.raises(bl.BpfError, match="was closed"):
        bl.pipeline(obj)


# -- the control-flow graph


def test_the_graph_of_a_program(obj):
    graph = obj.programs["first"].cfg()
    said = repr(graph)
    assert said.startswith(f"control-flow graph of first: {len(graph.blocks)} blocks")
    assert "14 *times += 1;" in said and "twice:" in said
    branch = [block for block in graph.blocks if len(block.next) == 2]
    assert branch and {kind for _, kind in branch[0].next} == {"taken", "else"}
    only = obj.programs["first"].cfg("twice")
    assert len(only.blocks) == 1
    with pytest.raises(bl.UnknownNameError, match="no function named 'thrice'"):
        obj.programs["first"].cfg("thrice")
    assert len(obj.programs["second"].cfg().blocks) == 1


def test_the_same_edges_as_bpftool_draws(obj):
    """`bpftool prog dump xlated visual` writes the graph for dot: the ways between blocks are the same."""
    program = obj.programs["first"]
    dot = program._lab.sh(["bpftool", "prog", "dump", "xlated", "id", str(program.id), "visual"]).stdout
    theirs = re.findall(r'fn_(\d+)_bb_(\d+):s -> fn_\d+_bb_(\d+):n \[style="solid', dot)
    drawn = {(function, a, b) for function, a, b in theirs if a != "0" and b != "1"}  # 0 and 1 are its ENTRY and EXIT
    assert drawn
    assert len(drawn) == sum(len(block.next) for block in program.cfg().blocks)


def test_the_picture_needs_no_script(obj, tmp_path):
    graph = obj.programs["first"].cfg()
    path = tmp_path / "graph.svg"
    path.write_text(graph.svg)
    subprocess.run(["python3", "-c", "import sys, xml.dom.minidom as m; m.parse(sys.argv[1])", str(path)], check=True)
    assert "*times += 1;" in graph.svg and "<script" not in graph.svg
    bundle, _ = graph._repr_mimebundle_()
    assert bundle["image/svg+xml"] == graph.svg
    assert "control-flow graph of first" in bundle["text/plain"]


def test_a_graph_too_large_to_draw(lab):
    chain = "\n".join(f"    if (skb->mark == {n}) sum = sum * {n + 3} + {n};" for n in range(450))
    text = '#include "vmlinux.h"\n#include <bpf/bpf_helpers.h>\nSEC("tc") int f(struct __sk_buff *skb)\n{\n    volatile int sum = 1;\n' + chain + '\n    return sum;\n}\nchar LICENSE[] SEC("license") = "GPL";\n'
    with lab.load(text) as obj, pytest.raises(bl.LabError, match="blocks, and 400 can be drawn"):
        obj.programs["f"].cfg()
