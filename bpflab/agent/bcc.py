"""BCC on the lab machine: compile, load, and hand over descriptors, so that all else is as with libbpf's objects.

BCC prints what it has to say to the C library's standard error, which is caught while it works.
"""

import contextlib
import ctypes
import errno
import functools
import glob
import os
import re
import sys
import threading

from . import links, maps, objects
from .programs import describe as describe_program
from .serve import Refused, quick
from .syscalls import CLONE_NEWNS, MS_REC, MS_SLAVE, RAW_TRACEPOINT_OPEN, Attr, bpf, mount, unshare

PACKAGES = "/usr/lib/python3/dist-packages"  # where Debian has python3-bpfcc; the agent starts without it
MODULES = "/lib/modules"
PREPROCESSOR = 4  # DEBUG_PREPROCESSOR: print the text as BCC has rewritten it
_lock = threading.Lock()


@functools.cache
def library():
    """The Python module bcc; that is BCC's own, not the package of this name on PyPI."""
    if PACKAGES not in sys.path:
        sys.path.append(PACKAGES)
    try:
        import bcc

        lib = bcc.lib
    except (ImportError, OSError, AttributeError) as error:
        raise Refused("NoBcc", str(error)) from None
    lib.bpf_num_tables.argtypes = [ctypes.c_void_p]
    lib.bpf_table_name.restype, lib.bpf_table_name.argtypes = ctypes.c_char_p, [ctypes.c_void_p, ctypes.c_size_t]
    lib.bpf_module_destroy.argtypes = [ctypes.c_void_p]
    return bcc


@contextlib.contextmanager
def _listening():
    """Catch what C code prints to descriptor 2; what is given is a function that tells it."""
    sink = os.memfd_create("bpflab-bcc", os.MFD_CLOEXEC)
    before = os.dup(2)
    os.dup2(sink, 2, inheritable=False)
    try:
        yield lambda: os.pread(sink, os.fstat(sink).st_size, 0).decode(errors="replace")
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(sink)


# -- the kernel's headers


def headers():
    """The headers BCC will compile with.

    Returns
    -------
    dict
        `running`: release of this kernel; `found`: release of the headers ("" when there are none); `path`: where
        they are; `own`: whether they are where the running kernel says.
    """
    running = os.uname().release
    own = f"{MODULES}/{running}/build"
    if os.path.isdir(own):
        return {"running": running, "found": _release(own), "path": own, "own": True}
    if os.path.exists("/sys/kernel/kheaders.tar.xz"):
        return {"running": running, "found": running, "path": "/sys/kernel/kheaders.tar.xz", "own": True}
    near = sorted(glob.glob(f"{MODULES}/*/build"), key=lambda path: _distance(_release(path), running))
    if near:
        return {"running": running, "found": _release(near[0]), "path": near[0], "own": False}
    return {"running": running, "found": "", "path": "", "own": False}


def _release(path):
    # what uname says comes first: in Debian's packages kernel.release has the version of the source instead
    for name in ("include/generated/utsrelease.h", "include/config/kernel.release"):
        with contextlib.suppress(OSError), open(f"{path}/{name}") as file:
            return file.read().replace("#define UTS_RELEASE", "").strip().strip('"')
    return os.path.basename(os.path.dirname(path))


def _distance(release, running):
    numbers = [[int(n) for n in re.findall(r"\d+", text)[:2]] for text in (release, running)]
    return [abs(a - b) for a, b in zip(*numbers)]


def _pretend(about):
    """Show BCC the headers where it looks for those of the running kernel; in the mounts of this thread only."""
    build = os.path.realpath(about["path"])
    source = os.path.realpath(os.path.join(os.path.dirname(about["path"]), "source"))
    mount("none", "/", None, MS_REC | MS_SLAVE)
    mount("bpflab", MODULES, "tmpfs")
    folder = f"{MODULES}/{about['running']}"
    os.mkdir(folder)
    os.symlink(build, f"{folder}/build")
    if os.path.isdir(source):
        os.symlink(source, f"{folder}/source")


# -- compile


class Module:
    """A compiled text: its programs as descriptors by name, its maps in BCC's hands."""

    def __init__(self, pointer, contexts, rewritten):
        self.pointer, self.contexts, self.rewritten, self.programs = pointer, contexts, rewritten, {}

    def close(self):
        for fd in self.programs.values():
            os.close(fd)
        library().lib.bpf_module_destroy(self.pointer)
        self.contexts.clear()


def compile_text(text, flags, usdt):
    """Compile C text.

    Parameters
    ----------
    text : str
    flags : list of str
        For clang.
    usdt : list of (function, path, probe, pid)
        Programs for USDT probes; pid 0 for every process.

    Returns
    -------
    dict
        `handle`; `programs`: names; `maps`: dicts with `about`, `key`, `leaf` (BCC's JSON) and `fields` (of its
        events); `places`: for USDT (function, path, offset, pid).
    """
    result = []

    def run():
        try:
            unshare(CLONE_NEWNS)  # BCC changes the working directory, too; this thread's own now
            result.append((True, _compile(text, flags, usdt)))
        except BaseException as error:  # noqa: BLE001 - handed to the caller below
            result.append((False, error))

    library()
    with _lock:
        thread = threading.Thread(target=run)
        thread.start()
        thread.join()
    good, value = result[0]
    if not good:
        raise value
    return value


