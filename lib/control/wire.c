/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/wire.h"

#include "util/checked.h"
#include "util/limits.h"
#include "util/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define FIRST_BUFFER 65536

/* Lines are queued up to here, and for so long: a system call costs more than a line. */
#define QUEUE_BYTES 65536
#define QUEUE_NS    (UINT64_C(20) * 1000000)

void thin_wire_init(struct thin_wire *w, int fd)
{
	*w = (struct thin_wire){.fd = fd};
	(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

void thin_wire_fini(struct thin_wire *w)
{
	free(w->buf);
	free(w->queue);
	if (w->fd >= 0)
		(void)close(w->fd);
	*w = (struct thin_wire){.fd = -1};
}

static uint64_t deadline_after(int timeout_ms)
{
	return timeout_ms < 0 ? UINT64_MAX
			      : thin_now_ns() + (uint64_t)timeout_ms * 1000000;
}

/* Wait until @events are possible; 0 or -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline_ns)
{
	struct pollfd p = {.fd = fd, .events = events};

	for (;;) {
		int ms = -1;
		if (deadline_ns != UINT64_MAX) {
			uint64_t now = thin_now_ns();
			if (now >= deadline_ns)
				return -ETIMEDOUT;
			ms = (int)thin_min((deadline_ns - now) / 1000000 + 1, INT32_MAX);
		}
		int n = poll(&p, 1, ms);
		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

/* Past @len bytes of @msg that were sent. */
static void advance(struct msghdr *msg, size_t len)
{
	while (msg->msg_iovlen && len >= msg->msg_iov->iov_len) {
		len -= msg->msg_iov->iov_len;
		msg->msg_iov++;
		msg->msg_iovlen--;
	}
	if (!msg->msg_iovlen)
		return;
	msg->msg_iov->iov_base = (char *)msg->msg_iov->iov_base + len;
	msg->msg_iov->iov_len -= len;
}

static int send_all(int fd, struct msghdr *msg, uint64_t deadline_ns)
{
	advance(msg, 0);
	while (msg->msg_iovlen) {
		ssize_t n = sendmsg(fd, msg, MSG_NOSIGNAL);
		if (n >= 0) {
			advance(msg, (size_t)n);
			continue;
		}
		if (errno == EINTR)
			continue;
		if (errno != EAGAIN)
			return -errno;
		int r = wait_for(fd, POLLOUT, deadline_ns);
		if (r)
			return r;
	}
	return 0;
}

static int check_line(const char *json, size_t len)
{
	return len >= THIN_MAX_MESSAGE || memchr(json, '\n', len) ? -EMSGSIZE : 0;
}

int thin_wire_send(struct thin_wire *w, const char *json, size_t len, int timeout_ms)
{
	struct iovec parts[] = {
		{w->queue, w->queued},
		{(char *)json, len},
		{(char *)"\n", 1},
	};
	struct msghdr msg = {.msg_iov = parts, .msg_iovlen = 3};
	uint64_t deadline_ns = deadline_after(timeout_ms);
	int r = check_line(json, len);

	if (r)
		return r;
	w->queued = 0;
	return send_all(w->fd, &msg, deadline_ns);
}

int thin_wire_queue(struct thin_wire *w, const char *json, size_t len, int timeout_ms)
{
	uint64_t now = thin_now_ns();
	int r = check_line(json, len);

	if (r)
		return r;
	if (!w->queue)
		w->queue = malloc(QUEUE_BYTES);
	if (!w->queued)
		w->queued_ns = now;
	if (!w->queue || w->queued + len >= QUEUE_BYTES || now - w->queued_ns > QUEUE_NS)
		return thin_wire_send(w, json, len, timeout_ms);
	memcpy(w->queue + w->queued, json, len);
	w->queued += len + 1;
	w->queue[w->queued - 1] = '\n';
	return 0;
}

/* Room for at least one more byte, up to the limit of a message. */
static int make_room(struct thin_wire *w)
{
	if (w->have < w->size)
		return 0;
	if (w->size >= THIN_MAX_MESSAGE)
		return -EMSGSIZE;
	size_t size = w->size ? 2 * w->size : FIRST_BUFFER;
	char *buf = realloc(w->buf, size);
	if (!buf)
		return -ENOMEM;
	w->buf = buf;
	w->size = size;
	return 0;
}

static int read_some(struct thin_wire *w, uint64_t deadline_ns)
{
	int r = make_room(w);

	while (!r) {
		ssize_t n = recv(w->fd, w->buf + w->have, w->size - w->have, 0);
		if (n > 0) {
			w->have += (size_t)n;
			return 0;
		}
		if (n == 0)
			return -ECONNRESET;
		if (errno != EINTR && errno != EAGAIN)
			return -errno;
		r = wait_for(w->fd, POLLIN, deadline_ns);
	}
	return r;
}

/* Only where more has to be read: a line of many moves nothing. */
static void drop_taken(struct thin_wire *w)
{
	w->have -= w->taken;
	if (w->taken)
		memmove(w->buf, w->buf + w->taken, w->have);
	w->taken = 0;
}

/* The line from @line to the newline at @end. */
static int take_line(struct thin_wire *w, char *line, char *end, char **ret_line)
{
	*end = '\0';
	w->taken = (size_t)(end - w->buf) + 1;
	if (line + strlen(line) != end)
		return -EPROTO;
	*ret_line = line;
	return 0;
}

int thin_wire_receive(struct thin_wire *w, char **ret_line, int timeout_ms)
{
	uint64_t deadline_ns = deadline_after(timeout_ms);
	size_t scanned = w->taken;

	for (;;) {
		char *end = w->have > scanned
				    ? memchr(w->buf + scanned, '\n', w->have - scanned)
				    : NULL;
		if (end)
			return take_line(w, w->buf + w->taken, end, ret_line);
		scanned = w->have - w->taken;
		drop_taken(w);
		int r = read_some(w, deadline_ns);
		if (r)
			return r;
	}
}

bool thin_wire_closed(const struct thin_wire *w)
{
	struct pollfd p = {.fd = w->fd};

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR));
}
