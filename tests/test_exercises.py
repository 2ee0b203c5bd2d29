"""Every exercise in its three states (unsolved, solved, wrong), and the judging itself."""

from __future__ import annotations

import json
import re
import threading

import answers
import nbformat
import pytest
from nbrun import ROOT

import bpflab as bl
from bpflab import exercise
from bpflab.checks import packets

ANSWERS = answers.answers()


# -- the three states


@pytest.mark.parametrize("notebook", answers.NOTEBOOKS, ids=lambda path: path.stem)
def test_unsolved_as_committed(notebook, nbval):
    assert not any(nbval[notebook].values())
    *_, last = answers.code(answers.notebook(notebook.stem))
    assert last.source == f'bl.check("{notebook.stem}", answer)'
    lines = last.outputs[0].data["text/plain"].splitlines()
    assert lines[0] == f"{notebook.stem}: not yet"
    assert lines[1].startswith("hint: ")
    assert "nbval-ignore-output" not in last.metadata.get("tags", [])


@pytest.mark.parametrize("answer", [a for a in ANSWERS if a.is_solution], ids=str)
def test_solved(answer, nbval):
    assert not nbval[answer], nbval[answer]


@pytest.mark.parametrize("answer", [a for a in ANSWERS if not a.is_solution], ids=str)
def test_wrong(answer, nbval):
    assert not nbval[answer], nbval[answer]


def solution(name):
    return next(a for a in ANSWERS if a.exercise == name and a.is_solution).path.read_text()


def rewritten(name, *changes):
    text = solution(name)
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


OUTPUT = """struct event event = {};
	event.pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(event.comm, sizeof(event.comm));
	if (bpf_ringbuf_output(&events, &event, sizeof(event), 0))
		lost++;
	return 0;
}
"""


def with_numpy(m):
    keys, values = m.to_numpy()
    return {k: [t, c] for k, t, c in zip(keys, values.sum(axis=1), values.argmax(axis=1))}


DIRECT = """
	unsigned char *data = (void *)(long)skb->data, *end = (void *)(long)skb->data_end;
	__u32 at = 14;

	if (data + 18 > end)
		return 0;
	if (data[12] == 0x81 && data[13] == 0)
		at = 18;
	if (data[at - 2] == 8 && data[at - 1] == 0) {
		if (data + at + 20 > end || data[at + 9] != 6 || data[at + 6] & 0x1f || data[at + 7])
			return 0;
		at += (data[at] & 15) * 4;
	} else if (data[at - 2] == 0x86 && data[at - 1] == 0xdd) {
		if (data + at + 40 > end || data[at + 6] != 6)
			return 0;
		at += 40;
	} else {
		return 0;
	}
	unsigned char *tcp = data + (at & 127), *text;

	if (tcp + 20 > end)
		return 0;
	text = tcp + (tcp[12] >> 4) * 4;
	if (text + 4 > end)
		return 0;
	return *(__u32 *)text == bpf_htonl(0x5353482d) ? INTERACTIVE : 0;
}

char LICENSE[] SEC("license") = "GPL";
"""


def in_python(name, *changes):
    scope = {}
    exec(rewritten(name, *changes), scope)
    return scope["answer"]


