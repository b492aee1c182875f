/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_EXTEND_H
#define THINBD_SERVICE_EXTEND_H

/*
 * Growing a pool by itself, when its free space passes the low-water mark
 * (auto_extend_step in pool.conf): a thread that is kicked by the pool's
 * events, which must not do such a thing themselves.
 */

#include "thinbd.h"
#include "util/errors.h"

struct thin_extender;
struct thin_pool_status;

/* No thread yet.  Returns 0 or -ENOMEM. */
THIN_MUST_CHECK int thin_extender_new(struct thinbd *t, struct thin_extender **ret);

/* After the last fork.  NULL is a no-op. */
THIN_MUST_CHECK int thin_extender_start(struct thin_extender *x);

/* Look soon whether there is something to do.  From any thread; NULL too. */
void thin_extender_kick(struct thin_extender *x);

/* Stops the thread, if there is one; it may be kicked still.  NULL is a no-op. */
void thin_extender_stop(struct thin_extender *x);

/* After it was stopped, when nobody can kick it any more. */
void thin_extender_free(struct thin_extender *x);

/*
 * By how many bytes the data, or the metadata, would grow by themselves if it were
 * short of room now: 0 where they would not, since that is off, or the limit
 * reached, or has not worked, or nobody serves the pool.
 */
uint64_t thin_extend_data_step(const struct thinbd *t, const struct thin_pool_status *s);
uint64_t thin_extend_metadata_step(const struct thinbd *t,
				   const struct thin_pool_status *s);

#endif
