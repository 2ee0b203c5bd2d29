"""What must be on the computer before anything else works: Debian's packages, and `.venv`.

Standard library only: the script `lab` calls this under Debian's own python3, before there is a `.venv`.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import platform
import pwd
import re
import select
import shutil
import subprocess
import sys

from bpflab.progress_bar import Progress

RUN_PACKAGES = {
    "binutils": "C++ and Rust names as their authors wrote them",
    "bpftool": "shows what the kernel holds",
    "bpftrace": "one-line tracing programs",
    "clang": "compiles BPF programs",
    "debian-archive-keyring": "the keys that kernels for virtual machines are checked with",
    "g++": "compiles the C++ program that is traced",
    "gcc": "compiles the small C programs that are traced",
    "golang-go": "compiles the Go program that is traced",
    "iproute2": "network devices, namespaces and tc",
    "iptables": "the firewall of many years, that XDP is held against",
    "ipvsadm": "the kernel's load balancer, that XDP is held against",
    "kmod": "loads the kernel's modules",
    "libbpf-dev": "the headers that BPF programs include",
    "libbpf1": "loads BPF programs",
    "libc6-dev": "the C library's headers",
    "linux-libc-dev": "the kernel's headers for user space",
    "llvm": "takes BPF objects apart",
    "nftables": "the firewall that XDP is held against",
    "openssh-client": "reaches virtual machines and other hosts",
    "python3-bpfcc": "BCC",
    "python3-venv": "makes .venv",
    "systemtap-sdt-dev": "USDT probes in C programs",
    "tcpdump": "classic BPF filters",
}
# Debian's name for this machine's architecture; where it has none, BCC says what it misses
_HEADERS = {"x86_64": "linux-headers-amd64", "aarch64": "linux-headers-arm64"}.get(platform.machine())
if _HEADERS:
    RUN_PACKAGES[_HEADERS] = "the kernel's headers, which BCC compiles with"

TEST_PACKAGES = {
    "chromium": "shows the widgets to the tests",
    "fonts-dejavu-core": "letters for chromium",
    "linux-perf": "the profiler that ours is held against",
    "sudo": "starts the agent of a user who is not root",
}
if platform.machine() == "x86_64":  # where a box can be built
    TEST_PACKAGES |= {
        "dnsmasq-base": "addresses for Vagrant's machine",
        "libvirt-clients": "asks libvirt whether it answers",
        "libvirt-daemon-system": "runs Vagrant's machine",
        "mmdebstrap": "makes Vagrant's box",
        "openssh-client": "the way to Vagrant's machine",
        "qemu-system-x86": "runs Vagrant's machine",
        "qemu-utils": "makes Vagrant's box",
        "rsync": "copies the workbook into Vagrant's machine",
        "vagrant": "makes a machine of the workbook's Vagrantfile",
        "vagrant-libvirt": "joins the two",
    }
_NOT_DEBIAN = "This is not Debian or a relative of it, so only the Python side is set up here" + (
    "." if sys.platform.startswith("linux") else "; the kernel's side is a virtual machine: vagrant up makes it."
)
RUN_LOCK, TEST_LOCK, MAC_LOCK = "requirements.lock", "requirements-test.lock", "requirements-mac.lock"
VENV_MB = 700

# What a failed command printed, and what that means. The first match wins; %s is the last matching line.
CAUSES = (
    (r"No space left on device|Errno 28|enough free space", "disk_full"),
    (r"Could not get lock|Unable to acquire the dpkg frontend lock", "apt_busy"),
    (r"dpkg was interrupted", "apt_broken"),
    (r"CERTIFICATE_VERIFY_FAILED", "tls"),
    (r"Temporary failure resolving|Could not resolve|Could not connect|Unable to connect", "net"),
    (r"Network is unreachable|Connection refused|NameResolutionError", "net"),
    (r"NewConnectionError|ConnectTimeoutError|ReadTimeoutError", "net"),
    (r"Unable to locate package|has no installation candidate", "no_package"),
    (r"DO NOT MATCH THE HASHES", "hashes"),
    (r"No matching distribution found", "no_wheel"),
    (r"Permission denied", "permission"),
)


class SetupError(Exception):
    """The set-up cannot go on; the message is one line that ends with what to do."""


class Log:
    """Everything that apt and pip printed, kept for the day it is needed. A full disk must not hide the real error."""

    def __init__(self, path):
        self.path = path
        self._tail = []
        try:
            path.parent.mkdir(exist_ok=True)
            self._file = path.open("w", encoding="utf-8")
            if owner := tree_owner(path.parent.parent):
                os.chown(path.parent, owner.pw_uid, owner.pw_gid)
                os.chown(path, owner.pw_uid, owner.pw_gid)
        except OSError as err:
            self._file = None
            if isinstance(err, PermissionError):
                who = pwd.getpwuid(path.parent.parent.stat().st_uid).pw_name
                raise SetupError(
                    f"cannot write in {path.parent.parent}: it belongs to {who}; run ./lab as {who}, or clone the "
                    "workbook into a folder of your own"
                ) from err

    def write(self, line):
        self._tail = [*self._tail[-200:], line]
        if self._file:
            try:
                self._file.write(line + "\n")
                self._file.flush()
            except OSError:
                self._file = None

    def failure(self, what, tree):
        """A `SetupError` for the command `what` that failed, from what it printed last."""
        text = "\n".join(self._tail)
        kept = f"; everything it said is in {self.path}" if self._file else ""
        for pattern, cause in CAUSES:
            if found := re.findall(rf"^.*(?:{pattern}).*$", text, re.MULTILINE):
                return SetupError(f"{what} failed: {_explain(cause, found[-1].strip(), tree)}{kept}")
        last = next((line for line in reversed(self._tail) if line.strip()), "it said nothing")
        return SetupError(f"{what} failed: {last.strip()}{kept}")


def _explain(cause, line, tree):
    if cause == "disk_full":
        places = [str(tree), str(tree / ".venv"), "/usr", "/var", os.environ.get("TMPDIR", "/tmp")]
        free, place = min((shutil.disk_usage(p).free, p) for p in places if os.path.exists(p))
        return f"the disk is full ({place} has {free >> 20} MB left); make room and start again"
    return {
        "apt_busy": "another program is installing packages; wait for it to end and start again",
        "apt_broken": "an earlier installation was cut short; run `dpkg --configure -a` as root and start again",
        "net": "no network (the package server does not answer); connect this computer and start again",
        "tls": "the package server's certificate is not trusted; behind a proxy, set PIP_CERT to its certificate",
        "no_package": f"{line.removeprefix('E: ')}; the packages are those of Debian 12 or newer",
        "hashes": f"a package is not the one that {RUN_LOCK} names; nothing was installed from it",
        "no_wheel": f"{line.removeprefix('ERROR: ')} ({platform.machine()}, Python {platform.python_version()})",
        "permission": f"{line}; the folder belongs to another user",
    }[cause]


def tree_owner(tree):
    """The user who called sudo, if the tree is theirs: then what is made in the tree should be theirs too."""
    name = os.environ.get("SUDO_USER")
    if os.geteuid() or not name:
        return None
    with contextlib.suppress(KeyError):
        owner = pwd.getpwnam(name)
        if owner.pw_uid and owner.pw_uid == os.stat(tree).st_uid:
            return owner
    return None


def venv_python(tree):
    return tree / ".venv" / "bin" / "python"


def missing_packages(tests):
    """Names of Debian packages that are not installed, or None where there is no dpkg."""
    wanted = [*RUN_PACKAGES, *(TEST_PACKAGES if tests else ())]
    if not shutil.which("dpkg-query"):
        return None
    shown = subprocess.run(
        ["dpkg-query", "--show", "--showformat", "${Package} ${db:Status-Status}\n", *wanted],
        capture_output=True,
        text=True,
    ).stdout
    return sorted(set(wanted) - {line.split()[0] for line in shown.splitlines() if line.endswith(" installed")})


def is_ready(tree, tests=False):
    """True when `.venv` holds what the lock files say."""
    try:
        stamp = json.loads(_stamp_file(tree).read_text())
    except (OSError, ValueError):
        return False
    return _stamp(tree, tests).items() <= stamp.items() and venv_python(tree).exists()


def prepare(tree, tests=False):
    """Install what is missing; nothing, and quickly, when all is there.

    Parameters
    ----------
    tree : pathlib.Path
        The workbook's folder.
    tests : bool
        Also what only the tests need.

    Raises
    ------
    SetupError
        One line: what is in the way, and what to do.
    """
    missing = missing_packages(tests)
    if not missing and is_ready(tree, tests):
        return
    log = Log(tree / ".cache" / "setup.log")
    with _alone(tree):
        if missing is None:
            print(_NOT_DEBIAN, flush=True)
        elif missing:
            _install_packages(missing, log, tree)
    if owner := tree_owner(tree):
        _as_owner(tree, tests, owner)
        return
    with _alone(tree):
        if not is_ready(tree, tests):
            _install_python(tree, tests, log)


@contextlib.contextmanager
def _alone(tree):
    """Only one set-up at a time in one tree. The lock goes with the process, however it ends."""
    folder = os.open(tree, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another set-up is at work in this folder: waiting for it.", flush=True)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _install_packages(missing, log, tree):
    command = ["apt-get", "install", "-y", "--no-install-recommends", *missing]
    print("These Debian packages are missing and will be installed:")
    reasons = RUN_PACKAGES | TEST_PACKAGES
    for name in missing:
        print(f"  {name:20} {reasons[name]}")
    prefix = _root(command)
    as_root = [*prefix, "env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8"]
    progress = Progress("apt")
    progress.show("looking for the newest package lists")
    # A third-party list that does not answer is not our business: what counts is whether the packages come.
    _run([*as_root, "apt-get", "update"], log, lambda line: None)
    sizes = []
    _run([*as_root, *[part for part in command if part != "-y"], "--assume-no"], log, sizes.append)
    progress.stop()
    for line in sizes:
        if line.startswith(("Need to get", "After this operation")):
            print(f"  {line}", flush=True)

    def follow(line):
        # dlstatus:NUMBER:PERCENT:TEXT and pmstatus:PACKAGE:PERCENT:TEXT (apt's README.progress-reporting)
        kind, _, rest = line.partition(":")
        if kind in ("dlstatus", "pmstatus") and rest.count(":") >= 2:
            percent, text = rest.split(":", 2)[1:]
            with contextlib.suppress(ValueError):
                progress.show(text, float(percent) / 100)

    # A pipe of its own for the report: apt makes it non-blocking, and a package's script that finds its standard
    # output so fails with "I/O error". Not a higher number from here on, because sudo closes those.
    report = ["sh", "-c", 'exec "$@" 3>&1 1>&2', "sh"]
    options = ["-o", "APT::Status-Fd=3", "-o", "Dpkg::Use-Pty=0", "-o", "DPkg::Lock::Timeout=60"]
    status = _run([*as_root, *report, command[0], *options, *command[1:]], log, follow)
    if status or missing_packages(tests=False) and set(missing) & set(missing_packages(tests=True)):
        progress.stop()
        raise log.failure("apt-get install", tree)
    progress.end()


def _root(command):
    """The words that make a command root's: none for root, else sudo, if it lets us."""
    if os.geteuid() == 0:
        return []
    by_hand = f"as root, run: {' '.join(command)}"
    if not shutil.which("sudo"):
        raise SetupError(f"installing Debian packages takes root, and there is no sudo here; {by_hand}")
    print("Installing takes root: sudo may ask for your password.", flush=True)
    # Without a terminal sudo must not wait for an answer that cannot come.
    may = subprocess.run(["sudo", "-n", "true"], stderr=subprocess.DEVNULL).returncode == 0
    if not may and (not sys.stdin.isatty() or subprocess.run(["sudo", "-v"]).returncode):
        raise SetupError(f"installing Debian packages takes root, and sudo does not let you; {by_hand}")
    return ["sudo"]


