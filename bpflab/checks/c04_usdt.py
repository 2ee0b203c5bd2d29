"""Exercise 04-usdt: rows by query, from the arguments of a USDT probe."""

import json
import random
import secrets

from . import Hint, load

SECTION = "4.6"
TASK = "rows by query, from a USDT probe"

_LONGEST = 32  # bytes of a query in a key
# passes the probe as its arguments say: pairs of a query and its rows
_SHOP = """
#include <stdlib.h>
#include <sys/sdt.h>

int main(int argc, char **argv)
{
	for (int i = 1; i + 2 < argc; i += 3) {
		int rows = atoi(argv[i + 1]);
		unsigned long ns = strtoul(argv[i + 2], NULL, 10);
		char *text = argv[i];

		asm volatile("" : "+r"(text)); /* in a register: libbpf 1.1 cannot read an argument at an index */
		DTRACE_PROBE3(shop, query, text, ns, rows);
	}
	return 0;
}
"""


def check(lab, answer):
    obj = load(lab, answer, programs={"asked": "kprobe"}, maps={"rows": ("hash", "lru_hash")})
    found = obj.maps["rows"]
    if (found.key_type.size, found.value_type.size) != (_LONGEST, 8):
        raise Hint("the key of 'rows' is struct query (32 bytes of text), its value a __u64")
    queries = [secrets.token_hex(random.randrange(3, 14)) for _ in range(5)]
    calls = [(query, random.randrange(1, 500)) for query in queries for _ in range(random.randrange(3, 7))]
    calls += [(query, -1) for query in queries for _ in range(2)]
    random.shuffle(calls)
    binary = _built(lab)
    with obj.programs["asked"].attach_usdt(binary, "shop", "query"):
        lab.sh([binary, *(str(word) for query, rows in calls for word in (query, rows, random.randrange(1 << 20, 1 << 30)))])
    table = {key if isinstance(key, str) else key[0]: value for key, value in found.items()}
    want = {query: sum(rows for one, rows in calls if one == query and rows >= 0) for query in queries}
    if table == want:
        return
    raise _diagnose(calls, want, table)


def _built(lab):
    return lab.sh('d=$(mktemp -d) && gcc -x c -O1 -o "$d/shop" - && echo "$d/shop"', input=_SHOP).stdout.strip()


def _diagnose(calls, want, table):
    seen = f"queries and rows: {json.dumps(calls)}; in the map: {table}"
    if not table:
        return Hint("the map is empty: a query that comes for the first time finds no entry, and has to make one", seen)
    if set(table) == {""}:
        return Hint(
            "the queries are empty: the text is in the memory of the process, so bpf_probe_read_user_str reads it, and not the "
            "helper for the kernel's memory",
            seen,
        )
    if not set(table) & set(want):
        return Hint("no key is a query: the probe's first argument points to its text", seen)
    of = {query: [rows for one, rows in calls if one == query] for query in want}
    if table == {query: sum(rows & 0xFFFFFFFF for rows in numbers) for query, numbers in of.items()}:
        return Hint("there are sums of thousands of millions: rows is -1 for a query that failed, and an unsigned 4-byte number has no -1", seen)
    if table == {query: sum(rows) for query, rows in of.items()}:
        return Hint("queries that failed are counted: leave out those whose rows are below 0", seen)
    counted = {query: [rows for rows in numbers if rows >= 0] for query, numbers in of.items()}
    if table in ({query: len(rows) for query, rows in counted.items()}, {query: len(rows) for query, rows in of.items()}):
        return Hint("calls are counted, not rows: add the number of rows", seen)
    if _like_times(table):
        return Hint("these are no rows but times: rows is the third argument of the probe", seen)
    if all(table.get(query) in rows for query, rows in of.items()):
        return Hint("only one call of each query counts: add to an entry that is there, instead of writing over it", seen)
    if all(sum(rows) - table.get(query, 0) in rows for query, rows in counted.items()):
        return Hint("one call of each query is missing: the first one finds no entry, and counts as well", seen)
    return Hint("the sums are not those of the rows", seen)


def _like_times(table):
    return all(1 << 20 <= value < 1 << 36 for value in table.values())
