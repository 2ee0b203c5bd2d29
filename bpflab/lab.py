"""The lab: a machine with an agent on it, and everything that is loaded there."""

from __future__ import annotations

import functools
import posixpath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import compiler, machines, open_labs
from .errors import CompileError, NotSupportedError
from .machines import AgentError
from .places import Places
from .tracing import Tracing

if TYPE_CHECKING:
    import pandas as pd

    from .btf import Btf
    from .map import Map
    from .object import Object
    from .process import CommandResult, Process

BPFFS = "/sys/fs/bpf"


class Lab(Places, Tracing):
    """A lab machine to load BPF programs on.

    Everything that is loaded or attached belongs to the lab: it is gone when the lab is closed, when the notebook
    ends, and when either is killed.

    Parameters
    ----------
    machine : str, optional
        "local", "vm", "vm:6.1", "vagrant", "ssh:user@host". None takes what BPFLAB_MACHINE names, else the first of
        local, vm and vagrant that can do what is needed.
    needs : sequence of str
        Features (as `features()` names them) that the machine must have.
    quiet : bool
        Do not print which machine it is.

    Attributes
    ----------
    machine : str
    kernel : str
        "6.18.44".
    arch : str
        "x86_64".
    ncpus : int
        Possible CPUs: the number of values a per-CPU map keeps for a key.
    swept : list of str
        What had been left by labs that were killed together with their watcher, and was undone at the start of this one.

    Raises
    ------
    LabError
        No machine can be reached; the text says what to do.
    NotSupportedError
        No machine at hand has what is needed.
    """

    def __init__(self, machine: str | None = None, needs=(), quiet: bool = False):
        self._connection, why = machines.connect(machine, needs, (lambda _: None) if quiet else print)
        about = self._connection.about
        self.machine = self._connection.machine
        self.release = about["kernel"]
        self.kernel = about["kernel"].split("-")[0]
        self.arch, self.ncpus = about["arch"], about["ncpus"]
        self.id = about["lab"]
        self.swept: list[str] = about["swept"]
        open_labs.remember(self, self._connection)
        if not quiet:
            print(f"lab on {self.machine}: Linux {self.kernel}, {self.ncpus} CPUs; chosen because {why}")
            if self.swept:
                print(f"removed what a killed lab had left: {len(self.swept)} things, see lab.swept")

    @staticmethod
    def current() -> Lab:
        """The newest lab that is open; a new one when there is none."""
        return open_labs.newest() or Lab()

    # -- the agent

    @property
    def where(self) -> str:
        """For messages: "local, Linux 6.18.44"."""
        return f"{self.machine}, Linux {self.kernel}"

    @property
    def alive(self) -> bool:
        return self._connection.alive

    def ask(self, name: str, *arguments) -> Any:
        """Call a function of the agent ("maps.lookup"); `AgentError` is for the caller to put into words."""
        return self._connection.ask(name, *arguments)

    def call(self, what: str, name: str, *arguments) -> Any:
        """As `ask`, but a refusal becomes a `BpfError` that begins with `what`."""
        try:
            return self._connection.ask(name, *arguments)
        except AgentError as error:
            raise error.blame(what) from None

    def bulk(self, size: int, name: str, *arguments):
        """See `machines.Connection.bulk`."""
        return self._connection.bulk(size, name, *arguments)

    def close(self) -> None:
        """End the lab: detach, unload and remove everything. A second time does nothing."""
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def __repr__(self) -> str:
        return f"<lab on {self.where}{'' if self.alive else ', closed'}>"

    # -- load

    def load(
        self, source: str | Path | bytes, *, name: str | None = None, programs=None, max_entries=None, replaces=None, **variables
    ) -> Object:
        """Compile if need be, load, and return the object.

        Parameters
        ----------
        source : str or pathlib.Path or bytes
            C text, or the path of a .bpf.c or .bpf.o file, or the bytes of such an object.
        name : str, optional
            For messages.
        programs : sequence of str, optional
            Load only these programs of it.
        max_entries : dict, optional
            Other sizes for its maps, by name.
        replaces : Program, optional
            For programs of SEC("freplace/FUNCTION"): the loaded program that has the function.
        **variables
            Values for its global variables, `const volatile` ones too, before it is loaded.

        Raises
        ------
        CompileError
            clang refused the text.
        ObjectError
            The file is no BPF object, is cut short, or has maps in the form of 2019.
        VerifierError
            The kernel's verifier rejected a program.
        NotSupportedError
            The kernel has no such program or map type.
        """
        from . import loading

        return loading.load(self, source, name, variables, programs, max_entries, replaces)

    def compile(self, text: str, *, name: str = "program", line: int = 1) -> bytes:
        """C text to an object for this machine's kernel; kept in the cache, so the second time costs nothing."""
        try:
            if self.machine != "local" and not compiler.compiles_here():
                return compiler.compile_there(self, text, name, line)
            return compiler.compile_c(text, self.arch, self.vmlinux, name, line)
        except CompileError as error:
            raise compiler.not_of_this_kernel(error, self.where) or error from None

    @functools.cached_property
    def vmlinux(self) -> Path:
        """Folder with this kernel's vmlinux.h, made from its BTF on first use.

        Raises
        ------
        NotSupportedError
            The kernel has no BTF.
        """
        return compiler.vmlinux_folder(self)

    @functools.cached_property
    def btf(self) -> Btf:
        """The types of this machine's kernel, from /sys/kernel/btf/vmlinux, as `Object.btf` has those of a program.

        Raises
        ------
        NotSupportedError
            The kernel has no BTF.
        """
        data = self.call("the kernel's BTF cannot be read", "machine.btf")
        if data is None:
            raise NotSupportedError("BTF", self.where, "there is no /sys/kernel/btf/vmlinux")
        from .btf import Btf

        return Btf(data)

    def create_map(
        self,
        type: str,
        key=None,
        value=None,
        max_entries: int = 1,
        *,
        name: str = "map",
        flags: int = 0,
        inner: Map | None = None,
    ) -> Map:
        """Create a map without a program (BPF_MAP_CREATE).

        Parameters
        ----------
        type : str
            "hash", "lpm_trie", ... or "BPF_MAP_TYPE_HASH".
        key, value : str or numpy.dtype or int or bpflab.btf.Type, optional
            A C type ("u32", "char[16]"), a NumPy dtype (structured ones become structs), or a number of bytes.
        max_entries : int
            Entries; for a ring buffer its size in bytes.
        flags : int
            BPF_F_ bits of the creation.
        inner : Map, optional
            For a map of maps: a map of the kind it will hold.

        Raises
        ------
        BpfError
            The kernel refused; the text says what it was asked.
        """
        from . import map_open

        return map_open.create(self, type, key, value, max_entries, name=name, flags=flags, inner=inner)

    def bcc(self, text: str, **options) -> Object:
        """Compile with BCC on the lab machine and load; see `bpflab.bcc.load`."""
        from . import bcc

        return bcc.load(self, text, **options)

    # -- pins

    def pin_path(self, path: str) -> str:
        """A whole path in the lab's bpffs for a bare name.

        Raises
        ------
        ValueError
            The path is outside of it.
        """
        whole = posixpath.normpath(posixpath.join(BPFFS, path))
        if not whole.startswith(BPFFS + "/"):
            raise ValueError(f"'{path}' names nothing in the BPF filesystem; give a name, or a path that begins with {BPFFS}/")
        return whole

    def pinned(self, path: str) -> Map:
        """Open a pinned map.

        Raises
        ------
        BpfError
            Nothing is pinned there, or no map.
        """
        from . import map_open

        path = self.pin_path(path)
        return map_open.described(self, self.call(f"no map can be opened at {path}", "maps.pinned", path))

    def unpin(self, path: str) -> None:
        path = self.pin_path(path)
        self.call(f"{path} cannot be unpinned", "maps.unpin", path)

    def map_by_id(self, number: int) -> Map:
        """Open any map of the machine by the kernel's id (as `bpftool map list` shows)."""
        from . import map_open

        return map_open.described(self, self.call(f"there is no map with id {number}", "maps.by_id", number))

    # -- commands

    def sh(self, command: str | list[str], *, check: bool = True, timeout: float = 60, input=None, cwd=None) -> CommandResult:
        """Run a command on the lab machine, as root, to its end.

        Parameters
        ----------
        command : str or list of str
            A line for bash, or the words of a command.
        check : bool
            Raise when its status is not 0.
        timeout : float
            Seconds after which it is ended.

        Returns
        -------
        CommandResult
            `stdout`, `stderr` (text), `returncode`, `lines`.

        Raises
        ------
        CommandError
            It failed, or took too long; what it printed is in `.result`.
        """
        from . import process

        return process.run(self, command, check=check, timeout=timeout, input=input, cwd=cwd)

    def spawn(self, command: str | list[str], *, cwd=None) -> Process:
        """Start a command in the background; it ends with the lab at the latest."""
        from . import process

        return process.spawn(self, command, cwd=cwd)

    # -- what the machine can do

    def features(self) -> pd.DataFrame:
        """What this kernel can do, found out by really doing it.

        Returns
        -------
        pandas.DataFrame
            `feature`, `kind`, `available` (bool), `how` (what was tried), `reason` (what the kernel said).
        """
        from . import features

        return features.table(self)

    def missing(self, feature: str) -> str | None:
        """Why a feature that just failed is not there at all, or None when the failure has another cause."""
        from . import features

        return features.missing(self, feature)