def _as_owner(tree, tests, owner):
    """Run the rest of the set-up as the user who called sudo, so that `.venv` is theirs."""
    command = [sys.executable, str(tree / "lab"), "test" if tests else "up", "--setup-only"]
    groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
    env = {k: v for k, v in os.environ.items() if not k.startswith("SUDO_")}
    env |= {"HOME": owner.pw_dir, "USER": owner.pw_name, "LOGNAME": owner.pw_name}
    status = subprocess.run(command, user=owner.pw_uid, group=owner.pw_gid, extra_groups=groups, env=env).returncode
    if status:
        raise SetupError(f"the set-up as {owner.pw_name} failed, see above")


def _install_python(tree, tests, log):
    lock = tree / (TEST_LOCK if tests else RUN_LOCK)
    total = len(re.findall(r"^\S+==", lock.read_text(), re.MULTILINE))
    python, venv = venv_python(tree), tree / ".venv"
    free = shutil.disk_usage(tree).free >> 20
    if not python.exists() and free < VENV_MB:
        raise SetupError(f"not enough room: .venv takes {VENV_MB} MB and {tree} has {free} MB left; make room there")
    print(f"{total} Python packages will be installed into .venv, in the versions of {lock.name}.", flush=True)
    progress = Progress("pip")
    _stamp_file(tree).unlink(missing_ok=True)
    if not python.exists():
        progress.show("making .venv")
        bare = [_base_python(), "-I", "-m", "venv", "--clear", "--without-pip", str(venv)]
        pip = [str(python), "-I", "-m", "ensurepip"]  # venv would run it as well, and keep to itself what it says
        if _run(bare, log, lambda line: None) or _run(pip, log, lambda line: None):
            raise log.failure("making .venv", tree)
    packages = next(venv.glob("lib/python3*/site-packages"))
    state = {"done": 0, "text": "starting", "installing": False}

    def follow(line):
        if found := re.match(r"(?:Collecting|Requirement already satisfied:) ([\w.-]+)", line):
            state["done"] += 1
            state["text"] = found[1]
        state["installing"] |= line.startswith("Installing collected packages")
        tick()

    def tick():
        if state["installing"]:
            there = sum(1 for _ in packages.glob("*.dist-info"))
            progress.show(f"installing: {there} of {total}", 0.5 + 0.5 * there / total)
        else:
            progress.show(f"downloading: {state['text']}", 0.5 * state["done"] / total)

    pip = [str(python), "-I", "-m", "pip", "install", "--require-hashes", "--only-binary=:all:"]
    pip += ["--no-input", "--disable-pip-version-check", "--progress-bar=off", "-r", str(lock)]
    if sys.platform == "darwin":
        pip += ["-r", str(tree / MAC_LOCK)]
    if _run(pip, log, follow, tick):
        progress.stop()
        raise log.failure("pip install", tree)
    (packages / "bpflab.pth").write_text(f"{tree}\n")
    _stamp_file(tree).write_text(json.dumps(_stamp(tree, tests)))
    progress.end()


