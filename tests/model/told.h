/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_TOLD_H
#define THINBD_TESTS_MODEL_TOLD_H

/*
 * What the pool tells, compared with the model: commits, counts, extents.
 */

#include "world.h"

/* The pool's commits so far. */
uint64_t commits_now(struct world *w);
/* True if there were commits that the model does not know of. */
bool has_committed(struct world *w);
/* The pool has committed what the model holds now. */
void committed(struct world *w);

/* Audits the metadata as it is on disk; the model's last commit is the same. */
void check_metadata(struct world *w);
/* Each volume's device is listed, with as many mapped blocks. */
void check_devices(struct world *w);
/* After each operation: blocks in use, health, and the monitor's verdict. */
void check_used(struct world *w);

/* Extents of a range: without gaps, merged, and of the type they should be. */
void do_map(struct world *w);
/* Of some, as a list does: what was asked before may be remembered. */
void do_exclusive(struct world *w);

#endif
