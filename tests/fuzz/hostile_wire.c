/* SPDX-License-Identifier: BSD-3-Clause */
#include "hostile_wire.h"

#include "fuzz.h"

#include <errno.h>
#include <libnbd.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* No run needs as many: more is a loop that does not end. */
#define MAX_POLLS 100000u

static const struct wire_server *server; /* NULL: no run */
static uint64_t now_ns;
static unsigned polls;

static int fd = -1; /* the server's end */
static uint8_t *unsaid;
static size_t nr_unsaid, room;
static size_t limit = SIZE_MAX;

/* Linked in place of what the library calls: see WRAP in CMakeLists.txt. */
int __wrap_nbd_aio_connect_uri(struct nbd_handle *nbd, const char *uri);
uint64_t __wrap_thin_now_ns(void);
uint64_t __real_thin_now_ns(void);

void wire_hang_up(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
	nr_unsaid = 0;
	limit = SIZE_MAX;
}

void wire_limit(size_t bytes)
{
	limit = bytes;
}

void wire_begin(const struct wire_server *s)
{
	server = s;
	now_ns = UINT64_C(1000000000);
	polls = 0;
}

void wire_end(void)
{
	wire_hang_up();
	server = NULL;
}

uint64_t __wrap_thin_now_ns(void)
{
	return server ? now_ns : __real_thin_now_ns();
}

int __wrap_nbd_aio_connect_uri(struct nbd_handle *nbd, const char *uri)
{
	int pair[2];

	(void)uri;
	wire_hang_up();
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair))
		abort();
	fd = pair[0];
	if (server->accept())
		return nbd_aio_connect_socket(nbd, pair[1]);
	close(pair[1]);
	wire_hang_up();
	return -1;
}

/* As much of the queue as the socket takes. */
static void push(void)
{
	ssize_t n;

	if (fd < 0 || !nr_unsaid)
		return;
	n = send(fd, unsaid, nr_unsaid, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN) {
		nr_unsaid = 0;
	} else if (n > 0) {
		nr_unsaid -= (size_t)n;
		memmove(unsaid, unsaid + n, nr_unsaid);
	}
}

void wire_say(const void *bytes, size_t len)
{
	if (len > limit)
		len = limit;
	limit -= limit == SIZE_MAX ? 0 : len;
	if (nr_unsaid + len > room) {
		room = 2 * (nr_unsaid + len);
		unsaid = realloc(unsaid, room);
		if (!unsaid)
			abort();
	}
	if (len)
		memcpy(unsaid + nr_unsaid, bytes, len);
	nr_unsaid += len;
	push();
}

size_t wire_hear(void *buf, size_t len)
{
	ssize_t n = fd < 0 ? 0 : recv(fd, buf, len, MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* The system's. */
static int real_poll(struct pollfd *fds, nfds_t nr, int timeout_ms)
{
	struct timespec t = {.tv_sec = timeout_ms / 1000,
			     .tv_nsec = timeout_ms % 1000 * 1000000L};

	return (int)syscall(SYS_ppoll, fds, nr, timeout_ms < 0 ? NULL : &t, NULL, 0);
}

/* Seen by libnbd too, which waits by itself while changes are made again. */
__attribute__((visibility("default"))) int poll(struct pollfd *fds, nfds_t nr,
						int timeout_ms)
{
	int r;

	if (!server)
		return real_poll(fds, nr, timeout_ms);
	for (;;) {
		bool more = true;

		MUST(++polls < MAX_POLLS);
		push();
		r = nr ? real_poll(fds, nr, 0) : 0;
		if (r || !timeout_ms)
			return r;
		if (nr)
			more = server->turn();
		r = nr ? real_poll(fds, nr, 0) : 0;
		if (r)
			return r;
		if (timeout_ms > 0) {
			now_ns += (uint64_t)timeout_ms * 1000000;
			return 0;
		}
		if (!more)
			wire_hang_up();
	}
}