def _base_python():
    """A python that can make a `.venv`: the one that runs this, else Debian's."""
    test = "import ctypes, ensurepip, sqlite3, ssl, sys, venv; sys.exit(sys.version_info < (3, 11))"
    for python in (sys.executable, "/usr/bin/python3"):
        if python and not subprocess.run([python, "-I", "-c", test], capture_output=True).returncode:
            return python
    raise SetupError(f"{sys.executable} lacks venv, ensurepip, ssl or sqlite3, and .venv needs them; install them")


def _stamp_file(tree):
    return tree / ".venv" / "bpflab.json"


def _stamp(tree, tests):
    """What `.venv` was made from. The test lock holds all of the other, so it stands for both."""
    locks = (RUN_LOCK, TEST_LOCK) if tests else (RUN_LOCK,)
    return {"tree": str(tree)} | {name: hashlib.sha256((tree / name).read_bytes()).hexdigest() for name in locks}


def _run(command, log, on_line, on_tick=lambda: None):
    """Run a command, keep what it prints in the log, call `on_line` for each line and `on_tick` each second."""
    log.write("$ " + " ".join(command))
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    rest = {process.stdout: b"", process.stderr: b""}
    try:
        while rest:
            ready = select.select(list(rest), [], [], 1.0)[0]
            for pipe in ready:
                if not (chunk := os.read(pipe.fileno(), 65536)):
                    del rest[pipe]
                    continue
                *lines, rest[pipe] = (rest[pipe] + chunk).split(b"\n")
                for line in lines:
                    log.write(text := line.decode(errors="replace").rstrip())
                    on_line(text)
            if not ready:
                on_tick()
        return process.wait()
    except BaseException:
        process.terminate()
        process.wait()
        raise
