"""A verifier log in words: which source line, what the kernel said of it."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """What a rejection means.

    Attributes
    ----------
    program : str
    summary : str
        The kernel's own verdict, the last line of the log that is one.
    line : int or None
        Line of the source on which the program was when it was rejected.
    text : str
        That line.
    file : str
        Name of the source it stands in.
    log : str
        All of it.
    """

    program: str
    summary: str
    line: int | None
    text: str
    file: str
    log: str

    def __str__(self) -> str:
        lines = [f"the verifier rejected program '{self.program}': {self.summary}"]
        if self.line:
            lines.append(f"  at {self.file}:{self.line}:  {self.text}")
        lines.append("the whole log is in the error's .log")
        return "\n".join(lines)


# "; struct event *e = bpf_map_lookup_elem(&m, &k); @ cell:14" since 6.7; before, without the place
_SOURCE = re.compile(r"^; (?P<text>.*?)(?: @ (?P<file>[^@:]+):(?P<line>\d+))?$")
_NOT_A_VERDICT = re.compile(
    r"^$|^; |^\d+: |^processed \d+ insns|^verification time|^stack depth|^max_states|^R\d+(_[a-z]+)?=|^from \d+|^func#|^mark_"
    r"|^last_idx|^(old|cur) state:|^regs=|^parent |^arg#\d+ |^BPF program|^Live regs|^\s"
)


def explain(log: str, program: str = "", source: str | None = None) -> Explanation:
    """Find the verdict and the source line in a verifier log.

    Parameters
    ----------
    log : str
        As the kernel gave it, whole or cut.
    source : str, optional
        The C text, to number a line that the log quotes without a number (kernels before 6.7).
    """
    verdict, text, file, number = "", "", "", None
    for line in log.splitlines():
        match = _SOURCE.match(line)
        if match:
            text, file = match["text"].strip(), match["file"] or ""
            number = int(match["line"]) if match["line"] else None
        elif not _NOT_A_VERDICT.match(line):
            verdict = line.strip()
    if text and number is None and source:
        found = [i for i, one in enumerate(source.splitlines(), 1) if one.strip() == text]
        if len(found) == 1:
            number = found[0] + getattr(source, "line", 1) - 1
            file = getattr(source, "name", "program")
    return Explanation(program, verdict or "it gave no reason", number, text, file, log)
