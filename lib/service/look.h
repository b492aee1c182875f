/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_LOOK_H
#define THINBD_SERVICE_LOOK_H

/*
 * What there is at an origin, for a volume that gets it.  To look takes as long as
 * its server takes to answer, or to be given up: so verbs do not look while they
 * hold t->lock.  One that lacks a look says so by -EAGAIN, before it has done
 * anything; then it is looked, without the lock, and the verb begins again.
 */

#include "registry/volume_conf.h"
#include "service/service.h"

struct thin_look;

/* Of one call; all zeros: none. */
struct thin_looks {
	struct thin_look *list;
};

void thin_looks_fini(struct thin_looks *l);

/* Look at all that are lacking; were there any?  Locking: without t->lock. */
bool thin_looks_go(struct thin_looks *l);

/*
 * Record in @conf what @origin is: the text, the path, the identity.  For a
 * volume that gets an origin, or another one.
 * Returns 0; -EINVAL (no origin, circle, a volume that may change); what opening
 * said; -EAGAIN: it has to be looked at first.
 */
THIN_MUST_CHECK int thin_origin_record(struct thinbd *t, const char *origin,
				       struct thin_looks *l,
				       struct thin_volume_conf *conf,
				       struct thin_error *e);

#endif
