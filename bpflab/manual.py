"""What a person may type after `./lab`, and what the command says of itself.

Only the standard library is imported: help works before there is a `.venv`.
"""

import argparse
import difflib
import sys
from pathlib import Path

FAILED, USAGE, INTERRUPTED = 1, 2, 130

MANUAL = """\
bpflab: a workbook of BPF whose every statement is a cell that a real kernel answers

usage
  ./lab COMMAND [OPTIONS]        ./lab COMMAND --help tells more

commands
  up        set up what is missing, start JupyterLab, print its address
  test      set up what the tests need as well, run every test
  doctor    what this computer can do, and what to do about the rest
  run       run a chapter from top to bottom without a browser
  matrix    run all chapters and exercises on every machine, write down what works where
  check     judge an answer to an exercise
  bench     measure bpflab beside what you would use instead
  vm        virtual machines with other kernels: list, fetch, up, down, ssh, log
  vagrant   a box for the workbook's Vagrantfile, for classrooms and for work without a network
  clean     remove what a lab left behind, and the programs it built to trace

examples
  ./lab up                       open the address that it prints
  ./lab up --port 9000           on a port of your choice
  ./lab run 03                   does chapter 3 work on this computer?
  ./lab run 03 --machine vm:6.1  and on another kernel?
  ./lab check 03-lpm-trie answer.bpf.c
  ./lab doctor                   why does a cell say "not supported"?

files
  notebooks/                     the chapters; 00-start.ipynb comes first
  exercises/                     the exercises; a chapter links to its own
  .venv/                         Python packages, in the versions of requirements.lock
  .cache/setup.log               what apt and pip said in the last set-up

environment
  BPFLAB_MACHINE                 the machine that labs use: local, vm, vm:6.1, vagrant, ssh:user@host
  BPFLAB_ACCEL                   kvm or tcg for virtual machines; if not set, what was found by trying
  BPFLAB_VM_KEEP                 seconds that a virtual machine waits for the next lab; 300 if not set
  BPFLAB_DEBIAN_MIRROR           where kernels come from, if not from http://deb.debian.org/debian
  JUPYTER_TOKEN                  the token in JupyterLab's address; a random one if not set

exit status
  0  it worked        1  it did not: a line says why        2  the command line was wrong

Only `up` and `test` install anything, and they say what before they do. Debian packages are installed by
apt-get, as root or with sudo; everything else stays in this folder. Everything that a lab loads into the
kernel goes when the lab ends.
"""


class Parser(argparse.ArgumentParser):
    """An argument parser that keeps the layout of its texts and speaks as `./lab` does."""

    def __init__(self, name, what, details=""):
        super().__init__(
            prog=f"./lab {name}",
            description=what,
            epilog=details,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message):
        self.exit(USAGE, f"lab: {message}; {self.prog} --help tells more\n")


def _port(text):
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is no port: give a number from 1 to 65535")
    return int(text)


