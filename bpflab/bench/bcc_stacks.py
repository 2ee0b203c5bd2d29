"""What a reader would write with BCC: count samples by their stacks, then name each distinct stack. Prints seconds.

Arguments: a pid, a file of distinct stacks ("user addresses;kernel addresses", the innermost first), a file of u32
indices, one for each sample, and a file for the folded stacks.
"""

import array
import sys
import time
from collections import Counter

sys.path.append("/usr/lib/python3/dist-packages")  # last: only BCC comes from there
from bcc import BPF

pid, distinct_file, samples_file, out = int(sys.argv[1]), *sys.argv[2:]
distinct = []
for line in open(distinct_file):
    user, kernel = line.split(";")
    distinct.append((tuple(map(int, user.split())), tuple(map(int, kernel.split()))))
indices = array.array("I")
with open(samples_file, "rb") as file:
    indices.frombytes(file.read())
samples = [distinct[i] for i in indices]
b = BPF(text="int unused(void *ctx) { return 0; }")

start = time.perf_counter()
folded = Counter()
for (user, kernel), count in Counter(samples).items():
    names = [b.sym(address, pid).decode() for address in reversed(user)] + [b.ksym(address).decode() for address in reversed(kernel)]
    folded[";".join(names)] += count
print(time.perf_counter() - start)
with open(out, "w") as file:
    file.writelines(f"{line} {count}\n" for line, count in folded.items())
