"""What a reader would write with BCC: a pinned map to a DataFrame. Prints seconds."""

import sys
import time

sys.path.append("/usr/lib/python3/dist-packages")  # last: only BCC comes from there
from bcc import BPF
from pandas import DataFrame

how, path = sys.argv[1:]
TEXT = """
struct key_t { u32 saddr, daddr; u16 sport, dport; u32 proto, zone; };
struct value_t { u64 packets, bytes; };
BPF_TABLE_PINNED("hash", struct key_t, struct value_t, flows, 100000, "PATH");
""".replace("PATH", path)
table = BPF(text=TEXT)["flows"]


def rows():
    pairs = table.items() if how == "items" else table.items_lookup_batch()
    return [(k.saddr, k.daddr, k.sport, k.dport, k.proto, k.zone, v.packets, v.bytes) for k, v in pairs]


start = time.perf_counter()
frame = DataFrame(rows())
taken = time.perf_counter() - start
assert len(frame) == 100_000, len(frame)
print(taken)
