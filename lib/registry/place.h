/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_REGISTRY_PLACE_H
#define THINBD_REGISTRY_PLACE_H

/*
 * From an intent to the volumes' files.  Each step can be repeated, also
 * after a crash in it, for as long as the journal has the change.
 */

#include "registry/files.h"
#include "registry/intent.h"

/*
 * Write the new files beside the old ones: a disk that is full says so here.
 * Returns 0; what the system said, and they are removed.
 */
THIN_MUST_CHECK int thin_place_prepare(struct thin_files *f, const struct thin_intent *in,
				       struct thin_error *e);

/* Remove them: the change did not happen. */
void thin_place_drop(struct thin_files *f, const struct thin_intent *in);

/* Put them in the place of the old ones, and remove what is to go. */
THIN_MUST_CHECK int thin_place_move(struct thin_files *f, const struct thin_intent *in,
				    struct thin_error *e);

/*
 * Make all that durable, once it was moved.  Returns 0; what the system
 * said, after which nothing is sure (F4).
 * Cost: a sync for each file, or one of the file system for many; one of
 * the folder.
 */
THIN_MUST_CHECK int thin_place_sync(struct thin_files *f, const struct thin_intent *in,
				    struct thin_error *e);

#endif
