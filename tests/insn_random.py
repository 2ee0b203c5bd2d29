"""Random filters and programs that the kernel takes, made so that their verdict shows every register and word."""

from bpflab.insn import classic
from bpflab.insn.classic import ABS, BYTE, HALF, IMM, IND, LD, LDX, LEN, MEM, MISC, MSH, RET, ST, STX, TXA, WORD
from bpflab.insn.ebpf import (
    ADD,
    ALU,
    ALU64,
    AND,
    ARSH,
    ATOMIC,
    CALL,
    CMPXCHG,
    DIV,
    END,
    EXIT,
    FETCH,
    JEQ,
    JGE,
    JGT,
    JLE,
    JLT,
    JMP,
    JMP32,
    JNE,
    JSET,
    JSGE,
    JSGT,
    JSLE,
    JSLT,
    LD_IMM64,
    LSH,
    MEMSX,
    MOD,
    MOV,
    MUL,
    NEG,
    OR,
    RSH,
    SIZES,
    SUB,
    XCHG,
    XOR,
    Insn,
)  # fmt: skip

EBPF_STX, EBPF_ST = 3, 2
ODD = [0, 1, -1, 2, 7, 31, 32, 63, 64, 255, 65535, -2, -(1 << 31), (1 << 31) - 1]
WIDE_ODD = [*ODD, -(1 << 63), (1 << 63) - 1, 0xFFFFFFFF, 1 << 32, 0x80000000]


def signed32(value):
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


# -- classic


def random_filter(random, length=30):
    """A filter of about `length` instructions that `classic.check` lets pass; it shows half of A."""
    while True:
        found = classic.filter_of([_classic(random, length - pc) for pc in range(length)])
        half = random.choice([(classic.ALU | AND, 0, 0, 0xFFFF), (classic.ALU | RSH, 0, 0, 16)])
        found += classic.filter_of([half, (RET | 0x10, 0, 0, 0)])
        try:
            classic.check(found)
        except ValueError:
            continue  # reads a word that not every way has written
        return found


def _classic(random, left):
    kind = random.choice("absolute absolute indirect nibble length constant store memory move alu alu alu alu jump jump".split())
    size = random.choice([WORD, HALF, BYTE])
    k = random.choice([random.randrange(70), random.getrandbits(32), random.randrange(5)])
    match kind:
        case "absolute":
            return LD | ABS | size, 0, 0, random.choice([random.randrange(60), random.randrange(60), random.randrange(2000), 65535])
        case "indirect":
            # X + k wraps around
            return LD | IND | size, 0, 0, random.choice([random.randrange(30), 0xFFFFFFFF - random.randrange(30)])
        case "nibble":
            return LDX | MSH | BYTE, 0, 0, random.randrange(60)
        case "length":
            return random.choice([LD | LEN, LDX | LEN]), 0, 0, 0
        case "constant":
            return random.choice([LD | IMM, LDX | IMM]), 0, 0, k
        case "store":
            return random.choice([ST, STX]), 0, 0, random.randrange(3)
        case "memory":
            return random.choice([LD | MEM, LDX | MEM]), 0, 0, random.randrange(3)
        case "move":
            return random.choice([MISC, MISC | TXA]), 0, 0, 0
        case "jump":
            far = max(0, min(left - 2, 8))
            operation = random.choice([JEQ, JGT, JGE, JSET])
            return classic.JMP | operation | random.choice([0, 8]), random.randint(0, far), random.randint(0, far), k
    operation = random.choice([ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR])
    if operation == NEG:
        return classic.ALU | NEG, 0, 0, 0
    if random.random() < 0.4:
        return classic.ALU | operation | 8, 0, 0, 0
    return classic.ALU | operation, 0, 0, k % 32 if operation in (LSH, RSH) else k or 1


# -- eBPF

