"""Small programs that keep a CPU busy in functions of known names, built on the lab machine."""

from __future__ import annotations

import contextlib

FRAMES = "-O1 -g0 -fno-omit-frame-pointer -fno-optimize-sibling-calls -Wl,--build-id"
# outer spends 3 of 4 parts in alpha, 1 in beta
C = """
#define APART __attribute__((noinline, noclone))
APART static long burn(long n) { volatile long s = 0; for (long i = 0; i < n; i++) s += i; return s; }
APART long alpha(void) { return burn(300000) + 1; }
APART long beta(void) { return burn(100000) + 2; }
APART long outer(void) { return alpha() + beta(); }
int main(void) { for (volatile long t = 0;;) t += outer(); }
"""


@contextlib.contextmanager
def folder(lab):
    """A folder of the lab machine, removed afterwards."""
    path = lab.sh("mktemp -d /tmp/hot.XXXXXX").stdout.strip()
    try:
        yield path
    finally:
        lab.sh(["rm", "-rf", path])


def build(lab, path: str, source: str = C, flags: str = "", compiler: str = "gcc", suffix: str = "c") -> str:
    """Compile `source` into the file `path`."""
    lab.sh(["sh", "-c", f"{compiler} {FRAMES} -x {suffix} -o {path} - {flags}"], input=source)
    return path