@pytest.mark.parametrize(
    "name, right",
    [
        ("06-tcpdump-filter", lambda port: f"tcp dst port {port} and (tcp[13] & 18 = 2 or ip6[53] & 18 = 2)"),
        (
            "06-raw-socket",
            rewritten(
                "06-raw-socket",
                ("bpf_skb_load_bytes(skb, 12, &type, sizeof(type));", "type = skb->protocol;"),
                ("TYPE_ARRAY", "TYPE_PERCPU_ARRAY"),
            ),
        ),
        ("06-classifier", solution("06-classifier").partition("{\n\tstruct tcphdr tcp;")[0] + "{" + DIRECT),
        (
            "06-direct-action",
            rewritten(
                "06-direct-action",
                ("__be32 here, there;\n\t__be16 here_port, there_port;", "__be16 there_port, here_port;\n\t__be32 there, here;"),
                ("TYPE_LRU_HASH", "TYPE_HASH"),
                ("__type(value, __u8)", "__type(value, __u64)"),
                ("__u8 yes = 1;", "__u64 yes = bpf_ktime_get_ns();"),
            ),
        ),
        (
            "06-tcx",
            in_python(
                "06-tcx",
                ('obj.programs["meter"].attach_tcx(dev, before="all")', 'first = obj.programs["guard"].attach_tcx(dev, before="all")'),
                ('obj.programs["guard"].attach_tcx(dev, before="all")\n    return', 'obj.programs["meter"].attach_tcx(dev, after=first)\n    return'),
            ),
        ),
        (
            "03-lpm-trie",
            rewritten(
                "03-lpm-trie",
                ("__be32 address", "__u8 address[4]"),
                ("key.address = ip->saddr", "__builtin_memcpy(key.address, &ip->saddr, 4)"),
            ),
        ),
        ("03-lpm-trie", rewritten("03-lpm-trie", ("__type(value, __u32)", "__type(value, enum xdp_action)"))),
        ("03-queue", rewritten("03-queue", ("__type(value, __be32)", "__type(value, __u32)"))),
        ("03-lru-hash", rewritten("03-lru-hash", ("TYPE_LRU_HASH", "TYPE_LRU_PERCPU_HASH"))),
        (
            "03-ring-buffer",
            solution("03-ring-buffer").partition("struct event *event =")[0]
            + OUTPUT
            + 'char LICENSE[] SEC("license") = "GPL";',
        ),
        ("03-percpu-hash", with_numpy),
        (
            "02-closed-port",
            rewritten(
                "02-closed-port", ("user_port == bpf_htons(closed)", "user_port == (__u16)(closed << 8 | closed >> 8)")
            ),
        ),
        ("02-dispatcher", rewritten("02-dispatcher", ("__u64 others", "__u32 others"))),
        ("04-histogram", rewritten("04-histogram", ("BPF_MAP_TYPE_ARRAY", "BPF_MAP_TYPE_PERCPU_ARRAY"))),
        (
            "04-uprobe",
            rewritten(
                "04-uprobe",
                ("int asked(struct pt_regs *ctx)", "int BPF_KPROBE(asked, __u64 alignment, __u64 asked_for)"),
                ("PT_REGS_PARM2(ctx)", "asked_for"),
            ),
        ),
        ("04-tracepoint", rewritten("04-tracepoint", ("ctx->ret >= 0", "ctx->ret > -1 || ctx->ret < -4095"))),
        ("02-hello", rewritten("02-hello", ("tp/syscalls", "tracepoint/syscalls"), ("file[64]", "file[256]"))),
        (
            "02-repair",
            rewritten("02-repair", ("int i = 0; i < LONGEST;", "int i = 0; i < 2000 && (void *)byte < end;")),
        ),
    ],
    ids=[
        *("one line", "protocol", "direct access", "other key", "after"),
        *("octets", "enum", "number", "per CPU", "output", "numpy", "swapped", "narrow", "per CPU slots", "named argument"),
        *("range", "wide", "other loop"),
    ],
)
def test_other_right_answers_pass(name, right, machine):
    result = bl.check(name, right, machine=machine)
    assert result, str(result)


