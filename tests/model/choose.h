/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_MODEL_CHOOSE_H
#define THINBD_TESTS_MODEL_CHOOSE_H

/*
 * What is done, and to what: numbers and the things that they choose.  Each
 * call uses up random numbers, or bytes.
 */

#include "world.h"

struct range {
	uint64_t begin, end; /* bytes */
};

/* A number in [0, @n), @n > 0; 0 when the bytes to choose by are used up. */
uint64_t below(struct world *w, uint64_t n);
/* True in @percent of all cases. */
bool chance(struct world *w, unsigned percent);

/* A volume that exists, or MODEL_NONE. */
int any_volume(struct world *w);
/* The index of a volume that does not exist, or MODEL_NONE. */
int any_slot(struct world *w);
/* An origin's index, or MODEL_NONE: the volume is to have none. */
int any_origin(struct world *w);
/* Bytes of a volume, not 0: whole blocks, whole sectors, or any. */
uint64_t any_size(struct world *w);
/* Of volume @v, not empty: some in a block, some whole blocks, some to the end. */
struct range any_range(struct world *w, int v);

#endif
