/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CONTROL_SERVER_H
#define THINBD_CONTROL_SERVER_H

/*
 * The listening side of DIR/control.
 *
 * A thread accepts, and one a connection serves; at most
 * THIN_MAX_CONTROL_PEERS of them.  A peer must be root or run as the same
 * user, and has THIN_CONTROL_TIMEOUT_MS for each line.
 */

#include "thinbd.h"
#include "util/errors.h"

/* As thinbd_request(): every request ends in a reply. */
typedef int thin_control_handler(void *ctx, const char *request,
				 const struct thinbd_observer *observer,
				 char **ret_reply);

struct thin_server;

/*
 * Make the socket in @dir, mode 0600, in place of one that nobody listens
 * to any more.
 * Returns 0; -EBUSY (somebody listens); what the system says.
 */
THIN_MUST_CHECK int thin_server_open(const char *dir, thin_control_handler *handler,
				     void *ctx, struct thin_server **ret,
				     struct thin_error *e);

/* Begin to accept; after the last fork. */
THIN_MUST_CHECK int thin_server_start(struct thin_server *s);

/*
 * Hang up on everybody, wait for requests that are being done, remove the
 * socket and free; NULL is a no-op.
 */
void thin_server_close(struct thin_server *s);

#endif
