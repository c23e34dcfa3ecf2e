/* SPDX-License-Identifier: MIT */
/*
 * A TCP service and its load, for the benchmark's traffic section.
 *
 *   load serve PORT                    answers what comes in on each connection: 'b' and all after it is swallowed,
 *                                      anything else is sent back
 *   load bulk ADDRESS PORT MS          one connection that sends as fast as it can; prints bytes acknowledged a second
 *   load ask ADDRESS PORT MS BYTES     one connection that sends BYTES and waits for them to come back, again and
 *                                      again; prints how often a second, and the 50th, 99th and 99.9th percentile of
 *                                      the time it took, in microseconds
 */
#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void check(int holds, const char *what)
{
	if (holds)
		return;
	perror(what);
	exit(1);
}

static double now_us(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

static void *answer(void *argument)
{
	int fd = (int)(long)argument, one = 1;
	static __thread char buffer[1 << 18];
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	ssize_t n = read(fd, buffer, sizeof(buffer));
	int swallow = n > 0 && buffer[0] == 'b';
	for (; n > 0; n = read(fd, buffer, sizeof(buffer)))
		if (!swallow && write(fd, buffer, n) != n)
			break;
	close(fd);
	return NULL;
}

static void serve(int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	check(!bind(fd, (struct sockaddr *)&at, sizeof(at)) && !listen(fd, 64), "listen");
	puts("listening");
	fflush(stdout);
	for (;;) {
		pthread_t thread;
		int connection = accept(fd, NULL, NULL);
		check(connection >= 0, "accept");
		check(!pthread_create(&thread, NULL, answer, (void *)(long)connection), "pthread_create");
		pthread_detach(thread);
	}
}

static int open_to(const char *address, int port)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, address, &to.sin_addr);
	check(!connect(fd, (struct sockaddr *)&to, sizeof(to)), "connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

static void bulk(int fd, double ms)
{
	static char buffer[1 << 17];
	memset(buffer, 'b', sizeof(buffer));
	double start = now_us(), sent = 0;
	while (now_us() - start < ms * 1000) {
		ssize_t n = write(fd, buffer, sizeof(buffer));
		check(n > 0, "write");
		sent += n;
	}
	int queued = 0;
	ioctl(fd, SIOCOUTQ, &queued);
	printf("%.0f\n", (sent - queued) / ((now_us() - start) / 1e6));
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static void ask(int fd, double ms, int bytes)
{
	char *buffer = malloc(bytes);
	size_t room = 1 << 22, count = 0;
	double *took = malloc(room * sizeof(*took)), start = now_us();
	memset(buffer, 'a', bytes);
	while (now_us() - start < ms * 1000 && count < room) {
		double before = now_us();
		check(write(fd, buffer, bytes) == bytes, "write");
		for (int got = 0; got < bytes;) {
			ssize_t n = read(fd, buffer + got, bytes - got);
			check(n > 0, "read");
			got += n;
		}
		took[count++] = now_us() - before;
	}
	double seconds = (now_us() - start) / 1e6;
	qsort(took, count, sizeof(*took), compare);
	printf("%.0f %.2f %.2f %.2f\n", count / seconds, took[count / 2], took[count * 99 / 100], took[count * 999 / 1000]);
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	else if (argc == 5 && !strcmp(argv[1], "bulk"))
		bulk(open_to(argv[2], atoi(argv[3])), atof(argv[4]));
	else if (argc == 6 && !strcmp(argv[1], "ask"))
		ask(open_to(argv[2], atoi(argv[3])), atof(argv[4]), atoi(argv[5]));
	else
		return 64;
	return 0;
}
