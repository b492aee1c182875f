/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_STILL_H
#define THINBD_SERVICE_STILL_H

/*
 * A still picture of the metadata of a pool that is in use: the last commit,
 * to be walked while others follow.
 */

#include "service/service.h"

struct thin_still {
	/*
	 * The picture is taken now: of the registry too, which agrees with it
	 * under t->lock.  May be NULL.
	 */
	int (*taken)(void *ctx);
	/* Look at it; nothing that was found before counts any more. */
	int (*look)(void *ctx, struct thin_storage *metadata);
	void *ctx;
};

/*
 * Take a picture, and look at it.  Nobody waits meanwhile; but where the pool
 * needs the room that the old metadata take, or somebody else has them still,
 * it is done once more, with commits kept away.
 * Returns what the last look returned; -ESHUTDOWN.
 * Locking: without t->lock.
 */
THIN_MUST_CHECK int thin_still_look(struct thinbd *t, const struct thin_still *s);

#endif
