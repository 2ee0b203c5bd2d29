/* System calls as fast as the kernel takes them, or at a rate: THREADS SECONDS RATE (a second, of all threads; 0: no pause).
 * Prints the calls that were made, the seconds, and its pid.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double seconds, rate;

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *storm(void *calls)
{
    double start = now(), at;
    unsigned long made = 0;
    struct timespec nap = { .tv_nsec = 500000 };

    while ((at = now() - start) < seconds) {
        unsigned long due = rate ? (unsigned long)(at * rate) : made + 256;

        if (made >= due)
            nanosleep(&nap, NULL);
        for (; made < due; made++)
            syscall(SYS_getppid);
    }
    *(unsigned long *)calls = made;
    return NULL;
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    unsigned long calls[64] = { 0 }, sum = 0;
    pthread_t ids[64];
    double start;

    if (argc < 4 || threads < 1 || threads > 64)
        return 2;
    seconds = atof(argv[2]);
    rate = atof(argv[3]) / threads;
    start = now();
    for (int i = 0; i < threads; i++)
        if (pthread_create(&ids[i], NULL, storm, &calls[i]))
            return 1;
    for (int i = 0; i < threads; i++) {
        pthread_join(ids[i], NULL);
        sum += calls[i];
    }
    printf("%lu %f %d\n", sum, now() - start, getpid());
    return 0;
}