@pytest.mark.parametrize(
    "name, half, hint",
    [
        ("03-lpm-trie", rewritten("03-lpm-trie", ("verdict ? *verdict : XDP_PASS", "XDP_PASS")), "every packet passed"),
        (
            "03-queue",
            rewritten("03-queue", ("bpf_map_push_elem(&recorder, &ip->saddr, BPF_EXIST);", "")),
            "nothing was recorded",
        ),
        ("03-lru-hash", rewritten("03-lru-hash", ("&one, BPF_ANY", "&one, BPF_EXIST")), "the table is empty"),
        ("03-hash-map", rewritten("03-hash-map", ("&one, BPF_ANY", "&one, BPF_EXIST")), "holds no entry"),
        ("03-concurrent-access", rewritten("03-concurrent-access", (">= 1024", ">= 4096")), "beyond 1023"),
        (
            "03-concurrent-access",
            rewritten("03-concurrent-access", ("ctx->data_end - ctx->data", "1")),
            "do not add up",
        ),
        (
            "03-ring-buffer",
            rewritten("03-ring-buffer", ("__u64 lost;", "__u64 missed;"), ("&lost", "&missed")),
            "named 'lost'",
        ),
        (
            "02-closed-port",
            rewritten("02-closed-port", ("__u16 closed", "__u16 shut"), ("(closed)", "(shut)")),
            "named 'closed'",
        ),
        ("02-dispatcher", rewritten("02-dispatcher", ("ip->protocol);", "0);")), "did not run"),
        ("02-dispatcher", rewritten("02-dispatcher", ("max_entries, 256", "max_entries, 128")), "256 elements"),
        ("02-hello", rewritten("02-hello", ("bpf_get_current_comm", "(void)")), "name of the caller"),
        ("02-hello", rewritten("02-hello", ("bpf_ringbuf_submit", "bpf_ringbuf_discard")), "no event arrived"),
        ("02-no-ping", rewritten("02-no-ping", ("? XDP_DROP", "? XDP_ABORTED")), "neither XDP_PASS nor XDP_DROP"),
        ("02-repair", rewritten("02-repair", ("sum += *byte++", "sum += *byte++ & 127")), "their sums are wrong"),
        ("02-repair", rewritten("02-repair", ("{};\n\t__u32", "{};\n\tstatic __u32")), "their sums are wrong"),
        ("03-percpu-hash", lambda m: m, "returned Map, not a dict"),
        ("03-percpu-hash", lambda m: {key: sum(v) for key, v in m.items()}, "is a pair"),
        (
            "03-bpffs-pin",
            lambda lab, text, command, path: lab.create_map("array", "u32", "u64", 1).pin(path),
            "counted nothing",
        ),
    ],
)
def test_half_an_answer_is_told_what_lacks(name, half, hint, machine):
    result = bl.check(name, half, machine=machine)
    assert not result and hint in result.hint, str(result)


# -- what belongs to an exercise


def test_checks_notebooks_and_answers_are_of_the_same_exercises():
    names = exercise.names()
    assert names == [path.stem for path in answers.NOTEBOOKS]
    assert names == sorted({a.exercise for a in ANSWERS})
    for name in names:
        mine = [a for a in ANSWERS if a.exercise == name]
        assert [a.is_solution for a in mine].count(True) == 1
        assert len(mine) >= 3, f"{name} has fewer than two wrong answers"


@pytest.mark.parametrize("name", exercise.names())
def test_notebook_has_one_answer_cell_and_links_to_its_section(name):
    book = answers.notebook(name)
    assert sum(map(answers.is_answer, answers.code(book))) == 1
    head = book.cells[0].source
    assert f"`{name}`" in head
    section = exercise.progress().set_index("exercise").loc[name, "section"]
    (title, file, anchor), *_ = re.findall(r"\[([^]]*)\]\(\.\./(notebooks/[^)#]*)#([^)]*)\)", head)
    assert title.startswith(section + " ")
    headings = re.findall(r"^#+ (.*)$", "\n".join(c.source for c in nbformat.read(ROOT / file, 4).cells), re.M)
    assert title in headings
    assert anchor == title.replace(" ", "-")  # as JupyterLab makes the id of a heading


# -- judging

C_TEXT = solution("03-queue")


@pytest.mark.parametrize("name", exercise.names())
@pytest.mark.parametrize("junk", [None, "int x;", lambda *_: None], ids=["nothing", "other C", "idle function"])
def test_junk_is_not_yet_and_gets_a_hint(name, junk, machine):
    result = bl.check(name, junk, machine=machine)
    assert not result and not result.solved
    assert result.hint and "could not make sense" not in result.hint
    first, second, *_ = repr(result).splitlines()
    assert first == f"{name}: not yet"
    assert second.startswith(f"hint: {result.hint}")


