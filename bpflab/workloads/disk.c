/* A disk writer: blocks into a file without a name, now and then an fsync, which waits for the disk. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define LARGEST (8 << 20)

NOINLINE int append(int fd, const char *block, int size)
{
    return write(fd, block, size);
}

NOINLINE int flush(int fd)
{
    return fsync(fd);
}

int main(int argc, char **argv)
{
    int block = argc > 1 ? atoi(argv[1]) : 16384, rate = argc > 2 ? atoi(argv[2]) : 100;
    const char *folder = argc > 3 ? argv[3] : "/var/tmp";
    struct timespec pause = { .tv_sec = rate == 1, .tv_nsec = rate > 1 ? 1000000000 / rate : 0 };
    int fd = open(folder, O_TMPFILE | O_RDWR, 0600); /* it is gone with its last descriptor, however we end */
    char name[4096], *data = malloc(block);

    if (fd < 0) { /* a file system without O_TMPFILE */
        snprintf(name, sizeof(name), "%s/bpflab-disk-XXXXXX", folder);
        fd = mkstemp(name);
        if (fd >= 0)
            unlink(name);
    }
    if (fd < 0 || !data) {
        fprintf(stderr, "cannot write in %s: %s\n", folder, strerror(errno));
        return 1;
    }
    memset(data, 'x', block);
    printf("running\n");
    fflush(stdout);
    for (long n = 1;; n++) {
        if (append(fd, data, block) != block || lseek(fd, 0, SEEK_CUR) > LARGEST)
            lseek(fd, 0, SEEK_SET);
        if (n % 10 == 0)
            flush(fd);
        if (rate)
            nanosleep(&pause, NULL);
    }
}
