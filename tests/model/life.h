/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_LIFE_H
#define THINBD_TESTS_MODEL_LIFE_H

/*
 * The pool's life, from its making to its end.
 */

#include "world.h"

/* Chooses a pool, its origins and its policy, and opens it; no volumes yet. */
void make_world(struct world *w);
/* Frees what make_world() made; the pool is closed. */
void discard_world(struct world *w);

/* Closes the volumes and the pool; 0, or what the last commit failed with. */
int close_pool(struct world *w);

/* Closes and opens; all is as it was. */
void do_reopen(struct world *w);
/* The power fails: all is as at the last commit.  Not where threads run. */
void do_crash(struct world *w);
/* While something is held the blocks in use are not the volumes' alone. */
void do_hold(struct world *w);
/* Grows a pool that is full, and fails to shrink it. */
void do_grow(struct world *w);

#endif
