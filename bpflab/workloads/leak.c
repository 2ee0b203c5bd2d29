/* A program that forgets: of what it allocates, one kind is never freed. Which one, and from where, is for a tracer to find out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define NOINLINE __attribute__((noinline))

/* small and static: the compiler copies it into its caller */
static inline unsigned int checksum(const char *text)
{
    unsigned int sum = 0;

    while (*text)
        sum = sum * 31 + *text++;
    return sum;
}

struct entry {
    struct entry *next;
    unsigned int sum;
    char text[220];
};
static struct entry *cache[64];

NOINLINE struct entry *cache_add(const char *text)
{
    struct entry *e = malloc(sizeof(*e)), **place;

    if (!e)
        return NULL;
    strncpy(e->text, text, sizeof(e->text) - 1);
    e->sum = checksum(e->text);
    place = &cache[e->sum % 64];
    e->next = *place;
    *place = e; /* and nobody ever takes it out */
    return e;
}

NOINLINE char *read_line(int number)
{
    char *line = malloc(128);

    if (line)
        snprintf(line, 128, "line %d", number);
    return line;
}

NOINLINE int parse_line(int number)
{
    char *line = read_line(number);
    int length = line ? strlen(line) : 0;

    if (line && number % 4 == 0)
        cache_add(line);
    free(line);
    return length;
}

int main(int argc, char **argv)
{
    int rate = argc > 1 ? atoi(argv[1]) : 200;
    struct timespec pause = { .tv_sec = rate == 1, .tv_nsec = rate > 1 ? 1000000000 / rate : 0 };

    printf("running\n");
    fflush(stdout);
    for (int number = 0;; number++) {
        parse_line(number);
        if (rate)
            nanosleep(&pause, NULL);
    }
}
