/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CONTROL_PEER_H
#define THINBD_CONTROL_PEER_H

/* One connection to the control socket, and the thread that serves it. */

#include "control/server.h"
#include "control/wire.h"

#include <stdatomic.h>

struct thin_peer {
	struct thin_wire wire;
	thin_control_handler *handler;
	void *ctx;
	atomic_bool done;
};

/* Takes @fd. */
void thin_peer_init(struct thin_peer *p, int fd, thin_control_handler *handler,
		    void *ctx);

/* After its thread was joined, or where none was started. */
void thin_peer_fini(struct thin_peer *p);

/* The thread: serves until the peer hangs up or misbehaves. */
void *thin_peer_run(void *peer);

/* Is the thread through, so that joining it does not wait? */
bool thin_peer_done(const struct thin_peer *p);

/* Make the thread's I/O fail, so that it ends.  From any thread. */
void thin_peer_hang_up(const struct thin_peer *p);

/* Tell a peer why it is not served, and close @fd. */
void thin_peer_refuse(int fd, int err, const char *why);

#endif