# the fourth version's, on r1: bswap16, s/=, move and load that extend the sign
V4 = [Insn(ALU64 | END, 1, 0, 0, 16), Insn(ALU64 | DIV, 1, 0, 1, 3), Insn(ALU64 | MOV | 8, 1, 1, 8), Insn(1 | MEMSX, 1, 10, -8)]


def v4_programs():
    """A small program for each instruction of `V4`: a kernel takes all of them or none."""
    start = [Insn(ALU64 | MOV, 1, 0, 0, 7), Insn(EBPF_STX | 0x60 | 0x18, 10, 1, -8), Insn(ALU64 | MOV, 0, 0, 0, 1)]
    return [[*start, insn, Insn(JMP | EXIT)] for insn in V4]


class Programs:
    """Makes random programs of a type; r9 of an xdp program is the packet, r6 of a socket filter its context.

    Without `v4` they have none of the instructions that the fourth version of the instruction set brought: bswap, signed
    division, loads and moves that extend the sign.
    """

    def __init__(self, random, kind, v4=True):
        self.random, self.kind, self.v4 = random, kind, v4
        self.registers = [0, 1, 2, 3, 4, 5, 6, 7, 8] if kind == "xdp" else [0, 1, 2, 3, 4, 5, 7, 8, 9]

    def make(self, length=40, end=()):
        """One program; `end` stands before its last instructions."""
        code = self._start()
        for register in self.registers:
            code += self._wide(register)
        for slot in range(8):
            code.append(Insn(EBPF_STX | 0x60 | 0x18, 10, self.random.choice(self.registers), -64 + 8 * slot))
        callee = []
        if self.random.random() < 0.3:
            callee = [Insn(ALU64 | MOV | 8, 0, 1), *self._body(4, [0, 1, 2, 3, 4, 5]), Insn(JMP | EXIT)]
        call_at = None
        code += self._body(length // 2, self.registers)
        if callee:
            call_at = len(code)
            code.append(Insn(JMP | CALL, 0, 1))
            code += [Insn(ALU64 | MOV, register, 0, 0, self._constant()) for register in range(1, 6)]
        code += self._body(length // 2, self.registers)
        for register in self.registers[1:]:
            code += [Insn(ALU64 | MUL, 0, 0, 0, 1000003), Insn(ALU64 | XOR | 8, 0, register)]
        for slot in range(8):
            code += [Insn(1 | 0x60 | 0x18, 1, 10, -64 + 8 * slot), Insn(ALU64 | MUL, 0, 0, 0, 31), Insn(ALU64 | XOR | 8, 0, 1)]
        code += [Insn(ALU64 | MOV | 8, 1, 0), Insn(ALU64 | RSH, 1, 0, 0, 32), Insn(ALU64 | XOR | 8, 0, 1), *end, Insn(JMP | EXIT)]
        if callee:
            code[call_at] = code[call_at]._replace(imm=len(code) - call_at - 1)
            # the callee has a stack of its own, which the body writes before it reads
            slots = [Insn(EBPF_STX | 0x60 | 0x18, 10, 1, -64 + 8 * slot) for slot in range(8)]
            code += [*[Insn(ALU64 | MOV, register, 0, 0, self._constant()) for register in (2, 3, 4, 5)], *slots, *callee]
        return code

    def _start(self):
        if self.kind != "xdp":
            return [Insn(ALU64 | MOV | 8, 6, 1)]
        return [
            Insn(1 | 0x60, 9, 1, 0),
            Insn(1 | 0x60, 2, 1, 4),
            Insn(ALU64 | MOV | 8, 3, 9),
            Insn(ALU64 | ADD, 3, 0, 0, 64),
            Insn(JMP | JLE | 8, 3, 2, 2),
            Insn(ALU64 | MOV, 0, 0, 0, 7),
            Insn(JMP | EXIT),
        ]

    def _constant(self):
        return signed32(self.random.choice([self.random.choice(ODD), self.random.getrandbits(32)]))

    def _wide(self, register):
        value = self.random.choice([self.random.choice(WIDE_ODD), self.random.getrandbits(64)]) & (1 << 64) - 1
        return [Insn(LD_IMM64, register, 0, 0, signed32(value)), Insn(0, 0, 0, 0, signed32(value >> 32))]

    def _body(self, length, registers):
        code = []
        while len(code) < length:
            code += self._one(registers)
        return code

    def _one(self, registers):
        choose = self.random.choice
        kind = choose("alu alu alu alu alu alu neg swap wide store load load atomic packet jump jump".split())
        dst, src, cls = choose(registers), choose(registers), choose([ALU, ALU64])
        whole = choose([0x00, 0x08, 0x10, 0x18])
        place = lambda size: -64 + self.random.randrange(64 // SIZES[size]) * SIZES[size]  # noqa: E731
        match kind:
            case "alu":
                return [self._alu(cls, dst, src)]
            case "neg":
                return [Insn(cls | NEG, dst)]
            case "swap":
                return [Insn(choose([ALU | END, ALU | END | 8, *([ALU64 | END] if self.v4 else [])]), dst, 0, 0, choose([16, 32, 64]))]
            case "wide":
                return self._wide(dst)
            case "store":
                if choose([True, False]):
                    return [Insn(EBPF_ST | 0x60 | whole, 10, 0, place(whole), self._constant())]
                return [Insn(EBPF_STX | 0x60 | whole, 10, src, place(whole))]
            case "load":
                if choose([True, False]) or whole == 0x18 or not self.v4:
                    return [Insn(1 | 0x60 | whole, dst, 10, place(whole))]
                return [Insn(1 | MEMSX | whole, dst, 10, place(whole))]
            case "atomic":
                size = choose([0x00, 0x18])
                plain = choose([ADD, OR, AND, XOR])
                return [Insn(EBPF_STX | ATOMIC | size, 10, src, place(size), choose([plain, plain | FETCH, XCHG, CMPXCHG]))]
            case "packet":
                return self._packet(dst, whole, registers)
        inner = self._body(self.random.randrange(1, 5), registers)
        operation = choose([JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE])
        if choose([True, False]):
            return [Insn(choose([JMP, JMP32]) | operation | 8, dst, src, len(inner)), *inner]
        return [Insn(choose([JMP, JMP32]) | operation, dst, 0, len(inner), self._constant()), *inner]

    def _alu(self, cls, dst, src):
        operation = self.random.choice([ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, MOD, XOR, MOV, ARSH])
        off = self.random.choice([0, 1]) if self.v4 and operation in (DIV, MOD) else 0
        if self.random.random() < 0.5:
            if self.v4 and operation == MOV:
                off = self.random.choice([0, 8, 16, *([32] if cls == ALU64 else [])])
            return Insn(cls | operation | 8, dst, src, off)
        constant = self._constant()
        if operation in (LSH, RSH, ARSH):
            constant = self.random.randrange(32 if cls == ALU else 64)
        return Insn(cls | operation, dst, 0, off, constant or 1)

    def _packet(self, dst, size, registers):
        if 6 in registers and self.kind == "xdp":
            at = self.random.randrange(56)
            return [Insn(EBPF_STX | 0x60 | size, 9, dst, at) if self.random.random() < 0.3 else Insn(1 | 0x60 | size, dst, 9, at)]
        if 7 not in registers or size == 0x18:
            return [Insn(ALU64 | MOV | 8, dst, dst)]
        again = [Insn(ALU64 | MOV, register, 0, 0, self._constant()) for register in range(1, 6)]
        if self.random.random() < 0.5:
            return [Insn(0x20 | size, 0, 0, 0, self.random.randrange(80)), *again]
        # the verifier forgets r1 to r5 at such a load, and so does the program
        return [Insn(ALU64 | MOV, 7, 0, 0, self.random.randrange(60)), Insn(0x40 | size, 0, 7, 0, self.random.randrange(40)), *again]
