/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_REQUESTS_H
#define THINBD_TESTS_MODEL_REQUESTS_H

/*
 * Operations on the content of a volume, each on a range that it chooses.
 * Nothing is done where there are no volumes.
 */

#include "world.h"

/* Reads all volumes from end to end, and compares. */
void check_content(struct world *w);

/* Reads, compares, and looks for bytes outside of the buffer. */
void do_read(struct world *w);
/* Writes what was not there before; -ENOSPC only where the model says so. */
void do_write(struct world *w);
/* Zeroes; THIN_FAST_ONLY fails where blocks have to be provisioned or written. */
void do_zero(struct world *w);
/* Copies what is the origin's. */
void do_hydrate(struct world *w);
/* Only what is durable may let the origin go: as flatten does. */
void do_drop_origin(struct world *w);
/* Trims, which need not make zeros. */
void do_trim(struct world *w);
/* Flushes a volume, which may commit. */
void do_flush(struct world *w);
/* Commits, and looks at the list of devices. */
void do_commit(struct world *w);
/* Asks for a range to be cached, which changes nothing. */
void do_cache(struct world *w);

#endif
