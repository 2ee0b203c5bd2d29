/* A fight for a lock: several threads want it, one of them keeps it too long. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static volatile unsigned long counter;

NOINLINE void nap(long us)
{
    struct timespec t = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

    nanosleep(&t, NULL);
}

NOINLINE void hold_short(void)
{
    pthread_mutex_lock(&lock);
    counter++;
    pthread_mutex_unlock(&lock);
}

/* sleeps with the lock in its hand */
NOINLINE void hold_long(void)
{
    pthread_mutex_lock(&lock);
    nap(5000);
    counter++;
    pthread_mutex_unlock(&lock);
}

NOINLINE void *modest(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "modest");
    for (;;) {
        hold_short();
        nap(500);
    }
}

NOINLINE void *greedy(void *unused)
{
    (void)unused;
    prctl(PR_SET_NAME, "greedy");
    for (;;) {
        hold_long();
        nap(2000);
    }
}

int main(int argc, char **argv)
{
    int threads = argc > 1 ? atoi(argv[1]) : 4;
    pthread_t one;

    for (int i = 0; i < threads; i++)
        if (pthread_create(&one, NULL, i ? modest : greedy, NULL))
            return 1;
    printf("running\n");
    fflush(stdout);
    pthread_join(one, NULL);
    return 0;
}
