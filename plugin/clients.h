/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_PLUGIN_CLIENTS_H
#define THINBD_PLUGIN_CLIENTS_H

/*
 * Who is in the pool: connections, and their calls that are running.
 *
 * When it is told to end, nbdkit (1.32 at least) calls .cleanup and .unload
 * while connections are still at work, and does not call their .close.  So
 * every callback that uses the pool enters before and leaves after; the end
 * waits for those who are in, keeps others out, and closes what is open.
 */

#include "thinbd.h"

/* A connection: nbdkit's handle. */
struct client;

/* For calls that belong to no volume. */
extern struct client *const client_lobby;

/*
 * A connection that has @v, which is owned from here on.  The caller is in
 * the lobby.
 * Returns NULL where there is no memory; @v stays the caller's then.
 */
struct client *client_new(struct thinbd_volume *v);

/*
 * Close it, by way of the lobby; NULL is a no-op, and so is the end, which
 * closes all.
 */
void client_free(struct client *c);

/*
 * False when the server is about to end: the pool must not be used any more.
 * Cost: an atomic operation on the connection's own.
 */
bool client_enter(struct client *c);
void client_leave(struct client *c);

/* Its volume, from enter to leave. */
struct thinbd_volume *client_volume(const struct client *c);

/*
 * Keep everybody out, wait @seconds for those who are in, and close all
 * volumes.  A second call finds nothing to do.
 * Returns false when somebody is still in: then nothing was closed.
 */
bool clients_end(unsigned seconds);

#endif
