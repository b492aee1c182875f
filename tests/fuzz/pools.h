/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_FUZZ_POOLS_H
#define THINBD_TESTS_FUZZ_POOLS_H

/*
 * Small sound pools to begin with, made by the library when the program
 * starts; and edits of them, which is how a few bytes of input say "a pool
 * with these things wrong".
 */

#include <stddef.h>
#include <stdint.h>

/*
 * What input bytes still say: numbers, least byte first; zeros when they
 * are used up.
 */
struct tape {
	const uint8_t *at, *end;
};

uint64_t tape_take(struct tape *t, unsigned bytes);

/* A pool's metadata, up to the last block in use. */
struct pool_image {
	uint8_t *bytes;
	size_t size;
};

/* The @nrth pool, or another one where there are not so many. */
struct pool_image pools_get(unsigned nr);

/*
 * The tape's first byte chooses the pool; @nr_edits times eight bytes of it
 * say what to change there: struct edit in pools.c.  The image is the
 * callee's, until the next call.
 */
struct pool_image pools_edited(struct tape *t, unsigned nr_edits);

#endif
