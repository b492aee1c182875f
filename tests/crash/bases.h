/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_BASES_H
#define THINBD_TESTS_BASES_H

/*
 * The pools from which the tests start: one with an empty volume, one with
 * blocks shared by snapshots, one without a free block, one over an origin.
 */

#include "world.h"

unsigned bases_nr(void);
const char *base_name(unsigned i);
const char *base_ops(unsigned i); /* how it is made, from an empty pool */
/* Its number; bases_nr() for a name that there is not. */
unsigned base_find(const char *name);
/* Ends the test where it can't be made: then nothing else would work either. */
void base_make(struct base *b, unsigned i);

#endif
