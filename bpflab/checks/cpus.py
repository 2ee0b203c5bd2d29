"""Two CPUs for the exercises in which two programs meet."""

from .. import errors


def two_cpus(lab):
    """Numbers of two CPUs of the lab machine, as text for `taskset`."""
    listed = lab.sh(["/usr/bin/python3", "-S", "-c", "import os; print(*os.sched_getaffinity(0))"]).stdout.split()
    if len(listed) < 2:
        raise errors.NotSupportedError(
            "concurrent access", lab.where, "it has one CPU", remedy="take a machine with two"
        )
    return listed[:2]
