/* Something to be traced, many times: MODE CALLS. Prints nanoseconds for one, of the fastest of twenty stretches.
 *
 * MODE is syscall (close of nothing), function (traced_function) or usdt (calls:fired).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sdt.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define STRETCHES 20

/* with a frame, and so with a push at its entry, as most functions have: the kernel emulates that, while an instruction that it
 * has to single-step costs twenty times as much */
__attribute__((noinline)) int traced_function(int number)
{
    volatile int kept = number;

    return kept;
}

static double now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv)
{
    long calls = argc > 2 ? atol(argv[2]) / STRETCHES : 0;
    double best = 0;

    if (calls < 1)
        return 2;
    for (int stretch = 0; stretch < STRETCHES; stretch++) {
        double start = now_ns(), taken;

        if (!strcmp(argv[1], "syscall"))
            for (long i = 0; i < calls; i++)
                syscall(SYS_close, -1);
        else if (!strcmp(argv[1], "function"))
            for (long i = 0; i < calls; i++)
                traced_function(i);
        else if (!strcmp(argv[1], "usdt"))
            for (long i = 0; i < calls; i++)
                DTRACE_PROBE1(calls, fired, i);
        else
            return 2;
        taken = (now_ns() - start) / calls;
        if (!stretch || taken < best)
            best = taken;
    }
    printf("%f\n", best);
    return 0;
}
