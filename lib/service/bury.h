/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_BURY_H
#define THINBD_SERVICE_BURY_H

/* Freeing what deleted volumes had: bury.c does it, burier.c in the background. */

#include "util/errors.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct thin_ids;
struct thinbd;
struct thin_burier;

/* Room for what thin_device_born() makes. */
#define THIN_BORN_MAX 64

/*
 * What tells @device from one that gets its number later: for its tombstone.
 * Returns @ret; NULL where there is no such device.
 */
const char *thin_device_born(struct thinbd *t, uint32_t device,
			     char ret[static THIN_BORN_MAX]);

/*
 * Free the blocks of the tombstones with one of the @nr @devices, and drop
 * them; where some fail, the others.
 * Locking: without t->lock.
 */
THIN_MUST_CHECK int thin_bury(struct thinbd *t, const uint32_t *devices, size_t nr,
			      struct thin_error *e);

/* The same, as thin_pool_delete_slowly(); -EINTR where @go_on ended it. */
THIN_MUST_CHECK int thin_bury_slowly(struct thinbd *t, const uint32_t *devices, size_t nr,
				     int (*go_on)(void *ctx), void *ctx,
				     struct thin_error *e);

/*
 * The same as thin_bury(), but the tombstones stay: for who removes them later, by
 * any of these.  Cost: a commit; no change of the registry.
 */
THIN_MUST_CHECK int thin_bury_but_tombstones(struct thinbd *t, const uint32_t *devices,
					     size_t nr, struct thin_error *e);

/* Is that a matter of milliseconds?  Cost: bounded. */
bool thin_bury_is_little(struct thinbd *t, const uint32_t *devices, size_t nr);

/* Tell the pool's owner that it failed. */
void thin_bury_report(struct thinbd *t, int r, const struct thin_error *why);

/* The devices of all tombstones; free() what is at @ret. */
THIN_MUST_CHECK int thin_tombstone_devices(struct thinbd *t, struct thin_ids *ret);

/*
 * The same as thin_bury(), but what takes more than a few milliseconds is left to the
 * burier, where the pool is served, and so is removing tombstones.  Cost: bounded then.
 */
THIN_MUST_CHECK int thin_bury_soon(struct thinbd *t, const uint32_t *devices, size_t nr,
				   struct thin_error *e);

/* What those of the @nr @devices that are there have mapped, in bytes. */
uint64_t thin_mapped_bytes(struct thinbd *t, const uint32_t *devices, size_t nr);

/* The same for all that is being freed, or is to be. */
uint64_t thin_buried_bytes(struct thinbd *t);

/* Free what earlier opens have left, all of it: before the pool is closed. */
void thin_bury_rest(struct thinbd *t);

/* At open: free what earlier opens have left, where that is little. */
THIN_MUST_CHECK int thin_bury_recover(struct thinbd *t);

THIN_MUST_CHECK int thin_burier_new(struct thinbd *t, struct thin_burier **ret);

/* After the last fork; what was left is handed to it.  NULL is a no-op. */
THIN_MUST_CHECK int thin_burier_start(struct thin_burier *b);

/* Stops in the middle of what it is doing.  NULL is a no-op for both. */
void thin_burier_stop(struct thin_burier *b);
void thin_burier_free(struct thin_burier *b);

#endif
