"""Exercise 04-flame-graph: which function burns the time, and which one sleeps."""

import random

from . import Hint, call

SECTION = "4.7"
TASK = "the culprits on the CPU and off it"

_WORDS = ["parse", "render", "filter", "encode", "lookup", "verify", "collect", "merge", "pack", "score"]
# nap() sleeps through the libc, which may hide its direct caller; so the sleepers call nap()
_PROGRAM = """
#include <time.h>
#define NOINLINE __attribute__((noinline))
static volatile unsigned long sum;

NOINLINE void nap(long us)
{
	struct timespec t = { .tv_nsec = us * 1000 };

	nanosleep(&t, NULL);
	sum++;
}

NOINLINE void HOT(int rounds)
{
	for (int i = 0; i < rounds; i++)
		sum += i;
}

NOINLINE void WARM(void)
{
	for (int i = 0; i < 400000; i++)
		sum += i;
	HOT(4000000);
}

NOINLINE void OFTEN(void)
{
	for (int i = 0; i < 4; i++)
		nap(300);
	sum++;
}

NOINLINE void LONG(void)
{
	nap(12000);
	sum++;
}

NOINLINE void turn(void)
{
	WARM();
	OFTEN();
	LONG();
	sum++;
}

int main(void)
{
	for (;;)
		turn();
}
"""


def check(lab, answer):
    for _ in range(2):
        hot, warm, often, long = random.sample(_WORDS, 4)
        text = _PROGRAM.replace("HOT", hot).replace("WARM", warm).replace("OFTEN", often).replace("LONG", long)
        build = 'd=$(mktemp -d) && gcc -x c -g -O1 -fno-omit-frame-pointer -o "$d/patient" - && echo "$d/patient"'
        with lab.spawn([lab.sh(build, input=text).stdout.strip()]) as patient:
            found = call(answer, lab, patient.pid)
        if not isinstance(found, (tuple, list)) or len(found) != 2:
            raise Hint("answer(lab, pid) returns two names: of the function that burns the CPU, and of the one that sleeps", repr(found))
        burns, sleeps = found
        seen = f"it burns in '{hot}', called by '{warm}'; it sleeps long in '{long}', and often in '{often}'; your answer says {found!r}"
        if (burns, sleeps) == (long, hot):
            raise Hint("the two names are in the wrong order: first the one that burns the CPU, then the one that sleeps", seen)
        if burns != hot:
            raise _not_hot(burns, warm, seen)
        if sleeps != long:
            raise _not_long(sleeps, often, seen)


def _not_hot(burns, warm, seen):
    if burns in (warm, "turn", "main", "_start", "__libc_start_call_main", "__libc_start_main", "__libc_start_main_impl"):
        return Hint(
            "on the CPU you name a function that only called the culprit: 'total' has what a function called as well, 'own' is its own",
            seen,
        )
    return Hint("the first name is not the function in which the CPU time is spent", seen)


def _not_long(sleeps, often, seen):
    if sleeps == often:
        return Hint("off the CPU you name the function that sleeps most often, not the longest: weigh stacks by 'us', not by 'waits'", seen)
    if sleeps in ("nap", "turn", "main"):
        return Hint("off the CPU you name a function that all sleeps have in common: the one of interest is called by turn()", seen)
    return Hint("the second name is not the function that sleeps longest: lab.offcpu sees what waits, lab.profile does not", seen)