def test_what_varies_is_in_the_detail_and_not_in_the_hint(machine):
    def first_only(m):
        return {key: (values[0], 0) for key, values in m.items()}

    one, two = (bl.check("03-percpu-hash", first_only, machine=machine) for _ in range(2))
    assert repr(one) == repr(two)
    assert one.detail != two.detail
    assert one.detail in str(one) and one.detail not in repr(one)


def test_a_remembered_answer_does_not_pass(machine):
    seen = []

    def remember(m):
        seen.append({key: (sum(values), values.index(max(values))) for key, values in m.items()})
        return seen[0]

    assert not bl.check("03-percpu-hash", remember, machine=machine)
    assert not bl.check("03-percpu-hash", lambda m: seen[0], machine=machine)


def test_unknown_exercise_names_near_ones(machine):
    with pytest.raises(bl.UnknownNameError, match="did you mean '03-lpm-trie'"):
        bl.check("03-lpm-tree", "", machine=machine)


def test_compiler_errors_have_the_cells_line_numbers(machine):
    text = C_TEXT.replace("return XDP_PASS;", "return XDP_PAST;", 1)
    line = text[: text.index("XDP_PAST")].count("\n") + 1
    from_file = bl.check("03-queue", text, machine=machine)
    assert from_file.hint == "the answer does not compile"
    assert f":{line}:" in from_file.error and "XDP_PAST" in from_file.error
    from_cell = bl.check("03-queue", bl.CSource(text, name="answer", line=2), machine=machine)
    assert f"answer:{line + 1}:" in from_cell.error
    assert from_cell.error in repr(from_cell)
    assert "Traceback" not in repr(from_cell)


def test_verifier_errors_have_the_cells_line_numbers(machine):
    text = C_TEXT.replace("(void *)(ip + 1) > end || ", "")
    line = text[: text.index("eth->h_proto")].count("\n") + 1
    result = bl.check("03-queue", bl.CSource(text, name="answer", line=2), machine=machine)
    assert result.hint == "the verifier refuses program 'record'"
    assert f"line {line + 1}: " in result.error
    assert "processed" in result.detail  # the whole log


def test_a_python_error_shows_the_answers_own_line(machine):
    scope = {}
    exec(compile("def answer(m):\n    x = 0\n    return 1 / x\n", "<cell>", "exec"), scope)
    result = bl.check("03-percpu-hash", scope["answer"], machine=machine)
    assert result.hint == "the answer raised an error"
    assert result.error.startswith("line 3:") and result.error.endswith("ZeroDivisionError: division by zero")


def stubborn(m):
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


def waiting(lab, *_):
    lab.sh("sleep 1000", timeout=1000)


@pytest.mark.parametrize("name, endless", [("03-percpu-hash", stubborn), ("03-bpffs-pin", waiting)])
def test_an_answer_that_hangs_is_stopped(name, endless, machine):
    result = bl.check(name, endless, machine=machine, limit=2)
    assert not result
    assert result.hint.startswith("the check did not end within 2 seconds and was stopped")
    for thread in threading.enumerate():
        if thread.name == f"check {name}":
            thread.join(10)
            assert not thread.is_alive()


def test_an_answer_that_kills_the_agent_is_told_so(machine):
    result = bl.check("03-bpffs-pin", lambda lab, *_: lab.sh("kill -9 $PPID"), machine=machine)
    assert "agent ended" in result.hint


def test_a_check_leaves_the_readers_lab_alone(lab):
    with lab.load(C_TEXT) as obj:
        assert bl.check("03-queue", C_TEXT)
        assert obj.maps["recorder"].peek() is None
        assert bl.Lab.current() is lab


def test_not_supported_is_raised_and_not_judged(machine, monkeypatch):
    def refuse(lab, answer):
        raise bl.NotSupportedError("queues", lab.where)

    monkeypatch.setattr(exercise._module("03-queue"), "check", refuse)
    with pytest.raises(bl.NotSupportedError, match="queues"):
        bl.check("03-queue", C_TEXT, machine=machine)


