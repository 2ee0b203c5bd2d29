"""Symbols of the running kernel."""

import errno

from .syscalls import Attr, bpf

PROG_GET_NEXT_ID = 11  # enum bpf_cmd


def kernel_symbols():
    """/proc/kallsyms as it stands: hundreds of thousands of lines that the notebook sorts faster than we do."""
    with open("/proc/kallsyms", "rb") as file:
        return file.read()


def kptr_restrict():
    with open("/proc/sys/kernel/kptr_restrict") as file:
        return int(file.read())


def loaded():
    """What symbols come and go with: modules with their addresses, and the ids of BPF programs, a text for each."""
    try:
        with open("/proc/modules") as file:
            modules = [line.split()[0] + line.split()[5] for line in file]
    except OSError:
        modules = []  # a kernel without modules
    programs, attr = [0], Attr("I", 0)
    while True:
        attr.set("I", 0, programs[-1])
        try:
            bpf(PROG_GET_NEXT_ID, attr)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return [*modules, *map(str, programs)]
        programs.append(attr.get("I", 4))
