// The least that running a program on packets can cost: one BPF_PROG_TEST_RUN for each, with repeat.
// Usage: packet_runs PROGRAM_ID PACKETS SIZE REPEAT. Prints seconds.
#include <bpf/bpf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	int fd = bpf_prog_get_fd_by_id(atoi(argv[1]));
	unsigned int packets = atoi(argv[2]), size = atoi(argv[3]);
	unsigned char *in = calloc(packets, size), *out = malloc(size + 4096);
	for (unsigned int i = 0; i < packets; i++)
		memcpy(in + (size_t)i * size, &i, sizeof(i));
	double start = now();
	for (unsigned int i = 0; i < packets; i++) {
		LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = in + (size_t)i * size, .data_size_in = size, .data_out = out,
			    .data_size_out = size + 4096, .repeat = atoi(argv[4]));
		if (bpf_prog_test_run_opts(fd, &run)) {
			perror("bpf_prog_test_run_opts");
			return 1;
		}
	}
	printf("%.9f\n", now() - start);
	return 0;
}
