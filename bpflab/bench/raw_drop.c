/* Reads packets of an interface through a packet socket and does nothing with them: a filter in user space that drops all.
 * raw_drop INTERFACE IDLE_MS: ends when nothing came for so long; prints how many packets came, and the seconds that this took. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

#define BATCH 256

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

int main(int argc, char **argv)
{
	static char room[BATCH][2048];
	static struct iovec parts[BATCH];
	static struct mmsghdr messages[BATCH];
	struct sockaddr_ll address = { .sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL) };
	int fd, size = 64 << 20, idle, got;
	double first = 0, last = 0;
	long seen = 0;

	if (argc != 3)
		return 2;
	address.sll_ifindex = if_nametoindex(argv[1]);
	idle = atoi(argv[2]);
	fd = socket(AF_PACKET, SOCK_RAW, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address))) {
		perror("bind");
		return 1;
	}
	for (int i = 0; i < BATCH; i++) {
		parts[i] = (struct iovec){ room[i], sizeof(room[i]) };
		messages[i].msg_hdr.msg_iov = &parts[i];
		messages[i].msg_hdr.msg_iovlen = 1;
	}
	puts("ready");
	fflush(stdout);
	for (;;) {
		struct pollfd wait = { fd, POLLIN, 0 };

		if (poll(&wait, 1, seen ? idle : 60000) <= 0)
			break;
		if (!seen)
			first = now();
		got = recvmmsg(fd, messages, BATCH, MSG_DONTWAIT, NULL);
		if (got > 0) {
			seen += got;
			last = now();
		}
	}
	printf("%ld %.6f\n", seen, last - first);
	return 0;
}
