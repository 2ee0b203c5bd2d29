// A libbpf consumer that copies each event into an array. Usage: ring_consumer PIN EVENTS.
// Prints seconds and the number of events that were missing.
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct event {
	unsigned long time_ns;
	unsigned int pid, cpu;
	unsigned long bytes;
};

static struct event *events;
static long count, room;

static int take(void *ctx, void *data, size_t size)
{
	if (count < room && size >= sizeof(*events))
		memcpy(&events[count++], data, sizeof(*events));
	return 0;
}

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	room = atol(argv[2]);
	events = malloc(room * sizeof(*events));
	struct ring_buffer *ring = ring_buffer__new(bpf_obj_get(argv[1]), take, NULL, NULL);
	if (!ring) {
		fprintf(stderr, "%s does not open\n", argv[1]);
		return 1;
	}
	double start = now();
	ring_buffer__consume(ring);
	printf("%.9f %ld\n", now() - start, room - count);
	return 0;
}
