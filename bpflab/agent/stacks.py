"""Symbols of the running kernel."""


def kernel_symbols():
    """/proc/kallsyms as it stands: hundreds of thousands of lines that the notebook sorts faster than we do."""
    with open("/proc/kallsyms", "rb") as file:
        return file.read()


def kptr_restrict():
    with open("/proc/sys/kernel/kptr_restrict") as file:
        return int(file.read())
