// The least that reading a map can cost: one bpf_map_lookup_batch, into memory that is then left alone.
// Usage: map_batch PIN ENTRIES. Prints seconds.
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

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
	int fd = bpf_obj_get(argv[1]);
	unsigned int entries = atoi(argv[2]), count = entries;
	char *keys = malloc(20L * entries), *values = malloc(16L * entries);
	unsigned long cursor = 0;
	double start = now();
	// the end of the map is reported as ENOENT, with count filled in
	bpf_map_lookup_batch(fd, NULL, &cursor, keys, values, &count, NULL);
	double taken = now() - start;
	if (fd < 0 || count != entries) {
		fprintf(stderr, "read %u of %u entries of %s\n", count, entries, argv[1]);
		return 1;
	}
	printf("%.9f\n", taken);
	return 0;
}
