/* A slow web server, and a visitor of its own: GET /, /search, /report on a port of 127.0.0.1.
 *
 * USDT probes: web:request__start(path, id), web:request__done(path, id, ns, status).
 * What is slow, and why, is for a tracer to find out.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sdt.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static unsigned long now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000ul + t.tv_nsec;
}

NOINLINE unsigned long burn(unsigned long rounds)
{
    volatile unsigned long sum = 0;

    for (unsigned long i = 0; i < rounds; i++)
        sum += i * i;
    return sum;
}

/* reads its template anew for every page */
NOINLINE int read_template(char *into, int size)
{
    int fd = open("/etc/os-release", O_RDONLY), n;

    if (fd < 0)
        return 0;
    n = read(fd, into, size);
    close(fd);
    return n < 0 ? 0 : n;
}

NOINLINE int page_index(char *body, int size)
{
    return read_template(body, size);
}

NOINLINE int page_search(char *body, int size)
{
    burn(200000);
    return snprintf(body, size, "found nothing\n");
}

NOINLINE int page_report(char *body, int size)
{
    struct timespec nap = { .tv_nsec = 15000000 };

    nanosleep(&nap, NULL);
    return snprintf(body, size, "report\n");
}

NOINLINE int handle_request(int client, int id)
{
    char request[1024], path[64] = "?", body[4096], head[128];
    int status = 200, size, n = read(client, request, sizeof(request) - 1);
    unsigned long start = now_ns();

    if (n <= 0)
        return -1;
    request[n] = 0;
    sscanf(request, "GET %63s", path);
    DTRACE_PROBE2(web, request__start, path, id);
    if (!strcmp(path, "/"))
        size = page_index(body, sizeof(body));
    else if (!strcmp(path, "/search"))
        size = page_search(body, sizeof(body));
    else if (!strcmp(path, "/report"))
        size = page_report(body, sizeof(body));
    else
        status = 404, size = snprintf(body, sizeof(body), "no such page\n");
    n = snprintf(head, sizeof(head), "HTTP/1.0 %d\r\nContent-Length: %d\r\n\r\n", status, size);
    if (write(client, head, n) != n || write(client, body, size) != size)
        status = 499;
    DTRACE_PROBE4(web, request__done, path, id, now_ns() - start, status);
    return status;
}

static struct sockaddr_in address = { .sin_family = AF_INET };
static int rate;

static void *visit(void *unused)
{
    static const char *paths[] = { "/", "/search", "/", "/report", "/", "/missing", "/", "/search" };
    struct timespec pause = { .tv_sec = rate == 1, .tv_nsec = rate > 1 ? 1000000000 / rate : 0 };

    (void)unused;
    for (unsigned int i = 0;; i++) {
        int s = socket(AF_INET, SOCK_STREAM, 0);
        char buffer[4096];

        if (s >= 0 && !connect(s, (struct sockaddr *)&address, sizeof(address))) {
            int n = snprintf(buffer, sizeof(buffer), "GET %s HTTP/1.0\r\n\r\n", paths[i % 8]);

            if (write(s, buffer, n) == n)
                while (read(s, buffer, sizeof(buffer)) > 0)
                    ;
        }
        if (s >= 0)
            close(s);
        nanosleep(&pause, NULL);
    }
}

int main(int argc, char **argv)
{
    int s = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    socklen_t size = sizeof(address);
    pthread_t visitor;

    rate = argc > 1 ? atoi(argv[1]) : 50;
    address.sin_port = htons(argc > 2 ? atoi(argv[2]) : 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes)); /* a port of a server that has just ended is free */
    if (s < 0 || bind(s, (struct sockaddr *)&address, sizeof(address)) || listen(s, 64) ||
        getsockname(s, (struct sockaddr *)&address, &size)) {
        fprintf(stderr, "cannot listen: %s\n", strerror(errno));
        return 1;
    }
    if (rate && pthread_create(&visitor, NULL, visit, NULL))
        return 1;
    printf("running port=%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (int id = 1;; id++) {
        int client = accept(s, NULL, NULL);

        if (client < 0)
            continue;
        handle_request(client, id);
        close(client);
    }
}
