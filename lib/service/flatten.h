/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_FLATTEN_H
#define THINBD_SERVICE_FLATTEN_H

#include "util/errors.h"

#include <stdbool.h>
#include <stdint.h>

struct thinbd;

struct thin_flatten_params {
	const char *name;
	uint64_t rate; /* bytes a second; 0: as fast as it goes */
	/* Every now and then; returns 0 to go on, else what it ends with. */
	int (*progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

/*
 * Copy what a volume still shows of its origin into the pool, then drop the
 * origin.  The volume stays in use.
 * @ret_copied: bytes; also where it fails.
 * Returns 0, also where there is no origin; -ECANCELED (the volume is not
 * being flattened any more; what was copied stays); -EINTR (it is, and goes
 * on when the pool is opened again); as a write.
 * Locking: without t->lock.
 */
THIN_MUST_CHECK int thin_flatten(struct thinbd *t, const struct thin_flatten_params *p,
				 uint64_t *ret_copied, struct thin_error *e);

/* --- in the background (jobs.c) ------------------------------------------- */

/* Go on with what was interrupted when the pool was closed last. */
void thin_jobs_resume(struct thinbd *t);

/* Interrupt all of them, and wait. */
void thin_jobs_stop(struct thinbd *t);

#endif