def _up_parser():
    parser = Parser(
        "up",
        "Set up what is missing, start JupyterLab on 127.0.0.1, and print its address.",
        "The address carries a token: whoever has it can run programs as you. Ctrl-C stops JupyterLab, and with it\n"
        "every lab that a notebook opened. A second start installs nothing.",
    )
    parser.add_argument("--port", type=_port, metavar="N", help="listen on port N (else 8888, or the next free one)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    parser.add_argument("--setup-only", action="store_true", help="set up, and stop there")
    return parser


def _test_parser():
    parser = Parser(
        "test",
        "Set up what the tests need and run them all.",
        "Other arguments go to pytest, with paths as seen from the workbook's folder:\n"
        "  ./lab test -x tests/test_map.py        stop at the first failure, one file\n"
        "  ./lab test -k ring                     tests with `ring` in their name\n"
        "  ./lab test --machine vm:6.1            on another kernel than this computer's\n\n"
        "The end says which machines answered. The exit status is pytest's.",
    )
    parser.add_argument("--setup-only", action="store_true", help="set up, and stop there")
    parser.add_argument("--machine", metavar="NAME", help="lab machines for the tests, with commas between")
    return parser


def _doctor_parser():
    parser = Parser(
        "doctor",
        "Say what this computer can do. Each line was found by trying, and each gap comes with its remedy.",
        "It installs nothing, and works before the set-up too; it then leaves out what only a lab can try.\n"
        "Exit status: 0 if every chapter's basics work here, else 1.",
    )
    parser.add_argument("--json", action="store_true", help="a list of {name, ok, found, remedy}")
    return parser


def _run_parser():
    parser = Parser(
        "run",
        "Run a chapter from top to bottom without a browser, and say whether every cell worked.",
        "CHAPTER is the start of a notebook's name (03, 03-maps) or the path of any notebook.\n"
        "The notebook itself stays as it is unless you say --update. A section that the machine's kernel refuses is\n"
        "named at the end, and the rest of the chapter runs.",
    )
    parser.add_argument("chapter", metavar="CHAPTER")
    parser.add_argument("--machine", metavar="NAME", help="run it there: local, vm:6.12, vagrant, ssh:user@host")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the notebook with its results as a web page")
    parser.add_argument("--update", action="store_true", help="store the results in the notebook (for authors)")
    return parser


def _matrix_parser():
    parser = Parser(
        "matrix",
        "Run every chapter and the solutions of the exercises on each machine, and write docs/works-on.md.",
        "Before that it tries every program type there, and writes docs/program-types.json (bl.program_types() shows it).\n"
        "Machines that are not named: this computer, and each kernel that ./lab vm fetch has fetched. A chapter takes\n"
        "a minute here and four in an emulated machine. Exit status: 1 if anything failed; a refusal is no failure.",
    )
    parser.add_argument("chapters", nargs="*", metavar="CHAPTER", help="only these, and their exercises; needs --output")
    parser.add_argument("--types", action="store_true", help="only the program types")
    parser.add_argument("--machines", metavar="NAME,NAME", help="only these machines")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there and not into docs/")
    return parser


def _check_parser():
    parser = Parser(
        "check",
        "Judge an answer to an exercise by what it does: load it, drive it, look at maps, packets and events.",
        "  ./lab check 03-lpm-trie answer.bpf.c\n\n"
        "Exit status: 0 solved, 1 not solved (a hint says where to look), 2 no such exercise or file.",
    )
    parser.add_argument("exercise", metavar="EXERCISE", help="its name, as in exercises/")
    parser.add_argument("file", type=Path, metavar="FILE", help="your answer: C or Python, as the exercise asks")
    return parser


def _bench_parser():
    parser = Parser("bench", "Measure bpflab beside what you would use instead, in one run.")
    fields = "{name, ours_s, other, other_s, ratio, bar, ok, lost}"
    parser.add_argument("--json", action="store_true", help=f"a list of {fields}")
    parser.add_argument("only", nargs="*", metavar="WORD", help="take only the figures with one of these words in them")
    return parser


def _vm_parser():
    parser = Parser(
        "vm",
        "Virtual machines by hand; labs start and end them by themselves.",
        "  ./lab vm fetch 6.1             have it before the network goes\n"
        "  ./lab vm ssh 6.12 uname -a     a command on it, or a shell\n\n"
        "VERSION is a kernel: 6.1, 6.12 or 7 (the newest of Debian's sid), 6.12 if not given. A machine ends five\n"
        "minutes after its last lab, at once when that was killed, and after `up` only by `down`.",
    )
    what = ("list", "fetch", "up", "down", "ssh", "log")
    parser.add_argument("what", choices=what, metavar="WHAT", help=", ".join(what))
    parser.add_argument("version", nargs="?", metavar="VERSION")
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="for ssh: instead of a shell")
    return parser


def _vagrant_parser():
    parser = Parser(
        "vagrant",
        "Build a box for the workbook's Vagrantfile, of Debian packages, with everything in it that labs need.",
        "  ./lab vagrant box classroom.box && BPFLAB_BOX=classroom.box vagrant up\n\n"
        "It takes some minutes, the network, 5 GB in /var/tmp and Debian's tools; root, or the package uidmap.\n"
        "BPFLAB_DEBIAN_MIRROR names the mirror to fetch from. The machine itself is Vagrant's: vagrant up, halt, destroy.",
    )
    parser.add_argument("what", choices=["box"], metavar="WHAT", help="box")
    parser.add_argument("file", nargs="?", type=Path, default=Path("bpflab.box"), metavar="FILE", help="else bpflab.box")
    return parser


def _clean_parser():
    parser = Parser(
        "clean",
        "Remove what a lab that is gone left behind (cgroups, queueing disciplines, namespaces, pins), and the programs that "
        "labs built to be traced.",
        "A lab sweeps after itself; this is for the day when the computer was cut off in the middle. The programs, in "
        "/var/cache/bpflab, are kept from lab to lab, and built again when they are next asked for. Each thing that is removed "
        "is named.",
    )
    parser.add_argument("--all", action="store_true", help="remove .venv and the caches as well")
    return parser


PARSERS = {
    "up": _up_parser,
    "test": _test_parser,
    "doctor": _doctor_parser,
    "run": _run_parser,
    "matrix": _matrix_parser,
    "check": _check_parser,
    "bench": _bench_parser,
    "vm": _vm_parser,
    "vagrant": _vagrant_parser,
    "clean": _clean_parser,
}


def parse(argv):
    """The command's name, its options, and what is left for pytest."""
    if not argv or argv[0] in ("-h", "--help", "help"):
        print(MANUAL, end="")
        raise SystemExit(0 if argv else USAGE)
    name, *rest = argv
    if name not in PARSERS:
        near = difflib.get_close_matches(name, PARSERS, n=1, cutoff=0.5)
        hint = f"did you mean ./lab {near[0]}?" if near else "./lab --help lists the commands"
        raise SystemExit(say(f"there is no command {name!r}; {hint}", USAGE))
    parser = PARSERS[name]()
    if name == "test":
        options, others = parser.parse_known_args(rest)
        return name, options, others
    return name, parser.parse_args(rest), []


def say(message, status=FAILED):
    print(f"lab: {message}", file=sys.stderr, flush=True)
    return status
