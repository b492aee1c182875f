/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_VOLUMES_H
#define THINBD_TESTS_MODEL_VOLUMES_H

/*
 * Operations that make, delete and resize volumes.  Those called do_ choose
 * what to do, and do nothing where there is nothing to choose from.
 */

#include "world.h"

/* Opens @v, which exists in the model, with its size and origin. */
void open_volume(struct world *w, int v);
/* Closes @v, whether it is open or not. */
void close_volume(struct world *w, int v);

/* Makes a volume, and fails to make it twice. */
void do_create(struct world *w);
/* Groups now and then; with a bad one among them nothing is to be made. */
void do_snapshot(struct world *w);
/* Deletes one or two volumes; not while they are open, and not twice. */
void do_delete(struct world *w);
/* Opens a volume with another size. */
void do_resize(struct world *w);

#endif
