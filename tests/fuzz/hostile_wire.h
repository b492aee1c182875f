/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_HOSTILE_WIRE_H
#define THINBD_TESTS_HOSTILE_WIRE_H

/*
 * A wire between the library's NBD client and a server in the same thread,
 * and a clock that moves only when somebody sleeps.
 *
 * poll() is ours, for libnbd too.  When the client can go on it returns at
 * once; when it can not, the server gets a turn; when that says nothing, the
 * time that the client was willing to wait has passed.  So a run takes no
 * time, and is the same each time.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Begin a run: the clock stands still, nobody is connected.  In it a
 * connection to any URI ends at the server, who is asked by these:
 *
 * accept: is there anybody?  If so the wire is up when it returns true.
 * turn: the client waits; hear(), say(), hang up, or do nothing.  Returns
 *	false when that is all he will ever do: it is then as if the network
 *	had noticed, and the connection breaks.
 */
struct wire_server {
	bool (*accept)(void);
	bool (*turn)(void);
};
void wire_begin(const struct wire_server *server);

/* End it; from here on poll() and the clock are the system's. */
void wire_end(void);

/* The server's side.  What it says is queued, however much it is. */
void wire_say(const void *bytes, size_t len);
void wire_limit(size_t bytes); /* nothing beyond as many, on this connection */
size_t wire_hear(void *buf, size_t len);
void wire_hang_up(void);

#endif
