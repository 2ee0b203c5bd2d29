"""What the bench saw of one packet."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from html import escape

from .. import verdicts
from ..packet import Diff, Field, Packet, compare
from ..packet import html as packet_html
from ..packet import text as packet_text


@dataclass(frozen=True)
class BenchRun:
    """A program's run on a packet.

    Attributes
    ----------
    program, type : str
        Its name, and its type ("xdp").
    verdict : str
        By name: "XDP_DROP", "TC_ACT_OK", "TCX_PASS"; of a socket filter and of cgroup_skb "drop", "keep", "pass".
    retval : int
        The number that it returned, 32 bits unsigned.
    before, after : Packet
        The packet as the program saw it first and as it left it.
    ns : int
        Nanoseconds for one run, as the kernel's own clock has it.
    repeat : int
        How many runs `ns` is the mean of. With 1 it is the first run, in cold caches.
    metadata : bytes
        What an XDP program put before the packet with bpf_xdp_adjust_meta.
    context : dict
        Members of struct __sk_buff that the program changed: "mark", "priority", "tstamp", "cb[0]" to "cb[4]".
    notes : list of str
        What to know before reading the rest.
    """

    program: str
    type: str
    verdict: str
    retval: int
    before: Packet
    after: Packet
    ns: int
    repeat: int
    metadata: bytes
    context: dict[str, int]
    notes: list[str]

    @cached_property
    def diff(self) -> Diff:
        """What differs between the two."""
        return compare(self.before, self.after)

    @property
    def changed(self) -> int:
        """How many bytes the program changed, put in or took out."""
        return self.diff.changed

    def _time(self) -> str:
        return f"{self.ns:,} ns a packet, the mean of {self.repeat:,} runs" if self.repeat > 1 else f"{self.ns:,} ns, one run with cold caches"

    def _beside(self) -> list[str]:
        """What there is to say beside verdict and packet."""
        words = [f"metadata before the packet: {self.metadata.hex(' ')}"] if self.metadata else []
        words += [f"{name} set to {value}" for name, value in self.context.items()]
        were = {row.after.offset for row in self.diff.rows() if row.before and row.after and _wrong(row.before) and _wrong(row.after)}
        words += [f"{f.title} is not right any more: {f.said}" for f in self.after.fields if _wrong(f) and f.offset not in were]
        return [*words, *self.notes, *self.after.notes]

    def __repr__(self) -> str:
        title = f"{self.program} ({self.type}): {self.verdict}, {self._time()}"
        lines = [title, f"{packet_text.size_of(self.before)}; {packet_text.size_words(self.diff)}", *self._beside()]
        if self.diff:
            lines.append(packet_text.of_diff(self.diff))
        else:
            lines += [f"{layer.name}: {packet_text.summary(layer)}" for layer in self.before.layers]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        tone = "drop" if verdicts.DROPPING.search(self.verdict) else "pass" if verdicts.PASSING.search(self.verdict) else "other"
        head = (
            f'<p class="pk-head"><b><code>{escape(self.program)}</code> <span class="pk-soft">{escape(self.type)}</span></b>'
            f'<span class="pk-verdict pk-{tone}">{escape(self.verdict)}</span>'
            f"<span>{packet_text.size_of(self.before)}; {packet_text.size_words(self.diff)}</span>"
            f'<span class="pk-soft">{self._time()}</span></p>'
        )
        notes = "".join(f'<p class="pk-note">{escape(note)}</p>' for note in self._beside())
        return packet_html.frame(head, notes, packet_html.of_diff(self.diff))


def _wrong(field: Field) -> bool:
    return field.name == "checksum" and ", wrong" in field.said
