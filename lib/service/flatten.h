/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_FLATTEN_H
#define THINBD_SERVICE_FLATTEN_H

#include "service/service.h"

struct thin_flatten_params {
	const char *name; /* also for messages */
	uint32_t device;  /* the one that is meant, whatever its name is by now; or
			     THIN_NO_DEVICE */
	uint64_t rate;	  /* bytes a second; 0: as fast as it goes */
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

/*
 * Is anybody at it?  Until all have ended the volume keeps its size and is not
 * rolled back, also where the registry does not say so any more.
 */
bool thin_is_flattening(struct thinbd *t, uint32_t device) THIN_REQUIRES(t->lock);

/* --- in the background (jobs.c) ------------------------------------------- */

/* Go on with what was interrupted when the pool was closed last. */
void thin_jobs_resume(struct thinbd *t);

/* Interrupt all of them, and wait. */
void thin_jobs_stop(struct thinbd *t);

#endif