def test_a_fault_of_the_check_is_no_traceback(machine, monkeypatch):
    monkeypatch.setattr(exercise._module("03-queue"), "check", lambda lab, answer: 1 / 0)
    result = bl.check("03-queue", C_TEXT, machine=machine)
    assert result.hint == "the check could not make sense of the answer: ZeroDivisionError: division by zero"
    assert "Traceback" in result.detail and "Traceback" not in repr(result)


# -- progress


def test_progress_is_kept(machine, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(exercise, "_solved_now", {})
    assert not bl.progress()["solved"].any()
    bl.check("03-queue", None, machine=machine)
    assert not bl.progress()["solved"].any()
    assert bl.check("03-queue", C_TEXT, machine=machine)
    monkeypatch.setattr(exercise, "_solved_now", {})  # as in another notebook
    frame = bl.progress().set_index("exercise")
    assert list(frame.index[frame["solved"]]) == ["03-queue"]
    assert frame.loc["03-queue", "section"] == "3.9.20"
    assert frame["when"].notna().sum() == 1


def test_progress_without_a_writable_home(machine, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    monkeypatch.setattr(exercise, "_solved_now", {})
    assert bl.check("03-queue", C_TEXT, machine=machine)
    assert bl.progress()["solved"].sum() == 1


@pytest.mark.parametrize("text", ["", "[]", "{", '{"03-queue": 5, "gone": "2020-01-01"}'])
def test_progress_with_a_spoilt_file(text, monkeypatch, tmp_path):
    (tmp_path / "bpflab").mkdir()
    (tmp_path / "bpflab/solved.json").write_text(text)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(exercise, "_solved_now", {})
    assert not bl.progress()["solved"].any()


def test_progress_of_two_notebooks_adds_up(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    for name in ("03-queue", "03-lpm-trie"):
        monkeypatch.setattr(exercise, "_solved_now", {})
        exercise._remember(name)
    assert set(json.loads((tmp_path / "bpflab/solved.json").read_text())) == {"03-queue", "03-lpm-trie"}


# -- answers from files


def test_answer_from_a_c_file(machine):
    path = ROOT / "tests/exercises/03-queue/solution.bpf.c"
    assert bl.check("03-queue", exercise.answer_from_file("03-queue", path), machine=machine)


def test_answer_from_a_python_file(machine):
    path = ROOT / "tests/exercises/03-percpu-hash/solution.py"
    assert bl.check("03-percpu-hash", exercise.answer_from_file("03-percpu-hash", path), machine=machine)


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("gone.c", None, "no such file"),
        ("answer.txt", "x", "ends neither in"),
        ("answer.py", "x = 1\n", "defines no 'answer'"),
        ("answer.py", "x = 1\n1 / 0\n", "line 2: ZeroDivisionError"),
        ("answer.py", "def answer(:\n", "line 1: SyntaxError"),
        ("answer.c", b"\xff\xfe\x00", "it is no text"),
    ],
)
def test_files_that_are_no_answer(tmp_path, file, text, message):
    if text is not None:
        (tmp_path / file).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(bl.LabError, match=message):
        exercise.answer_from_file("03-queue", tmp_path / file)


def test_answer_from_file_wants_a_known_exercise(tmp_path):
    with pytest.raises(bl.UnknownNameError):
        exercise.answer_from_file("03-nothing", tmp_path / "x.c")


# -- the frames that checks send


def test_frames_are_what_scapy_takes_them_for():
    from scapy.layers.inet import IP, UDP
    from scapy.layers.l2 import ARP, Ether

    frame = Ether(packets.udp("10.1.2.3", "10.4.5.6", b"abc"))
    assert (frame[IP].src, frame[IP].dst, bytes(frame[UDP].payload)) == ("10.1.2.3", "10.4.5.6", b"abc")
    given = frame[IP].chksum
    del frame[IP].chksum
    assert Ether(bytes(frame))[IP].chksum == given
    other = packets.not_ip("10.1.2.3")
    assert Ether(other)[ARP].op == 1
    assert other[26:30] == bytes([10, 1, 2, 3])