def _compile(text, flags, usdt):
    bcc = library()
    about = headers()
    if not about["found"]:
        raise Refused("NoHeaders", "no kernel headers")
    if not about["own"]:
        _pretend(about)
    with _listening() as said:
        contexts = [_usdt_context(bcc, *one, said) for one in usdt]
        pointers = (ctypes.c_void_p * len(contexts))(*(one.context for one in contexts))
        arguments = bcc.lib.bcc_usdt_genargs(pointers, len(contexts))
        if arguments is None:
            raise Refused("Compile", f"the arguments of the USDT probes cannot be read: {said()}")
        c_flags = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
        source = arguments + text.encode()
        pointer = bcc.lib.bpf_module_create_c_from_string(source, PREPROCESSOR, c_flags, len(flags), True, None)
        before, _, rest = said().partition("#if defined(BPF_LICENSE)")  # BCC puts this before a text
        rewritten, _, after = rest.partition("#include <bcc/footer.h>")
        if not pointer:
            raise Refused("Compile", before + after)
    # the lines of this are the ones that the verifier's log will number
    rewritten = rewritten.partition(text.partition("\n")[0] + "\n")[2]
    module = Module(pointer, contexts, rewritten)
    handle = objects.keep(module)
    functions = [bcc.lib.bpf_function_name(pointer, i).decode() for i in range(bcc.lib.bpf_num_functions(pointer))]
    tables = [bcc.lib.bpf_table_name(pointer, i) for i in range(bcc.lib.bpf_num_tables(pointer))]
    return {
        "handle": handle,
        "programs": functions,
        "maps": {name.decode(): _table(bcc.lib, pointer, name) for name in tables},
        "places": [place for context in contexts for place in _usdt_places(bcc, context)],
    }


def _table(lib, pointer, name):
    fields = [
        lib.bpf_perf_event_field(pointer, name, i).decode() for i in range(lib.bpf_perf_event_fields(pointer, name))
    ]
    return {
        "about": maps.describe(lib.bpf_table_fd(pointer, name)),
        "key": lib.bpf_table_key_desc(pointer, name).decode(),
        "leaf": lib.bpf_table_leaf_desc(pointer, name).decode(),
        "fields": fields,
    }


# -- USDT


def _usdt_context(bcc, function, path, probe, pid, said):
    try:
        context = bcc.USDT(pid=pid or None, path=path)
        context.enable_probe(probe=probe, fn_name=function)
    except bcc.USDTException as error:
        told = " ".join(said().split()) or str(error)
        raise Refused("NoUsdt", f"{probe} of {path or f'process {pid}'}: {told}") from None
    return context


def _usdt_places(bcc, context):
    for path, function, address, pid in context.enumerate_active_probes():
        yield (function.decode(), *resolve(bcc, path, b"", address, max(pid, 0)), pid)


def resolve(bcc, path, symbol, address, pid):
    """(path, offset in the file) of a symbol or an address of a program."""
    from bcc.libbcc import bcc_symbol

    found = bcc_symbol()
    if bcc.lib.bcc_resolve_symname(path, symbol, address, pid, None, ctypes.byref(found)) < 0:
        raise Refused("OSError", f"there is no symbol '{symbol.decode()}' in {path.decode()}", errno.ENOENT)
    try:
        return ctypes.cast(found.module, ctypes.c_char_p).value.decode(), found.offset
    finally:
        bcc.lib.bcc_procutils_free(found.module)


# -- load


def load(handle, name, kind, attach_type):
    """Load a function of a compiled text as a program of a type (numbers of bpf.h; attach_type -1 for none)."""
    module = objects.get(handle)
    lib, function = library().lib, name.encode()
    with _lock, _listening() as said:
        ctypes.set_errno(0)
        fd = lib.bcc_func_load(
            *(module.pointer, kind, function),
            *(lib.bpf_function_start(module.pointer, function), lib.bpf_function_size(module.pointer, function)),
            *(lib.bpf_module_license(module.pointer), lib.bpf_module_kern_version(module.pointer)),
            *(0, None, 0, None, attach_type),
        )
        number = ctypes.get_errno()
        log = said()
    if fd < 0:
        raise Refused("Load", f"program '{name}' does not load", number, log=log, rewritten=module.rewritten)
    os.set_inheritable(fd, False)
    module.programs[name] = fd
    return describe_program(fd)


@quick
def tracing(prog_fd):
    """kfunc, kretfunc and lsm programs: the place is in the program itself."""
    return links._hold(links.Held(fds=[bpf(RAW_TRACEPOINT_OPEN, Attr("QI", 0, prog_fd))]))
