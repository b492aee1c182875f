/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_STORAGE_URING_H
#define THINBD_STORAGE_URING_H

/*
 * io_uring for the file backend: several runs in flight from one thread.
 */

#include "storage/file.h"

struct thin_rings;

/*
 * Rings for one storage, made as they are needed.  To be called after the
 * last fork.  NULL where the system has no io_uring or refuses it: callers
 * then do without.
 */
struct thin_rings *thin_rings_create(void);

/* NULL is a no-op.  No transfer may be under way. */
void thin_rings_destroy(struct thin_rings *rings);

/*
 * Read or write all @nr runs (1 to THIN_BATCH_RUNS, none of them empty) of
 * @fd in full; they are used up.  Any number of threads may call at once.
 * Returns true with *@ret set to 0 or the first error met, nothing being in
 * flight any more; false where no ring was to be had and nothing was done.
 */
THIN_MUST_CHECK bool thin_rings_transfer(struct thin_rings *rings, int fd, bool write,
					 struct thin_run *run, size_t nr, int *ret);

#endif
