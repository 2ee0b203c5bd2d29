"""Instructions of eBPF and classic BPF: read, written out, cut into blocks, run one by one.

    ebpf         bytes -> Insn -> text, and back
    classic      filters of tcpdump: parse, check as the kernel does, write out
    classic_text a filter written out, back to instructions
    blocks       basic blocks of eBPF programs
    alu          arithmetic and comparisons of eBPF, exactly
    ebpf_run     the eBPF machine; helpers, memory and context are what it has
    classic_run  the classic machine
    image        instructions of a loaded program with functions and source lines
    packet       names of a packet's fields
    run          one run of anything on a packet, and the kernel's verdict beside it
"""

from .classic import ClassicInsn
from .ebpf import Insn, decode, disassemble, encode

__all__ = ["ClassicInsn", "Insn", "decode", "disassemble", "encode"]
