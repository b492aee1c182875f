/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CONTROL_WIRE_H
#define THINBD_CONTROL_WIRE_H

/*
 * Lines on a socket: one JSON document each, bounded, with deadlines.
 *
 * The protocol:
 *
 *   server   {"thinbd": 1, "version": "0.1.0"}           once
 *   client   {"id": 7, "request": {"verb": ..., "args": {...}}}
 *   server   {"id": 7, "progress": [done, total]}         any number of
 *            {"id": 7, "item": ...}                       these, then
 *            {"id": 7, "reply": {"result": ...}}          or with "error"
 *
 * and again from the client's line on.  The client gives up a request by
 * closing its end.  A server that will not talk says {"error": {...}}
 * instead of its greeting, and closes.
 */

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define THIN_WIRE_VERSION 1

struct thin_wire {
	int fd; /* owned, non-blocking */
	char *buf;
	size_t size;  /* of buf */
	size_t have;  /* bytes in buf */
	size_t taken; /* of these, were handed out: gone at the next receive */

	char *queue; /* lines that wait for company */
	size_t queued;
	uint64_t queued_ns; /* when the first of them came */
};

/* Takes @fd, a connected stream socket. */
void thin_wire_init(struct thin_wire *w, int fd);
void thin_wire_fini(struct thin_wire *w);

/*
 * Send what was queued, @json and a newline, all of it within @timeout_ms (-1: for
 * ever).
 * Returns 0; -EMSGSIZE (above THIN_MAX_MESSAGE, or a newline inside);
 * -ETIMEDOUT; what the socket says (-EPIPE: the peer is gone).
 */
THIN_MUST_CHECK int thin_wire_send(struct thin_wire *w, const char *json, size_t len,
				   int timeout_ms);

/*
 * The same for one line of many: it is sent with those that follow, at the latest by
 * the next thin_wire_send().  None waits long while others come.
 */
THIN_MUST_CHECK int thin_wire_queue(struct thin_wire *w, const char *json, size_t len,
				    int timeout_ms);

/*
 * The next line, without its newline; all of it within @timeout_ms (-1: for
 * ever), however slowly it trickles in.
 * @ret_line: valid until the next call.
 * Returns 0; -EMSGSIZE; -ETIMEDOUT; -ECONNRESET (the peer closed); -EPROTO (a
 * NUL in it).
 */
THIN_MUST_CHECK int thin_wire_receive(struct thin_wire *w, char **ret_line,
				      int timeout_ms);

/* Is the peer gone altogether?  Cost: a system call. */
bool thin_wire_closed(const struct thin_wire *w);

#endif
