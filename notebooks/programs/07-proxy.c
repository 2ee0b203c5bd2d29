/* A proxy: 07-proxy ADDRESS PORT BACKEND... listens there, and hands each connection to the next back end in turn. */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct sockaddr_in backend[16];
static int backends;

static struct sockaddr_in place(const char *address, int port)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons(port)};

	if (inet_pton(AF_INET, address, &in.sin_addr) != 1)
		exit(2);
	return in;
}

/* Both directions of one connection, until either end closes. */
static void *carry(void *arg)
{
	static int turn;
	int number = __sync_fetch_and_add(&turn, 1) % backends, one = 1;
	int end[2] = {(int)(long)arg, socket(AF_INET, SOCK_STREAM, 0)};
	struct pollfd ready[2] = {{end[0], POLLIN, 0}, {end[1], POLLIN, 0}};
	char bytes[65536];

	for (int i = 0; i < 2; i++)
		setsockopt(end[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(end[1], (void *)&backend[number], sizeof(backend[number])))
		goto out;
	while (poll(ready, 2, -1) > 0)
		for (int i = 0; i < 2; i++) {
			ssize_t some;

			if (!ready[i].revents)
				continue;
			some = read(end[i], bytes, sizeof(bytes));
			if (some <= 0 || write(end[1 - i], bytes, some) != some)
				goto out;
		}
out:
	close(end[0]);
	close(end[1]);
	return NULL;
}

int main(int argc, char **argv)
{
	struct sockaddr_in mine;
	int door = socket(AF_INET, SOCK_STREAM, 0), one = 1, guest;
	pthread_t thread;

	if (argc < 4 || argc - 3 > 16)
		return 2;
	mine = place(argv[1], atoi(argv[2]));
	for (int i = 3; i < argc; i++)
		backend[backends++] = place(argv[i], atoi(argv[2]));
	signal(SIGPIPE, SIG_IGN);
	setsockopt(door, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(door, (void *)&mine, sizeof(mine)) || listen(door, 1024)) {
		perror("07-proxy");
		return 1;
	}
	puts("ready");
	fflush(stdout);
	while ((guest = accept(door, NULL, NULL)) >= 0)
		if (pthread_create(&thread, NULL, carry, (void *)(long)guest))
			close(guest);
		else
			pthread_detach(thread);
	return 1;
}
